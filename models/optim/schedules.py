"""Learning-rate schedules: what the learning rate is multiplied by at every optimiser step of training.

The first W = ⌊lr_warmup · total⌋ steps rise linearly, (i + 1) / W. The other N = total − W steps follow the schedule,
j = 0 … N − 1 and x = j / N. r is ``lr_min_ratio``, the lowest rate as a share of lr; where it is null, what stands
behind the formula:

    constant         1
    linear           r + (1 − r)(1 − x)                                r = 0
    polynomial       r + (1 − r)(1 − x)^power                          r = 0
    exponential      r^x                                               r = FLOOR
    inverse_time     1 / (1 + (1/r − 1) x)                             r = FLOOR
    inverse_sqrt     max(r, √(T / (T + j))), T = max(W, 1)             r = 0
                     (Vaswani et al. 2017, arXiv 1706.03762)
    step             max(r, step_factor ^ ⌊epochs since the warm-up / step_every⌋)                        r = 0
    cosine           r + (1 − r)(1 + cos πx) / 2                       r = 0
    cosine_restarts  the same in ``cycles``, x running from 0 to 1 in each, and each ``cycle_growth`` times as long as
                     the one before (Loshchilov & Hutter 2017, arXiv 1608.03983)                          r = 0
    one_cycle        from START to 1 and down to r along half cosines (Smith & Topin 2018, arXiv 1708.07120); it begins
                     no lower than at r                                r = START · END
    wsd              1, then r + (1 − r)(1 − k / D) over the last D = ⌊decay · total⌋ steps (Hu et al. 2024, arXiv
                     2404.06395)                                       r = 0
    cyclic           triangles between r and 1 (Smith 2017, arXiv 1506.01186)                             r = FLOOR

These are the values of torch's schedulers, which the tests step beside them; as formulas they cost a hundredth. A
schedule that ends at r = 0 would be there a step after the last.
"""

import bisect
import itertools
import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sweepstack.models.settings.trial import Descent, LRSchedule

FLOOR = 0.01  # where a schedule cannot end at 0, or does not by custom
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


def scaled_lr(descent: Descent, samples: int) -> float:
    """``lr`` for optimiser steps that learn from so many samples each: with k = samples / ``lr_reference`` times √k, as
    noise is (Krizhevsky 2014, arXiv 1404.5997), or times k (Goyal et al. 2017, arXiv 1706.02677)."""
    if descent.lr_scaling == "none":
        return descent.lr
    k = samples / descent.lr_reference
    return descent.lr * (k if descent.lr_scaling == "linear" else math.sqrt(k))


def _share(share: float, total: int) -> int:
    return int(share * total + 1e-9)


def _constant(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    return lambda j: 1.0


def _above(descent: Descent, course: Course) -> Course:
    """``course``, which falls from 1 to 0, as one that falls to the lowest rate."""
    low = descent.lr_min_ratio or 0.0
    return lambda j: low + (1.0 - low) * course(j)


def _linear(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    n = total - warm_up
    return _above(descent, lambda j: 1.0 - j / n)


def _polynomial(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    n = total - warm_up
    return _above(descent, lambda j: math.pow(1.0 - j / n, descent.power))


def _exponential(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    n, low = total - warm_up, descent.lr_min_ratio or FLOOR
    return lambda j: math.pow(low, j / n)


def _inverse_time(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    n, low = total - warm_up, descent.lr_min_ratio or FLOOR
    return lambda j: 1.0 / (1.0 + (1.0 / low - 1.0) * (j / n))


def _inverse_sqrt(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    """It falls as slowly as it has risen: without a warm-up at once, to 1/√2 with the second step."""
    scale, low = max(warm_up, 1), descent.lr_min_ratio or 0.0
    return lambda j: max(low, math.sqrt(scale / (scale + j)))


def _step(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    """It never drops where ``step_every`` is at least ``epochs``."""
    low = descent.lr_min_ratio or 0.0
    return lambda j: max(low, math.pow(descent.step_factor, j * epochs // total // descent.step_every))


def _cosine(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    n = total - warm_up
    return _above(descent, lambda j: 0.5 * (1.0 + math.cos(math.pi * (j / n))))


def _cosine_restarts(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    """Cycles begin at whole steps, rounded. There are fewer where the first would be shorter than two steps."""
    n, growth = total - warm_up, descent.cycle_growth
    lengths = [1.0]  # as multiples of the first
    while len(lengths) < descent.cycles and n / (sum(lengths) + lengths[-1] * growth) >= 2:
        lengths.append(lengths[-1] * growth)
    ends = [math.floor(n * end / sum(lengths) + 0.5) for end in itertools.accumulate(lengths)]
    begins = [0, *ends[:-1]]

    def course(j: int) -> float:
        cycle = bisect.bisect_right(begins, j) - 1
        x = (j - begins[cycle]) / (ends[cycle] - begins[cycle])
        return 0.5 * (1.0 + math.cos(math.pi * x))

    return _above(descent, course)


def _one_cycle(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    """Rises over the share ``lr_warmup``, RISE where that is 0, and begins at 1 where this is less than two steps."""
    top = max((descent.lr_warmup or RISE) * total - 1.0, 0.0)  # the step at which it would be 1, not always whole
    fall = total - 1.0 - top or 1.0  # nothing falls in a training of one step
    low = descent.lr_min_ratio or START * END
    start = max(START, low)

    def course(j: int) -> float:
        begin, end, share = (start, 1.0, j / top) if j < top else (1.0, low, (j - top) / fall)
        return end + (begin - end) / 2.0 * (1.0 + math.cos(math.pi * share))

    return course


def _wsd(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    """Warm-up, stable, decay; where warm-up and decay together exceed the training, the decay is shortened."""
    n = total - warm_up
    steps = min(_share(descent.decay, total), n)
    stable = n - steps
    return _above(descent, lambda j: 1.0 if j < stable else 1.0 - (j - stable) / steps)


def _cyclic(descent: Descent, total: int, epochs: int, warm_up: int) -> Course:
    """``cycles`` rises and falls, the warm-up being the first rise; it is back at r a step after the last.

    There are fewer where a cycle would be shorter than two steps; a single step is at r.
    """
    n, low = total - warm_up, descent.lr_min_ratio or FLOOR
    begun = 0.5 if warm_up else 0.0
    length = n / (min(descent.cycles, max(n // 2, 1)) - begun)  # steps in a cycle

    def course(j: int) -> float:
        phase = (j / length + begun) % 1.0
        return low + (1.0 - low) * (1.0 - abs(2.0 * phase - 1.0))

    return course


COURSES: dict[LRSchedule, Callable[[Descent, int, int, int], Course]] = {
    "constant": _constant,
    "linear": _linear,
    "polynomial": _polynomial,
    "exponential": _exponential,
    "inverse_time": _inverse_time,
    "inverse_sqrt": _inverse_sqrt,
    "step": _step,
    "cosine": _cosine,
    "cosine_restarts": _cosine_restarts,
    "one_cycle": _one_cycle,
    "wsd": _wsd,
    "cyclic": _cyclic,
}
