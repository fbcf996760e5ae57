"""Rows that are the same input: one definition for parts, folds, bootstrap samples and texts without labels.

Two rows are the same input where a policy reads the same of them: the same tokens, after cleaning, case folding and
cutting, every unknown unit being like any other. Texts that differ in case, gaps or characters that are not shown are
always the same input. A *unit* is all rows that belong together, transitively: one input, or one group of the study.

What is read depends on a vocabulary, which is fitted on warm and policy, so on the parts; and the parts must not divide
units. So the rows are split, the vocabulary is fitted, units that it reads the same are made one, and all is done again
until there are none. A round makes at least two units one, so it ends.
"""

import hashlib
import unicodedata
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from sweepstack.models.data.cleaning import clean
from sweepstack.models.data.segmenter import TextReader
from sweepstack.models.data.splits import units_of
from sweepstack.models.data.tables import Rows
from sweepstack.models.errors import DataError
from sweepstack.models.predictions.probabilities import Ints
from sweepstack.models.settings.data import Text

Parts = TypeVar("Parts")
Reads = Sequence[Hashable]  # (rows,): equal where a reader reads the same


def plain(text: str) -> str:
    """What two texts have in common that differ in case, gaps or characters that are not shown only."""
    folded = unicodedata.normalize("NFC", clean(text).casefold())  # which takes some letters with marks apart
    return " ".join(folded.split())


def by_text(texts: Sequence[str]) -> Ints:
    """(rows,): a number for each text, which equal ones share, wherever they stand."""
    digests = [hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts]
    return np.frombuffer(b"".join(digests), dtype=np.int64).copy()


def settled(
    units: Ints, split: Callable[[Ints], Parts], reads: Callable[[Parts], Sequence[Reads]]
) -> tuple[Ints, Parts, Sequence[Reads]]:
    """Units that no reader of their parts reads the same, the parts, and what each reader reads of the rows.

    units: (rows,), as :func:`units_of` gives them, to begin with. ``split`` makes parts that divide no unit, and
    ``reads`` is what the readers that are fitted on such parts read of every row.
    """
    while True:
        parts = split(units)
        found = reads(parts)
        joined = units_of(units.tolist(), *found)
        if np.array_equal(joined, units):
            return units, parts, found
        units = joined


def settled_by_reader(
    texts: Sequence[str],
    groups: Reads | None,
    cutter: TextReader,
    text: Text,
    split: Callable[[Ints], list[dict[str, Ints]]],
) -> tuple[Ints, list[dict[str, Ints]], Sequence[Reads]]:
    """As :func:`settled`, for a classifier: ``split`` makes one or several folds of parts, by their rows, and each has
    a reader that is fitted on warm and policy, as encoding.encode does it. Where there is test a last training reads,
    too, with a vocabulary of all rows but those of test."""
    cut = cutter.cut(texts)

    def reads(folds: list[dict[str, Ints]]) -> list[list[tuple[int, ...]]]:
        fitted = [np.concatenate([fold["warm"], fold["policy"]]).tolist() for fold in folds]
        if "test" in folds[0]:
            fitted.append(np.concatenate([rows for name, rows in folds[0].items() if name != "test"]).tolist())
        readers = [cutter.fitted([cut[row] for row in rows], text) for rows in fitted if rows]
        return [[tuple(reader.ids_of(forms)) for forms in cut] for reader in readers]

    return settled(units_of([plain(each) for each in texts], groups, [*map(tuple, cut)]), split, reads)


def inputs_of(train: Rows, test: Rows | None) -> tuple[tuple[str, ...], Reads | None]:
    """Of the rows of train, then those of test; where only one of them has groups, each row of the other is its own."""
    if test is None:
        return train.inputs, train.groups
    both = (*train.inputs, *test.inputs)
    if train.groups is None and test.groups is None:
        return both, None
    groups: list[Hashable] = []
    for rows in (train, test):
        groups += range(len(groups), len(groups) + len(rows)) if rows.groups is None else rows.groups
    return both, groups


def without_test(units: Ints, train: Rows, test: Rows | None) -> Ints:
    """The rows of train whose unit has none of test: others would be scored on what was learned by heart.

    units: of the rows of train, then of test; raises DataError where no row of train is left.
    """
    own, tested = units[: len(train)], units[len(train) :]
    kept = np.flatnonzero(~np.isin(own, tested))
    if test is not None and not len(kept):
        raise DataError(
            f"{train.source}: every row is read the same as one of {test.source}, or is in a group with one; "
            "give a test file with other rows"
        )
    return kept


def notes_of(kept: Ints, train: Rows, found: Sequence[Reads], bound: str) -> list[str]:
    """What a user should know of it; ``found`` as of :func:`settled`, ``bound``: how much is read, "24 characters"."""
    notes = []
    if left_out := len(train) - len(kept):
        grouped = "" if train.groups is None else " or are in a group with one"
        are, were = ("is", "was") if left_out == 1 else ("are", "were")
        notes.append(
            f"{left_out} row{'s' * (left_out > 1)} of {Path(train.source).name} {are} read the same as a row of test"
            f"{grouped} and {were} left out of train"
        )
    columns = [[plain(train.inputs[row]) for row in kept], *([each[row] for row in kept] for each in found)]
    _, inverse, counts = np.unique(units_of(*columns), return_inverse=True, return_counts=True)
    if twins := int((counts[inverse] > 1).sum()):
        notes.append(
            f"{twins} rows are read the same as another row (at most {bound} are read) and stay in one part with it"
        )
    return notes


def unlike(texts: Sequence[str], known: Sequence[str], readers: Sequence[TextReader]) -> list[str]:
    """Those of ``texts`` that are the same input as none of ``known``, by any of the readers."""
    seen = set(map(plain, known))
    found = [text for text in texts if plain(text) not in seen]
    if not readers or not found:
        return found
    known_cut, cut = readers[0].cut(known), readers[0].cut(found)  # readers of one study cut alike
    there = [False] * len(found)
    for reader in readers:
        read = {tuple(reader.ids_of(forms)) for forms in known_cut}
        there = [old or tuple(reader.ids_of(forms)) in read for old, forms in zip(there, cut, strict=True)]
    return [text for text, out in zip(found, there, strict=True) if not out]
