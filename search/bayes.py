"""``bayes``: the bayesian-optimization package over our spaces.

The package models numbers on linear scales. Here every number is a place in [0, 1] on its axis's own scale (log,
near_one), a whole number rounded and a choice one-hot before the kernel sees it (Garrido-Merchán and Hernández-Lobato
2018, arXiv 1805.03463), and a parameter that a point lacks stands at its neutral place. The package would refine the
best of its random points in a mixed space by differential evolution, one prediction at a time, which takes seconds;
here whole batches of points ever nearer to it do.

Its model is built anew at every ask from the trials in the ledger, so that a resumed search goes on by itself. A trial
that runs is registered with the median of the completed ones, which keeps others from its place (a constant liar); the
package's own liar copies a space without its kinds of parameter.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from bayes_opt.acquisition import ExpectedImprovement
from bayes_opt.parameter import CategoricalParameter, FloatParameter, wrap_kernel
from bayes_opt.target_space import TargetSpace
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel
from threadpoolctl import threadpool_limits

from sweepstack.models.seeds import derive_seed
from sweepstack.search.points import Encoding, Source, Vector, on_steps, parameters, value
from sweepstack.search.space import Space
from sweepstack.search.told import maximizes, median_value, most_telling, others, with_lies

RANDOM_TRIALS = 8
RANDOM_POINTS = 1000  # at which the acquisition is evaluated
NEAR = 100  # points about the best of them, at each of
STEPS = (0.1, 0.03, 0.01, 0.003)  # of the length of an axis
LENGTHS = (0.05, 20.0)  # of the kernel
NOISE, NOISES = 1e-2, (1e-6, 1.0)  # of the variance of the values: before it is fitted, and its bounds


class _Number(FloatParameter):
    """A number by its place in [0, 1]; the kernel sees the places of values that it can have."""

    def __init__(self, name: str, distribution: BaseDistribution) -> None:
        super().__init__(name, (0.0, 1.0))
        self._distribution = distribution

    def kernel_transform(self, places: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
        return on_steps(self._distribution, np.asarray(places, float))


class BayesEngine:
    """Expected improvement under a Gaussian process; at random before RANDOM_TRIALS have a value."""

    costly = True

    def __init__(self, space: Space, seed: int) -> None:
        from sweepstack.search.samplers import RandomEngine

        self._parameters, self._seed = parameters(space), seed
        self._encoding = Encoding(self._parameters)
        self._random = RandomEngine(space, seed)

    def source(self, study: Study, trial: FrozenTrial, number: int) -> Source:
        told = with_lies(study, others(study, trial, self._parameters))
        median = median_value(told)
        if median is None or sum(other.state == TrialState.COMPLETE for other in told) < RANDOM_TRIALS:
            return self._random.source(study, trial, number)
        told = most_telling(study, told)
        sign = 1.0 if maximizes(study) else -1.0
        values = [sign * (median if other.state == TrialState.RUNNING else other.values[0]) for other in told]
        seed = derive_seed(self._seed, trial.number, number)
        point = self._suggest(self._encoding.matrix(other.params for other in told), np.array(values), seed)
        return lambda name, distribution: point[name]

    def _suggest(self, places: Vector, values: Vector, seed: int) -> Mapping[str, Any]:
        """The values by parameter where most is to be expected, given ``values`` (n,) at ``places`` (n, width)."""
        kinds: dict[str, Any] = {
            name: CategoricalParameter(name, range(len(d.choices)))
            if isinstance(d, CategoricalDistribution)
            else _Number(name, d)
            for name, d in self._parameters.items()
        }
        random_state = np.random.RandomState(seed)
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore")  # that parameters which are no floats are new there
            space = TargetSpace(None, kinds, allow_duplicate_points=True)
            for at, target in zip(places, values, strict=True):
                space.register(at, float(target))
            kernel = Matern(nu=2.5, length_scale_bounds=LENGTHS) + WhiteKernel(NOISE, NOISES)
            model = GaussianProcessRegressor(wrap_kernel(kernel, space.kernel_transform), normalize_y=True)
            acquisition = ExpectedImprovement(xi=0.0)
            best = acquisition.suggest(model, space, n_random=RANDOM_POINTS, n_smart=0, random_state=random_state)
            numbers = np.concatenate([np.full(kinds[name].dim, isinstance(kinds[name], _Number)) for name in kinds])
            for step in STEPS:
                near = np.tile(best, (NEAR + 1, 1))
                near[1:, numbers] += random_state.normal(0, step, (NEAR, int(numbers.sum())))
                near = np.clip(near, 0, 1)
                best = near[np.argmax(acquisition.base_acq(*model.predict(near, return_std=True)))]
        return {
            name: self._value(name, np.asarray(best, float)[self._encoding.slices[name]]) for name in self._parameters
        }

    def _value(self, name: str, places: Vector) -> Any:
        distribution = self._parameters[name]
        if isinstance(distribution, CategoricalDistribution):
            return distribution.choices[int(np.argmax(places))]
        return value(distribution, float(places[0]))
