"""A dataset as arrays of token ids: all that a trial needs, numpy only, put once into Ray's object store.

Test labels are left out: nothing that trains or combines can see them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sweepstack.models.data.labelled import FITTED, Dataset
from sweepstack.models.data.segmenter import TextReader
from sweepstack.models.errors import TrainingError
from sweepstack.models.predictions.costs import Matrix
from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings.trial import Reading

TRAIN = (*FITTED, "valid", "blend")


@dataclass(frozen=True)
class EncodedPart:
    tokens: NDArray[np.int32]  # (rows, segments, width): 0 is padding, 1 an unknown unit
    n_segments: NDArray[np.int64]  # (rows,)
    labels: NDArray[np.int64] | None  # (rows,): indices of classes; None for test
    units: NDArray[np.int64] | None = None  # (rows,): as labelled.Part has them; None where rows are only read

    def __len__(self) -> int:
        return len(self.n_segments)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(rows,): what a row costs, in units of ``unit`` tokens: its segments, or, where it is read at once, its
        tokens."""
        return (self.tokens[:, 0] != 0).sum(axis=1) if self.tokens.shape[1] == 1 else self.n_segments

    @property
    def unit(self) -> int:
        return 1 if self.tokens.shape[1] == 1 else int(self.tokens.shape[2])

    def rows(self, index: NDArray[np.int64]) -> "EncodedPart":
        labels = None if self.labels is None else self.labels[index]
        units = None if self.units is None else self.units[index]
        return EncodedPart(self.tokens[index], self.n_segments[index], labels, units)


@dataclass(frozen=True)
class TaskData:
    classes: tuple[str, ...]
    reader: str  # TextReader's JSON; empty where there are folds
    parts: dict[str, EncodedPart]  # warm, policy, valid, blend, test; none where there are folds
    hashes: dict[str, str]  # of each part's rows, and "content" of all
    notes: tuple[str, ...] = ()  # what a user should know of what is left out and not read
    costs: Matrix | None = None  # [right, answered]: of wrong answers; None: 1 for each
    folds: "tuple[TaskData, ...]" = ()  # each with a reader of its own, and warm, policy, valid and test


def encode(dataset: Dataset, reading: Reading | Literal["off"]) -> TaskData:
    """Fits the reader on warm and policy and encodes every part with it; each fold with a reader of its own, which has
    not seen what the fold holds out.

    Raises ValueError where the data's ``text`` asks for what the reading's unit does not have.
    """
    cutter, folds = TextReader.cutter(reading, dataset.text), dataset.folds or (dataset,)
    texts = list(dict.fromkeys(text for fold in folds for part in fold.parts.values() for text in part.inputs))
    cut = dict(zip(texts, cutter.cut(texts), strict=True))
    made = [_encoded(fold, cutter, cut) for fold in folds]
    first = made[0]
    notes = (*dataset.notes, *_cut_short(folds[0], TextReader.from_json(first.reader), first.parts, reading))
    if not dataset.folds:
        return replace(first, notes=notes)
    return TaskData(dataset.classes, "", {}, dict(dataset.hashes), notes, dataset.costs, tuple(made))


def _encoded(dataset: Dataset, cutter: TextReader, cut: Mapping[str, list[str]]) -> TaskData:
    """One fold, or a dataset without any; ``cut``: what the cutter makes of each text."""
    reader = cutter.fitted([cut[text] for name in FITTED for text in dataset.parts[name].inputs], dataset.text)
    parts = {}
    for name, part in dataset.parts.items():
        read = reader.encode_cut([cut[text] for text in part.inputs])
        parts[name] = EncodedPart(read.tokens, read.n_segments, None if name == "test" else part.labels, part.units)
    return TaskData(dataset.classes, reader.to_json(), parts, dict(dataset.hashes), (), dataset.costs)


def labels_of(data: TaskData, name: str) -> NDArray[np.int64]:
    """Of the part ``name``, which must not be test."""
    labels = data.parts[name].labels
    assert labels is not None
    return labels


def _cut_short(
    dataset: Dataset, reader: TextReader, parts: dict[str, EncodedPart], reading: Reading | Literal["off"]
) -> tuple[str, ...]:
    """A note where texts of train have more than is read of them."""
    lengths: list[int] = []
    rows = 0
    for name in (name for name in TRAIN if name in parts):
        rows += len(parts[name])
        for row in np.flatnonzero(parts[name].n_segments == reader.max_segments):  # the others are read to their end
            read, there = reader.lengths(dataset.parts[name].inputs[row])
            lengths += [there] if there > read else []
    if not lengths:
        return ()
    share = f"{len(lengths) / rows:.0%}" if len(lengths) / rows >= 0.005 else "fewer than 1%"
    longest = f"(the longest has {max(lengths)} {reader.unit})"
    if reader.max_segments == 1:
        said = f"{share} of the texts are longer than the {reader.segment} {reader.unit} that"
        if reading == "off":
            return (f"{said} policies read {longest}; linear members read all; raise data.text.max_words",)
        return (f"{said} are read {longest}",)
    return (
        f"{share} of the texts are longer than the {reader.max_segments} segments that are read {longest}; "
        "raise reading.max_segments",
    )


