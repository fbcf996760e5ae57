"""From a data file to the five disjoint parts of a study, checked before anything is trained.

warm    fits the supervised start          policy  is what policy optimisation plays on
valid   scores trials and stops them       blend   fits ensembles
test    is scored once, after the choice of what to export

Under folds each fold has a warm, a policy and a valid part of its own. In place of valid and blend stand the rows of
all folds' valid parts, one fold after the other: every row but those of test.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from sweepstack.models.data.builtin import PREFIX, builtin
from sweepstack.models.data.part_sizes import check_sizes, fold_sizes, part_sizes, planned
from sweepstack.models.data.rare_classes import counted, named, without_rare
from sweepstack.models.data.same_input import by_text, inputs_of, notes_of, settled_by_reader, without_test
from sweepstack.models.data.segmenter import TextReader, bounded
from sweepstack.models.data.splits import split, split_folds
from sweepstack.models.data.tables import LabelType, Rows, read_rows
from sweepstack.models.errors import DataError
from sweepstack.models.predictions.costs import Matrix, cost_matrix
from sweepstack.models.predictions.probabilities import Ints
from sweepstack.models.settings.data import Data, Splits, Text
from sweepstack.models.settings.trial import Reading

OUT_OF_FOLD = "out_of_fold"
PARTS = ("warm", "policy", "valid", "blend", "test")
FITTED = ("warm", "policy")  # the parts that training may look at


def none_given() -> Ints:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Part:
    inputs: tuple[str, ...]
    labels: Ints  # (rows,): places in Dataset.classes
    units: Ints = field(default_factory=none_given, compare=False)  # (rows,): equal for rows that belong together

    def __post_init__(self) -> None:
        if not len(self.units):  # where nothing is said, equal texts do
            object.__setattr__(self, "units", by_text(self.inputs))


@dataclass(frozen=True)
class Dataset:
    classes: tuple[str, ...]  # sorted
    parts: dict[str, Part]  # in the order of PARTS; under folds OUT_OF_FOLD and test
    hashes: dict[str, str]  # of each part's rows in their order, of each fold, and `content` of all
    notes: tuple[str, ...]  # what a user should know of what was left out
    text: Text = field(default_factory=Text)  # what is done to a text before it is read
    costs: Matrix | None = None  # [right, answered]: of wrong answers, where they differ
    folds: "tuple[Dataset, ...]" = ()  # each with warm, policy, valid and test, where there are folds
    label_type: LabelType = "text"  # what a class is in the file: see tables.py

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of each part; under folds those that the first one trains on are among them."""
        shown = {name: part for fold in self.folds[:1] for name, part in fold.parts.items() if name in FITTED}
        return {name: len(part.labels) for name, part in {**shown, **self.parts}.items()}

    @property
    def fold(self) -> Ints:
        """(rows of OUT_OF_FOLD,): which fold holds each of them out."""
        return np.repeat(np.arange(len(self.folds)), [len(fold.parts["valid"].labels) for fold in self.folds])

    def part_for(self, use: Literal["valid", "blend"]) -> str:
        """The part that is used so: its own name, or, under folds, OUT_OF_FOLD."""
        return OUT_OF_FOLD if self.folds else use


def load_dataset(data: Data, reading: Reading | Literal["off"]) -> Dataset:
    """Reads, checks and splits; raises DataError in one line. The same settings always give the same parts.

    Rows of which a policy that reads by ``reading`` reads the same stay in one part, see same_input.py. Raises
    ValueError where the data's ``text`` asks for what the reading's unit does not have.
    """
    train, test = _rows(data)
    train, test, found_rare = without_rare(train, test, _parts_of(data, test), data.rare_classes)
    inputs, groups = inputs_of(train, test)
    targets = train.targets if test is None else (*train.targets, *test.targets)
    strata = np.unique(np.array(train.targets, dtype=object), return_inverse=True)[1]
    data = data.model_copy(update={"text": bounded(data.text, reading, train.inputs)})
    cutter = TextReader.cutter(reading, data.text)

    def carve(units: Ints) -> list[dict[str, Ints]]:
        kept = without_test(units, train, test)
        given = {} if test is None else {"test": np.arange(len(train), len(inputs))}
        folds = _carved(strata[kept], units[kept], kept, data, carve_test=test is None)
        return [{**{name: kept[rows] for name, rows in fold.items()}, **given} for fold in folds]

    units, folds, found = settled_by_reader(inputs, groups, cutter, data.text, carve)
    kept = without_test(units, train, test)
    classes = tuple(sorted({train.targets[row] for row in kept.tolist()}))
    if len(classes) < 2:
        raise DataError(
            f"{train.source}: every row has the class {classes[0]!r} (column {data.target!r}); "
            "classification needs at least two classes"
        )
    notes = [*train.notes, *([] if test is None else test.notes), *found_rare]
    notes += notes_of(kept, train, found, f"{cutter.segment * cutter.max_segments} {cutter.unit}")
    if test is not None:
        if data.splits.test is not None:
            notes.insert(0, f"data.splits.test ({data.splits.test:g}) is not used: {test.source} brings the test part")
        _check_labels(test, classes, train.source)
    label_type: LabelType = train.label_type if test is None or test.label_type == train.label_type else "text"
    place = {label: i for i, label in enumerate(classes)}
    costs = cost_matrix(data.costs, classes, train.source)

    def part(rows: Ints) -> Part:
        chosen = rows.tolist()
        labels = np.array([place[targets[row]] for row in chosen], dtype=np.int64)
        return Part(tuple(inputs[row] for row in chosen), labels, units[rows])

    made = []
    for fold in folds:
        parts = {name: part(fold[name]) for name in PARTS if name in fold}
        made.append(Dataset(classes, parts, _hashes(parts, classes), (), data.text, costs, label_type=label_type))
    check_sizes(planned(len(kept), data.splits, carve_test=test is None), made, train.source, carved_test=test is None)
    _note_rare(made, classes, notes)
    return replace(made[0], notes=tuple(notes)) if isinstance(data.splits, Splits) else _together(tuple(made), notes)


