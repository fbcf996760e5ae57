"""The trials of one search over one space: asked for, reported, judged and ended, all in the ledger.

Every step is one or a few appends in such an order that a kill between any two of them is mended by the next opening:

    report    attribute report:<epoch> (all metrics), then the intermediate value, then the verdict of the stopper
    verdict   attribute promoted:<rung>, or attribute rung and then the state PRUNED
    race      attribute raced:<repetition>, true where another seed follows, or false and then the state COMPLETE
    failure   attribute kept where a checkpoint stays, attribute reason, then the state FAIL
    cut       attribute cut, which says why, then the state PRUNED: out of time or epochs, or by hand
"""

import math
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Literal, Protocol

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweepstack.models.predictions.metrics import direction
from sweepstack.search.ledger.ledger import NAMES, Ledger
from sweepstack.search.ledger.records import BY_HAND as BY_HAND_TRIAL
from sweepstack.search.ledger.records import CUT, FOLD, LATE, MAIN, REPETITION, TrialRecord, late_attributes, record_of
from sweepstack.search.samplers.base import Worth, given_to
from sweepstack.search.samplers.registry import make_sampler, points_of
from sweepstack.search.samplers.tried import Tried
from sweepstack.search.stoppers.base import NoStopper
from sweepstack.search.stoppers.budgets import BY_HAND, FOR_EPOCHS, Budgets, Ended, asked_for, epochs_spent, reached
from sweepstack.search.stoppers.curves import SortedCurves
from sweepstack.search.stoppers.pbt import population_of
from sweepstack.search.stoppers.populations import Lineages
from sweepstack.search.stoppers.registry import make_stopper
from sweepstack.search.stoppers.seed_racing import FOLD_LEVEL, LEVEL, may_be_best
from sweepstack.search.study.search_section import Search
from sweepstack.search.study.space import Space


class Limits(Protocol):
    """What ends a sweep beside its own budgets."""

    def ended(self, sweep: "Sweep") -> Ended | None: ...

    def cut(self, sweep: "Sweep", record: TrialRecord) -> str | None:
        """Why a running trial ends now, between two epochs, or None."""
        ...


