"""The best setting trained with seeds that the search never used: what it is worth without their flattery.

A setting that was chosen for its scores under some seeds has been lucky with them, the more so the more settings there
were (Eimer, Lindauer and Raileanu 2023, arXiv 2306.01324). The confirmation is a small sweep of its own: the winner's
settings, and a grid over new seeds. A seed that was searched is one of the search's, too, and replaced.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from scipy.special import stdtrit

from sweepstack.search.axes import Axis, Choice, Interval, Option
from sweepstack.search.repetitions import SEED, SEEDS, START_SEED
from sweepstack.search.space import Space
from sweepstack.search.tables import axes_by_path

if TYPE_CHECKING:
    from sweepstack.models.settings import TrialSettings
    from sweepstack.search.search_settings import Search
    from sweepstack.search.trial_record import TrialRecord

FEWEST = 3  # new seeds
PREFIX = "confirmation-"


def sweep_name(winner: int) -> str:
    """Of the sweep that confirms a trial; a study that goes on may find another winner, and confirms that, too."""
    return f"{PREFIX}{winner}"


def is_confirmation(sweep: str) -> bool:
    return sweep.startswith(PREFIX)


def winner_of(sweep: str) -> int:
    return int(sweep.removeprefix(PREFIX))


def new_seeds(settings: "TrialSettings", space: Space, seeds: int) -> Space:
    """A choice of so many new seeds as the search had, at least 3. Each is one for the training and for its start, see
    :func:`with_start`.

    ``settings``: of the study, before a trial's own; ``space``: what was searched, ``seeds`` times each.
    """
    axes = axes_by_path(space.axes)
    first = _after(axes.get(SEED), settings.train.seed, seeds)
    if settings.environment is None:
        first = max(first, _after(axes.get(START_SEED), settings.train.warm_start.seed, seeds))
    return Space((Choice(SEED, tuple(Option((first + place) % SEEDS) for place in range(max(seeds, FEWEST)))),))


def with_start(values: Mapping[str, Any], settings: "TrialSettings") -> dict[str, Any]:
    """The values of one of its trials with the seed of the start, which an environment has not."""
    return dict(values) if settings.environment is not None else {**values, START_SEED: values[SEED]}


def _after(axis: Axis | None, own: int, seeds: int) -> int:
    """The first seed above all that repetitions and the search have used."""
    if axis is None:
        return own + seeds
    searched = axis.high if isinstance(axis, Interval) else max(option.value for option in axis.options)
    return max(own + seeds, int(searched) + 1)


def search_of(search: "Search") -> "Search":
    """How the confirmation's few trials are run: all of them, each once, whatever the search's own budgets are."""
    plain = {name: type(search).model_fields[name].get_default() for name in ("wall_time", "total_epochs", "target")}
    trials = max(search.seeds, FEWEST)
    changes = {
        "trials": trials,
        "sampler": "grid",
        "stopper": "none",
        "seeds": 1,
        "patience": None,
        "metric_per": None,
        **plain,
    }
    return search.model_copy(update={**changes, "start": [], "start_from": None})


@dataclass(frozen=True)
class Confirmation:
    """What the winner's settings came to with new seeds; ``low`` and ``high`` are its mean's 95% interval."""

    trial: int
    metric: str
    searched: float  # the value that it won with
    values: tuple[float, ...]  # of the confirmation's trials that are complete
    mean: float
    low: float | None  # None where there are not two of them
    high: float | None

    @staticmethod
    def of(winner: "TrialRecord", records: Sequence["TrialRecord"], metric: str) -> "Confirmation | None":
        """None while nothing is known. The interval is Student's, mean ± t·s/√n."""
        values = tuple(r.value for r in records if r.state == "complete" and r.value is not None)
        if not values or winner.value is None:
            return None
        mean = statistics.fmean(values)
        if len(values) < 2:
            return Confirmation(winner.number, metric, winner.value, values, mean, None, None)
        half = float(stdtrit(len(values) - 1, 0.975)) * statistics.stdev(values) / math.sqrt(len(values))
        return Confirmation(winner.number, metric, winner.value, values, mean, mean - half, mean + half)

    def figures(self) -> dict[str, float]:
        """As metrics of the whole run."""
        found = {"": self.mean, "_low": self.low, "_high": self.high}
        return {f"confirmed_{self.metric}{end}": value for end, value in found.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "values": list(self.values)}
