"""From a data file to the five disjoint parts of a study that writes: pairs of a source and what should be written.

The parts are those of labelled.py, carved by the same rules: a source never stands in two of them, nor does a group.
What training needs of them is in :class:`WritingData`, as token ids of vocabularies that are fitted on what it may
look at.

A pair of warm or policy that is longer than a policy reads or writes teaches half a sentence, so it is left out.
Elsewhere a source is cut, as it will be in use, and references stay whole: texts are scored by them as they are.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sweepstack.models.data.bpe import Bpe, Tokenizers
from sweepstack.models.data.builtin import PREFIX, builtin
from sweepstack.models.data.cleaning import clean
from sweepstack.models.data.labelled import FITTED, PARTS, none_given
from sweepstack.models.data.part_sizes import check_sizes, part_sizes
from sweepstack.models.data.same_input import by_text, inputs_of, notes_of, plain, settled, without_test
from sweepstack.models.data.splits import split, units_of
from sweepstack.models.data.tables import Rows, read_pairs
from sweepstack.models.errors import DataError
from sweepstack.models.predictions.probabilities import Ints
from sweepstack.models.predictions.text_metrics import language_of
from sweepstack.models.settings.data import Data, Splits
from sweepstack.models.settings.trial import Reading
from sweepstack.models.settings.writing import Writing

MOST_UNKNOWN = 0.5  # share of a part's characters: with more it is another script, and nothing of it could be written
TOLD_UNKNOWN = 0.01


@dataclass(frozen=True)
class PairPart:
    inputs: tuple[str, ...]
    references: tuple[str, ...]  # cleaned as what is written will be: see cleaning.py
    units: Ints = field(default_factory=none_given, compare=False)  # (rows,): as labelled.Part has them

    def __post_init__(self) -> None:
        if not len(self.units):
            object.__setattr__(self, "units", by_text(self.inputs))

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class PairDataset:
    """As labelled.Dataset, for texts that are written; it has neither classes nor folds nor costs of wrong answers."""

    parts: dict[str, PairPart]  # in the order of PARTS
    hashes: dict[str, str]  # of each part's rows in their order, and `content` of all
    notes: tuple[str, ...]  # what a user should know of what was left out
    folds: "tuple[PairDataset, ...]" = ()
    classes: tuple[str, ...] = ()
    costs: None = None

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of each part."""
        return {name: len(part) for name, part in self.parts.items()}

    def part_for(self, use: Literal["valid", "blend"]) -> str:
        """The part that is used so."""
        return use


