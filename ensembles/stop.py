"""When an ensemble has read enough: the averaged answering probabilities of its members, or a threshold of its own.

A threshold on the combined confidence can be the better stop, but fitted on a few hundred rows it is unstable. So it
replaces the averaged one only where it wins by more than the noise on rows that it was not fitted on.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.crossfit import folds
from sweepstack.ensembles.objective import Objective
from sweepstack.models.costs import Costs, read_matrix
from sweepstack.models.predictions import THRESHOLDS, Floats, Ints, Predictions, answer_above, scores


@dataclass(frozen=True)
class Stop:
    threshold: float | None = None  # None: the members' averaged answering probabilities
    costs: Costs = field(default_factory=Costs)  # of wrong answers, of which a threshold's confidence is made

    def apply(self, probabilities: Floats, answer: Floats, n_segments: Ints) -> Predictions:
        """Combined (rows, segments, classes) and averaged (rows, segments), as Predictions that stop here."""
        if self.threshold is None:
            return Predictions(probabilities, answer, n_segments)
        return answer_above(probabilities, n_segments, self.threshold, self.costs)

    def __str__(self) -> str:
        return "averaged" if self.threshold is None else f"confidence {self.threshold:.3g}"

    def state(self) -> dict[str, Any]:
        """As JSON values."""
        matrix = self.costs.matrix
        return {"threshold": self.threshold, "costs": None if matrix is None else matrix.tolist()}

    @staticmethod
    def from_state(state: dict[str, Any]) -> "Stop":
        """The inverse of :meth:`state`; raises ValueError, TypeError or KeyError where it is not one."""
        threshold, stored = state["threshold"], state["costs"]
        matrix = None if stored is None else read_matrix(stored, len(stored))
        return Stop(None if threshold is None else float(threshold), Costs(matrix=matrix))


AVERAGED = Stop()


def reward_table(predictions: Predictions, labels: Ints, costs: Costs) -> NDArray[np.float64]:
    """(thresholds, rows): the reward of each row under each of THRESHOLDS."""
    sure = costs.confidence(predictions.probabilities).astype(np.float64)  # (rows, segments)
    rewards = costs.rewards(labels[:, None], costs.answers(predictions.probabilities))
    sure[np.arange(sure.shape[1])[None, :] >= predictions.n_segments[:, None] - 1] = np.inf
    rows = np.arange(len(sure))
    table = np.empty((len(THRESHOLDS), len(sure)))
    for i, threshold in enumerate(THRESHOLDS):
        stops = (sure >= threshold).argmax(axis=1)
        table[i] = rewards[rows, stops] - costs.read * stops
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
    costs = objective.stop_costs
    averaged = scores(predictions, labels, costs)["reward"]
    table = reward_table(predictions, labels, costs)
    fold = folds(labels, seed=0)
    gain = np.empty(len(labels))
    for k in range(fold.max() + 1):
        held = fold == k
        gain[held] = table[best_threshold(table[:, ~held]), held] - averaged[held]
    if gain.mean() <= gain.std(ddof=1) / np.sqrt(len(gain)):
        return AVERAGED
    return Stop(float(THRESHOLDS[best_threshold(table)]), Costs(matrix=costs.matrix))