class Sweep:
    """The trials of one search over one space. Every method may be called again with the same arguments."""

    def __init__(
        self,
        ledger: Ledger,
        study: optuna.Study,
        space: Space,
        search: Search,
        epochs: int,
        trials: int,
        folds: int = 1,
    ) -> None:
        self.name = study.study_name
        self.space = space
        self.metric, self.objectives = search.objective, search.objectives
        self.epochs, self.folds = epochs, folds
        self.parts = max(search.seeds, folds)  # a trial has repetitions or folds
        self._ledger, self._study, self._stopper = ledger, study, make_stopper(search.stopper, epochs)
        self._storage, self._lock = ledger.storage, ledger.lock
        self._study_id = self._storage.get_study_id_from_name(self.name)
        self._late = late_attributes(self._storage.get_study_user_attrs(self._study_id))
        self._finished: dict[int, TrialRecord] = {}
        self._curves = SortedCurves()  # see _so_far
        population, sign = population_of(search, epochs), direction(self.metric)
        self._lineages = Lineages(population, self._storage, self._study_id, space, sign) if population else None
        self._tried = Tried(space, None if population else points_of(search, space))
        self._limits: Limits | None = None
        frozen = self._frozen_trials()
        self._by_hand = sum(BY_HAND_TRIAL in trial.user_attrs for trial in frozen)
        left = self._tried.left(frozen)  # so many more can differ
        self.budget = trials if left is None else min(trials, len(frozen) - self._by_hand + left)
        self._budgets = Budgets.of(search, trials) if self.name == MAIN else Budgets(trials)
        self._waiting = {trial.number for trial in frozen if trial.state == TrialState.WAITING}
        self._interrupted: list[int] = []
        for trial in frozen:
            self._settle(trial)
        self._interrupted = [trial.number for trial in self._frozen_trials() if trial.state == TrialState.RUNNING]

    def ask(self) -> TrialRecord | None:
        """The next trial to run: first those that a killed driver left running, then those that were queued by hand,
        then new ones; None as soon as a budget has ended the sweep."""
        with self._lock:
            if self._interrupted:
                return self._given(self._interrupted.pop(0))
            if not self._waiting and self.ended() is not None:
                return None
            if self._lineages is not None and not self._waiting:
                number = self._lineages.born()
                return None if number is None else self._given(number)
            trial = self._study.ask()  # one that waits comes first
            self._waiting.discard(trial.number)
            self.space.suggest(trial)
            return self.record(trial.number)

    def _given(self, number: int) -> TrialRecord:
        """A trial that was begun keeps what it was given and is given what it lacks; a child was given all at once."""
        if "parent" not in self._frozen(number).user_attrs:
            self.space.suggest(optuna.trial.Trial(self._study, self._trial_id(number)))
        return self.record(number)

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
                    if self.parts > 1:
                        plain[FOLD if self.folds > 1 else REPETITION] = (epoch - 1) // self.repetition_epochs_of(
                            number
                        ) + 1.0
                    self._storage.set_trial_user_attr(trial._trial_id, f"report:{epoch}", plain)
                self._storage.set_trial_intermediate_value(trial._trial_id, epoch, value)
            verdict = self._judge(self._frozen(number), epoch)
            if verdict == "continue" and epoch < self.epochs_of(number):
                return self._go_on(number, epoch, new=epoch not in values)
            return verdict

    def complete(self, number: int) -> None:
        """Ends a trial that has done all its epochs with the objectives at its best one, of several repetitions with
        their means over those that are finished."""
        with self._lock:
            found = self._record_of(self._frozen(number)).objectives
            if not found:
                raise ValueError(f"trial {number} cannot be complete: it has not reported yet")
            self._tell(number, TrialState.COMPLETE, [found[name] for name in self.objectives])

    def fail(self, number: int, reason: str, *, kept: bool = False) -> None:
        """Ends a trial that cannot go on, see :meth:`TrialRecord.failure`."""
        with self._lock:
            trial = self._frozen(number)
            if not trial.state.is_finished():
                for name, value in self._record_of(trial).failure(reason, kept=kept).items():
                    self._storage.set_trial_user_attr(trial._trial_id, name, value)
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
        """Whether :meth:`ask` has, or will have, a trial to run: one is running or waits, or no budget is reached."""
        with self._lock:
            return self.ended() is None or any(not trial.state.is_finished() for trial in self._frozen_trials())

    @property
    def queued(self) -> bool:
        """Whether a trial waits that was queued by hand."""
        return bool(self._waiting)

    def ended(self) -> Ended | None:
        """Which budget lets no further trial of the sampler's begin, or None."""
        with self._lock:
            found = None if self._limits is None else self._limits.ended(self)
            if found is not None:
                return found
            if self._lineages is not None and self._lineages.died_out:
                return Ended("trials", "all trials of a generation have failed")
            frozen = self._frozen_trials()
            begun = len(frozen) - self._by_hand
            if begun < self._budgets.trials and self._tried.left(frozen) == 0:
                return Ended("space", f"{self._tried.words}, in {begun} of {self._budgets.trials} trials")
            if self._budgets.look_at_trials:
                return reached(self._budgets, self.trials(), self.epochs_of)
            return Ended("trials", f"{begun} trials") if begun >= self._budgets.trials else None

    def obey(self, limits: Limits) -> list[TrialRecord]:
        """From now on ``limits`` hold, too. Returns the trials that a killed driver left running and that they end."""
        with self._lock:
            self._limits = limits
            left = [self.record(number) for number in self._interrupted]
            reasons = {record.number: record.cut or limits.cut(self, record) for record in left}
            for number, reason in reasons.items():
                if reason is not None:
                    self._cut(number, reason)
            return [self.record(number) for number, reason in reasons.items() if reason is not None]

    @property
    def expects(self) -> bool:
        """Whether :meth:`ask`, where it has no trial, will have one when others have ended."""
        with self._lock:
            return self._lineages is not None and self.ended() is None and self._lineages.running

    def spent(self, number: int) -> list[int]:
        """The trials whose state nobody goes on from any more, now that trial ``number`` has ended."""
        with self._lock:
            generation = self._frozen(number).user_attrs.get("generation")
            return [number] if self._lineages is None or generation is None else self._lineages.spent(generation)

    @property
    def needed(self) -> set[int]:
        """The trials whose state others may still begin in, or that run."""
        with self._lock:
            return set() if self._lineages is None else self._lineages.needed

    def parameters_of(self, number: int) -> dict[str, Any]:
        """What a trial was given, by parameter; raises KeyError where there is no such trial."""
        with self._lock:
            return given_to(self._frozen(number))

    def queue(self, parameters: dict[str, Any], attributes: dict[str, Any]) -> TrialRecord:
        """A trial that waits for a worker; what ``parameters`` leave open the sampler draws. It stands beside the
        budgets. One append."""
        with self._lock:
            self._study.enqueue_trial(parameters, user_attrs={**attributes, BY_HAND_TRIAL: True})
            number = self._storage.get_n_trials(self._study_id) - 1
            self._waiting.add(number)
            self._by_hand += 1
            return self.record(number)

    def stop(self, number: int) -> None:
        """Ends a trial that runs at its next report, and one that no worker has at once."""
        with self._lock:
            trial = self._frozen(number)
            if trial.state == TrialState.WAITING or number in self._interrupted:
                self._cut(number, BY_HAND)
            elif not trial.state.is_finished():
                self._storage.set_trial_user_attr(trial._trial_id, CUT, BY_HAND)

    def epochs_of(self, number: int) -> int:
        """How many epochs a trial has at most, all its repetitions or folds together."""
        return self.parts * self.repetition_epochs_of(number)

    def repetition_epochs_of(self, number: int) -> int:
        """How many of them a repetition has: the trial's own number, where ``train.epochs`` is searched."""
        return self._length(self._frozen(number))

    def _length(self, trial: FrozenTrial) -> int:
        if self._lineages is not None and "generation" in trial.user_attrs:
            return self._lineages.interval
        return int(trial.params.get("train.epochs", self.epochs))

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        known = self._finished.get(trial.number)
        if known is not None:
            return known
        record = self._record_of(trial)
        if trial.state.is_finished():
            self._finished[trial.number] = record
        return record

    def _record_of(self, trial: FrozenTrial) -> TrialRecord:
        late = self._late.get(trial.number, {})
        return record_of(self.name, trial, late, direction(self.metric) > 0, self.objectives)

    def _judge(self, trial: FrozenTrial, epoch: int) -> Literal["continue", "stop"]:
        """The verdict after ``epoch``; one that was given stands, whatever other trials have reported since."""
        length = self._length(trial)
        if epoch % length == 0 and epoch < self.parts * length:
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

    def _so_far(self) -> SortedCurves:
        """The first objective after each epoch of the first repetition by trial number, more is better; of those that
        did not fail. Later repetitions are left out: a trial that is long is judged in its first one, while another
        that is short may have come to its second."""
        trials = (self._frozen(number) for number in self._curves.moving(self._storage.get_n_trials(self._study_id)))
        return self._curves.follow(trials, self._length, direction(self.metric))

    def _race(self, trial: FrozenTrial, repetition: int) -> Literal["continue", "stop"]:
        """The verdict at the end of a repetition or fold that is not the last one; one that was given stands.

        A trial that has lost is complete with the repetitions that it has; without all its folds it is pruned, as
        nobody knows what it would say of the other rows. Where nothing is stopped, every trial has all its folds.
        """
        goes_on = trial.user_attrs.get(f"raced:{repetition}")
        if goes_on is None:
            goes_on = self._may_be_best(trial)
            self._storage.set_trial_user_attr(trial._trial_id, f"raced:{repetition}", goes_on)
        if goes_on:
            return "continue"
        if self.folds > 1:
            self._tell(trial.number, TrialState.PRUNED)
        else:
            self.complete(trial.number)
        return "stop"

    def _may_be_best(self, trial: FrozenTrial) -> bool:
        if self.folds > 1 and isinstance(self._stopper, NoStopper):
            return True
        rivals = [t for t in self._frozen_trials() if t.number != trial.number and t.state != TrialState.FAIL]
        others = [scores for scores in map(self._scores, rivals) if scores]
        level = LEVEL if self.folds == 1 else FOLD_LEVEL
        return may_be_best(self._scores(trial), others, self.parts - 1, level)

    def _scores(self, trial: FrozenTrial) -> list[float]:
        """The first objective of each repetition or fold that has come to its end; more is better."""
        sign, length = direction(self.metric), self._length(trial)
        values = [sign * value for _, value in sorted(trial.intermediate_values.items())]
        score: Callable[[list[float]], float] = max if self.folds == 1 else itemgetter(-1)
        return [score(values[end - length : end]) for end in range(length, len(values) + 1, length)]

    def _go_on(self, number: int, epoch: int, *, new: bool) -> Literal["continue", "stop"]:
        """Whether a trial that its values would let go on does so; a report that is not ``new`` ends none for want of
        time or epochs."""
        record = self.record(number)
        reason = record.cut
        if reason is None and new:
            reason = None if self._limits is None else self._limits.cut(self, record)
            most = self._budgets.total_epochs
            if reason is None and most is not None and not record.by_hand:
                reason = FOR_EPOCHS if epochs_spent(asked_for(self.trials())) >= most else None
        if reason is None:
            return "continue"
        self._cut(number, reason)
        return "stop"

    def _cut(self, number: int, reason: str) -> None:
        """Ends a trial: complete with the repetitions that are finished, pruned, if none is, and failed, if it has no
        report. One that lacks a fold is pruned."""
        trial = self._frozen(number)
        epochs = len(trial.intermediate_values)
        if epochs == 0:
            self.fail(number, f"ended {reason} before its first report")
        else:
            if trial.user_attrs.get(CUT) != reason:
                self._storage.set_trial_user_attr(trial._trial_id, CUT, reason)
            if epochs >= self._length(trial) and self.folds == 1:
                self.complete(number)
            self._tell(number, TrialState.PRUNED)
        self._waiting.discard(number)
        if number in self._interrupted:
            self._interrupted.remove(number)

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
        trial = self._frozen(number)
        if trial.state == TrialState.WAITING:  # Optuna's tell takes none that has not begun
            self._storage.set_trial_state_values(trial._trial_id, state)
        elif not trial.state.is_finished():
            self._study.tell(number, values, state=state)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._trial_id(number))

    def _frozen_trials(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self._study_id, deepcopy=False)


