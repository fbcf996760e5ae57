import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.search.stoppers.curves import SortedCurves, better

Steps = list[tuple[int, list[float] | None]]
values = st.sampled_from([0.1, 0.2, 0.2, 0.5, 0.9])
steps: st.SearchStrategy[Steps] = st.lists(st.tuples(st.integers(0, 4), st.none() | st.lists(values, max_size=3)))


@given(steps=steps)
def test_sorted_or_not_the_same_trials_are_better(steps: Steps) -> None:
    curves, plain = SortedCurves(), {}
    for number, added in steps:
        if added is None:
            curves.drop(number)
            plain[number] = []
        else:
            curves.extend(number, added)
            plain.setdefault(number, []).extend(added)
        assert curves == plain
        for number, curve in plain.items():
            for epoch in range(1, len(curve) + 1):
                column = [other[epoch - 1] for other in plain.values() if len(other) >= epoch]
                expected = (sum(value > curve[epoch - 1] for value in column), len(column))
                assert better(curves, number, epoch) == better(plain, number, epoch) == expected


def test_equals_are_not_better() -> None:
    curves = SortedCurves()
    for number, value in enumerate([0.5, 0.7, 0.5]):
        curves.extend(number, [value])
    assert better(curves, 0, 1) == (1, 3)
    assert curves.column(1) == [0.5, 0.5, 0.7]
    assert curves.column(2) == ()


def test_a_trial_that_has_not_come_so_far_cannot_be_compared() -> None:
    curves = SortedCurves()
    curves.extend(0, [0.5])
    with pytest.raises(IndexError):
        better(curves, 0, 2)
