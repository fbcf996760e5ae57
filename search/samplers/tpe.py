"""Tree-structured Parzen estimators, by Optuna."""

import copy
from collections.abc import Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from sweepstack.models.seeds import derive_seed
from sweepstack.search.samplers.history import Told, others
from sweepstack.search.samplers.points import Source, groups, parameters
from sweepstack.search.samplers.random import RANDOM_TRIALS, RandomEngine
from sweepstack.search.study.space import Space


class TPEEngine:
    """Multivariate TPE with a constant liar; parameters that exist together are one group, modelled on the trials that
    had them."""

    costly = False

    def __init__(self, space: Space, seed: int) -> None:
        found = list(groups(space).values())
        self._group = {name: group for group in found for name in group}
        self._parameters, self._seed = parameters(space), seed
        self._random = RandomEngine(space, seed)

    def source(self, study: Study, trial: FrozenTrial, number: int) -> Source:
        told = _pruned_as_running(study, others(study, trial, self._parameters))
        at_random = self._random.source(study, trial, number)
        drawn: dict[str, dict[str, Any]] = {}  # by the first name of the group

        def ask(name: str, distribution: BaseDistribution) -> Any:
            group = self._group[name]
            first = next(iter(group))
            if first not in drawn:
                seed = derive_seed(self._seed, trial.number, number, first)
                sampler = TPESampler(n_startup_trials=RANDOM_TRIALS, multivariate=True, constant_liar=True, seed=seed)
                drawn[first] = sampler.sample_relative(Told(study, told), trial, group)
            return drawn[first][name] if name in drawn[first] else at_random(name, distribution)

        return ask


def _pruned_as_running(study: Study, trials: Sequence[FrozenTrial]) -> Sequence[FrozenTrial]:
    """TPE ranks stopped trials itself, below the completed ones and by how far they came, but for one objective only;
    with several they stand among the worse ones, where it puts those that run."""
    if len(study.directions) == 1:
        return trials
    told = []
    for trial in trials:
        if trial.state == TrialState.PRUNED:
            trial = copy.copy(trial)
            trial.state = TrialState.RUNNING
        told.append(trial)
    return told
