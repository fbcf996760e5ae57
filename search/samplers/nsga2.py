"""NSGA-II, by Optuna: an evolutionary search for several objectives."""

import warnings
from typing import Any

from optuna import Study
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import NSGAIISampler
from optuna.samplers.nsgaii import BLXAlphaCrossover
from optuna.trial import FrozenTrial

from sweepstack.models.seeds import derive_seed
from sweepstack.search.samplers.history import Told, completed, others, with_lies
from sweepstack.search.samplers.points import Source, parameters
from sweepstack.search.samplers.random import RandomEngine
from sweepstack.search.study.space import Space

POPULATION = 10  # of a generation of NSGA-II


class _NSGAII(NSGAIISampler):
    """Children lie between and about their parents (BLX-α). Optuna's own draws among parents in the order of their
    ranks while it selects them, in that of their numbers ever after: a trial asked twice would get two points."""

    def __init__(self, seed: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            super().__init__(population_size=POPULATION, crossover=BLXAlphaCrossover(), seed=seed)

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        return sorted(super().get_parent_population(study, generation), key=lambda parent: parent.number)


class NSGA2Engine:
    """NSGA-II over all parameters: what a trial lacks is a dormant gene, a random value of its own."""

    costly = False

    def __init__(self, space: Space, seed: int) -> None:
        self._parameters, self._seed = parameters(space), seed
        self._random = RandomEngine(space, seed)

    def source(self, study: Study, trial: FrozenTrial, number: int) -> Source:
        told = with_lies(study, others(study, trial, self._parameters))
        told = completed(told, lambda parent, name: self._gene(study, parent, name), list(self._parameters))
        sampler = _NSGAII(derive_seed(self._seed, trial.number, number))
        point = sampler.sample_relative(Told(study, told, written=number == 0), trial, self._parameters)
        at_random = self._random.source(study, trial, number)
        return lambda name, distribution: point[name] if name in point else at_random(name, distribution)

    def _gene(self, study: Study, parent: FrozenTrial, name: str) -> Any:
        return self._random.source(study, parent, -1)(name, self._parameters[name])
