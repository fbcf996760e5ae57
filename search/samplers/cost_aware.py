"""``search.metric_per: seconds``: gain by predicted cost, over any sampler.

The sampler proposes several points, and chance some more, as all that it proposes may cost the same. A Gaussian process
says what improvement of the score to expect of each, and a ridge regression of log seconds what it will cost: times
multiply along the axes, so that their logarithm is nearly linear in the places of the points. The point with the most
expected improvement a second is taken (Snoek, Larochelle and Adams 2012, arXiv 1206.2944).

A stopped trial tells of its cost, too: its last epoch goes on to the end. Where ``train.epochs`` is searched the end is
a trial's own, else it is the longest that any trial came to.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import norm
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits

from sweepstack.search.samplers.base import Engine
from sweepstack.search.samplers.gaussian_process import compressed, fit
from sweepstack.search.samplers.history import maximizes, median_value, most_telling, others, with_lies
from sweepstack.search.samplers.points import Encoding, Source, Vector, draw, parameters
from sweepstack.search.samplers.random import RandomEngine
from sweepstack.search.study.space import Space

TRIALS = 8  # with a value and a cost, before which the sampler alone decides
CANDIDATES = 16
OWN, OF_A_MODEL = 8, 4  # of them the sampler's, the latter where its draws hardly differ; the others are random
EPOCHS = "train.epochs"


class CostAwareEngine:
    """``engine`` weighed by cost. Deterministic in the ledger and the trial's number."""

    costly = True

    def __init__(self, engine: Engine, space: Space, seed: int) -> None:
        self._engine, self._space = engine, space
        self._random = RandomEngine(space, seed)
        self._parameters = parameters(space)
        self._encoding = Encoding(self._parameters, space)

    def source(self, study: Study, trial: FrozenTrial, number: int) -> Source:
        trials = others(study, trial, self._parameters)
        seconds = full_seconds(trials)
        told = most_telling(study, with_lies(study, trials))
        known = [other for other in told if other.state == TrialState.COMPLETE]
        if sum(other.number in seconds for other in known) < TRIALS:
            return self._engine.source(study, trial, number)
        own = OF_A_MODEL if self._engine.costly else OWN
        sources = [
            (self._engine if place < own else self._random).source(study, trial, number * CANDIDATES + place)
            for place in range(CANDIDATES)
        ]
        points = [draw(self._space, source) for source in sources]
        gains = self._gains(study, told, points)
        costs = self._log_seconds([t for t in trials if t.number in seconds], seconds, points)
        best = int(np.argmax(np.log(np.maximum(gains, 1e-300)) - costs))
        point, source = points[best], sources[best]
        return lambda name, distribution: point[name] if name in point else source(name, distribution)

    def _gains(self, study: Study, told: Sequence[FrozenTrial], points: Sequence[Mapping[str, Any]]) -> Vector:
        """The expected improvement at each of ``points``; a running trial counts as an average one."""
        sign, median = 1.0 if maximizes(study) else -1.0, median_value(told)
        assert median is not None
        values = compressed(sign * np.array([median if t.state == TrialState.RUNNING else t.values[0] for t in told]))
        with threadpool_limits(1):
            model = fit(self._encoding.matrix(t.params for t in told), values, self._encoding.axes)
            mean, deviation = model.predict(self._encoding.matrix(points))
        z = (mean - values.max()) / deviation
        return np.asarray(deviation * (z * norm.cdf(z) + norm.pdf(z)))

    def _log_seconds(
        self, trials: Sequence[FrozenTrial], seconds: Mapping[int, float], points: Sequence[Mapping[str, Any]]
    ) -> Vector:
        model = Ridge(alpha=0.1)
        model.fit(self._encoding.matrix(t.params for t in trials), np.log([seconds[t.number] for t in trials]))
        return np.asarray(model.predict(self._encoding.matrix(points)))


def full_seconds(trials: Sequence[FrozenTrial]) -> dict[int, float]:
    """What each complete or stopped trial of ``trials`` takes to its end, in seconds, by its number.

    Trials whose reports say nothing of seconds are left out.
    """
    epochs: dict[int, list[float]] = {}
    for trial in trials:
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            reports = [trial.user_attrs.get(f"report:{step}", {}) for step in sorted(trial.intermediate_values)]
            if reports and all("seconds" in report for report in reports):
                epochs[trial.number] = [float(report["seconds"]) for report in reports]
    longest = max(map(len, epochs.values()), default=0)
    full = {}
    for trial in trials:
        if trial.number in epochs:
            spent = epochs[trial.number]
            end = max(int(trial.params.get(EPOCHS, longest)), len(spent))
            total = math.fsum(spent) + (end - len(spent)) * spent[-1]
            if total > 0:
                full[trial.number] = total
    return full
