"""The ledger: every trial of a run with its settings, reports and state; the truth that Ray executes and MLflow shows.

An Optuna journal holds one Optuna study a sweep ("trials", and "supervised" for the control). Every step is one or a
few appends in such an order that a kill between any two of them is mended by the next opening:

    report    attribute report:<epoch> (all metrics), then the intermediate value, then the verdict of the stopper
    verdict   attribute promoted:<rung>, or attribute rung and then the state PRUNED
    failure   attribute reason, then the state FAIL

A finished Optuna trial takes no more attributes, so what comes later (an MLflow run id) is kept with its sweep's study.
"""

import contextlib
import gc
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweepstack.models.errors import StorageError
from sweepstack.models.predictions import DIRECTION
from sweepstack.search.journal import Journal
from sweepstack.search.samplers import make_sampler, most_trials
from sweepstack.search.space import Space, settings_of
from sweepstack.search.stoppers import Stopper, make_stopper
from sweepstack.search.study import StopperSettings

State = Literal["running", "complete", "pruned", "failed"]
STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
LATE = "trial:"  # begins the name of a finished trial's attribute in its sweep's study
MAIN = "trials"  # the sweep whose study carries the attributes of the whole run


@dataclass(frozen=True)
class TrialRecord:
    sweep: str
    number: int
    state: State
    settings: dict[str, Any]  # the searched values by path
    reports: tuple[dict[str, float], ...]  # the metrics after each epoch
    value: float | None  # the objective at its best epoch so far
    best_epoch: int | None  # from 1; the first of equals
    reason: str | None  # why it failed
    attributes: dict[str, Any]
    started: float  # seconds since 1970
    ended: float | None
    rung: int | None  # where the stopper ended it


class Ledger:
    """One journal file, open for one driver, or for any number of readers with ``writable=False``. Thread-safe."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.lock = threading.RLock()
        try:
            with _no_collection():
                self.storage = optuna.storages.JournalStorage(journal)
        except (KeyError, TypeError, ValueError, AssertionError) as error:
            journal.close()
            raise StorageError(
                f"the ledger {journal.path} is damaged ({type(error).__name__}: {error}); "
                "put back a copy of the run folder, or start afresh with --out"
            ) from error
        except StorageError:
            journal.close()
            raise

    @classmethod
    def open(cls, path: Path, *, writable: bool = True) -> "Ledger":
        """Raises StorageError where ``path`` is missing (for reading), damaged, or in use by another driver."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return cls(Journal(path, writable=writable))

    def sweep(
        self,
        name: str,
        *,
        space: Space,
        sampler: str,
        stopper: StopperSettings | Stopper,
        metric: str,
        epochs: int,
        trials: int,
        seed: int,
    ) -> "Sweep":
        """Creates the sweep, or adopts it as it stands: decisions that a kill left half-made are completed."""
        with self.lock:
            own_sampler = make_sampler(sampler, space, seed)
            pruner = optuna.pruners.NopPruner()
            if self._study_id(name) is None:  # create_study appends, even where it then loads
                direction = StudyDirection.MAXIMIZE if DIRECTION[metric] > 0 else StudyDirection.MINIMIZE
                study = optuna.create_study(
                    study_name=name, storage=self.storage, sampler=own_sampler, pruner=pruner, direction=direction
                )
            else:
                study = optuna.load_study(study_name=name, storage=self.storage, sampler=own_sampler, pruner=pruner)
            budget = min(trials, most_trials(sampler, space) or trials)
            return Sweep(self, study, space, make_stopper(stopper), metric, epochs, budget)

    def sweeps(self) -> tuple[str, ...]:
        """The names of the sweeps that were begun."""
        return tuple(study.study_name for study in self.storage.get_all_studies())

    def records(self, sweep: str) -> list[TrialRecord]:
        """Every trial of a sweep in the order of their numbers; none if it was never begun. For readers."""
        with self.lock:
            study_id = self._study_id(sweep)
            if study_id is None:
                return []
            late = late_attributes(self.storage.get_study_user_attrs(study_id))
            maximize = self.storage.get_study_directions(study_id)[0] == StudyDirection.MAXIMIZE
            trials = self.storage.get_all_trials(study_id, deepcopy=False)
            return [record_of(sweep, trial, late.get(trial.number, {}), maximize) for trial in trials]

    def attributes(self) -> dict[str, Any]:
        """The values that belong to the run as a whole."""
        study_id = self._study_id(MAIN)
        return {} if study_id is None else self.storage.get_study_user_attrs(study_id)

    def attribute(self, name: str) -> Any:
        """A value that belongs to the run as a whole, or None."""
        return self.attributes().get(name)

    def set_attribute(self, name: str, value: Any) -> None:
        """Stores a JSON value for the run as a whole; the sweep "trials" must have been begun."""
        study_id = self._study_id(MAIN)
        if study_id is None:
            raise RuntimeError(f"begin the sweep {MAIN!r} before storing {name!r}")
        self.storage.set_study_user_attr(study_id, name, value)

    def close(self) -> None:
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _study_id(self, sweep: str) -> int | None:
        try:
            return self.storage.get_study_id_from_name(sweep)
        except KeyError:
            return None


