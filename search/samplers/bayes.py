"""``bayes``: expected improvement of the bayesian-optimization package over our spaces.

The package models numbers on linear scales, all with one length scale. Here the model is gaussian_process.py, which has
one for every axis, and the package says what is to be gained. Every number is a place in [0, 1] on its axis's own scale
(log, near_one), a whole number rounded and a choice one-hot before the model sees it (Garrido-Merchán and
Hernández-Lobato 2018, arXiv 1805.03463), and a parameter that a point lacks stands at its neutral place. Batches of
points ever nearer to the best of them look for the most expected improvement.

The model is built anew at every ask from the trials in the ledger, so that a resumed search goes on by itself. A trial
that runs counts with the median of the completed ones, which keeps others from its place (a constant liar).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from bayes_opt.acquisition import ExpectedImprovement
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState
from threadpoolctl import threadpool_limits

from sweepstack.models.seeds import derive_seed
from sweepstack.search.samplers.gaussian_process import GaussianProcess, compressed, fit
from sweepstack.search.samplers.history import maximizes, median_value, most_telling, others, with_lies
from sweepstack.search.samplers.points import Encoding, Source, Vector, parameters, value
from sweepstack.search.samplers.random import RandomEngine
from sweepstack.search.study.space import Space

RANDOM_TRIALS = 8
RANDOM_POINTS = 1000  # at which the acquisition is evaluated
BEST, NEAR = 4, 50  # so many points are improved on, by so many about each
STEPS = (0.2, 0.1, 0.03, 0.01, 0.003)  # of the length of an axis
LITTLE = 1e-3  # of the best value above the median: where less is to be gained, a model may be too sure of itself,
HOPE = 3.0  # and the point with the largest mean plus so many deviations is taken
MOVES = 0.5  # how often an axis moves in a step; a choice is drawn anew at a fifth of that


class BayesEngine:
    """Expected improvement under a Gaussian process; at random before RANDOM_TRIALS have a value."""

    costly = True

    def __init__(self, space: Space, seed: int) -> None:
        self._parameters, self._seed = parameters(space), seed
        self._encoding = Encoding(self._parameters, space)
        self._random = RandomEngine(space, seed)

    def source(self, study: Study, trial: FrozenTrial, number: int) -> Source:
        told = with_lies(study, others(study, trial, self._parameters))
        median = median_value(told)
        if median is None or sum(other.state == TrialState.COMPLETE for other in told) < RANDOM_TRIALS:
            return self._random.source(study, trial, number)
        told = most_telling(study, told)
        sign = 1.0 if maximizes(study) else -1.0
        values = [sign * (median if other.state == TrialState.RUNNING else other.values[0]) for other in told]
        random = np.random.default_rng(derive_seed(self._seed, trial.number, number))
        point = self._suggest(self._encoding.matrix(other.params for other in told), np.array(values), random)
        return lambda name, distribution: point[name]

    def _suggest(self, places: Vector, values: Vector, random: np.random.Generator) -> Mapping[str, Any]:
        """The values by parameter where most is to be expected, given ``values`` (n,) at ``places`` (n, width)."""
        with threadpool_limits(1):
            values = compressed(values)
            model = fit(places, values, self._encoding.axes)
            acquisition = ExpectedImprovement(xi=0.0)
            leader = float(values.max())
            acquisition.y_max = leader  # type: ignore[assignment]  # it is None to begin with
            leaders = places[np.argsort(-values, kind="stable")[:BEST]]
            near = np.concatenate([self._moved(leaders, step, random) for step in STEPS])
            points = self._encoding.settled(np.concatenate([self._anywhere(RANDOM_POINTS, random), near]))
            for step in STEPS:
                best = points[np.argsort(-_gains(model, acquisition, leader, points), kind="stable")[:BEST]]
                points = np.concatenate([best, self._encoding.settled(self._moved(best, step, random))])
            gains = _gains(model, acquisition, leader, points)
            best = points[int(np.argmax(gains))]
            if gains.max() <= np.log(LITTLE * (leader - np.median(values)) + 1e-300):
                points = self._encoding.settled(self._anywhere(RANDOM_POINTS, random))
                mean, deviation = model.predict(points)
                best = points[int(np.argmax(mean + HOPE * deviation))]
        return {name: self._value(name, best[place]) for name, place in self._encoding.slices.items()}

    def _anywhere(self, count: int, random: np.random.Generator) -> Vector:
        """(count, width)"""
        points = random.random((count, self._encoding.width))
        for place, options in self._choices():
            points[:, place] = np.eye(options)[random.integers(options, size=count)]
        return points

    def _moved(self, points: Vector, step: float, random: np.random.Generator) -> Vector:
        """NEAR points about each of ``points``."""
        near = np.repeat(points, NEAR, axis=0)
        moves = random.random(near.shape) < MOVES
        moved = np.clip(near + moves * random.normal(0, step, near.shape), 0, 1)
        for place, options in self._choices():
            moved[:, place] = near[:, place]
            anew = random.random(len(near)) < MOVES / 5
            moved[anew, place] = np.eye(options)[random.integers(options, size=int(anew.sum()))]
        return moved

    def _choices(self) -> list[tuple[slice, int]]:
        return [
            (self._encoding.slices[name], len(d.choices))
            for name, d in self._parameters.items()
            if isinstance(d, CategoricalDistribution)
        ]

    def _value(self, name: str, places: Vector) -> Any:
        distribution: BaseDistribution = self._parameters[name]
        if isinstance(distribution, CategoricalDistribution):
            return distribution.choices[int(np.argmax(places))]
        return value(distribution, float(places[0]))


def _gains(model: GaussianProcess, acquisition: ExpectedImprovement, leader: float, points: Vector) -> Vector:
    """The logarithm of what is to be gained at each of ``points``; where that is nothing, how far from it they are."""
    mean, deviation = model.predict(points)
    gains = np.asarray(acquisition.base_acq(mean, deviation), float)
    return np.asarray(np.where(gains > 0, np.log(np.maximum(gains, 1e-300)), -1e3 + (mean - leader) / deviation))
