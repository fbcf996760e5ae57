"""CMA-ES, by Optuna and the package cmaes."""

from optuna import Study
from optuna.distributions import CategoricalDistribution
from optuna.samplers import CmaEsSampler
from optuna.trial import FrozenTrial

from sweepstack.models.seeds import derive_seed
from sweepstack.search.samplers.history import Told, others, with_lies
from sweepstack.search.samplers.points import ALWAYS, Source, groups, parameters
from sweepstack.search.samplers.tpe import TPEEngine
from sweepstack.search.study.space import Space


class CMAESEngine:
    """CMA-ES over the numbers that are in every point; TPE for all else. Its state is in the ledger."""

    costly = False

    def __init__(self, space: Space, seed: int) -> None:
        always = groups(space).get(ALWAYS, {})
        self._numbers = {name: d for name, d in always.items() if not isinstance(d, CategoricalDistribution)}
        self._parameters, self._seed = parameters(space), seed
        self._others = TPEEngine(space, seed)

    def source(self, study: Study, trial: FrozenTrial, number: int) -> Source:
        told = with_lies(study, others(study, trial, self._parameters))
        told = [other for other in told if self._numbers.keys() <= other.params.keys()]
        sampler = CmaEsSampler(seed=derive_seed(self._seed, trial.number, number), warn_independent_sampling=False)
        point = sampler.sample_relative(Told(study, told, written=number == 0), trial, self._numbers)
        other = self._others.source(study, trial, number)
        return lambda name, distribution: point[name] if name in point else other(name, distribution)
