"""Schedules against torch's own, at their edges, and by the formulas of the module's docstring."""

import math
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler as of_torch

from sweepstack.models.optim.schedules import COURSES, END, FLOOR, RISE, START, lr_factors, scaled_lr
from sweepstack.models.settings.trial import Descent, LRSchedule, Train

NAMES: tuple[LRSchedule, ...] = get_args(LRSchedule)
FALLING: tuple[LRSchedule, ...] = (
    *("constant", "linear", "polynomial", "exponential", "inverse_time", "inverse_sqrt", "step", "cosine", "wsd"),
)
Scheduler = of_torch.LRScheduler
Make = Callable[[torch.optim.Optimizer], Scheduler]


def stepped(make: Make, total: int, warm_up: int = 0) -> list[float]:
    """What a scheduler of torch makes of a rate of 1, after LinearLR over the warm-up's steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    found = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The epoch parameter in", UserWarning)  # SequentialLR's own call
        scheduler = make(optimizer)
        if warm_up:
            rise = of_torch.LinearLR(optimizer, 1 / warm_up, 1.0, total_iters=warm_up - 1)
            scheduler = of_torch.SequentialLR(optimizer, [rise, scheduler], [warm_up])
        for _ in range(total):
            found.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            scheduler.step()
    return found


def test_every_schedule_of_the_settings_is_there() -> None:
    assert set(COURSES) == set(NAMES)


# 8 epochs of 50 steps; n of the 400 are left to the schedule.
TORCH: dict[str, Callable[[int], Make]] = {
    "constant": lambda n: lambda o: of_torch.ConstantLR(o, 1.0),
    "linear": lambda n: lambda o: of_torch.LinearLR(o, 1.0, 0.0, total_iters=n),
    "exponential": lambda n: lambda o: of_torch.ExponentialLR(o, FLOOR ** (1 / n)),
    "polynomial": lambda n: lambda o: of_torch.PolynomialLR(o, n, 2.0),
    "inverse_time": lambda n: lambda o: of_torch.LambdaLR(o, lambda j: 1 / (1 + (1 / FLOOR - 1) * j / n)),
    "step": lambda n: lambda o: of_torch.StepLR(o, 2 * 50, 0.5),
    "cosine": lambda n: lambda o: of_torch.CosineAnnealingLR(o, n),
}


@pytest.mark.parametrize("warm_up", [0, 40])
@pytest.mark.parametrize("name", TORCH)
def test_as_torch_steps_it(name: LRSchedule, warm_up: int) -> None:
    descent = Descent(lr_schedule=name, lr_warmup=warm_up / 400, step_every=2, step_factor=0.5)
    expected = stepped(TORCH[name](400 - warm_up), 400, warm_up)
    assert lr_factors(descent, 400, 8) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("warm_up", [0, 40])
def test_wsd_as_torch_steps_it(warm_up: int) -> None:
    """Stable up to step 300, then linear to 0 over the last quarter."""

    def make(optimizer: torch.optim.Optimizer) -> Scheduler:
        stable = of_torch.ConstantLR(optimizer, 1.0)
        fall = of_torch.LinearLR(optimizer, 1.0, 0.0, total_iters=100)
        if not warm_up:
            return of_torch.SequentialLR(optimizer, [stable, fall], [300])
        rise = of_torch.LinearLR(optimizer, 1 / warm_up, 1.0, total_iters=warm_up - 1)
        return of_torch.SequentialLR(optimizer, [rise, stable, fall], [warm_up, 300])

    factors = lr_factors(Descent(lr_schedule="wsd", lr_warmup=warm_up / 400, decay=0.25), 400, 8)
    assert factors == pytest.approx(stepped(make, 400), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("warm_up", "rise"), [(0.0, RISE), (0.1, 0.1), (0.99, 0.99)])
@pytest.mark.parametrize("total", [20, 400])
def test_one_cycle_as_torch_steps_it(warm_up: float, rise: float, total: int) -> None:
    def make(optimizer: torch.optim.Optimizer) -> Scheduler:
        return of_torch.OneCycleLR(
            optimizer,
            1.0,
            total,
            pct_start=rise,
            div_factor=1 / START,
            final_div_factor=1 / END,
            cycle_momentum=False,
        )

    factors = lr_factors(Descent(lr_schedule="one_cycle", lr_warmup=warm_up), total, 8)
    assert factors == pytest.approx(stepped(make, total), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("cycles", "warm_up"), [(4, 0.0), (1, 0.0), (3, 0.25), (1, 0.1)])
def test_cyclic_as_torch_steps_it(cycles: int, warm_up: float) -> None:
    """A warm-up stands for the first rise: CyclicLR goes on from half a cycle."""
    steps = round(400 * warm_up)
    half = (400 - steps) / (cycles - (0.5 if steps else 0.0)) / 2

    def make(optimizer: torch.optim.Optimizer) -> Scheduler:
        return of_torch.CyclicLR(optimizer, FLOOR, 1.0, step_size_up=half, cycle_momentum=False)  # type: ignore[arg-type]

    expected = stepped(make, 400 - steps + round(half))[round(half) if steps else 0 :]
    factors = lr_factors(Descent(lr_schedule="cyclic", cycles=cycles, lr_warmup=warm_up), 400, 8)[steps:]
    assert factors == pytest.approx(expected[: 400 - steps], rel=1e-9)
    assert factors[-1] <= FLOOR + 1 / half  # it ends as low as it can


@pytest.mark.parametrize("name", FALLING)
@given(total=st.integers(1, 300), epochs=st.integers(1, 9))
def test_those_that_fall_begin_at_one_and_never_rise(name: LRSchedule, total: int, epochs: int) -> None:
    factors = lr_factors(Descent(lr_schedule=name), total, epochs)
    assert factors[0] == 1.0
    assert all(0 < later <= earlier for earlier, later in pairwise(factors))


@pytest.mark.parametrize("name", NAMES)
@given(
    total=st.integers(1, 300),
    epochs=st.integers(1, 9),
    warm_up=st.floats(0, 0.999),
    decay=st.floats(0.001, 0.999),
    cycles=st.integers(1, 400),
    step_every=st.integers(1, 20),
    growth=st.floats(1, 10),
    power=st.floats(0.1, 10),
    lowest=st.none() | st.floats(1e-6, 0.999),
)
def test_whatever_the_settings_all_factors_lie_between_zero_and_one(
    name: LRSchedule,
    total: int,
    epochs: int,
    warm_up: float,
    decay: float,
    cycles: int,
    step_every: int,
    growth: float,
    power: float,
    lowest: float | None,
) -> None:
    descent = Descent(
        lr_schedule=name,
        lr_warmup=warm_up,
        decay=decay,
        cycles=cycles,
        step_every=step_every,
        cycle_growth=growth,
        power=power,
        lr_min_ratio=lowest,
    )
    factors = lr_factors(descent, total, epochs)
    assert factors.shape == (total,)
    assert bool(((factors > 0) & (factors <= 1)).all())
    rising = 0 if name == "one_cycle" else int(warm_up * total + 1e-9)
    assert lowest is None or factors[rising:].min() >= lowest * (1 - 1e-9)


# At a quarter, at half, and at the last step of 1,000 (x = .999).
@pytest.mark.parametrize(
    ("name", "quarter", "half", "last"),
    [
        ("constant", 1.0, 1.0, 1.0),
        ("linear", 0.75, 0.5, 0.001),
        ("exponential", 0.31622777, 0.1, 0.01004616),  # .01^x
        ("inverse_time", 1 / 25.75, 1 / 50.5, 1 / 99.901),  # 1 / (1 + 99 x)
        ("polynomial", 0.5625, 0.25, 1e-6),  # (1 − x)²
        ("inverse_sqrt", 1 / math.sqrt(251), 1 / math.sqrt(501), 1 / math.sqrt(1000)),  # of one step's warm-up
        ("cosine_restarts", 1.0, 1.0, 3.9478e-5),  # two of four cycles of 250 are over; (π/250)²/4
        ("cosine", 0.85355339, 0.5, 2.4674e-6),  # (1 + cos 45°)/2; π²·10⁻⁶/4
        ("step", 0.5, 0.25, 0.125),  # 8 epochs, halved every other one: two, four and seven are done
        ("wsd", 1.0, 1.0, 0.005),  # 1/200
        ("cyclic", FLOOR, FLOOR, 0.01792),  # after one and two of four cycles; .01 + .99 · 2/250
    ],
)
def test_by_formula(name: LRSchedule, quarter: float, half: float, last: float) -> None:
    descent = Descent(lr_schedule=name, step_every=2, step_factor=0.5, cycles=4, decay=0.2)
    assert lr_factors(descent, 1000, 8)[[250, 500, 999]] == pytest.approx([quarter, half, last], rel=1e-4)


def test_one_cycle_by_hand() -> None:
    """10 steps: a third of the way is up, 1/25 at step 0 and 1 at step 2, then down to 4e-6 at step 9."""
    factors = lr_factors(Descent(lr_schedule="one_cycle"), 10, 1)
    assert factors[:3] == pytest.approx([0.04, 0.52, 1.0])
    assert factors[[5, 9]] == pytest.approx([(1 + math.cos(math.pi * 3 / 7)) / 2, 4e-6], rel=1e-4)


@given(st.integers(1, 12), st.integers(1, 40), st.integers(1, 15))
def test_a_step_falls_exactly_where_an_epoch_ends(epochs: int, steps: int, step_every: int) -> None:
    """And never, where step_every is more than there are epochs."""
    factors = lr_factors(Descent(lr_schedule="step", step_every=step_every, step_factor=0.1), epochs * steps, epochs)
    assert factors == pytest.approx([0.1 ** (step // steps // step_every) for step in range(epochs * steps)])


def test_warm_up_rises_linearly_to_one_and_the_schedule_spans_the_rest() -> None:
    factors = lr_factors(Descent(lr_schedule="linear", lr_warmup=1 / 3), 12, 3)
    assert factors[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert factors[4:] == pytest.approx([1 - i / 8 for i in range(8)])


@pytest.mark.parametrize("name", NAMES)
def test_a_training_of_one_step_has_no_warm_up(name: LRSchedule) -> None:
    expected = FLOOR if name == "cyclic" else 1.0
    assert lr_factors(Descent(lr_schedule=name, lr_warmup=0.99), 1, 1).tolist() == [expected]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "one_cycle"])
def test_the_longest_warm_up_leaves_the_last_step_to_the_schedule(name: LRSchedule) -> None:
    factors = lr_factors(Descent(lr_schedule=name, lr_warmup=0.99), 4, 1)
    assert factors.tolist() == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])


@pytest.mark.parametrize(
    ("total", "warm_up", "expected"),
    [
        (4, 0.0, [1.0, 1.0, 1.0, 1.0]),  # a fifth of four steps is none
        (5, 0.0, [1.0] * 5),  # one: it begins where it was
        (10, 0.8, [i / 8 for i in range(1, 9)] + [1.0, 0.5]),  # no stable step between warm-up and decay
        (10, 0.9, [i / 9 for i in range(1, 10)] + [1.0]),  # the warm-up takes one of the decay's two
    ],
)
def test_short_decays(total: int, warm_up: float, expected: list[float]) -> None:
    assert lr_factors(Descent(lr_schedule="wsd", lr_warmup=warm_up), total, 1) == pytest.approx(expected)


def test_a_cycle_has_two_steps_at_least() -> None:
    descent = Descent(lr_schedule="cyclic", cycles=100)
    assert lr_factors(descent, 6, 1) == pytest.approx([FLOOR, 1.0] * 3)
    assert lr_factors(descent, 2, 1) == pytest.approx([FLOOR, 1.0])


def test_a_batch_size_that_doubles_keeps_the_course() -> None:
    """Epoch 2 of 4 with 10 or with 5 steps: the same stretch of the cosine, told twice as fine."""
    fine, coarse = (lr_factors(Descent(), 4 * n, 4)[2 * n : 3 * n] for n in (10, 5))
    assert coarse == pytest.approx(fine[::2])


def test_what_is_kept_for_the_next_caller_cannot_be_changed() -> None:
    factors = lr_factors(Train(), 100, 2)
    assert lr_factors(Train(), 100, 2) is factors
    with pytest.raises(ValueError, match="read-only"):
        factors[0] = 2.0
    assert np.array_equal(factors, lr_factors(Descent(), 100, 2))


@pytest.mark.parametrize(("total", "epochs"), [(0, 1), (3, 0), (-1, 1)])
def test_a_training_without_steps_is_refused(total: int, epochs: int) -> None:
    with pytest.raises(ValueError, match=f"must be at least 1, but got total={total}, epochs={epochs}"):
        lr_factors(Descent(), total, epochs)


@pytest.mark.parametrize("warm_up", [40, 0])
def test_inverse_sqrt_as_transformers_has_it(warm_up: int) -> None:
    """Its get_inverse_sqrt_schedule after the warm-up: 1 / √((step + shift) / timescale), the timescale being that of
    the warm-up and shift = timescale − warm-up. Without one it takes 10,000 steps, and this schedule a single one."""
    timescale = warm_up or 1
    expected = [1 / math.sqrt((step + timescale - warm_up) / timescale) for step in range(warm_up, 400)]
    factors = lr_factors(Descent(lr_schedule="inverse_sqrt", lr_warmup=warm_up / 400), 400, 8)
    assert factors[warm_up:] == pytest.approx(expected, rel=1e-12)
    assert factors[warm_up] == 1.0
    if warm_up:
        assert factors[:warm_up] == pytest.approx(stepped(lambda o: of_torch.ConstantLR(o, 1.0), warm_up, warm_up))
        assert factors[4 * warm_up] == pytest.approx(0.5)


@pytest.mark.parametrize(("cycles", "growth", "first"), [(4, 1, 100), (3, 2, 50), (1, 2, 400), (2, 3, 100)])
@pytest.mark.parametrize("lowest", [None, 0.1])
def test_cosine_restarts_as_torch_steps_it(cycles: int, growth: int, first: int, lowest: float | None) -> None:
    """CosineAnnealingWarmRestarts of whole cycles: 50 + 100 + 200 steps, say, of which 350 of 400 are shown."""
    total = first * sum(growth**k for k in range(cycles))

    def make(optimizer: torch.optim.Optimizer) -> Scheduler:
        return of_torch.CosineAnnealingWarmRestarts(optimizer, first, growth, eta_min=lowest or 0.0)

    descent = Descent(lr_schedule="cosine_restarts", cycles=cycles, cycle_growth=growth, lr_min_ratio=lowest)
    assert lr_factors(descent, total, 1) == pytest.approx(stepped(make, total), rel=1e-9, abs=1e-12)
    late = lr_factors(descent.model_copy(update={"lr_warmup": 10 / (total + 10)}), total + 10, 1)
    assert late[10:] == pytest.approx(lr_factors(descent, total, 1)), "the cycles begin after the warm-up"


def test_restarts_are_fewer_where_a_cycle_would_have_no_two_steps() -> None:
    descent = Descent(lr_schedule="cosine_restarts", cycles=400)
    assert lr_factors(descent, 6, 1) == pytest.approx([1.0, 0.5] * 3)
    growing = Descent(lr_schedule="cosine_restarts", cycles=9, cycle_growth=2.0)
    assert (lr_factors(growing, 14, 1) == 1.0).nonzero()[0].tolist() == [0, 2, 6]  # 2 + 4 + 8 steps


LOWEST: dict[LRSchedule, Callable[[float], float]] = {  # halfway, of a lowest rate r, written out anew
    "linear": lambda r: (1 + r) / 2,
    "polynomial": lambda r: r + (1 - r) / 4,
    "exponential": lambda r: math.sqrt(r),
    "inverse_time": lambda r: 2 / (1 + 1 / r),
    "cosine": lambda r: (1 + r) / 2,
    "cyclic": lambda r: r,
    "inverse_sqrt": lambda r: max(r, 1 / math.sqrt(201)),
    "step": lambda r: max(r, 0.25),
    "wsd": lambda r: 1.0,
}


@pytest.mark.parametrize("lowest", [0.05, 0.4])
@pytest.mark.parametrize("name", LOWEST)
def test_the_lowest_rate_is_a_share_of_lr(name: LRSchedule, lowest: float) -> None:
    factors = lr_factors(Descent(lr_schedule=name, lr_min_ratio=lowest, cycles=2), 400, 8)
    assert factors[200] == pytest.approx(LOWEST[name](lowest))
    assert lowest <= factors[399] <= max(lowest, 0.125) + 0.02  # a step before the end


@pytest.mark.parametrize("lowest", [0.01, 0.3])
def test_one_cycle_with_a_lowest_rate_as_torch_steps_it(lowest: float) -> None:
    def make(optimizer: torch.optim.Optimizer) -> Scheduler:
        begin = max(START, lowest)
        return of_torch.OneCycleLR(
            optimizer,
            1.0,
            100,
            pct_start=0.3,
            div_factor=1 / begin,
            final_div_factor=begin / lowest,
            cycle_momentum=False,
        )

    factors = lr_factors(Descent(lr_schedule="one_cycle", lr_min_ratio=lowest), 100, 8)
    assert factors == pytest.approx(stepped(make, 100), rel=1e-9)


@pytest.mark.parametrize(("scaling", "expected"), [("none", 0.1), ("sqrt", 0.2), ("linear", 0.4)])
def test_the_rate_follows_the_batch(scaling: Literal["none", "sqrt", "linear"], expected: float) -> None:
    """Of four times the reference: twice the rate, or four times."""
    assert scaled_lr(Descent(lr=0.1, lr_scaling=scaling, lr_reference=32), 128) == pytest.approx(expected)
    assert scaled_lr(Descent(lr=0.1, lr_scaling=scaling, lr_reference=32), 32) == 0.1
