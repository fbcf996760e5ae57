"""Numbers of 32 or of 16 bits: bfloat16 where a short measurement shows that it trains this policy faster.

Only the Transformer's matrix products change. What is sensitive stays in float32: heads, losses and log-probabilities,
and on a CPU attention, whose backward pass in bfloat16 is several times slower there.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from statistics import median
from typing import Literal, TypedDict

import torch

Precision = Literal["float32", "bfloat16"]
SECONDS = 0.4  # of measuring, for both together, after a first step of each that may still build things
MARGIN = 0.75  # bfloat16 costs accuracy, so it has to gain at least a quarter,
AGREED = 0.8  # and in so many of the pairs of measurements: a busy machine must not decide


class Calibration(TypedDict):
    precision: Precision
    float32_ms: float | None  # of one training step; None: not measured
    bfloat16_ms: float | None


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Inside, matrix products are made in ``precision``, also where an autocast is on outside."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def supports_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies in bfloat16; a CPU without it would emulate, which is never faster."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def calibrate(step: Callable[[Precision], object], device: torch.device) -> Calibration:
    """Measures ``step``, one training step in the precision it is given; takes a second at most where steps are short.

    The two take turns, and each pair says which is faster by MARGIN; the times returned are medians.
    """
    if not supports_bfloat16(device):
        return Calibration(precision="float32", float32_ms=None, bfloat16_ms=None)
    taken: dict[Precision, list[float]] = {"float32": [], "bfloat16": []}
    for precision in taken:
        step(precision)
    end = time.perf_counter() + SECONDS
    while not taken["float32"] or time.perf_counter() < end:
        for precision, seconds in taken.items():
            _wait(device)
            began = time.perf_counter()
            step(precision)
            _wait(device)
            seconds.append(time.perf_counter() - began)
    pairs = list(zip(taken["float32"], taken["bfloat16"], strict=True))
    agreed = sum(bf16 < MARGIN * fp32 for fp32, bf16 in pairs) >= AGREED * len(pairs)
    return Calibration(
        precision="bfloat16" if agreed else "float32",
        float32_ms=median(taken["float32"]) * 1e3,
        bfloat16_ms=median(taken["bfloat16"]) * 1e3,
    )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
