"""What the ledger says of one trial, as a plain record: all that a reader of a run needs.

A finished Optuna trial takes no more attributes, so what comes later (an MLflow run id) is kept with its sweep's study.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from sweepstack.search.ledger.objectives import SECONDS
from sweepstack.search.study.space import settings_of

State = Literal["waiting", "running", "complete", "pruned", "failed"]
STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.WAITING: "waiting",  # queued by hand
}
MAIN = "trials"  # the sweep whose study carries the attributes of the whole run
CONTROL = "supervised"  # that of the supervised control
MLFLOW_RUN = "mlflow_run"  # the attribute that holds the id of an MLflow run
BY_HAND = "by_hand"  # the attribute of a trial that a person asked for
CUT = "cut"  # the attribute of a trial that was ended for another reason than its values
KEPT = "kept"  # the attribute of a failed trial whose best epoch stays as a checkpoint: which one
LATE = "trial:"  # begins the name of a finished trial's attribute in its sweep's study
REPETITION = "repetition"  # in the reports of a trial with several seeds: which one, from 1
FOLD = "fold"  # the same under folds
VERDICTS = ("report:", "promoted:", "raced:")  # begin the names of what is no attribute to a reader


@dataclass(frozen=True)
class Origin:
    """The run that a trial is of, for whoever combines several runs."""

    run: str  # its name there, unique among them: begins the names of its members
    root: Path  # its folder


@dataclass(frozen=True)
class TrialRecord:
    """A trial with several seeds goes through one repetition after another, and its epochs count on.

    Those that count are the repetitions that are finished, or the first as long as it is not: one that was cut short
    says nothing of what it would have come to. Folds are repetitions with other rows held out, whose last epoch stands
    for the best one (see models.folds).
    """

    sweep: str
    number: int
    state: State
    settings: dict[str, Any]  # the searched values by path
    reports: tuple[dict[str, float], ...]  # the metrics after each epoch
    value: float | None  # the first objective at its best epoch so far; of several repetitions their mean
    best_epoch: int | None  # from 1; the first of equals; of several repetitions that of the best one
    reason: str | None  # why it failed
    attributes: dict[str, Any]
    started: float  # seconds since 1970
    ended: float | None
    rung: int | None  # where the stopper ended it
    objectives: dict[str, float] = field(default_factory=dict)  # all of them by name, means over repetitions
    best_epochs: tuple[int, ...] = ()  # of each repetition that counts
    scores: tuple[float, ...] = ()  # the first objective there
    origin: Origin | None = None  # None: the run in whose ledger it stands
    begun_only: bool = False  # of several repetitions or folds not even the first is finished

    @property
    def has_ended(self) -> bool:
        return self.state not in ("waiting", "running")

    @property
    def member_name(self) -> str:
        """What it is called as a member of an ensemble."""
        own = f"{'trial' if self.sweep == MAIN else self.sweep}-{self.number}"
        return own if self.origin is None else f"{self.origin.run}.{own}"

    @property
    def by_hand(self) -> bool:
        """Whether a person asked for it: it stands beside the budgets and the sampler's own sequence."""
        return bool(self.attributes.get(BY_HAND))

    @property
    def cut(self) -> str | None:
        """Why it was ended, as stoppers/budgets.py calls it: by hand, for time, for epochs."""
        reason = self.attributes.get(CUT)
        return None if reason is None else str(reason)

    def may_be_member(self, folds: int) -> bool:
        """Whether it has predictions of every row: under folds only a trial that came to the end of all. A failed one
        has them where it had kept an epoch before."""
        if folds > 1 or self.state == "complete":
            return self.state == "complete"
        return self.state == "pruned" or (self.state == "failed" and KEPT in self.attributes)

    def failure(self, reason: str, *, kept: bool) -> dict[str, Any]:
        """The attributes, in order, of a trial that cannot go on; ``reason`` is one line for the leaderboard. ``kept``:
        the checkpoint of its best epoch is there with its predictions, and may still be a member."""
        reason = " ".join(reason.split())
        if not kept or self.best_epoch is None:
            return {"reason": reason}
        return {KEPT: self.best_epoch, "reason": f"{reason}; its checkpoint of epoch {self.best_epoch} is kept"}

    @property
    def seeds(self) -> int:
        """How many repetitions its value is the mean of: those that are finished; 0 while the first is not."""
        return 0 if self.begun_only else max(1, len(self.scores))

    @property
    def repeats(self) -> bool:
        """Whether it has, or could have had, several repetitions or folds."""
        return bool(self.reports) and (FOLD in self.reports[-1] or REPETITION in self.reports[-1])

    @property
    def spread(self) -> float | None:
        """The standard deviation of the value over repetitions (n - 1); None for one."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None

    @property
    def best_repetition(self) -> int:
        """From 0; its checkpoint and predictions stand for the trial. Folds have theirs together."""
        if self.reports and FOLD in self.reports[-1]:
            return 0
        return self.best_epochs.index(self.best_epoch) if self.best_epoch in self.best_epochs else 0


@dataclass(frozen=True)
class Adopted:
    """What a run that combines others has of theirs."""

    trials: tuple[TrialRecord, ...] = ()
    controls: tuple[TrialRecord, ...] = ()
    company: Path | None = None  # the run whose linear baseline stands for all


def record_of(
    sweep: str,
    trial: FrozenTrial,
    late: dict[str, Any],
    maximize: bool,
    objectives: Sequence[str] = (),
) -> TrialRecord:
    """What an Optuna trial says; ``late`` are the attributes that came after its end, None those that went again."""
    values = trial.intermediate_values
    steps = sorted(values)
    reports = tuple(trial.user_attrs[f"report:{step}"] for step in steps)
    choose: Callable[..., int] = max if maximize else min
    if reports and FOLD in reports[-1]:
        choose = _last
    counting = counting_repetitions(reports)
    best_epochs = tuple(choose(epochs, key=values.__getitem__) for epochs in counting)
    scores = tuple(values[epoch] for epoch in best_epochs)
    own = {name: value for name, value in trial.user_attrs.items() if not name.startswith(VERDICTS)}
    rung, reason = own.pop("rung", None), own.pop("reason", None)
    record = TrialRecord(
        sweep=sweep,
        number=trial.number,
        state=STATES[trial.state],
        settings=settings_of(trial.params),
        reports=reports,
        value=statistics.fmean(scores) if scores else None,
        best_epoch=choose(best_epochs, key=values.__getitem__) if best_epochs else None,
        reason=reason,
        attributes={**own, **{name: value for name, value in late.items() if value is not None}},
        started=trial.datetime_start.timestamp() if trial.datetime_start else 0.0,
        ended=trial.datetime_complete.timestamp() if trial.datetime_complete else None,
        rung=rung,
        objectives=objective_values(reports, counting, best_epochs, objectives),
        best_epochs=best_epochs,
        scores=scores,
    )
    first_ended = len(by_repetition(reports)) > 1 or record.state == "complete" or "raced:1" in trial.user_attrs
    return replace(record, begun_only=record.repeats and not first_ended)


def _last(epochs: Sequence[int], key: Callable[[int], float]) -> int:
    return epochs[-1]


def counting_repetitions(reports: Sequence[Mapping[str, float]]) -> list[list[int]]:
    """The epochs (from 1) of each repetition or fold that counts. All of a trial have as many epochs as its first."""
    found = by_repetition(reports)
    return found[:-1] if len(found) > 1 and len(found[-1]) < len(found[0]) else found


def last_value(trial: FrozenTrial) -> float:
    """What a trial with a report had come to: its last value; of folds the mean of those at the ends of the finished
    ones, as one fold is easier than another."""
    steps = sorted(trial.intermediate_values)
    reports = [trial.user_attrs.get(f"report:{step}", {}) for step in steps]
    return statistics.fmean(
        trial.intermediate_values[steps[epochs[-1] - 1]] for epochs in counting_repetitions(reports)
    )


def by_repetition(reports: Sequence[Mapping[str, float]]) -> list[list[int]]:
    """The epochs (from 1, counting on) of each repetition or fold that was begun."""
    found: dict[int, list[int]] = {}
    for epoch, report in enumerate(reports, start=1):
        found.setdefault(int(report.get(FOLD, report.get(REPETITION, 1))), []).append(epoch)
    return list(found.values())


def objective_values(
    reports: Sequence[Mapping[str, float]],
    counting: Sequence[Sequence[int]],
    best_epochs: Sequence[int],
    objectives: Sequence[str],
) -> dict[str, float]:
    """The objectives at the best epochs, means over the repetitions that count; seconds are those of a repetition."""
    if not counting:
        return {}
    worked = math.fsum(reports[epoch - 1].get(SECONDS, 0.0) for epochs in counting for epoch in epochs)
    return {
        name: worked / len(counting)
        if name == SECONDS
        else statistics.fmean(reports[epoch - 1][name] for epoch in best_epochs)
        for name in objectives
    }


def late_attributes(attributes: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The attributes that trials got after their end, by trial number, out of those of their study."""
    late: dict[int, dict[str, Any]] = {}
    for key, value in attributes.items():
        if key.startswith(LATE):
            number, name = key.removeprefix(LATE).split(":", 1)
            late.setdefault(int(number), {})[name] = value
    return late
