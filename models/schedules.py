"""Learning-rate schedules: what the learning rate is multiplied by, as a function of the share of training done.

    constant      1
    linear        1 − x
    exponential   FLOOR^x
    inverse_time  1 / (1 + (1/FLOOR − 1) x)
    step          step_factor ^ ⌊epochs done / step_every⌋
    cosine        (1 + cos πx) / 2

x in [0, 1) is the optimiser step over all steps of training. exponential and inverse_time end at FLOOR.
"""

import math
from collections.abc import Callable

FLOOR = 0.01

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda x: 1.0,
    "linear": lambda x: 1.0 - x,
    "exponential": lambda x: FLOOR**x,
    "inverse_time": lambda x: 1.0 / (1.0 + (1.0 / FLOOR - 1.0) * x),
    "cosine": lambda x: 0.5 * (1.0 + math.cos(math.pi * x)),
}


def lr_factor(
    name: str,
    step: int,
    total: int,
    *,
    epochs: int = 1,
    step_every: int = 1,
    step_factor: float = 0.5,
    warm_up: int = 0,
) -> float:
    """The factor at optimiser step ``step`` of ``total``; the first ``warm_up`` steps rise linearly to 1."""
    if not 0 <= step < total:
        raise ValueError(f"0 <= step < total must hold, but got step={step}, total={total}")
    if step < warm_up:
        return (step + 1) / warm_up
    x = (step - warm_up) / max(total - warm_up, 1)
    if name == "step":
        return step_factor ** (int(x * epochs + 1e-9) // step_every)
    return SCHEDULES[name](x)
