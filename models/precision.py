"""Numbers of 32 or of 16 bits: bfloat16 where a short measurement shows that it trains this policy faster.

Only the Transformer's matrix products change. What is sensitive stays in float32: heads, losses and log-probabilities,
and on a CPU attention, whose backward pass in bfloat16 is several times slower there.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, TypedDict

import torch

Precision = Literal["float32", "bfloat16"]
SECONDS = 0.4  # of measuring, for both together, after a first step of each that may still build things
MARGIN = 0.9  # bfloat16 costs accuracy, so it has to gain at least a tenth


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

    The two take turns, and the fastest of each counts, so that other work on the machine favours neither.
    """
    if not supports_bfloat16(device):
        return Calibration(precision="float32", float32_ms=None, bfloat16_ms=None)
    best: dict[Precision, float] = {"float32": float("inf"), "bfloat16": float("inf")}
    for precision in best:
        step(precision)
    end = time.perf_counter() + SECONDS
    while True:
        for precision in best:
            _wait(device)
            began = time.perf_counter()
            step(precision)
            _wait(device)
            best[precision] = min(best[precision], time.perf_counter() - began)
        if time.perf_counter() >= end:
            break
    faster: Precision = "bfloat16" if best["bfloat16"] < MARGIN * best["float32"] else "float32"
    return Calibration(precision=faster, float32_ms=best["float32"] * 1e3, bfloat16_ms=best["bfloat16"] * 1e3)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