def _carved(labels: Ints, units: Ints, rows: Ints, data: Data, *, carve_test: bool) -> list[dict[str, Ints]]:
    """Row indices of each part, for each fold where there are folds.

    Where a fold's warm part would have no row of a class, the class is kept out of the deal: its units are in warm, in
    that of each fold.
    """
    own = np.zeros(len(labels), dtype=bool)  # in warm, whatever the deal
    everything = set(labels.tolist())
    while True:
        dealt = np.flatnonzero(~own)
        folds = _dealt(labels[dealt], units[dealt], rows[dealt], data, carve_test=carve_test)
        folds = [{name: dealt[part] for name, part in fold.items()} for fold in folds]
        for fold in folds:
            fold["warm"] = np.sort(np.concatenate([fold["warm"], np.flatnonzero(own)]))
        lacking = {label for fold in folds for label in everything - set(labels[fold["warm"]].tolist())}
        if not lacking:
            return folds
        own |= np.isin(units, units[np.isin(labels, list(lacking))])


def _dealt(labels: Ints, units: Ints, rows: Ints, data: Data, *, carve_test: bool) -> list[dict[str, Ints]]:
    if isinstance(data.splits, Splits):
        sizes = part_sizes(len(labels), data.splits, carve_test=carve_test)
        return [split(labels, units, sizes, data.seed, rows)]
    test = fold_sizes(len(labels), data.splits, carve_test=carve_test).get("test", 0)
    folds, tested = split_folds(labels, units, data.splits.folds, data.splits.policy, test, data.seed, rows)
    carved = {"test": tested} if carve_test else {}
    return [{"warm": each.warm, "policy": each.policy, "valid": each.held_out, **carved} for each in folds]


def _parts_of(data: Data, test: Rows | None) -> int:
    """How many parts need a row of each class."""
    return (len(FITTED) + 2 if isinstance(data.splits, Splits) else data.splits.folds) + (test is None)


def _together(folds: tuple[Dataset, ...], notes: list[str]) -> Dataset:
    first = folds[0]
    held_out = [fold.parts["valid"] for fold in folds]
    rows = Part(
        tuple(text for part in held_out for text in part.inputs),
        np.concatenate([part.labels for part in held_out]),
        np.concatenate([part.units for part in held_out]),
    )
    parts = {OUT_OF_FOLD: rows, "test": first.parts["test"]}
    hashes = _hashes(parts, first.classes, {f"fold {k}": fold.hashes["content"] for k, fold in enumerate(folds, 1)})
    return replace(first, parts=parts, hashes=hashes, notes=tuple(dict.fromkeys(notes)), folds=folds)


def _rows(data: Data) -> tuple[Rows, Rows | None]:
    if data.train.startswith(PREFIX):
        train, test = builtin(data.train.removeprefix(PREFIX))
        if data.group is not None:
            raise DataError(f"data.group is {data.group!r}, but {data.train} has no groups; leave data.group out")
    else:
        train, test = read_rows(Path(data.train), data.input, data.target, data.group, data.read), None
    if data.test is not None:
        if data.test.startswith(PREFIX):
            raise DataError(f"data.test must be a file, but got {data.test}; a builtin brings its own test part")
        test = read_rows(Path(data.test), data.input, data.target, data.group, data.read)
    return train, test


def _check_labels(test: Rows, classes: tuple[str, ...], source: str) -> None:
    """A label of test must be one that can be learned."""
    known = set(classes)
    unknown = Counter(label for label in test.targets if label not in known)
    if unknown:
        raise DataError(
            f"{test.source}: {counted(unknown.total(), 'row')} of {counted(len(unknown), 'label')} that never stand in "
            f"{source} ({named(set(unknown))}); remove these rows, or add such rows to train"
        )


def _note_rare(folds: Sequence[Dataset], classes: tuple[str, ...], notes: list[str]) -> None:
    parts = [part for fold in folds for part in fold.parts.values()]
    rare = {classes[c] for c in range(len(classes)) if any(c not in part.labels for part in parts)}
    if rare:
        notes.append(f"not every part has rows of {named(rare)}")


def _hashes(
    parts: Mapping[str, Part], classes: tuple[str, ...], more: Mapping[str, str] | None = None
) -> dict[str, str]:
    hashes = {**{name: _hash(part, classes) for name, part in parts.items()}, **(more or {})}
    return {**hashes, "content": hashlib.sha256("".join(hashes.values()).encode()).hexdigest()[:16]}


def _hash(part: Part, classes: tuple[str, ...]) -> str:
    rows = [[text, classes[label]] for text, label in zip(part.inputs, part.labels.tolist(), strict=True)]
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:16]
