"""A small task, of topic_words.py, encoded."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from topic_words import SMALL, topics_dataset

from sweepstack.models.data.encoding import TaskData, encode
from sweepstack.models.settings.trial import Reading


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Sums of several threads are added in another order: what is equal to the bit is so on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


@pytest.fixture(scope="session")
def writing(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """dataset, data, small settings of translation, and a folder of starts that all tests share."""
    from small_writing import SMALL as settings  # brings the tokenizers
    from small_writing import pairs_data, pairs_dataset

    torch.set_num_threads(1)
    starts: Path = tmp_path_factory.mktemp("writing starts")
    return SimpleNamespace(dataset=pairs_dataset(), data=pairs_data(), settings=settings, starts=starts)
