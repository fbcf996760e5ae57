from hypothesis import given
from hypothesis import strategies as st

from sweepstack.ensembles.evaluation.budget import Budget, Serving, pareto

SERVING = Serving(size_mb=3.0, latency_ms=1.5, latency_32_ms=0.2)


def test_a_budget_of_nothing_bounds_nothing() -> None:
    assert Budget().excess(100, SERVING) == {}
    assert Budget().broken(100, SERVING) == ""


def test_what_is_just_within_fits() -> None:
    assert Budget(members=2, size_mb=3.0, latency_ms=1.5).broken(2, SERVING) == ""


def test_every_broken_bound_is_named_with_its_value() -> None:
    budget = Budget(members=2, size_mb=1.0, latency_ms=2)
    assert budget.excess(3, SERVING) == {"members": 1.5, "size_mb": 3.0}
    assert budget.broken(3, SERVING) == "members 3 > 2, size_mb 3 > 1"
    assert budget.words == "members 2, size_mb 1, latency_ms 2"


def test_before_anything_was_measured_only_members_are_counted() -> None:
    assert Budget(members=2, size_mb=1.0).excess(3, None) == {"members": 1.5}


def test_the_front_is_what_nothing_beats() -> None:
    points = {"best": (0.95, 9.0), "fast": (0.90, 1.0), "both worse": (0.90, 2.0), "equal": (0.95, 9.0)}
    assert pareto(points) == {"best", "fast", "equal"}
    assert pareto({}) == frozenset()


@given(st.dictionaries(st.text(), st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1))
def test_a_front_holds_the_best_and_the_cheapest_and_nothing_that_is_beaten(
    points: dict[str, tuple[float, float]],
) -> None:
    front = pareto(points)
    assert max(score for score, _ in points.values()) == max(points[name][0] for name in front)
    assert min(cost for _, cost in points.values()) == min(points[name][1] for name in front)
    for name, (score, cost) in points.items():
        beaten = any(s >= score and c <= cost and (s, c) != (score, cost) for s, c in points.values())
        assert beaten == (name not in front)