class Sweep:
    """The trials of one search over one space. Every method may be called again with the same arguments."""

    def __init__(
        self, ledger: Ledger, study: optuna.Study, space: Space, stopper: Stopper, metric: str, epochs: int, budget: int
    ) -> None:
        self.name = study.study_name
        self.space = space
        self.metric = metric
        self.epochs = epochs
        self.budget = budget  # how many trials there will be, whatever becomes of them
        self._ledger, self._study, self._stopper = ledger, study, stopper
        self._storage, self._lock = ledger.storage, ledger.lock
        self._study_id = self._storage.get_study_id_from_name(self.name)
        self._late = late_attributes(self._storage.get_study_user_attrs(self._study_id))
        self._finished: dict[int, TrialRecord] = {}
        for trial in self._frozen_trials():
            self._settle(trial)
        self._interrupted = [trial.number for trial in self._frozen_trials() if trial.state == TrialState.RUNNING]

    def ask(self) -> TrialRecord | None:
        """The next trial to run: first those that a killed driver left running, then new ones; None at the budget."""
        with self._lock:
            if self._interrupted:
                number = self._interrupted.pop(0)
                trial = optuna.trial.Trial(self._study, self._trial_id(number))
            elif len(self._frozen_trials()) < self.budget:
                trial = self._study.ask()
            else:
                return None
            self.space.suggest(trial)  # keeps what an interrupted trial was given, and adds what it lacks
            return self.record(trial.number)

    def report(self, number: int, epoch: int, metrics: dict[str, float]) -> Literal["continue", "stop"]:
        """Records the metrics after ``epoch`` (from 1) and answers whether the trial goes on.

        A replay changes nothing. A trial whose objective is not finite fails; one that the stopper ends is pruned.
        Raises ValueError if an epoch is skipped.
        """
        with self._lock:
            trial = self._frozen(number)
            if trial.state.is_finished():
                return "stop"
            values = trial.intermediate_values
            if epoch not in values:
                if epoch != len(values) + 1:
                    raise ValueError(f"trial {number} reports epoch {epoch} after {len(values)} epochs")
                value = float(metrics[self.metric])
                if not math.isfinite(value):
                    self.fail(number, f"{self.metric} is not a number after epoch {epoch}")
                    return "stop"
                if f"report:{epoch}" not in trial.user_attrs:
                    plain = {name: float(metric) for name, metric in metrics.items()}
                    self._storage.set_trial_user_attr(trial._trial_id, f"report:{epoch}", plain)
                self._storage.set_trial_intermediate_value(trial._trial_id, epoch, value)
            return self._judge(self._frozen(number), epoch)

    def complete(self, number: int) -> None:
        """Ends a trial that has done all its epochs with the value of its best one."""
        with self._lock:
            value = self.record(number).value
            if value is None:
                raise ValueError(f"trial {number} cannot be complete: it has not reported yet")
            self._tell(number, TrialState.COMPLETE, value)

    def fail(self, number: int, reason: str) -> None:
        """Ends a trial that cannot go on; ``reason`` is one line for the leaderboard."""
        with self._lock:
            trial = self._frozen(number)
            if not trial.state.is_finished():
                self._storage.set_trial_user_attr(trial._trial_id, "reason", " ".join(reason.split()))
                self._tell(number, TrialState.FAIL)

    def set_trial_attribute(self, number: int, name: str, value: Any) -> None:
        """Stores a JSON value with a trial, at any time of its life."""
        with self._lock:
            trial = self._frozen(number)
            if trial.state.is_finished():
                self._storage.set_study_user_attr(self._study_id, f"{LATE}{number}:{name}", value)
                self._late.setdefault(number, {})[name] = value
                self._finished.pop(number, None)
            else:
                self._storage.set_trial_user_attr(trial._trial_id, name, value)

    def record(self, number: int) -> TrialRecord:
        with self._lock:
            return self._record(self._frozen(number))

    def trials(self) -> list[TrialRecord]:
        """Every trial so far, in the order of their numbers."""
        with self._lock:
            return [self._record(trial) for trial in self._frozen_trials()]

    @property
    def unfinished(self) -> bool:
        """Whether :meth:`ask` has, or will have, a trial to run: one is running, or the budget is not reached."""
        with self._lock:
            trials = self._frozen_trials()
            return len(trials) < self.budget or any(not trial.state.is_finished() for trial in trials)

    def epochs_of(self, number: int) -> int:
        """How many epochs a trial has: its own number, where ``train.epochs`` is searched."""
        return int(self._frozen(number).params.get("train.epochs", self.epochs))

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        known = self._finished.get(trial.number)
        if known is not None:
            return known
        record = record_of(self.name, trial, self._late.get(trial.number, {}), DIRECTION[self.metric] > 0)
        if trial.state.is_finished():
            self._finished[trial.number] = record
        return record

    def _judge(self, trial: FrozenTrial, epoch: int) -> Literal["continue", "stop"]:
        """The verdict after ``epoch``; one that was given stands, whatever other trials have reported since."""
        rung = self._stopper.rung(epoch, self.epochs_of(trial.number))
        if rung is None or f"promoted:{rung}" in trial.user_attrs:
            return "continue"
        if "rung" not in trial.user_attrs:
            sign = DIRECTION[self.metric]
            others = [
                sign * other.intermediate_values[epoch]
                for other in self._frozen_trials()
                if epoch in other.intermediate_values
                and other.number != trial.number
                and other.state != TrialState.FAIL
            ]
            if self._stopper.promotes(sign * trial.intermediate_values[epoch], others):
                self._storage.set_trial_user_attr(trial._trial_id, f"promoted:{rung}", True)
                return "continue"
            self._storage.set_trial_user_attr(trial._trial_id, "rung", rung)
        self._tell(trial.number, TrialState.PRUNED)
        return "stop"

    def _settle(self, trial: FrozenTrial) -> None:
        """Completes what a kill interrupted, as far as the ledger alone can."""
        if trial.state.is_finished():
            return
        if "reason" in trial.user_attrs:
            self._tell(trial.number, TrialState.FAIL)
            return
        epochs = sum(name.startswith("report:") for name in trial.user_attrs)
        if epochs == 0:
            return
        verdict = self.report(trial.number, epochs, trial.user_attrs[f"report:{epochs}"])
        if verdict == "continue" and epochs >= self.epochs_of(trial.number):
            self.complete(trial.number)

    def _tell(self, number: int, state: TrialState, value: float | None = None) -> None:
        if not self._frozen(number).state.is_finished():
            self._study.tell(number, value, state=state)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._trial_id(number))

    def _frozen_trials(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self._study_id, deepcopy=False)