def fitted_rows(data: TaskData) -> EncodedPart:
    """The rows of warm, then those of policy; under folds those of one fold after the other."""
    return _concatenate([fold.parts[name] for fold in data.folds or (data,) for name in FITTED])


def resample(data: TaskData, seed: int, weights: Sequence[NDArray[np.float64]] | None = None) -> TaskData:
    """A bootstrap sample of warm and policy together: as many units as they have, drawn with replacement, each with all
    its rows (Davison & Hinkley 1997, section 3.8).

    ``weights`` (rows of both,), one array for each fold, or a single one: how much likelier than others a row is drawn,
    for boosting by resampling (Freund & Schapire 1997); then rows are drawn, as many as there are. A unit that was
    drawn more than once goes with all its copies to one of the two, so that policy optimisation still plays on inputs
    that the start has not seen. Both keep their share of the rows, to within the copies of one unit. valid, blend, test
    and the reader stay as they are. Raises TrainingError where there is but one distinct unit. Under folds each has a
    sample of its own.
    """
    if data.folds:
        own = [None] * len(data.folds) if weights is None else [[each] for each in weights]
        folds = [
            resample(fold, derive_seed(seed, "fold", k), of_fold)
            for k, (fold, of_fold) in enumerate(zip(data.folds, own, strict=True))
        ]
        return replace(data, folds=tuple(folds))
    both = fitted_rows(data)
    rng = np.random.default_rng(derive_seed(seed, "resample"))
    unit = _unit(both)
    drawn = _drawn(rng, unit) if weights is None else rng.choice(len(both), len(both), p=weights[0] / weights[0].sum())
    distinct, inverse = np.unique(unit[drawn], return_inverse=True)
    if len(distinct) < 2:
        raise TrainingError("a bootstrap sample of warm and policy has only one distinct text; bagging needs more rows")
    copies = np.bincount(inverse, minlength=len(distinct))
    order = rng.permutation(len(distinct))
    # Rows of the sample in the order of their shuffled units; warm takes whole units until it has its share.
    before = np.cumsum(copies[order]) - copies[order]
    to_warm = np.zeros(len(distinct), dtype=bool)
    to_warm[order] = before + copies[order] / 2 <= len(data.parts["warm"])
    to_warm[order[[0, -1]]] = True, False
    in_warm = to_warm[inverse]
    parts = {"warm": both.rows(drawn[in_warm]), "policy": both.rows(drawn[~in_warm])}
    by = str(seed) if weights is None else f"{seed} {hashlib.sha256(weights[0].tobytes()).hexdigest()}"
    hashes = {name: hashlib.sha256(f"{data.hashes[name]} {by}".encode()).hexdigest()[:16] for name in FITTED}
    return replace(data, parts={**data.parts, **parts}, hashes={**data.hashes, **hashes})


def out_of_bag(data: TaskData, seed: int) -> NDArray[np.bool_]:
    """(rows of warm and policy,): those of whose unit the bootstrap sample ``resample(data, seed)`` has nothing.

    Not for folds, where the rows of several would be mixed up.
    """
    rng = np.random.default_rng(derive_seed(seed, "resample"))
    unit = _unit(fitted_rows(data))
    return np.isin(unit, unit[_drawn(rng, unit)], invert=True)


def _unit(part: EncodedPart) -> NDArray[np.int64]:
    """(rows,): the unit of each row, numbered from 0 in the order of their first rows."""
    assert part.units is not None
    _, first, inverse = np.unique(part.units, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _drawn(rng: np.random.Generator, unit: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of as many units as there are, drawn with replacement."""
    count = int(unit.max()) + 1
    order = np.argsort(unit, kind="stable")  # the rows of one unit after those of another
    sizes = np.bincount(unit)
    begin = np.cumsum(sizes) - sizes
    chosen = rng.integers(count, size=count)
    return np.concatenate([order[begin[each] : begin[each] + sizes[each]] for each in chosen.tolist()])


def _concatenate(parts: list[EncodedPart]) -> EncodedPart:
    segments = max(part.tokens.shape[1] for part in parts)
    padded = [np.pad(part.tokens, ((0, 0), (0, segments - part.tokens.shape[1]), (0, 0))) for part in parts]
    units = [part.units for part in parts if part.units is not None]
    return EncodedPart(
        np.concatenate(padded),
        np.concatenate([part.n_segments for part in parts]),
        np.concatenate([part.labels for part in parts if part.labels is not None]),
        np.concatenate(units) if len(units) == len(parts) else None,
    )
