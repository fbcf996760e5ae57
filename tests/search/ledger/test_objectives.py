"""Directions, dominance and the Pareto front: by hand, and that no point of a front dominates another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.models.predictions.metrics import direction
from sweepstack.search.ledger.objectives import dominates, pareto_front

OBJECTIVES = ("reward", "segments", "seconds")


def test_seconds_segments_and_losses_are_better_when_less() -> None:
    assert [direction(name) for name in ("reward", "accuracy", "segments", "log_loss", "seconds")] == [1, 1, -1, -1, -1]


def test_to_dominate_is_to_be_nowhere_worse_and_somewhere_better() -> None:
    assert dominates((1, 2), (1, 1))
    assert not dominates((1, 2), (1, 2))
    assert not dominates((1, 2), (2, 1))


def test_a_front_by_hand() -> None:
    points = {
        3: {"reward": 0.90, "seconds": 30.0},
        4: {"reward": 0.85, "seconds": 10.0},
        5: {"reward": 0.85, "seconds": 12.0},  # 4 is as good and faster
        6: {"reward": 0.80, "seconds": 9.0},
        7: {"reward": 0.80, "seconds": 9.0},  # equal points all stand
        8: {"reward": 0.89, "seconds": 31.0},  # 3 is better and faster
    }
    assert pareto_front(points, ("reward", "seconds")) == (3, 4, 6, 7)
    assert pareto_front(points, ("reward",)) == (3,)
    assert pareto_front({}, ("reward", "seconds")) == ()


@given(
    st.dictionaries(
        st.integers(0, 30), st.fixed_dictionaries(dict.fromkeys(OBJECTIVES, st.integers(0, 4).map(float))), max_size=14
    ),
    st.integers(1, 3),
)
def test_nothing_dominates_a_front_and_it_dominates_the_rest(points: dict[int, dict[str, float]], count: int) -> None:
    objectives = OBJECTIVES[:count]
    front = pareto_front(points, objectives)

    def at(key: int) -> list[float]:
        return [direction(name) * points[key][name] for name in objectives]

    assert not any(dominates(at(a), at(b)) for a in points for b in front)
    assert all(any(dominates(at(a), at(b)) for a in front) for b in points if b not in front)
    assert len(set(front)) == len(front)
    firsts = [at(key)[0] for key in front]
    assert firsts == sorted(firsts, reverse=True)


def test_an_objective_that_a_point_lacks_is_no_silent_zero() -> None:
    with pytest.raises(KeyError):
        pareto_front({0: {"reward": 1.0}}, ("reward", "seconds"))
