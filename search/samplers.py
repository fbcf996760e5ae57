"""Where the next trial looks: Optuna samplers that go on after a restart as if nothing had happened.

A seeded sampler starts its sequence again in every process, so that trial 12 after a restart would repeat trial 0.
 Here each draw has a seed of its own, derived from the trial's number and the parameter's name: it does not
depend on how many draws this process made before, nor on which parameters an interrupted trial had already been given.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from sweepstack.models.seeds import derive_seed
from sweepstack.search.space import Space

TPE_RANDOM_TRIALS = 8  # drawn at random before TPE models anything: half of the default 16


class ReseededSampler(BaseSampler):
    """Any Optuna sampler whose only state besides the trials is its generator; ``make(seed)`` builds one."""

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make = make
        self._seed = seed
        self._spaces = make(seed)  # finds the relative search space, which draws nothing, and caches it over trials

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._spaces.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._make(derive_seed(self._seed, trial.number)).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        sampler = self._make(derive_seed(self._seed, trial.number, param_name))
        return sampler.sample_independent(study, trial, param_name, param_distribution)


class GridSampler(BaseSampler):
    """Trial number n takes the nth of ``points`` (values by parameter name).

    Optuna's own raises when the last point is told, gives one too many while others run, and knows no conditional
    parameters.
    """

    def __init__(self, points: Sequence[dict[str, Any]]) -> None:
        self._points = points

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._points[trial.number][param_name]


def random_sampler(space: Space, seed: int) -> BaseSampler:
    return ReseededSampler(lambda draw: RandomSampler(seed=draw), seed)


def tpe_sampler(space: Space, seed: int) -> BaseSampler:
    return ReseededSampler(lambda draw: TPESampler(n_startup_trials=TPE_RANDOM_TRIALS, seed=draw), seed)


def grid_sampler(space: Space, seed: int) -> BaseSampler:
    """The grid in a seeded random order, so that a part of it is not just one of its corners."""
    points = space.grid()
    random.Random(derive_seed(seed, "grid")).shuffle(points)
    return GridSampler(points)


SAMPLERS: dict[str, Callable[[Space, int], BaseSampler]] = {
    "tpe": tpe_sampler,
    "random": random_sampler,
    "grid": grid_sampler,
}


def make_sampler(name: str, space: Space, seed: int) -> BaseSampler:
    return SAMPLERS[name](space, seed)


def most_trials(name: str, space: Space) -> int | None:
    """How many trials can differ: the size of the grid, one where nothing is searched, else None."""
    if not space.axes:
        return 1
    return space.size() if name == "grid" else None
