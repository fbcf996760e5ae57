"""Sobol points: numbers spread evenly over the whole space."""

import random
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial

from sweepstack.models.seeds import derive_seed
from sweepstack.search.samplers.initial_points import place
from sweepstack.search.samplers.points import Source, parameters, value
from sweepstack.search.study.space import Space


class QMCEngine:
    """A scrambled Sobol sequence with a dimension for every number, conditional ones too; drawn again, another
    scrambling of it. Choices are drawn at random: the first bits of its dimensions go together for dozens of points, so
    that one choice would decide another."""

    costly = False

    def __init__(self, space: Space, seed: int) -> None:
        found = parameters(space).items()
        self._numbers = [name for name, d in found if not isinstance(d, CategoricalDistribution)]
        self._seed = seed

    def source(self, study: Study, trial: FrozenTrial, number: int) -> Source:
        from scipy.stats.qmc import Sobol

        sobol = Sobol(max(1, len(self._numbers)), seed=derive_seed(self._seed, "qmc", number))
        before = place(study, trial)
        if before:  # scipy takes no 0
            sobol.fast_forward(before)
        at = dict(zip(self._numbers, sobol.random(1)[0], strict=False))

        def ask(name: str, distribution: BaseDistribution) -> Any:
            if isinstance(distribution, CategoricalDistribution):
                return random.Random(derive_seed(self._seed, before, number, name)).choice(distribution.choices)
            return value(distribution, at[name])

        return ask
