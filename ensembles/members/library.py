"""The prediction store: what every member said of every row of a part, stacked into arrays that builders combine.

A member is a folder with ``checkpoint/`` and ``predictions/<part>.safetensors``. Combining is sound only where all
members saw the same rows in the same order, so each file's hash of its rows is compared with the data's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from sweepstack.models.errors import DamagedError, StorageError
from sweepstack.models.predictions.probabilities import Floats, Ints, Predictions

UNREADABLE = (DamagedError, OSError, SafetensorError, KeyError, TypeError)  # what a file of predictions may raise
Kind = Literal["trial", "baseline", "control", "pipeline", "refit", "soup"]


@dataclass(frozen=True)
class Member:
    name: str  # "trial-7", "linear", "supervised-2", "refit-<hash>", "other-run.trial-7": also its folder's in a bundle
    kind: Kind
    folder: Path

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"

    def predictions(self, part: str) -> Path:
        return self.folder / "predictions" / f"{part}.safetensors"


@dataclass(frozen=True)
class Stack:
    """Several members' Predictions of the same rows."""

    probabilities: Floats  # (members, rows, segments, classes)
    answer: Floats  # (members, rows, segments)
    n_segments: Ints  # (rows,)
    groups: Ints | None = None  # (rows,): equal numbers for rows that belong together; None: each stands for itself

    def __len__(self) -> int:
        return len(self.probabilities)

    def member(self, index: int) -> Predictions:
        return Predictions(self.probabilities[index], self.answer[index], self.n_segments)

    def take(self, members: Sequence[int]) -> "Stack":
        index = np.asarray(members, dtype=np.int64)
        return replace(self, probabilities=self.probabilities[index], answer=self.answer[index])

    def rows(self, index: NDArray[Any]) -> "Stack":
        groups = None if self.groups is None else self.groups[index]
        return Stack(self.probabilities[:, index], self.answer[:, index], self.n_segments[index], groups)

    @staticmethod
    def of(predictions: Sequence[Predictions], groups: Ints | None = None) -> "Stack":
        """Stacks Predictions of the same rows, padded along segments to the longest by repeating the last.

        Raises ValueError where they disagree on rows, classes or the number of segments of a text.
        """
        first = predictions[0]
        segments = max(each.answer.shape[1] for each in predictions)
        for each in predictions:
            got = (len(each), each.probabilities.shape[2])
            wanted = (len(first), first.probabilities.shape[2])
            if got != wanted:
                raise ValueError(f"all members must have the same (rows, classes), but got {got} and {wanted}")
            if not np.array_equal(each.n_segments, first.n_segments):
                raise ValueError("all members must cut a text into the same number of segments")
        padded = [np.minimum(np.arange(segments), each.answer.shape[1] - 1) for each in predictions]
        return Stack(
            np.stack([each.probabilities[:, at] for each, at in zip(predictions, padded, strict=True)]),
            np.stack([each.answer[:, at] for each, at in zip(predictions, padded, strict=True)]),
            first.n_segments,
            groups,
        )


@dataclass(frozen=True)
class Library:
    """The members that builders choose from, in a fixed order, and what they said of one part."""

    members: tuple[Member, ...]
    stack: Stack

    @staticmethod
    def load(members: Sequence[Member], part: str, rows_hash: str, groups: Ints | None = None) -> "Library":
        """Reads every member's predictions of ``part``, whose rows have the hash ``rows_hash``; ``groups``: see Stack.

        Raises StorageError where a file is missing or unreadable, of other rows, or of another shape than the others.
        """
        if not members:
            raise StorageError(f"no member has predictions of {part}; an ensemble needs at least one finished trial")
        predictions = []
        for member in members:
            path = member.predictions(part)
            try:
                read, found = Predictions.load(path)
            except UNREADABLE as error:
                raise StorageError(f"{path} cannot be read ({error}); run the study again to predict anew") from error
            if found != rows_hash:
                raise StorageError(
                    f"{path} was predicted for rows with hash {found}, but {part} has {rows_hash}; "
                    "the data changed: start afresh with another --out"
                )
            predictions.append(read)
            try:
                Stack.of([predictions[0], read])
            except ValueError as error:
                raise StorageError(f"{path} does not fit {members[0].name}: {error}; leave one of them out") from error
        return Library(tuple(members), Stack.of(predictions, groups))

    def of_kinds(self, kinds: frozenset[Kind]) -> tuple[int, ...]:
        """The places of the members of these kinds."""
        return tuple(i for i, member in enumerate(self.members) if member.kind in kinds)


def found(path: Path, rows_hash: str) -> Predictions | None:
    """The Predictions at ``path``; None where they are not there (any more), or are of other rows."""
    try:
        said, of_rows = Predictions.load(path)
    except UNREADABLE:
        return None
    return said if of_rows == rows_hash else None
