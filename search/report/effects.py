"""What the searched settings did to the metric: each on its proper scale, a trend, and how much each of them mattered.

A handful of trials chosen by a sampler is no experiment: the page that shows this says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sweepstack.search.study.axes import ALWAYS, Axis, Interval, axes_by_path

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from sweepstack.search.ledger.records import TrialRecord
    from sweepstack.search.study.space import Space

Floats = NDArray[np.float64]
FEWEST = 8  # trials below which a trend or an importance would be noise alone
BANDWIDTH = 0.18  # of the axis, for the trend


@dataclass(frozen=True)
class Effect:
    """The trials that had a value on one axis; arrays are (trials,)."""

    axis: Axis
    values: tuple[Any, ...]
    scores: Floats
    complete: NDArray[np.bool_]  # the others were pruned and stand with the value they had reached
    numbers: tuple[int, ...]

    def positions(self) -> Floats:
        """Where the values lie on the axis's scale: log10 x, −log10(1 − x) or x; of a choice, its place in the list."""
        if not isinstance(self.axis, Interval):
            options = [option.value for option in self.axis.options]
            return np.array([options.index(value) for value in self.values], dtype=np.float64)
        return scaled(self.axis, np.array(self.values, dtype=np.float64))


def scaled(axis: Interval, values: Floats) -> Floats:
    match axis.kind:
        case "log" | "int_log":
            return np.asarray(np.log10(values))
        case "near_one":
            return np.asarray(-np.log10(1 - values))
        case _:
            return values


def usable(records: Sequence["TrialRecord"]) -> list["TrialRecord"]:
    """The trials that ended with a result."""
    return [r for r in records if r.state in ("complete", "pruned") and r.value is not None]


def effects(records: Sequence["TrialRecord"], space: "Space") -> list[Effect]:
    """One for each searched path that at least two trials had, in the study's order."""
    found = []
    for path, axis in axes_by_path(space.axes).items():
        having = [r for r in usable(records) if known_to(axis, r.settings.get(path))]
        if len(having) >= 2:
            found.append(
                Effect(
                    axis,
                    tuple(r.settings[path] for r in having),
                    np.array([r.value for r in having], dtype=np.float64),
                    np.array([r.state == "complete" for r in having]),
                    tuple(r.number for r in having),
                )
            )
    return found


def known_to(axis: Axis, value: Any) -> bool:
    """False for a trial without the setting, and for one of a wider space that the run had before."""
    if isinstance(axis, Interval):
        return isinstance(value, int | float) and axis.low <= value <= axis.high
    return any(type(option.value) is type(value) and option.value == value for option in axis.options)


def trend(positions: Floats, scores: Floats, points: int = 60) -> tuple[Floats, Floats] | None:
    """A Gaussian-weighted mean of ``scores`` along the axis, both (points,); None where there are too few trials."""
    width = float(np.ptp(positions)) if len(positions) else 0.0
    if len(positions) < FEWEST or width == 0:
        return None
    at = np.linspace(positions.min(), positions.max(), points)
    weights = np.exp(-0.5 * ((at[:, None] - positions[None, :]) / (BANDWIDTH * width)) ** 2)  # (points, trials)
    return at, (weights @ scores) / weights.sum(axis=1)


def importances(records: Sequence["TrialRecord"], space: "Space", metric_sign: int) -> dict[str, float]:
    """The share of the metric's variance that fANOVA gives each searched path, largest first; they sum to 1.

    Pruned trials count with the value that they had reached. Empty where there are fewer than 8 trials, where nothing
    varies, or where Optuna cannot say. Source: Hutter et al. 2014, as implemented by Optuna.
    """
    import optuna

    distributions = {path: distribution(axis) for path, axis in axes_by_path(space.axes).items()}
    everywhere = [axis for axis in space.axes if axis.when == ALWAYS]
    having = [r for r in usable(records) if all(known_to(a, r.settings.get(a.path)) for a in everywhere)]
    if len(having) < FEWEST or len({r.value for r in having}) < 2:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if metric_sign > 0 else "minimize")
    for record in having:
        own = {p: v for p, v in record.settings.items() if p in distributions}
        parameters = {path: parameter(distributions[path], path, value, space) for path, value in own.items()}
        study.add_trial(
            optuna.trial.create_trial(
                params=parameters, distributions={p: distributions[p] for p in parameters}, value=record.value
            )
        )
    try:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (ValueError, RuntimeError):
        return {}
    return dict(shares) if np.isfinite(list(shares.values())).all() and sum(shares.values()) > 0 else {}


def distribution(axis: Axis) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(axis, Interval):
        return CategoricalDistribution([option.value for option in axis.options])
    if axis.kind in ("int", "int_log"):
        return IntDistribution(int(axis.low), int(axis.high), log=axis.kind == "int_log")
    if axis.kind == "near_one":
        return FloatDistribution(1 - axis.high, 1 - axis.low, log=True)
    return FloatDistribution(axis.low, axis.high, log=axis.kind == "log")


def parameter(found: "BaseDistribution", path: str, value: Any, space: "Space") -> Any:
    """What stands in Optuna for a setting: 1 − x on a near_one axis, kept within the bounds against rounding."""
    axis = axes_by_path(space.axes)[path]
    if isinstance(axis, Interval) and axis.kind == "near_one":
        return min(max(1 - value, 1 - axis.high), 1 - axis.low)
    return value
