"""Stacking: logistic regression (scikit-learn) on the members' log-odds gives each its weight (Wolpert 1992).

One regression, "is it this class?", serves all classes, so there is one coefficient a member and a small blend part can
fit it: coefficients for each class and member fitted its noise. The members are then pooled by their logarithms with
these weights. The ridge penalty must not pull towards "nothing counts" but towards what is known to work, all members
alike. So the features are their mean, scaled up until its coefficient costs little, and each member's deviation from
it, at full price. (MEAN_SCALE and c were set by cross-fitting on two data sets; c between .02 and .1 is all one.)

Another learner (learners.py) takes all log-probabilities of all members as its features and gives the probabilities
itself. What it says of rows that it was fitted on flatters it, so the temperature and the stop are fitted on what it
says out of fold.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.builders import learners
from sweepstack.ensembles.builders.base import Builder, candidates, finished
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.combinations.pools import LOGARITHMIC
from sweepstack.ensembles.members.library import Stack
from sweepstack.ensembles.scoring.crossfit import can_be_folded, folds
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.ensembles.scoring.temperature import FLOOR
from sweepstack.models.predictions.probabilities import Floats, Ints

LOG_ODDS = "log_odds"
MEAN_SCALE = 4.0
SEGMENTS = 4  # of each text; neighbouring segments say nearly the same


@dataclass(frozen=True)
class Stacking(Builder):
    name: ClassVar[str] = "stacking"
    counts: ClassVar[tuple[str, ...]] = ("top",)
    top: int = 8  # more members than a small blend part can weigh only fit its noise
    c: float = 0.05  # inverse strength of the penalty, as in scikit-learn
    learner: str = LOG_ODDS  # or one of learners.ARRAYS, or a classifier of scikit-learn as module:Class

    def __post_init__(self) -> None:
        if self.learner != LOG_ODDS:
            learners.check(self.learner)

    def fit(self, stack: Stack, labels: Ints, objective: Objective) -> Combination:
        ranked = candidates(stack, labels, objective, self.top)
        members = sorted(ranked)
        if self.learner != LOG_ODDS:
            return self._learned(ranked, stack, labels, objective)
        own = stack.take(members)
        rows, at, weight = examples(own.n_segments)
        probabilities = own.probabilities[:, rows, at].astype(np.float64).clip(FLOOR, 1 - FLOOR)
        log_odds = np.log(probabilities) - np.log1p(-probabilities)  # (members, examples, classes)
        weights = self._weigh(log_odds, labels[rows], weight)
        kept = np.flatnonzero(weights)
        return finished([members[m] for m in kept], stack, labels, objective, weights[kept], LOGARITHMIC)

    def _learned(self, members: list[int], stack: Stack, labels: Ints, objective: Objective) -> Combination:
        """``members`` best first, so that the order of the features is not that of the library; the average where one
        is left, or where a fold would have labels of one class only."""
        foldable = can_be_folded(len(labels), stack.groups)
        fold = folds(labels, seed=0, groups=stack.groups) if foldable else np.zeros_like(labels)
        parts = range(int(fold.max()) + 1)
        if len(members) == 1 or any(len(np.unique(labels[fold != k])) < 2 for k in parts):
            return finished(sorted(members), stack, labels, objective)
        own = stack.take(members)
        weights = np.full(len(members), 1 / len(members), dtype=np.float32)
        rows, at, weight = examples(own.n_segments)
        probabilities = own.probabilities[:, rows, at]
        out_of_fold = np.empty_like(own.probabilities[0])
        quick = learners.fit(self.learner, self.c, convert=False)
        for k in parts:
            of_others = fold[rows] != k
            pool = quick(probabilities[:, of_others], labels[rows[of_others]], weight[of_others])
            out_of_fold[fold == k] = pool.mix(own.probabilities[:, fold == k], weights)
        pool = learners.fit(self.learner, self.c)(probabilities, labels[rows], weight)
        return finished(members, stack, labels, objective, weights, pool, out_of_fold)

    def _weigh(self, log_odds: NDArray[np.float64], labels: Ints, weight: NDArray[np.float64]) -> Floats:
        """(members,): weights, none negative, that sum to 1.

        A member whose coefficient is negative only corrects the others' excess: it is left out and they are fitted
        again.
        """
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        count, _, classes = log_odds.shape
        it_is = (np.arange(classes) == labels[:, None]).ravel()
        left = np.arange(count)
        while len(left) > 1:
            features = log_odds[left].reshape(len(left), -1).T
            mean = features.mean(axis=1, keepdims=True)
            regression = LogisticRegression(C=self.c, tol=1e-6, max_iter=1000)
            # One thread: for matrices as small as these a second one costs up to ten times what it does.
            with threadpool_limits(limits=1, user_api="blas"):
                regression.fit(
                    np.hstack([MEAN_SCALE * mean, features - mean]), it_is, sample_weight=np.repeat(weight, classes)
                )
            of_mean, of_deviation = MEAN_SCALE * regression.coef_[0, 0], regression.coef_[0, 1:]
            coef = (of_mean - of_deviation.sum()) / len(left) + of_deviation
            if (coef > 0).all():
                break
            if not (coef > 0).any():  # nothing is known of any member
                left, coef = np.arange(count), np.ones(count)
                break
            left = left[coef > 0]
        else:
            coef = np.ones(1)
        weights = np.zeros(count, dtype=np.float32)
        weights[left] = coef / coef.sum()
        return weights


def examples(n_segments: Ints) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """Rows, segments and weights of the examples: up to SEGMENTS of each text, evenly spaced, the last among them."""
    steps = np.arange(1, SEGMENTS + 1) / SEGMENTS
    at = np.ceil(n_segments[:, None] * steps).astype(np.int64) - 1  # (rows, SEGMENTS), not falling
    new = np.diff(at, axis=1, prepend=-1) > 0
    rows = np.broadcast_to(np.arange(len(at))[:, None], at.shape)
    weight = np.broadcast_to(1 / new.sum(axis=1, keepdims=True), at.shape)
    return rows[new], at[new], weight[new]
