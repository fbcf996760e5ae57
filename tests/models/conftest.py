"""A small task that a tiny policy learns in a second: two topic words, somewhere among words that say nothing."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sweepstack.models.data import PARTS, Dataset, Part
from sweepstack.models.encoding import TaskData, encode
from sweepstack.models.settings import Model, Reading, Train, TrialSettings, WarmStart

TOPICS = {
    "farm": "wheat corn grain harvest acres",
    "money": "dollar bank rates yen loan",
    "ship": "port sea crew vessel mast",
}
FILLER = "the of said and to a in it"
SIZES = {"warm": 120, "policy": 140, "valid": 80, "blend": 40, "test": 50}
SMALL = TrialSettings(
    reading=Reading(unit="words", segment=2, max_segments=4, cost=0.02),
    model=Model(d_model=16, heads=2, word_dropout=0.1),
    train=Train(warm_start=WarmStart(epochs=5, lr=1e-2, batch_size=16), epochs=3, batch_size=64),
    device="cpu",
)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Sums of several threads are added in another order: what is equal to the bit is so on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def topics_dataset(seed: int = 0) -> Dataset:
    """Texts of two to nine words; the labels of test are there, too, for a test to score with."""
    random = np.random.default_rng(seed)
    parts = {}
    for name in PARTS:
        texts, labels = [], np.arange(SIZES[name]) % len(TOPICS)
        for label in labels:
            filler = list(random.choice(FILLER.split(), random.integers(0, 8)))
            topic = list(random.choice(list(TOPICS.values())[label].split(), 2))
            texts.append(" ".join(random.permutation(filler + topic)))
        parts[name] = Part(tuple(texts), labels.astype(np.int64))
    return Dataset(tuple(TOPICS), parts, {**{name: f"{name}{seed}" for name in PARTS}, "content": f"c{seed}"}, ())


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # results are equal bit by bit only for the same number of threads


@pytest.fixture(scope="session")
def topics(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """dataset, data, small settings, and a folder of starts that all tests share."""
    torch.set_num_threads(1)
    dataset = topics_dataset()
    assert isinstance(SMALL.reading, Reading)
    data: TaskData = encode(dataset, SMALL.reading)
    starts: Path = tmp_path_factory.mktemp("starts")
    return SimpleNamespace(dataset=dataset, data=data, settings=SMALL, starts=starts, make=topics_dataset)
