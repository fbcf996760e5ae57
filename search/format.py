"""How values are written for people, in one place: the terminal, the tables and the report all read the same.

Scores drop their leading zero (.895), learning rates are scientific (8.1e-03 in a column, 8.1e-3 in a sentence), γ and
λ show the digits that matter next to 1, and what is not known is a dash.
"""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sweepstack.models.predictions.number_format import DASH as DASH
from sweepstack.models.predictions.number_format import difference, fixed, interval
from sweepstack.models.predictions.number_format import half as half
from sweepstack.models.predictions.number_format import known as known
from sweepstack.models.predictions.number_format import metric as metric
from sweepstack.models.predictions.number_format import score as score

if TYPE_CHECKING:
    from sweepstack.ensembles.scoring.bootstrap import Gain

SHORT = {
    "train.lr": "lr",
    "train.lr_schedule": "schedule",
    "train.batch_size": "batch",
    "train.gamma": "γ",
    "train.gae_lambda": "λ",
    "train.beta1": "β₁",
    "train.beta2": "β₂",
    "train.warm_start.seed": "start",
    "train.warm_start.lr": "start lr",
    "train.warm_start.lr_schedule": "start schedule",
    "train.warm_start.batch_size": "start batch",
    "train.warm_start.epochs": "start epochs",
    "train.ppo.epochs": "ppo epochs",
    "reading.cost": "cost",
}
"""Names for columns and sentences; any other setting goes by the last part of its path."""

NEAR_ONE = {"gamma": 4, "gae_lambda": 3, "beta1": 3, "beta2": 4, "average_decay": 4}  # decimals in a column
BARE = {"lr_schedule", "optimizer", "activation", "algorithm"}  # in a sentence these values speak for themselves


def spread(mean: float | None, deviation: float | None) -> str:
    """``487.2 ± 9.6``, ``-.050 ± .950``: both to the same decimals."""
    if mean is None or deviation is None or not (known(mean) and known(deviation)):
        return DASH
    if max(abs(mean), abs(deviation)) >= 10:
        return f"{fixed(mean, 1)} ± {fixed(deviation, 1)}"
    return f"{score(mean)} ± {score(deviation)}"


def metric_name(name: str) -> str:
    return name.replace("_", " ")


def gain(value: "Gain | None", name: str = "") -> str:
    """A paired difference with its interval: ``+.023 [.009, .037]``; of a metric in points ``+4.4 [3.5, 5.3]``."""
    return DASH if value is None else interval(name, value.mean, value.low, value.high)


def signed(value: float) -> str:
    """``+.02``, ``-.009``, ``.000``: a difference of scores."""
    return difference("", value)


def count(value: int) -> str:
    return f"{value:,}"


def decimal(value: float | None) -> str:
    """Megabytes and milliseconds: three figures at most, one decimal below 100."""
    if not known(value) or value is None:
        return DASH
    return f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """``40 s``, ``3 min``, ``2 h 05 min``: what a person would say."""
    if seconds < 89.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def precise(seconds: float) -> str:
    """``40 s``, ``2 min 10 s``, ``2 h 05 min``: where a reader would add up."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return duration(seconds)


def remaining(seconds: float) -> str:
    """``about 40 s left``, rounded so that it does not flicker."""
    step = 1 if seconds < 10 else 5 if seconds < 60 else 10
    return f"about {duration(max(1, math.ceil(seconds / step) * step))} left"


def near_one(value: float, digits: int) -> str:
    """``.9990``; further digits where these would round a value below 1 up to 1."""
    while round(value, digits) == 1 != value and digits < 12:
        digits += 1
    return score(value, digits)


def setting(path: str, value: Any) -> str:
    """A searched value in a column: ``8.1e-03``, ``cosine``, ``64``, ``.9990``."""
    if not known(value):
        return DASH
    leaf = path.rsplit(".", 1)[-1]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if leaf in NEAR_ONE:
        return near_one(float(value), NEAR_ONE[leaf])
    if isinstance(value, int):
        return str(value)
    if leaf == "lr" or 0 < abs(value) < 1e-3 or abs(value) >= 1e5:
        return f"{value:.1e}"
    return score(value)


def setting_words(path: str, value: Any) -> str:
    """A searched value in a sentence: ``lr 8.1e-3``, ``cosine``, ``batch 64``, ``γ .999``, ``λ .80``."""
    text = setting(path, value)
    leaf = path.rsplit(".", 1)[-1]
    if leaf in BARE:
        return text if short_name(path) in ("schedule", leaf) else f"{short_name(path)} {text}"
    if "e-0" in text or "e+0" in text:
        text = text.replace("e-0", "e-").replace("e+0", "e")
    elif leaf in NEAR_ONE and "." in text:
        whole, decimals = text.split(".")
        decimals = decimals.rstrip("0")
        text = f"{whole}.{decimals.ljust(2, '0')}" if decimals else whole
    return f"{short_name(path)} {text}"


def settings_words(settings: Mapping[str, Any]) -> str:
    return ", ".join(setting_words(path, value) for path, value in settings.items())


def short_name(path: str) -> str:
    return SHORT.get(path, path.rsplit(".", 1)[-1].replace("_", " "))


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """One name for each path, longer where two would be the same."""
    paths = list(paths)
    names = {path: short_name(path) for path in paths}
    for path, name in names.items():
        if sum(short_name(other) == name for other in paths) > 1:
            names[path] = " ".join(path.split(".")[-2:]).replace("_", " ")
    return names


def state_words(state: str, rung: int | None = None, reason: str | None = None, cut: str | None = None) -> str:
    """``complete``, ``pruned at rung 2``, ``pruned for time``, ``failed: the loss is not a number``."""
    if state == "pruned" and rung is not None:
        return f"pruned at rung {rung}"
    if state == "pruned" and cut is not None:
        return f"pruned {cut}"
    return f"failed: {reason}" if state == "failed" and reason else state
