"""Learning-rate schedules: what the learning rate is multiplied by at every optimiser step of training.

The first W = ⌊lr_warmup · total⌋ steps rise linearly, (i + 1) / W. The other N = total − W steps follow the schedule,
j = 0 … N − 1 and x = j / N:

    constant      1
    linear        1 − x
    exponential   FLOOR^x
    inverse_time  1 / (1 + (1/FLOOR − 1) x)
    step          step_factor ^ ⌊epochs since the warm-up / step_every⌋
    cosine        (1 + cos πx) / 2
    one_cycle     START to 1 and down to START·END along half cosines (Smith & Topin 2018, arXiv 1708.07120)
    wsd           1, then 1 − k / D over the last D = ⌊decay · total⌋ steps (Hu et al. 2024, arXiv 2404.06395)
    cyclic        triangles between FLOOR and 1 (Smith 2017, arXiv 1506.01186)

These are the values of torch's schedulers, which the tests step beside them; as formulas they cost a hundredth.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sweepstack.models.settings import Descent, LRSchedule

FLOOR = 0.01
RISE = 0.3  # share of one_cycle's steps in which it rises, where no warm-up says so; this and the next two are torch's
START = 1 / 25
END = 1e-4

Course = Callable[[int], float]  # of the step j after the warm-up


@lru_cache(maxsize=64)
def lr_factors(descent: Descent, total: int, epochs: int) -> NDArray[np.float64]:
    """(total,): the factor at every optimiser step of ``epochs`` epochs; read-only. Raises ValueError below one step.

    None is 0 and none exceeds 1. A share of the steps is rounded down, so a short training may have no warm-up or no
    decay; a warm-up always leaves the last step to the schedule. one_cycle and cyclic take the warm-up for their first
    rise: one_cycle's, along its cosine, is as long as the warm-up, and cyclic goes on downwards from its end.
    """
    if total < 1 or epochs < 1:
        raise ValueError(f"total and epochs must be at least 1, but got total={total}, epochs={epochs}")
    warm_up = 0 if descent.lr_schedule == "one_cycle" else _share(descent.lr_warmup, total)
    course = COURSES[descent.lr_schedule](descent, total, epochs, warm_up)
    rise = [(i + 1) / warm_up for i in range(warm_up)]
    factors = np.array([*rise, *map(course, range(total - warm_up))])
    factors.setflags(write=False)
    return factors


def _share(share: float, total: int) -> int:
    return int(share * total + 1e-9)


def _constant(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    return lambda j: 1.0


def _linear(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    n = total - warm_up
    return lambda j: 1.0 - j / n


def _exponential(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    n = total - warm_up
    return lambda j: math.pow(FLOOR, j / n)


def _inverse_time(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    n = total - warm_up
    return lambda j: 1.0 / (1.0 + (1.0 / FLOOR - 1.0) * (j / n))


def _step(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    """It never drops where ``step_every`` is at least ``epochs``."""
    return lambda j: math.pow(descent.step_factor, j * epochs // total // descent.step_every)


def _cosine(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    n = total - warm_up
    return lambda j: 0.5 * (1.0 + math.cos(math.pi * (j / n)))


def _one_cycle(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    """Rises over the share ``lr_warmup``, RISE where that is 0, and begins at 1 where this is less than two steps."""
    top = max((descent.lr_warmup or RISE) * total - 1.0, 0.0)  # the step at which it would be 1, not always whole
    fall = total - 1.0 - top or 1.0  # nothing falls in a training of one step

    def course(j: int) -> float:
        begin, end, share = (START, 1.0, j / top) if j < top else (1.0, START * END, (j - top) / fall)
        return end + (begin - end) / 2.0 * (1.0 + math.cos(math.pi * share))

    return course


def _wsd(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    """Warm-up, stable, decay; where warm-up and decay together exceed the training, the decay is shortened."""
    n = total - warm_up
    steps = min(_share(descent.decay, total), n)
    stable = n - steps
    return lambda j: 1.0 if j < stable else 1.0 - (j - stable) / steps


def _cyclic(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    """``cycles`` rises and falls, the warm-up being the first rise; it is back at FLOOR a step after the last.

    There are fewer where a cycle would be shorter than two steps; a single step is at FLOOR.
    """
    n = total - warm_up
    begun = 0.5 if warm_up else 0.0
    length = n / (min(descent.cycles, max(n // 2, 1)) - begun)  # steps in a cycle

    def course(j: int) -> float:
        phase = (j / length + begun) % 1.0
        return FLOOR + (1.0 - FLOOR) * (1.0 - abs(2.0 * phase - 1.0))

    return course


COURSES: dict[LRSchedule, Callable[[Descent, int, int, int], Course]] = {
    "constant": _constant,
    "linear": _linear,
    "exponential": _exponential,
    "inverse_time": _inverse_time,
    "step": _step,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
    "wsd": _wsd,
    "cyclic": _cyclic,
}
