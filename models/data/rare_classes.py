"""Classes with fewer rows than there are parts: kept, left out, or made one (``data.rare_classes``)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from sweepstack.models.data.tables import Rows

MERGED = "other"  # the class that rare ones become
SHOWN = 5  # names that a note has


def without_rare(
    train: Rows, test: Rows | None, parts: int, how: Literal["keep", "drop", "merge"]
) -> tuple[Rows, Rows | None, list[str]]:
    """The rows of both files, and what became of classes that have fewer than ``parts`` rows in train."""
    counts = Counter(train.targets)
    rare = {label for label, count in counts.items() if count < parts}
    if how == "keep" or not rare:
        return train, test, []
    number = sum(counts[label] for label in rare)
    said = f"{counted(number, 'row')} of {counted(len(rare), 'class')} with fewer than {parts} rows ({named(rare)})"
    if how == "drop":
        return _without(train, rare), None if test is None else _without(test, rare), [f"{said} left out"]
    return _merged(train, rare), None if test is None else _merged(test, rare), [f"{said} made one class, {MERGED!r}"]


def _without(rows: Rows, rare: set[str]) -> Rows:
    kept = [row for row, label in enumerate(rows.targets) if label not in rare]
    groups = rows.groups
    return replace(
        rows,
        inputs=tuple(rows.inputs[row] for row in kept),
        targets=tuple(rows.targets[row] for row in kept),
        groups=None if groups is None else tuple(groups[row] for row in kept),
    )


def _merged(rows: Rows, rare: set[str]) -> Rows:
    targets = tuple(MERGED if label in rare else label for label in rows.targets)
    return replace(rows, targets=targets, label_type="text")


def named(labels: Sequence[str] | set[str]) -> str:
    shown = [repr(label) for label in sorted(labels)[:SHOWN]]
    return ", ".join(shown) + (f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else "")


def counted(number: int, what: str) -> str:
    plural = what + ("es" if what.endswith("s") else "s")
    return f"1 {what}" if number == 1 else f"{number:,} {plural}"
