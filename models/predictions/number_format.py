"""How metrics and other numbers are written for people, wherever they stand: terminal, tables, report, notes, bundles.

A score has three decimals and no leading zero (.895). What rounds to nought has no sign.
"""

import math
from typing import Any

from sweepstack.models.predictions.metrics import POINTS

DASH = "–"
TENTHS = ("segments", "length", "lagging", "seconds")


def known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def fixed(value: float, digits: int) -> str:
    """``12.4``, ``-0.5``, ``0.0``: so many decimals, and never ``-0.0``."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def score(value: float | None, digits: int = 3) -> str:
    """``.895``, ``1.000``, ``-.120``, ``1.234``, ``.000``; a dash for None and for what is not a finite number."""
    if value is None or not math.isfinite(value):
        return DASH
    text = fixed(value, digits)
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def metric(name: str, value: float | None) -> str:
    """A metric by its name: segments, decisions, seconds and points are counted in tenths, as returns are beyond 10;
    the rest is a score."""
    if value is None or not known(value):
        return DASH
    return fixed(value, 1) if name in (*TENTHS, *POINTS) or abs(value) >= 10 else score(value)


def half(name: str, value: float | None) -> str:
    """Half of an interval of a metric: ``.014``; of one in points ``1.1``."""
    return metric(name, value) if name in POINTS else score(value)


def difference(name: str, value: float | None) -> str:
    """``+.023``, ``-.009``, ``.000``; of a metric in points ``+4.4``."""
    text = half(name, value)
    return text if text == DASH or text.startswith("-") or not text.strip("0.") else f"+{text}"


def interval(name: str, mean: float, low: float, high: float) -> str:
    """A difference of a metric with its interval: ``+.023 [.009, .037]``, ``+4.4 [3.5, 5.3]``."""
    return f"{difference(name, mean)} [{half(name, low)}, {half(name, high)}]"
