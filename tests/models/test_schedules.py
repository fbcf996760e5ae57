"""Schedules at their edges, by the formulas of the module's docstring."""

import math
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.models.schedules import FLOOR, SCHEDULES, lr_factor
from sweepstack.models.settings import LRSchedule

NAMES = get_args(LRSchedule)


def test_every_schedule_of_the_settings_is_there() -> None:
    assert {*SCHEDULES, "step"} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@given(total=st.integers(1, 300), epochs=st.integers(1, 9))
def test_each_begins_at_one_and_never_rises(name: str, total: int, epochs: int) -> None:
    factors = [lr_factor(name, step, total, epochs=epochs) for step in range(total)]
    assert factors[0] == 1.0
    assert all(0 < later <= earlier for earlier, later in pairwise(factors))


# At a quarter, at half, and at the last step of 1,000 (x = .999).
@pytest.mark.parametrize(
    ("name", "quarter", "half", "last"),
    [
        ("constant", 1.0, 1.0, 1.0),
        ("linear", 0.75, 0.5, 0.001),
        ("exponential", 0.31622777, 0.1, 0.01004616),  # .01^x
        ("inverse_time", 1 / 25.75, 1 / 50.5, 1 / 99.901),  # 1 / (1 + 99 x)
        ("cosine", 0.85355339, 0.5, 2.4674e-6),  # (1 + cos 45°)/2; π²·10⁻⁶/4
        ("step", 0.5, 0.25, 0.125),  # 8 epochs, halved every other one: two, four and seven are done
    ],
)
def test_by_formula(name: str, quarter: float, half: float, last: float) -> None:
    got = [lr_factor(name, step, 1000, epochs=8, step_every=2, step_factor=0.5) for step in (250, 500, 999)]
    assert got == pytest.approx([quarter, half, last], rel=1e-4)


@pytest.mark.parametrize("name", ["exponential", "inverse_time"])
def test_decaying_schedules_end_at_the_floor(name: str) -> None:
    assert SCHEDULES[name](1.0) == pytest.approx(FLOOR)


@given(st.integers(1, 12), st.integers(1, 40), st.integers(1, 5))
def test_a_step_falls_exactly_where_an_epoch_ends(epochs: int, steps: int, step_every: int) -> None:
    for step in range(epochs * steps):
        factor = lr_factor("step", step, epochs * steps, epochs=epochs, step_every=step_every, step_factor=0.1)
        assert factor == pytest.approx(0.1 ** (step // steps // step_every))


def test_warm_up_rises_linearly_to_one_and_the_schedule_spans_the_rest() -> None:
    got = [lr_factor("linear", step, 12, warm_up=4) for step in range(12)]
    assert got[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert got[4:] == pytest.approx([1 - i / 8 for i in range(8)])


def test_one_step_and_nothing_but_warm_up() -> None:
    assert [lr_factor(name, 0, 1) for name in NAMES] == [1.0] * len(NAMES)
    assert [lr_factor("cosine", step, 2, warm_up=2) for step in range(2)] == [0.5, 1.0]


@pytest.mark.parametrize(("step", "total"), [(-1, 3), (3, 3), (0, 0)])
def test_a_step_outside_of_training_is_refused(step: int, total: int) -> None:
    with pytest.raises(ValueError, match=f"0 <= step < total must hold, but got step={step}, total={total}"):
        lr_factor("cosine", step, total)


def test_cosine_is_symmetric() -> None:
    for step in range(1, 100):
        assert lr_factor("cosine", step, 100) + lr_factor("cosine", 100 - step, 100) == pytest.approx(1.0)
    assert math.isclose(lr_factor("cosine", 50, 100), 0.5)
