"""What ends a search: trials, a space without untried points, epochs, a target, no improvement, wall time; whichever
comes first.

Pure functions from the ledger's records, so that a restart decides as an undisturbed run would. Trials that a person
asked for run whatever the budgets say, and only the target counts them. ``wall_time`` is planned backwards from the
best ensemble by then: what the ensemble stage and the supervised control will take is kept for them, estimated anew
from the trials so far whenever it is asked for.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sweepstack.models.predictions.metrics import direction
from sweepstack.search import format as fmt
from sweepstack.search.ledger.leaderboard import best, seconds
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.study.search_section import Search

Budget = Literal["trials", "space", "wall_time", "total_epochs", "target", "patience", "stop"]
BY_HAND, FOR_TIME, FOR_EPOCHS = "by hand", "for time", "for epochs"
BUILDERS_SECONDS = 6.0  # builders, scores, latency, export and report where nobody has measured them yet
SPARE_SECONDS = 2.0  # a wall time is a bound: estimates err


@dataclass(frozen=True)
class Ended:
    """Which budget lets no further trial begin, and what happened, in one line."""

    budget: Budget
    line: str

    @property
    def words(self) -> str:
        """As it follows "search ended by"."""
        return f"hand: {self.line}" if self.budget == "stop" else f"{self.budget}: {self.line}"


@dataclass(frozen=True)
class Budgets:
    """``search:`` less the wall time, which is of a whole run."""

    trials: int
    total_epochs: int | None = None
    target: float | None = None
    patience: int | None = None
    metric: str = "reward"

    @staticmethod
    def of(search: Search, trials: int) -> "Budgets":
        return Budgets(trials, search.total_epochs, search.target, search.patience, search.objective)

    @property
    def look_at_trials(self) -> bool:
        """Whether more than the number of trials matters."""
        return not self.total_epochs is self.target is self.patience is None


def asked_for(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials that the sampler was asked for."""
    return [record for record in records if not record.by_hand]


def reached(budgets: Budgets, records: Sequence[TrialRecord], epochs_of: Callable[[int], int]) -> Ended | None:
    """The first budget that is used up, or None; ``epochs_of`` a trial's number."""
    own = asked_for(records)
    begun = f"{len(own)} of {budgets.trials} trials"
    if budgets.target is not None:
        sign = direction(budgets.metric)
        settled = [r for r in records if not r.repeats or r.state == "complete"]  # others' means may still fall
        leader = best(settled, budgets.metric)
        if leader is not None and leader.value is not None and sign * leader.value >= sign * budgets.target:
            reach = f"trial {leader.number} came to {fmt.metric(budgets.metric, leader.value)}"
            return Ended("target", f"{reach} (target {fmt.metric(budgets.metric, budgets.target)}) in {begun}")
    if budgets.patience is not None:
        since = without_better(own, budgets.metric)
        if since >= budgets.patience:
            return Ended("patience", f"{since} trials without a better one, in {begun}")
    if budgets.total_epochs is not None:
        spent = epochs_spent(own)
        ahead = sum(epochs_of(r.number) - len(r.reports) for r in own if not r.has_ended)
        if spent + ahead >= budgets.total_epochs:
            return Ended("total_epochs", f"{spent} epochs of {budgets.total_epochs}, in {begun}")
    if len(own) >= budgets.trials:
        return Ended("trials", f"{len(own)} trials")
    return None


def epochs_spent(records: Sequence[TrialRecord]) -> int:
    return sum(len(record.reports) for record in records)


def without_better(records: Sequence[TrialRecord], metric: str) -> int:
    """How many trials have ended since the best one did, 0 while it runs; all that have ended, where none is best."""
    leader = best(records, metric)
    ended = [record.ended for record in records if record.has_ended and record.ended is not None]
    if leader is None:
        return len(ended)
    if leader.ended is None:
        return 0
    return sum(each > leader.ended for each in ended)


@dataclass(frozen=True)
class Stages:
    """Seconds that the rest of a run will take, as far as is known."""

    trial: float  # a typical trial
    whole: float  # one that nothing ends, with a start of its own
    epoch: float  # 0 where nothing has been measured yet
    control: float  # all trials of the supervised control that are left
    refits: float
    builders: float  # and all that follows them

    @property
    def kept(self) -> float:
        return self.control + self.refits + self.builders + SPARE_SECONDS


def stages(
    records: Sequence[TrialRecord],
    *,
    epochs: int,
    workers: int,
    refits: int,
    start: float,
    controls_left: int,
    builders: float | None,
    chained: int = 0,
) -> Stages:
    """``epochs`` of a whole trial; ``refits`` that the builders ask for, ``chained`` of which follow one another;
    ``start``: seconds of a supervised start; ``builders``: what they took before, if they were built before."""
    epoch = epoch_seconds(records, start)
    whole = start + epochs * epoch
    worked = [s for r in records if r.state in ("complete", "pruned") and (s := seconds(r)) is not None]
    trial = statistics.fmean(worked) if worked else whole
    return Stages(
        trial=trial,
        whole=whole,
        epoch=epoch,
        control=math.ceil(controls_left / workers) * whole,
        refits=(math.ceil((refits - chained) / workers) + chained) * whole,
        builders=BUILDERS_SECONDS if builders is None else builders,
    )


def epoch_seconds(records: Sequence[TrialRecord], start: float = 0.0) -> float:
    """A typical epoch: the median of all but first ones, which may have a start of ``start`` seconds in them; where
    there are no others, of these without it; 0 where none has been."""
    later = [report["seconds"] for r in records for report in r.reports[1:] if "seconds" in report]
    first = [report["seconds"] for r in records for report in r.reports[:1] if "seconds" in report]
    without = [seconds - start if seconds > start else seconds for seconds in first]
    return statistics.median(later or without or [0.0])


def may_begin(wall_time: float, spent: float, stages: Stages) -> bool:
    """Whether a trial that begins after ``spent`` seconds leaves time for what follows the search."""
    return spent + stages.trial <= wall_time - stages.kept


def may_go_on(wall_time: float, spent: float, stages: Stages, reports: Sequence[Mapping[str, Any]]) -> bool:
    """Whether another epoch of a running trial fits; its own later epochs say best how long one is."""
    own = [report["seconds"] for report in reports[1:] if "seconds" in report]
    epoch = statistics.median(own) if own else stages.epoch
    return spent + epoch <= wall_time - stages.kept


def planned(wall_time: float, stages: Stages, refits: int) -> str:
    """How a wall time is shared out, in one line."""
    pieces = [f"{fmt.precise(stages.control)} for the control"] if stages.control >= 0.5 else []
    if refits:
        pieces.append(f"{fmt.precise(stages.refits)} for {refits} refit{'s' * (refits > 1)}")
    pieces.append(f"{fmt.precise(stages.builders)} for the builders")
    until = max(0.0, wall_time - stages.kept)
    return f"of {fmt.precise(wall_time)} the trials had {fmt.precise(until)}; kept: {', '.join(pieces)}"
