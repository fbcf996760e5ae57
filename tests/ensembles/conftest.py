"""Made-up members of known quality, and a member that a bundle can hold without a trained model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from sweepstack.ensembles.members.library import Library, Member, Stack
from sweepstack.models.predictions.probabilities import Ints, Predictions, answer_above

if TYPE_CHECKING:
    from sweepstack.ensembles.members.texts import CandidateLibrary

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

    fake = ModuleType("sweepstack.models.tasks.classification.checkpoint")
    fake.load_member = KeywordMember  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sweepstack.models.tasks.classification.checkpoint", fake)
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

    from sweepstack.models.data.encoding import encode

    torch.set_num_threads(1)
    quick = SMALL.with_values({"train.warm_start.epochs": 2, "train.epochs": 1, "precision": "float32"})
    dataset = topics_dataset()
    return SimpleNamespace(dataset=dataset, data=encode(dataset, quick.reading), quick=quick)


@pytest.fixture
def synthetic() -> SimpleNamespace:
    return SimpleNamespace(stack=make_stack, library=as_library)


WORDS = (
    "open",
    "close",
    "save",
    "print",
    "file",
    "page",
    "table",
    "chart",
    "row",
    "cell",
    "font",
    "colour",
    "left",
    "top",
)


def make_writers(
    errors: Sequence[float], kinds: Sequence[str] | None = None, rows: int = 120, n: int = 2, seed: int = 0
) -> "tuple[CandidateLibrary, tuple[str, ...]]":
    """Members that write a reference of eight words, each replaced, independently, with a probability of ``errors``.

    Their ``n`` candidates are drawn alike, and scored by a noisy share of right words. Returns references, too.
    """
    from sweepstack.ensembles.members.texts import CandidateLibrary
    from sweepstack.models.predictions.texts import Candidates

    random = np.random.default_rng(seed)
    references = random.choice(WORDS, (rows, 8))
    written = []
    for share in errors:
        texts, scores = [], []
        for reference in references:
            wrong = random.random((n, 8)) < share
            said = [" ".join(words) for words in np.where(wrong, random.choice(WORDS, (n, 8)), reference)]
            values = random.normal(scale=0.05, size=n) - wrong.mean(axis=1)
            best_first = sorted(zip(values.tolist(), said, strict=True), reverse=True)
            distinct = {text: value for value, text in reversed(best_first)}
            ranked = sorted(distinct.items(), key=lambda each: -each[1])
            texts.append(tuple(text for text, _ in ranked))
            scores.append(tuple(value for _, value in ranked))
        written.append(Candidates(tuple(texts), tuple(scores)))
    kinds = kinds or ["trial"] * len(errors)
    members = (Member(f"{kind}-{i}", kind, Path(f"{kind}-{i}")) for i, kind in enumerate(kinds))  # type: ignore[arg-type]
    joined = tuple(map(" ".join, references))
    return CandidateLibrary(tuple(members), tuple(written), tuple(f"{r} {i}" for i, r in enumerate(joined))), joined


def two_parts(
    errors: Sequence[float], kinds: Sequence[str] | None = None, rows: int = 120, seed: int = 0
) -> "list[tuple[CandidateLibrary, tuple[str, ...]]]":
    """The same members on valid and on blend."""
    library, references = make_writers(errors, kinds, 2 * rows, seed=seed)
    parts = (np.arange(i * rows, (i + 1) * rows) for i in range(2))
    return [(library.rows(part), tuple(references[i] for i in part)) for part in parts]


@pytest.fixture
def writing() -> SimpleNamespace:
    return SimpleNamespace(library=make_writers, parts=two_parts)


@pytest.fixture(scope="session")
def small_writers(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Three writers on disk of the models' small task, each a trained start with noise on its weights, and a memory.

    The noise of the first two cancels out; the third has much of it. ``candidates``: of each member, for each part.
    """
    import torch
    from small_writing import SMALL, pairs_data, pairs_dataset

    from sweepstack.models.baselines.translation_memory import TranslationMemory
    from sweepstack.models.tasks.writing.checkpoint import WriterMember, load_writer, save_writer
    from sweepstack.models.tasks.writing.supervised import ensure_writing_start

    torch.set_num_threads(1)
    root, dataset, data = tmp_path_factory.mktemp("writers"), pairs_dataset(), pairs_data()
    assert SMALL.writing is not None
    start = ensure_writing_start(SMALL, data, root / "starts")
    noise = torch.Generator().manual_seed(0)
    weights = load_writer(start, torch.device("cpu"))[0].state_dict()
    offsets = {name: torch.randn(tensor.shape, generator=noise) for name, tensor in weights.items()}
    members = []
    for number, size in enumerate((0.1, -0.1, 1.0)):
        writer, _ = load_writer(start, torch.device("cpu"))
        writer.load_state_dict({name: tensor + size * offsets[name] for name, tensor in weights.items()})
        member = Member(f"trial-{number}", "trial", root / f"trial-{number}")
        save_writer(member.checkpoint, writer, data.tokenizers, SMALL.writing.decode, data.language)
        members.append(member)
    members.append(Member("memory", "baseline", root / "memory"))
    TranslationMemory.fit(dataset).save(members[-1].checkpoint)
    loaded = [*(WriterMember(each.checkpoint, "cpu") for each in members[:3]), TranslationMemory.fit(dataset)]
    for member, writes in zip(members, loaded, strict=True):
        for part in ("valid", "blend", "test"):
            writes.write(dataset.parts[part].inputs, 2).save(member.predictions(part), data.hashes[part])
    return SimpleNamespace(members=members, loaded=loaded, dataset=dataset, data=data, start=start)
