"""How many rows each part should have, and whether those that it got are enough: known before anything is trained."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from sweepstack.models.errors import DataError
from sweepstack.models.settings.data import Folds, Splits

TEST_SHARE = 0.15  # where the data brings no test part and the study names no share
ESTIMATED = ("blend", "test")  # what is said of these rows has an interval, by resampling their units
LEAST = 0.5  # of its planned rows that a part must have


class HasParts(Protocol):
    """A data set, or one of its folds; each part has ``inputs`` and ``units``, (rows,) each."""

    @property
    def parts(self) -> Mapping[str, Any]: ...


def planned(rows: int, splits: Splits | Folds, *, carve_test: bool) -> dict[str, int]:
    """Rows of each part, or of those of a fold; raises DataError where they would be too few."""
    if isinstance(splits, Splits):
        return part_sizes(rows, splits, carve_test=carve_test)
    return fold_sizes(rows, splits, carve_test=carve_test)


def part_sizes(rows: int, splits: Splits, *, carve_test: bool) -> dict[str, int]:
    """Rows of each part: test first, then shares of what is left; warm is the rest."""
    test = round(rows * (splits.test or TEST_SHARE)) if carve_test else 0
    left = rows - test
    sizes = {name: round(left * getattr(splits, name)) for name in ("policy", "valid", "blend")}
    sizes = {"warm": left - sum(sizes.values()), **sizes, **({"test": test} if carve_test else {})}
    _check_sizes(sizes, rows)
    return sizes


def fold_sizes(rows: int, splits: Folds, *, carve_test: bool) -> dict[str, int]:
    """Rows of what a fold trains on and holds out, and of test; raises DataError where they would be too few."""
    test = round(rows * (splits.test or TEST_SHARE)) if carve_test else 0
    held_out = (rows - test) // splits.folds
    trained_on = rows - test - held_out - 1
    policy = round(trained_on * splits.policy)
    sizes = {"warm": trained_on - policy, "policy": policy, "valid": held_out}
    sizes |= {"test": test} if carve_test else {}
    _check_sizes({"each fold" if name == "valid" else name: size for name, size in sizes.items()}, rows)
    return sizes


def _check_sizes(sizes: Mapping[str, int], rows: int) -> None:
    for name, size in sizes.items():
        if size < 2:
            raise DataError(
                f"data.splits leaves {size} of {rows} rows for {name}, and each part needs at least 2; "
                "give more data or another share"
            )


def check_sizes(planned: Mapping[str, int], folds: Sequence[HasParts], source: str, *, carved_test: bool) -> None:
    """Raises DataError where a part is far from the size that data.splits plans, as rows that stay together are too
    many, or where what is estimated there would have no interval."""
    for number, fold in enumerate(folds, 1):
        for name, part in fold.parts.items():
            rows, units, wanted = len(part.inputs), len(np.unique(part.units)), planned.get(name, 0)
            estimated = name in ESTIMATED and (name != "test" or carved_test)
            if rows >= LEAST * wanted and (units > 1 or not estimated):
                continue
            where = name if len(folds) == 1 or name == "test" else f"{name} of fold {number}"
            largest = max(np.unique(each.units, return_counts=True)[1].max(initial=0) for each in fold.parts.values())
            total = sum(len(each.inputs) for each in fold.parts.values())
            raise DataError(
                f"{source}: {where} gets {rows:,} rows in {units:,} unit{'s' * (units != 1)}, and data.splits plans "
                f"{wanted:,} rows in 2 units at least: rows of one group, or that are read the same, are a unit and "
                f"stay together, and the largest has {largest:,} of {total:,}; give more and smaller groups, a finer "
                "data.group, more rows that differ in what is read (reading.unit, max_segments), or other shares "
                "(data.splits)"
            )
