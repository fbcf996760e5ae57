"""What a sampler is told of the trials so far, whatever it knows itself of stopped and failed ones.

A trial that the stopper ended has no final value, and the one that it had at its rung is no substitute: after one epoch
of eight it may be above or below what the best trials come to. What it says is that the setting was not among the
better ones. So it counts with a *lie*, the worse of its last value (of the mean of its folds) and the median of the
completed trials: it never becomes the best, nor is the same place tried again for want of news. Without completed
trials, or with several objectives, it is left out. A failed trial has no value at all, and is left out.
"""

import copy
import statistics
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweepstack.search.ledger.records import last_value
from sweepstack.search.samplers.points import contains

MOST_MODELLED = 200  # trials that a Gaussian process is fitted to: its cost grows with their cube


class Told(optuna.Study):
    """``study`` as far as ``trials`` go. With ``written=False`` what a sampler notes down about itself is lost."""

    def __init__(self, study: optuna.Study, trials: Sequence[FrozenTrial], *, written: bool = False) -> None:
        self.__dict__.update(study.__dict__)
        self._trials = trials
        if not written:
            self._storage = cast(BaseStorage, _Unwritten(study._storage))

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [trial for trial in self._trials if states is None or trial.state in states]


class _Unwritten:
    """A storage that can be read."""

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        pass

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        pass


def others(study: optuna.Study, trial: FrozenTrial, parameters: Mapping[str, BaseDistribution]) -> list[FrozenTrial]:
    """The running, complete and stopped trials but this one whose values, as far as they have them, are possible."""

    def possible(other: FrozenTrial) -> bool:
        return bool(other.params) and all(
            name not in parameters or contains(parameters[name], value) for name, value in other.params.items()
        )

    states = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)
    trials = study.get_trials(deepcopy=False, states=states)
    return [other for other in trials if other.number != trial.number and possible(other)]


def maximizes(study: optuna.Study) -> bool:
    return study.directions[0] == StudyDirection.MAXIMIZE


def median_value(trials: Sequence[FrozenTrial]) -> float | None:
    """Of the completed ones."""
    values = [trial.values[0] for trial in trials if trial.state == TrialState.COMPLETE]
    return statistics.median(values) if values else None


def with_lies(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """``trials`` with the stopped ones as completed ones with their lie, where there is one."""
    median = None if len(study.directions) > 1 else median_value(trials)
    worse: Callable[..., float] = min if maximizes(study) else max
    told = []
    for trial in trials:
        if trial.state == TrialState.PRUNED:
            if median is None or not trial.intermediate_values:
                continue
            lie = worse(last_value(trial), median)
            trial = copy.copy(trial)
            trial.state, trial.value = TrialState.COMPLETE, lie
        told.append(trial)
    return told


def completed(
    trials: Sequence[FrozenTrial], fill: Callable[[FrozenTrial, str], Any], names: Sequence[str]
) -> list[FrozenTrial]:
    """``trials`` with a value for every parameter: what a trial lacks is ``fill(trial, name)``."""
    told = []
    for trial in trials:
        missing = {name: fill(trial, name) for name in names if name not in trial.params}
        if missing:
            trial = copy.copy(trial)
            trial.params = {**trial.params, **missing}
        told.append(trial)
    return told


def most_telling(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """At most MOST_MODELLED of ``trials``, in their order: all that run, a quarter the best, the rest the latest."""
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if len(finished) <= MOST_MODELLED:
        return list(trials)
    signs = [1.0 if direction == StudyDirection.MAXIMIZE else -1.0 for direction in study.directions]
    kept: set[int] = set()
    for place, sign in enumerate(signs):
        ranked = sorted(finished, key=lambda trial: (-sign * trial.values[place], trial.number))
        kept.update(trial.number for trial in ranked[: MOST_MODELLED // (4 * len(signs))])
    latest = [trial.number for trial in finished if trial.number not in kept]
    kept.update(latest[len(kept) - MOST_MODELLED :])
    return [trial for trial in trials if trial.state != TrialState.COMPLETE or trial.number in kept]
