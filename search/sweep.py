"""The trials of one search over one space: asked for, reported, judged and ended, all in the ledger.

Every step is one or a few appends in such an order that a kill between any two of them is mended by the next opening:

    report    attribute report:<epoch> (all metrics), then the intermediate value, then the verdict of the stopper
    verdict   attribute promoted:<rung>, or attribute rung and then the state PRUNED
    failure   attribute reason, then the state FAIL
"""

import math
from typing import TYPE_CHECKING, Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweepstack.models.predictions import DIRECTION
from sweepstack.search.samplers import most_trials
from sweepstack.search.search_settings import Search
from sweepstack.search.space import Space
from sweepstack.search.stoppers import make_stopper
from sweepstack.search.trial_record import LATE, TrialRecord, late_attributes, record_of

if TYPE_CHECKING:
    from sweepstack.search.ledger import Ledger


class Sweep:
    """The trials of one search over one space. Every method may be called again with the same arguments."""

    def __init__(
        self, ledger: "Ledger", study: optuna.Study, space: Space, search: Search, epochs: int, trials: int
    ) -> None:
        self.name = study.study_name
        self.space = space
        self.metric = search.objective
        self.epochs = epochs
        self.budget = min(trials, most_trials(search.sampler, space) or trials)  # whatever becomes of the trials
        self._ledger, self._study, self._stopper = ledger, study, make_stopper(search.stopper)
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