def open_sweep(
    ledger: Ledger,
    name: str,
    *,
    space: Space,
    search: Search,
    epochs: int,
    trials: int | None = None,
    start: Sequence[Mapping[str, Any]] = (),
    folds: int = 1,
    worth: Worth | None = None,
) -> Sweep:
    """Creates the sweep, or adopts it as it stands: decisions that a kill left half-made are completed.

    ``epochs`` is what a trial has by default; ``trials`` how many there will be, by default ``search.trials``.
    ``start`` are the points to begin with, as settings by path; ``folds`` how many parts of the data a trial holds
    out, one after the other; ``worth`` what the sampler sees of the trials.
    """
    with ledger.lock:
        sampler = make_sampler(search, space, worth, start)
        pruner = optuna.pruners.NopPruner()
        if ledger.study_id(name) is None:  # create_study appends, even where it then loads
            up, down = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
            directions = [up if direction(metric) > 0 else down for metric in search.objectives]
            study = optuna.create_study(
                study_name=name, storage=ledger.storage, sampler=sampler, pruner=pruner, directions=directions
            )
        else:
            study = optuna.load_study(study_name=name, storage=ledger.storage, sampler=sampler, pruner=pruner)
        study_id = ledger.storage.get_study_id_from_name(name)
        if NAMES not in ledger.storage.get_study_system_attrs(study_id):
            ledger.storage.set_study_system_attr(study_id, NAMES, list(search.objectives))
        return Sweep(ledger, study, space, search, epochs, search.trials if trials is None else trials, folds)
