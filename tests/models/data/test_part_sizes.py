"""Planned sizes by hand, and what is too far from them."""

from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.models.data.part_sizes import check_sizes, planned
from sweepstack.models.errors import DataError
from sweepstack.models.settings.data import Folds, Splits

PLAN = {"warm": 20, "blend": 4, "test": 6}


def with_units(**units: list[int]) -> SimpleNamespace:
    parts = {name: SimpleNamespace(inputs=("t",) * len(own), units=np.array(own)) for name, own in units.items()}
    return SimpleNamespace(parts=parts)


def test_sizes_by_hand() -> None:
    assert planned(100, Splits(test=0.2), carve_test=True) == {
        "warm": 40, "policy": 24, "valid": 8, "blend": 8, "test": 20,
    }  # fmt: skip
    assert planned(100, Splits(), carve_test=False) == {"warm": 50, "policy": 30, "valid": 10, "blend": 10}
    # Of 80 rows a fold holds out 20; 59 or 60 are left, of which a quarter is policy.
    assert planned(100, Folds(folds=4, policy=0.25, test=0.2), carve_test=True) == {
        "warm": 44, "policy": 15, "valid": 20, "test": 20,
    }  # fmt: skip
    with pytest.raises(DataError, match="leaves 1 of 20 rows for each fold"):
        planned(20, Folds(folds=12), carve_test=True)


def test_half_of_a_plan_and_two_units_are_enough() -> None:
    check_sizes(PLAN, [with_units(warm=[1] * 10, blend=[2, 3], test=[4, 4, 5])], "f", carved_test=True)
    check_sizes({"warm": 20}, [with_units(warm=[1] * 10, test=[4])], "f", carved_test=False)  # a test file's own affair


@pytest.mark.parametrize(
    ("units", "words"),
    [
        (
            {"warm": [1] * 9, "blend": [2, 3], "test": [4, 4, 5]},
            "warm gets 9 rows in 1 unit, and data.splits plans 20",
        ),
        (
            {"warm": [1] * 10, "blend": [2] * 9, "test": [4, 4, 5]},
            "blend gets 9 rows in 1 unit, and data.splits plans 4",
        ),
        (
            {"warm": [1] * 10, "blend": [2, 3], "test": [4, 5]},
            "test gets 2 rows in 2 units, and data.splits plans 6",
        ),
    ],
)
def test_less_is_refused(units: dict[str, list[int]], words: str) -> None:
    with pytest.raises(DataError) as caught:
        check_sizes(PLAN, [with_units(**units)], "f", carved_test=True)
    assert str(caught.value).startswith(f"f: {words}")
