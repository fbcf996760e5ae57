"""The trials of one search over one space: asked for, reported, judged and ended, all in the ledger.

Every step is one or a few appends in such an order that a kill between any two of them is mended by the next opening:

    report    attribute report:<epoch> (all metrics), then the intermediate value, then the verdict of the stopper
    verdict   attribute promoted:<rung>, or attribute rung and then the state PRUNED
    race      attribute raced:<repetition>, true where another seed follows, or false and then the state COMPLETE
    failure   attribute reason, then the state FAIL
"""

import math
from typing import TYPE_CHECKING, Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweepstack.search.objectives import direction
from sweepstack.search.racing import may_be_best
from sweepstack.search.samplers import most_trials
from sweepstack.search.search_settings import Search
from sweepstack.search.space import Space
from sweepstack.search.stoppers import make_stopper
from sweepstack.search.trial_record import LATE, REPETITION, TrialRecord, late_attributes, record_of

if TYPE_CHECKING:
    from sweepstack.search.ledger import Ledger


class Sweep:
    """The trials of one search over one space. Every method may be called again with the same arguments."""

    def __init__(
        self, ledger: "Ledger", study: optuna.Study, space: Space, search: Search, epochs: int, trials: int
    ) -> None:
        self.name = study.study_name
        self.space = space
        self.metric, self.objectives = search.objective, search.objectives
        self.epochs, self.seeds = epochs, search.seeds
        self.budget = min(trials, most_trials(search.sampler, space) or trials)  # whatever becomes of the trials
        self._ledger, self._study, self._stopper = ledger, study, make_stopper(search.stopper, epochs)
        self._storage, self._lock = ledger.storage, ledger.lock
        self._study_id = self._storage.get_study_id_from_name(self.name)
        self._late = late_attributes(self._storage.get_study_user_attrs(self._study_id))
        self._finished: dict[int, TrialRecord] = {}
        self._curves: dict[int, list[float]] = {}  # see _so_far
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
        """Records the metrics after ``epoch`` (from 1, over all repetitions) and answers whether the trial goes on.

        A replay changes nothing. A trial with an objective that is not finite fails; one that the stopper ends is
        pruned; one that has lost the race of repetitions is complete. Raises ValueError if an epoch is skipped.
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
                for name in self.objectives:
                    if not math.isfinite(metrics[name]):
                        self.fail(number, f"{name} is not a number after epoch {epoch}")
                        return "stop"
                if f"report:{epoch}" not in trial.user_attrs:
                    plain = {name: float(metric) for name, metric in metrics.items()}
                    if self.seeds > 1:
                        plain[REPETITION] = (epoch - 1) // self.repetition_epochs_of(number) + 1.0
                    self._storage.set_trial_user_attr(trial._trial_id, f"report:{epoch}", plain)
                self._storage.set_trial_intermediate_value(trial._trial_id, epoch, value)
            return self._judge(self._frozen(number), epoch)

    def complete(self, number: int) -> None:
        """Ends a trial that has done all its epochs with the objectives at its best one, of several repetitions with
        their means over these."""
        with self._lock:
            found = self._record_of(self._frozen(number), whole=True).objectives
            if not found:
                raise ValueError(f"trial {number} cannot be complete: it has not reported yet")
            self._tell(number, TrialState.COMPLETE, [found[name] for name in self.objectives])

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
        """How many epochs a trial has at most, all its repetitions together."""
        return self.seeds * self.repetition_epochs_of(number)

    def repetition_epochs_of(self, number: int) -> int:
        """How many of them a repetition has: the trial's own number, where ``train.epochs`` is searched."""
        return self._length(self._frozen(number))

    def _length(self, trial: FrozenTrial) -> int:
        return int(trial.params.get("train.epochs", self.epochs))

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        known = self._finished.get(trial.number)
        if known is not None:
            return known
        record = self._record_of(trial)
        if trial.state.is_finished():
            self._finished[trial.number] = record
        return record

    def _record_of(self, trial: FrozenTrial, *, whole: bool = False) -> TrialRecord:
        late = self._late.get(trial.number, {})
        return record_of(self.name, trial, late, direction(self.metric) > 0, self.objectives, whole=whole)

    def _judge(self, trial: FrozenTrial, epoch: int) -> Literal["continue", "stop"]:
        """The verdict after ``epoch``; one that was given stands, whatever other trials have reported since."""
        length = self._length(trial)
        if epoch % length == 0 and epoch < self.seeds * length:
            return self._race(trial, epoch // length)
        if epoch > length:  # the stopper judges within the first repetition, as that is what all trials have
            return "continue"
        rung = self._stopper.rung(trial.number, epoch, length)
        if rung is None or f"promoted:{rung}" in trial.user_attrs:
            return "continue"
        if "rung" not in trial.user_attrs:
            if self._stopper.promotes(trial.number, epoch, self._so_far()):
                self._storage.set_trial_user_attr(trial._trial_id, f"promoted:{rung}", True)
                return "continue"
            self._storage.set_trial_user_attr(trial._trial_id, "rung", rung)
        self._tell(trial.number, TrialState.PRUNED)
        return "stop"

    def _so_far(self) -> dict[int, list[float]]:
        """The first objective after each epoch by trial number, more is better; of those that did not fail."""
        sign = direction(self.metric)
        for trial in self._frozen_trials():
            curve, values = self._curves.setdefault(trial.number, []), trial.intermediate_values
            if trial.state == TrialState.FAIL:
                curve.clear()
            elif len(curve) < len(values):
                curve += [sign * values[epoch] for epoch in range(len(curve) + 1, len(values) + 1)]
        return self._curves

    def _race(self, trial: FrozenTrial, repetition: int) -> Literal["continue", "stop"]:
        """The verdict at the end of a repetition that is not the last one; one that was given stands."""
        goes_on = trial.user_attrs.get(f"raced:{repetition}")
        if goes_on is None:
            rivals = [t for t in self._frozen_trials() if t.number != trial.number and t.state != TrialState.FAIL]
            others = [scores for scores in map(self._scores, rivals) if scores]
            goes_on = may_be_best(self._scores(trial), others)
            self._storage.set_trial_user_attr(trial._trial_id, f"raced:{repetition}", goes_on)
        if goes_on:
            return "continue"
        self.complete(trial.number)
        return "stop"

    def _scores(self, trial: FrozenTrial) -> list[float]:
        """The first objective of each repetition that has come to its end; more is better."""
        sign, length = direction(self.metric), self._length(trial)
        values = [sign * value for _, value in sorted(trial.intermediate_values.items())]
        return [max(values[end - length : end]) for end in range(length, len(values) + 1, length)]

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

    def _tell(self, number: int, state: TrialState, values: list[float] | None = None) -> None:
        if not self._frozen(number).state.is_finished():
            self._study.tell(number, values, state=state)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._trial_id(number))

    def _frozen_trials(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self._study_id, deepcopy=False)
