"""When an ensemble has read enough: the averaged answering probabilities of its members, or a threshold of its own.

A threshold on the combined confidence can be the better stop, but fitted on a few hundred rows it is unstable. So it
replaces the averaged one only where it wins by more than the noise on rows that it was not fitted on.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.crossfit import folds
from sweepstack.ensembles.objective import Objective
from sweepstack.models.predictions import THRESHOLDS, Floats, Ints, Predictions, answer_above


@dataclass(frozen=True)
class Stop:
    threshold: float | None = None  # None: the members' averaged answering probabilities

    def apply(self, probabilities: Floats, answer: Floats, n_segments: Ints) -> Predictions:
        """Combined (rows, segments, classes) and averaged (rows, segments), as Predictions that stop here."""
        if self.threshold is None:
            return Predictions(probabilities, answer, n_segments)
        return answer_above(probabilities, n_segments, self.threshold)

    def __str__(self) -> str:
        return "averaged" if self.threshold is None else f"confidence {self.threshold:.3g}"


AVERAGED = Stop()


def reward_table(predictions: Predictions, labels: Ints, cost: float) -> NDArray[np.float64]:
    """(thresholds, rows): the reward of each row under each of THRESHOLDS."""
    top = predictions.probabilities.max(axis=2).astype(np.float64)  # (rows, segments)
    right = predictions.probabilities.argmax(axis=2) == labels[:, None]
    top[np.arange(top.shape[1])[None, :] >= predictions.n_segments[:, None] - 1] = np.inf
    rows = np.arange(len(top))
    table = np.empty((len(THRESHOLDS), len(top)))
    for i, threshold in enumerate(THRESHOLDS):
        stops = (top >= threshold).argmax(axis=1)
        table[i] = right[rows, stops] - cost * stops
    return table


def best_threshold(table: NDArray[np.float64]) -> int:
    """The place of the threshold with the highest mean reward; among equals the middle one."""
    means = table.mean(axis=1)
    best = np.flatnonzero(means >= means.max() - 1e-12)
    return int(best[len(best) // 2])


def fit_stop(predictions: Predictions, labels: Ints, objective: Objective) -> Stop:
    """The stop for combined predictions that still answer by the members' averaged probabilities.

    The threshold is compared where it was not fitted (5 folds) and must win by more than one standard error of the
    paired difference.
    """
    if predictions.answer.shape[1] == 1 or len(labels) < 2:
        return AVERAGED
    cost = objective.stop_cost
    stops = predictions.stops()
    averaged = (predictions.at(stops).argmax(axis=1) == labels) - cost * stops
    table = reward_table(predictions, labels, cost)
    fold = folds(labels, seed=0)
    gain = np.empty(len(labels))
    for k in range(fold.max() + 1):
        held = fold == k
        gain[held] = table[best_threshold(table[:, ~held]), held] - averaged[held]
    if gain.mean() <= gain.std(ddof=1) / np.sqrt(len(gain)):
        return AVERAGED
    return Stop(float(THRESHOLDS[best_threshold(table)]))
