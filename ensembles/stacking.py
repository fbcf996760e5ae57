"""Stacking: logistic regression (scikit-learn) on the members' log-probabilities (Wolpert 1992).

It is shown each text after a few of its segments, which together count as one example. The ridge penalty must not pull
towards "all classes alike" but towards what is known to work, the geometric mean of the members. So the features are
that mean, scaled up until its coefficients cost little, and each member's deviation from it, at full price; and the
result is averaged with the uniform average of the members. (MEAN_SCALE, c and SHARE were set on linear members of two
data sets: shrinking to the average gained .003 reward where classes are many and blend is small.)
"""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.builder import Builder, ranking, stopped
from sweepstack.ensembles.combination import Combination, LinearMeta, centred_logs
from sweepstack.ensembles.objective import Objective
from sweepstack.ensembles.store import Stack
from sweepstack.models.predictions import Ints

MEAN_SCALE = 4.0
SHARE = 0.5  # of the meta-learner, the rest is the average's
SEGMENTS = 4  # of each text; neighbouring segments say nearly the same


@dataclass(frozen=True)
class Stacking(Builder):
    name: ClassVar[str] = "stacking"
    top: int = 8  # more members than a small blend part can weigh only fit its noise
    c: float = 0.02  # inverse strength of the penalty, as in scikit-learn

    def fit(self, stack: Stack, labels: Ints, objective: Objective) -> Combination:
        members = sorted(ranking(stack, labels, objective)[: self.top])
        classes = np.unique(labels)
        if len(members) == 1 or len(classes) < 2:  # nothing to weigh, or nothing to tell apart
            return stopped(members, stack, labels, objective)
        own = stack.take(members)
        rows, at, weight = _examples(own.n_segments)
        logs = centred_logs(own.probabilities[:, rows, at]).astype(np.float64)  # (members, examples, classes)
        coef, intercept = self._regress(logs, labels[rows], weight)  # classes out: those that there are
        n_classes = logs.shape[2]
        full = np.zeros((len(members), n_classes, n_classes), dtype=np.float32)
        full[:, :, classes] = coef
        full_intercept = np.zeros(n_classes, dtype=np.float32)
        full_intercept[classes] = intercept
        seen = np.isin(np.arange(n_classes), classes)
        return stopped(members, stack, labels, objective, meta=LinearMeta(full, full_intercept, seen, SHARE))

    def _regress(
        self, logs: NDArray[np.float64], labels: Ints, weight: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(members, examples, classes) → coef (members, classes in, classes out), intercept (classes out,)."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        count, examples, width = logs.shape
        mean = logs.mean(axis=0)
        deviations = np.moveaxis(logs - mean, 0, 1).reshape(examples, count * width)
        regression = LogisticRegression(C=self.c, tol=1e-4, max_iter=200)
        # One thread: for matrices as small as these a second one costs up to ten times what it does.
        with warnings.catch_warnings(), threadpool_limits(limits=1, user_api="blas"):
            warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early only regularises more
            regression.fit(np.hstack([MEAN_SCALE * mean, deviations]), labels, sample_weight=weight)
        coef, intercept = regression.coef_, regression.intercept_
        if len(coef) == 1:  # two classes: scikit-learn keeps the difference only
            coef, intercept = np.vstack([-coef, coef]) / 2, np.concatenate([-intercept, intercept]) / 2
        of_mean = MEAN_SCALE * coef[:, :width].T  # (classes in, classes out)
        of_deviation = coef[:, width:].T.reshape(count, width, -1)
        return (of_mean - of_deviation.sum(axis=0)) / count + of_deviation, intercept


def _examples(n_segments: Ints) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """Rows, segments and weights of the examples: up to SEGMENTS of each text, evenly spaced, the last among them."""
    steps = np.arange(1, SEGMENTS + 1) / SEGMENTS
    at = np.ceil(n_segments[:, None] * steps).astype(np.int64) - 1  # (rows, SEGMENTS), not falling
    new = np.diff(at, axis=1, prepend=-1) > 0
    rows = np.broadcast_to(np.arange(len(at))[:, None], at.shape)
    weight = np.broadcast_to(1 / new.sum(axis=1, keepdims=True), at.shape)
    return rows[new], at[new], weight[new]