def record_of(sweep: str, trial: FrozenTrial, late: dict[str, Any], maximize: bool) -> TrialRecord:
    """What an Optuna trial says; ``late`` are the attributes that came after its end."""
    steps = sorted(trial.intermediate_values)
    choose: Callable[..., int] = max if maximize else min
    best = choose(steps, key=trial.intermediate_values.__getitem__) if steps else None
    own = {name: value for name, value in trial.user_attrs.items() if not name.startswith(("report:", "promoted:"))}
    rung, reason = own.pop("rung", None), own.pop("reason", None)
    return TrialRecord(
        sweep=sweep,
        number=trial.number,
        state=STATES[trial.state],
        settings=settings_of(trial.params),
        reports=tuple(trial.user_attrs[f"report:{step}"] for step in steps),
        value=None if best is None else trial.intermediate_values[best],
        best_epoch=best,
        reason=reason,
        attributes={**own, **late},
        started=trial.datetime_start.timestamp() if trial.datetime_start else 0.0,
        ended=trial.datetime_complete.timestamp() if trial.datetime_complete else None,
        rung=rung,
    )


def late_attributes(attributes: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The attributes that trials got after their end, by trial number, out of those of their study."""
    late: dict[int, dict[str, Any]] = {}
    for key, value in attributes.items():
        if key.startswith(LATE):
            number, name = key.removeprefix(LATE).split(":", 1)
            late.setdefault(int(number), {})[name] = value
    return late


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection: replaying a long journal makes only objects that stay, and saves a fifth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
