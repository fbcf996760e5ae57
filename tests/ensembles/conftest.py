"""Made-up members of known quality, and a member that a bundle can hold without a trained model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from sweepstack.ensembles.store import Library, Member, Stack
from sweepstack.models.predictions import Ints, Predictions, answer_above

Make = Callable[..., tuple[Stack, Ints]]


def make_stack(
    qualities: Sequence[float], rows: int = 300, segments: int = 5, classes: int = 4, seed: int = 0
) -> tuple[Stack, Ints]:
    """Members whose logits are quality·(share read)·(one-hot label) plus noise of their own; 0 is a useless member."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, rows)
    n_segments = random.integers(1, segments + 1, rows)
    at = np.minimum(np.arange(segments)[None, :], n_segments[:, None] - 1)  # (rows, segments): the last one repeats
    truth = np.eye(classes)[labels][:, None, :]
    members = []
    for quality in qualities:
        noise = (
            random.normal(size=(rows, segments, classes)).cumsum(axis=1) / np.sqrt(np.arange(1, segments + 1))[:, None]
        )
        logits = (quality * ((np.arange(segments) + 1) / segments)[:, None] * truth + noise)[
            np.arange(rows)[:, None], at
        ]
        odds = np.exp(logits - logits.max(axis=2, keepdims=True))
        probabilities = (odds / odds.sum(axis=2, keepdims=True)).astype(np.float32)
        members.append(answer_above(probabilities, n_segments, 0.8))
    return Stack.of(members), labels


def as_library(stack: Stack, kinds: Sequence[str] | None = None) -> Library:
    kinds = kinds or ["trial"] * len(stack)
    members = (Member(f"{kind}-{i}", kind, Path(f"{kind}-{i}")) for i, kind in enumerate(kinds))  # type: ignore[arg-type]
    return Library(tuple(members), stack)


class KeywordMember:
    """A classifier of texts whose words are its segments: it has a table of word counts, and no randomness."""

    conditioned = False

    def __init__(self, folder: Path) -> None:
        from safetensors.numpy import load_file

        from sweepstack.models.files import read_json

        self.classes = tuple(read_json(folder / "config.json")["classes"])
        self.weights: NDArray[np.float32] = load_file(folder / "weights.safetensors")["weights"]  # (2, classes)

    def read(self, texts: Sequence[str], cost: float | None = None) -> Predictions:
        words = [text.split() or [""] for text in texts]
        n_segments = np.array([len(w) for w in words])
        logits = np.zeros((len(texts), n_segments.max(), len(self.classes)), dtype=np.float32)
        for row, w in enumerate(words):
            for s in range(logits.shape[1]):
                logits[row, s] = self.weights[[int(word.startswith("b")) for word in w[: s + 1]]].sum(axis=0)
        odds = np.exp(logits)
        return answer_above(odds / odds.sum(axis=2, keepdims=True), n_segments, 0.9)


@pytest.fixture
def keyword_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Member]:
    """Two members on disk, which load_member opens as KeywordMember."""
    import sys

    from sweepstack.models.files import write_json

    fake = ModuleType("sweepstack.models.checkpoints")
    fake.load_member = KeywordMember  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sweepstack.models.checkpoints", fake)
    members = []
    for i, strength in enumerate((1.0, 2.0)):
        member = Member(f"trial-{i}", "trial", tmp_path / "trials" / str(i))
        member.checkpoint.mkdir(parents=True)
        weights = np.array([[strength, 0, 0], [0, strength, 0]], dtype=np.float32)
        save_file({"weights": weights}, member.checkpoint / "weights.safetensors")
        write_json(member.checkpoint / "config.json", {"classes": ["a", "b", "c"]})
        members.append(member)
    return members


@pytest.fixture(scope="session")
def topics() -> SimpleNamespace:
    """The small task of the models' tests: dataset, data, and settings that take half a second to train."""
    import torch
    from topic_words import SMALL, topics_dataset

    from sweepstack.models.encoding import encode

    torch.set_num_threads(1)
    quick = SMALL.with_values({"train.warm_start.epochs": 2, "train.epochs": 1, "precision": "float32"})
    dataset = topics_dataset()
    return SimpleNamespace(dataset=dataset, data=encode(dataset, quick.reading), quick=quick)


@pytest.fixture
def synthetic() -> SimpleNamespace:
    return SimpleNamespace(stack=make_stack, library=as_library)
