"""The best setting trained with seeds that the search never used: what it is worth without their flattery.

A setting that was chosen for its scores under some seeds has been lucky with them, the more so the more settings there
were (Eimer, Lindauer and Raileanu 2023, arXiv 2306.01324). The confirmation is a small sweep of its own: the winner's
settings, and a grid over new seeds. A seed that was searched is one of the search's, too, and replaced.

The setting was lucky with the rows of valid, too, and so is each of its trials, which keeps the epoch that is best
there. So the trials are scored on blend, which no trial is chosen by (see run/confirmation_scores.py). Where that is
not possible they stand with their scores on valid: then the luck of seeds is removed, and that of rows is not.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from scipy.special import stdtrit

from sweepstack.search.ledger.repetitions import SEED, SEEDS, START_SEED
from sweepstack.search.study.axes import Axis, Choice, Interval, Option, axes_by_path
from sweepstack.search.study.space import Space

if TYPE_CHECKING:
    from sweepstack.models.settings.trial import TrialSettings
    from sweepstack.search.ledger.records import TrialRecord
    from sweepstack.search.study.search_section import Search

FEWEST = 3  # new seeds
PREFIX = "confirmation-"
ON_BLEND = "on_blend"  # the attribute of one of its trials: the first objective on blend
Rows = Literal["blend", "valid", "episodes"]


def sweep_name(winner: int) -> str:
    """Of the sweep that confirms a trial; a study that goes on may find another winner, and confirms that, too."""
    return f"{PREFIX}{winner}"


def is_confirmation(sweep: str) -> bool:
    return sweep.startswith(PREFIX)


def winner_of(sweep: str) -> int:
    return int(sweep.removeprefix(PREFIX))


def new_seeds(settings: "TrialSettings", space: Space, seeds: int) -> Space:
    """A choice of so many new seeds as the search had, at least 3. Each is one for the training and for its start, see
    :func:`repetitions.with_start`.

    ``settings``: of the study, before a trial's own; ``space``: what was searched, ``seeds`` times each.
    """
    axes = axes_by_path(space.axes)
    first = _after(axes.get(SEED), settings.train.seed, seeds)
    if settings.environment is None:
        first = max(first, _after(axes.get(START_SEED), settings.train.warm_start.seed, seeds))
    return Space((Choice(SEED, tuple(Option((first + place) % SEEDS) for place in range(max(seeds, FEWEST)))),))


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
    """What the winner's settings came to with new seeds; ``low`` and ``high`` are its mean's 95% interval, as far as
    seeds go: all values are of the same rows."""

    trial: int
    metric: str
    searched: float  # the value that it won with, on valid
    values: tuple[float, ...]  # of the confirmation's trials that are complete
    mean: float
    low: float | None  # None where there are not two of them
    high: float | None
    rows: Rows = "valid"  # what the values are of
    on_valid: float | None = None  # the mean on valid, where the values are of blend

    @staticmethod
    def of(
        winner: "TrialRecord", records: Sequence["TrialRecord"], metric: str, *, played: bool = False
    ) -> "Confirmation | None":
        """None while nothing is known. The interval is Student's, mean ± t·s/√n. ``played``: in an environment."""
        done = [r for r in records if r.state == "complete" and r.value is not None]
        if not done or winner.value is None:
            return None
        searched_on = tuple(r.value for r in done if r.value is not None)
        values, on_valid = searched_on, None
        rows: Rows = "episodes" if played else "valid"
        if all(ON_BLEND in r.attributes for r in done):
            values, rows = tuple(float(r.attributes[ON_BLEND]) for r in done), "blend"
            on_valid = statistics.fmean(searched_on)
        mean, low, high = statistics.fmean(values), None, None
        if len(values) > 1:
            half = float(stdtrit(len(values) - 1, 0.975)) * statistics.stdev(values) / math.sqrt(len(values))
            low, high = mean - half, mean + half
        return Confirmation(winner.number, metric, winner.value, values, mean, low, high, rows, on_valid)

    @property
    def removes(self) -> str:
        """Which luck of the winner's it leaves out, in words."""
        if self.rows == "blend":
            return "blend, without the search's luck of seeds and of rows"
        return f"the {'episodes' if self.rows == 'episodes' else 'rows'} that the search used: luck of seeds only"

    def figures(self) -> dict[str, float]:
        """As metrics of the whole run: ``confirmed_blend_reward``, ``confirmed_valid_reward``, in an environment
        ``confirmed_reward``; each with the ends of its interval."""
        part = "" if self.rows == "episodes" else f"{self.rows}_"
        found = {"": self.mean, "_low": self.low, "_high": self.high}
        named = {f"confirmed_{part}{self.metric}{end}": value for end, value in found.items() if value is not None}
        return named if self.on_valid is None else {**named, f"confirmed_valid_{self.metric}": self.on_valid}

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "values": list(self.values)}
