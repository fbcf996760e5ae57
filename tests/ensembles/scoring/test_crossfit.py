from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.ensembles.members.library import Stack
from sweepstack.ensembles.scoring.crossfit import cross_fit, folds
from sweepstack.models.errors import DataError
from sweepstack.models.predictions.probabilities import Ints, Predictions


@given(st.lists(st.integers(0, 3), min_size=10, max_size=80), st.integers(0, 5))
def test_folds_are_even_over_all_and_within_each_class(labels: list[int], seed: int) -> None:
    y = np.array(labels)
    fold = folds(y, seed)
    for part in [fold, *(fold[y == label] for label in set(labels))]:
        counts = np.bincount(part, minlength=5)
        assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(fold, folds(y, seed))


@given(st.lists(st.integers(0, 12), min_size=20, max_size=60))
def test_groups_stay_in_one_fold(groups: list[int]) -> None:
    group = np.array([*groups, 98, 99])
    fold = folds(np.zeros(len(group), dtype=np.int64), 0, group)
    assert all(len(set(fold[group == g])) == 1 for g in set(group.tolist()))
    assert fold.max() >= 1


def test_one_row_or_group_cannot_be_cross_fitted() -> None:
    with pytest.raises(DataError, match=r"at least 2 rows that may be parted, but got 1; raise data.splits.blend"):
        folds(np.array([0]), 0)
    with pytest.raises(DataError, match=r"at least 2 rows that may be parted, but got 9 of one group"):
        folds(np.zeros(9, dtype=np.int64), 0, np.ones(9, dtype=np.int64))


def test_each_row_is_predicted_without_having_been_fitted_on(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([2.0], rows=53)
    stack.answer[0, :, 0] = np.arange(53)  # a mark by which rows are told apart
    fold = folds(labels, 0)
    seen = []

    def fit(part: Stack, part_labels: Ints):  # type: ignore[no-untyped-def]
        fitted_on = set(part.answer[0, :, 0].tolist())
        assert len(part_labels) == len(fitted_on)

        def predict(held: Stack) -> Predictions:
            marks = held.answer[0, :, 0].tolist()
            assert not fitted_on & set(marks)
            assert len(fitted_on) + len(marks) == 53
            seen.extend(marks)
            return held.member(0)

        return predict

    predicted = cross_fit(fit, stack, labels, fold)
    assert sorted(seen) == list(range(53))
    np.testing.assert_array_equal(predicted.probabilities, stack.probabilities[0])
    np.testing.assert_array_equal(predicted.answer, stack.answer[0])
