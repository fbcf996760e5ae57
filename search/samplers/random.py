"""Random points: each value is drawn by itself, uniformly on the scale of its axis."""

from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from sweepstack.models.seeds import derive_seed
from sweepstack.search.samplers.points import Source
from sweepstack.search.study.space import Space

RANDOM_TRIALS = 8  # drawn at random before anything is modelled: half of the default 16


class RandomEngine:
    costly = False

    def __init__(self, space: Space, seed: int) -> None:
        self._seed = seed

    def source(self, study: Study, trial: FrozenTrial, number: int) -> Source:
        def ask(name: str, distribution: BaseDistribution) -> Any:
            sampler = RandomSampler(seed=derive_seed(self._seed, trial.number, number, name))
            return sampler.sample_independent(study, trial, name, distribution)

        return ask