@dataclass(frozen=True)
class EncodedPairs:
    inputs: tuple[str, ...]
    sources: NDArray[np.int32]  # (rows, S): 0-padded
    targets: NDArray[np.int32] | None  # (rows, T): 0-padded, each ending with END; None for test
    references: tuple[str, ...] | None  # None for test

    def __len__(self) -> int:
        return len(self.inputs)

    def rows(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> "EncodedPairs":
        """Those of some rows, by their indices or by a mask."""
        chosen = np.arange(len(self))[index].tolist()
        return EncodedPairs(
            tuple(self.inputs[i] for i in chosen),
            self.sources[chosen],
            None if self.targets is None else self.targets[chosen],
            None if self.references is None else tuple(self.references[i] for i in chosen),
        )


@dataclass(frozen=True)
class WritingData:
    """All that a trial needs, as encoding.TaskData for labels: numpy and text only."""

    tokenizers: str  # bpe.Tokenizers' JSON
    parts: dict[str, EncodedPairs]  # warm, policy, valid, blend, test
    hashes: dict[str, str]  # of each part's rows; those of warm and policy also say how they are encoded
    notes: tuple[str, ...]  # what a user should know of what is not read or not written
    language: str  # of what is written, see text_metrics.language_of
    folds: "tuple[WritingData, ...]" = ()
    classes: tuple[str, ...] = ()
    costs: None = None


def load_pairs(data: Data, task: str, writing: Writing, reading: Reading | Literal["off"] = "off") -> PairDataset:
    """Reads, checks and splits; raises DataError in one line. The same settings always give the same parts.

    Rows of whose sources a policy reads the same, by ``writing`` and ``reading``, stay in one part: see same_input.py.
    """
    if not isinstance(data.splits, Splits):
        raise DataError(f"data.splits has folds, which task {task} does not know yet; take shares, valid and blend")
    train, test = _rows(data, task)
    sources, groups = inputs_of(train, test)
    targets = [_cleaned(text) for text in (train.targets if test is None else (*train.targets, *test.targets))]
    shares = data.splits

    def carve(units: Ints) -> dict[str, Ints]:
        kept = without_test(units, train, test)
        sizes = part_sizes(len(kept), shares, carve_test=test is None)
        chosen = split(np.zeros(len(kept), dtype=np.int64), units[kept], sizes, data.seed, kept)
        given = {} if test is None else {"test": np.arange(len(train), len(sources))}
        return {**{name: kept[rows] for name, rows in chosen.items()}, **given}

    def reads(parts: dict[str, Ints]) -> list[list[bytes]]:
        fitted = [row for name in FITTED for row in parts[name].tolist()]
        if not fitted:
            return []
        tokenizers = _fitted([sources[row] for row in fitted], [targets[row] for row in fitted], writing)
        return [_read_of(tokenizers, sources, writing, reading)]

    units, chosen, found = settled(units_of([plain(text) for text in sources], groups), carve, reads)
    kept = without_test(units, train, test)
    notes = [*train.notes, *([] if test is None else test.notes)]
    notes += notes_of(kept, train, found, _bound(writing, reading))
    if test is not None and shares.test is not None:
        notes.insert(0, f"data.splits.test ({shares.test:g}) is not used: {test.source} brings the test part")
    parts = {}
    for name in (name for name in PARTS if name in chosen):
        own = chosen[name].tolist()
        parts[name] = PairPart(tuple(sources[i] for i in own), tuple(targets[i] for i in own), units[chosen[name]])
    hashes = {name: _hash(part) for name, part in parts.items()}
    hashes["content"] = hashlib.sha256("".join(hashes.values()).encode()).hexdigest()[:16]
    dataset = PairDataset(parts, hashes, tuple(notes))
    sizes = part_sizes(len(kept), shares, carve_test=test is None)
    check_sizes(sizes, [dataset], train.source, carved_test=test is None)
    return dataset


def _fitted(sources: Sequence[str], references: Sequence[str], writing: Writing) -> Tokenizers:
    size = writing.vocabulary
    return Tokenizers.fit(sources, references, size if isinstance(size, int) else (size.source, size.target))


def _read_of(
    tokenizers: Tokenizers, sources: Sequence[str], writing: Writing, reading: Reading | Literal["off"]
) -> list[bytes]:
    """Of each source what a policy reads, as :func:`encode_pairs` gives it."""
    tokens = tokenizers.encode_sources(sources, writing.max_source)
    if reading != "off":
        from sweepstack.models.data.source_words import as_far_as_read  # brings torch

        tokens = as_far_as_read(tokens, tokenizers.source.entries, reading.segment, reading.max_segments)
    return [row.tobytes() for row in tokens]


def _bound(writing: Writing, reading: Reading | Literal["off"]) -> str:
    return f"{writing.max_source} tokens" if reading == "off" else f"{reading.segment * reading.max_segments} words"


def _rows(data: Data, task: str) -> tuple[Rows, Rows | None]:
    if data.train.startswith(PREFIX):
        if data.group is not None:
            raise DataError(
                f"data.group is {data.group!r}, but {data.train} has no such column; leave data.group out: "
                "what belongs together there stays together"
            )
        train, test = builtin(data.train.removeprefix(PREFIX), task)
    else:
        train, test = read_pairs(Path(data.train), data.input, data.target, data.group, data.read), None
    if data.test is not None:
        if data.test.startswith(PREFIX):
            raise DataError(f"data.test must be a file, but got {data.test}; a builtin is split like any other file")
        test = read_pairs(Path(data.test), data.input, data.target, data.group, data.read)
    return train, test


def _cleaned(target: str) -> str:
    return clean(target).rstrip()


def _hash(part: PairPart) -> str:
    rows = list(zip(part.inputs, part.references, strict=True))
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def encode_pairs(dataset: PairDataset, writing: Writing) -> WritingData:
    """Fits the tokenizers on warm and policy and encodes every part; raises DataError in one line."""
    fitted = [dataset.parts[name] for name in FITTED]
    references = [text for part in fitted for text in part.references]
    sources = [text for part in fitted for text in part.inputs]
    tokenizers = _fitted(sources, references, writing)
    notes = list(dataset.notes)
    parts: dict[str, EncodedPairs] = {}
    for name, part in dataset.parts.items():
        if name not in FITTED:
            for what, texts, learned, bpe in (
                ("references", part.references, references, tokenizers.target),
                ("sources", part.inputs, sources, tokenizers.source),
            ):
                _check_vocabulary(texts, learned, bpe, name, what, notes)
        parts[name] = _encoded(part, tokenizers, writing, name, notes)
    limits = f"{tokenizers.digest} {writing.max_source} {writing.max_target}"
    return WritingData(
        tokenizers.to_json(),
        parts,
        _with_encoding(dataset.hashes, limits),
        tuple(notes),
        language_of(references),
    )


def _encoded(part: PairPart, tokenizers: Tokenizers, writing: Writing, name: str, notes: list[str]) -> EncodedPairs:
    read = np.array([len(tokens) for tokens in tokenizers.source.encode_all(part.inputs)])
    to_write = np.array([len(tokens) + 1 for tokens in tokenizers.target.encode_all(part.references)])
    too_long = read > writing.max_source
    if name in FITTED:
        too_long |= to_write > writing.max_target
        if too_long.any():
            notes.append(
                f"{_count(too_long.sum(), 'pair', name)} left out: more than writing.max_source "
                f"{writing.max_source} or max_target {writing.max_target} tokens "
                f"(the longest have {read.max()} and {to_write.max()})"
            )
        if too_long.all():
            raise DataError(
                f"no pair of {name} fits in writing.max_source {writing.max_source} and max_target "
                f"{writing.max_target} tokens (the shortest have {read.min()} and {to_write.min()}); raise them"
            )
        kept = np.flatnonzero(~too_long).tolist()
        part = PairPart(tuple(part.inputs[i] for i in kept), tuple(part.references[i] for i in kept), part.units[kept])
    elif too_long.any():
        notes.append(
            f"{_count(too_long.sum(), 'source', name)} cut to writing.max_source {writing.max_source} tokens "
            f"(the longest has {read.max()})"
        )
    sources = tokenizers.encode_sources(part.inputs, writing.max_source)
    if name == "test":
        return EncodedPairs(part.inputs, sources, None, None)
    targets = tokenizers.encode_targets(part.references, writing.max_target)
    return EncodedPairs(part.inputs, sources, targets, part.references)


def _count(number: int, what: str, part: str) -> str:
    return f"1 {what} of {part} is" if number == 1 else f"{number} {what}s of {part} are"


def _check_vocabulary(
    texts: Sequence[str], learned: Sequence[str], bpe: Bpe, name: str, what: str, notes: list[str]
) -> None:
    """Raises DataError where the vocabulary has hardly any of the part's characters; a few are told in ``notes``.
    ``learned``: the texts that it was fitted on."""
    counts = Counter(character for text in texts for character in clean(text) if not character.isspace())
    unknown = Counter({character: n for character, n in counts.items() if character not in bpe.characters})
    share = unknown.total() / max(counts.total(), 1)
    if share < TOLD_UNKNOWN:
        return
    example = min(unknown, key=lambda character: (-unknown[character], character))
    left_out = unknown.keys() & {character for text in learned for character in clean(text)}
    if share > MOST_UNKNOWN and sum(unknown[character] for character in left_out) > MOST_UNKNOWN * unknown.total():
        raise DataError(
            f"writing.vocabulary is too small for the {what}: {bpe.vocab_size} entries hold {len(bpe.characters)} "
            f"characters, and {share:.0%} of those in {name} ({example!r}, for one) are not among them; raise it"
        )
    if share > MOST_UNKNOWN:
        raise DataError(
            f"{share:.0%} of the characters in the {what} of {name} ({example!r}, for one) are unknown to the "
            "vocabulary of warm and policy, as another script is; check data.input and data.target, "
            "or give train such rows"
        )
    notes.append(
        f"{share:.0%} of the characters in the {what} of {name} ({example!r}, for one) are not in the vocabulary "
        "and cannot be " + ("written" if what == "references" else "read")
    )


def _with_encoding(hashes: Mapping[str, str], how: str) -> dict[str, str]:
    """``hashes``, of which those of warm and policy are of the rows as they are encoded."""
    own = {name: hashlib.sha256(f"{hashes[name]} {how}".encode()).hexdigest()[:16] for name in FITTED}
    return {**hashes, **own}
