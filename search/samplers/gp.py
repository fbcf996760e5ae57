"""A Gaussian process with log expected improvement, by Optuna."""

import importlib
from typing import Any

import optuna
from optuna import Study
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import GPSampler
from optuna.trial import FrozenTrial

from sweepstack.models.seeds import derive_seed
from sweepstack.search.samplers.history import Told, completed, most_telling, others, with_lies
from sweepstack.search.samplers.points import Source, neutral, parameters
from sweepstack.search.samplers.random import RANDOM_TRIALS, RandomEngine
from sweepstack.search.study.space import Space

LISTED = 1000  # whole numbers that a model makes a list of


class GPEngine:
    """Optuna's Gaussian process with log expected improvement (of the hypervolume, with several objectives) over all
    parameters; what a trial lacks has a neutral value."""

    costly = True

    def __init__(self, space: Space, seed: int) -> None:
        _import_quietly("optuna._gp.batched_lbfgsb")  # which says that greenlet is missing
        self._parameters, self._seed = parameters(space), seed
        self._random = RandomEngine(space, seed)

    def source(self, study: Study, trial: FrozenTrial, number: int) -> Source:
        told = most_telling(study, with_lies(study, others(study, trial, self._parameters)))
        told = completed(told, lambda _, name: neutral(self._parameters[name]), list(self._parameters))
        sampler = GPSampler(n_startup_trials=RANDOM_TRIALS, seed=derive_seed(self._seed, trial.number, number))
        modelled = {name: _without_steps(d) for name, d in self._parameters.items()}
        point = sampler.sample_relative(Told(study, told), trial, modelled)
        at_random = self._random.source(study, trial, number)

        def ask(name: str, distribution: BaseDistribution) -> Any:
            if name not in point:
                return at_random(name, distribution)
            return round(point[name]) if isinstance(distribution, IntDistribution) else point[name]

        return ask


def _without_steps(distribution: BaseDistribution) -> BaseDistribution:
    """A whole number of very many as any number: Optuna's model would make a list of them all."""
    if isinstance(distribution, IntDistribution) and distribution.high - distribution.low >= LISTED:
        return FloatDistribution(distribution.low, distribution.high, log=distribution.log)
    return distribution


def _import_quietly(module: str) -> None:
    """What Optuna says while it imports is nothing that a user of ours can mend."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        importlib.import_module(module)
    finally:
        optuna.logging.set_verbosity(before)
