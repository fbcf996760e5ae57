"""When an ensemble has read enough: its members' averaged answering probabilities, a threshold of its own, or what a
small policy learned.

Each has more to fit than the one before, on a few hundred rows. So each replaces the one before only where it wins by
more than the noise on rows that it was not fitted on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.combinations.read_head import ReadHead
from sweepstack.ensembles.scoring.bootstrap import standard_error
from sweepstack.ensembles.scoring.crossfit import can_be_folded, folds
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.predictions.costs import Costs, read_matrix
from sweepstack.models.predictions.probabilities import THRESHOLDS, Floats, Ints, Predictions, answer_above, scores

FEWEST = 100  # rows that a policy is learned on


@dataclass(frozen=True)
class Stop:
    threshold: float | None = None  # None: the members' averaged answering probabilities
    costs: Costs = field(default_factory=Costs)  # of wrong answers, of which a threshold's confidence is made
    head: ReadHead | None = None  # corrects these

    def apply(self, probabilities: Floats, answer: Floats, n_segments: Ints) -> Predictions:
        """Combined (rows, segments, classes) and averaged (rows, segments), as Predictions that stop here."""
        stopped = Predictions(probabilities, answer, n_segments)
        if self.threshold is not None:
            stopped = answer_above(probabilities, n_segments, self.threshold, self.costs)
        return stopped if self.head is None else self.head.correct(stopped, answer, self.costs)

    def __str__(self) -> str:
        base = "averaged" if self.threshold is None else f"confidence {self.threshold:.3g}"
        return base if self.head is None else f"learned from {base}"

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """As JSON values and arrays."""
        matrix = self.costs.matrix
        return {
            "threshold": self.threshold,
            "costs": None if matrix is None else matrix.tolist(),
            "segments": None if self.head is None else self.head.segments,
        }, {} if self.head is None else self.head.arrays()

    @staticmethod
    def from_state(state: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> "Stop":
        """The inverse of :meth:`state`; raises ValueError, TypeError or KeyError where it is not one."""
        threshold, stored, segments = state["threshold"], state["costs"], state.get("segments")
        matrix = None if stored is None else read_matrix(stored, len(stored))
        head = None if segments is None else ReadHead.of(arrays, int(segments))
        return Stop(None if threshold is None else float(threshold), Costs(matrix=matrix), head)


AVERAGED = Stop()


def reward_table(predictions: Predictions, labels: Ints, costs: Costs) -> NDArray[np.float64]:
    """(thresholds, rows): the reward of each row under each of THRESHOLDS."""
    sure = costs.confidence(predictions.probabilities).clip(1e-6, 1 - 1e-6).astype(np.float64)  # (rows, segments)
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


def fit_stop(predictions: Predictions, labels: Ints, objective: Objective, groups: Ints | None = None) -> Stop:
    """The stop for combined predictions that still answer by the members' averaged probabilities.

    Stops are compared where they were not fitted (5 folds, none of which parts rows of one of ``groups``), and must win
    by more than one standard error of the paired difference.
    """
    if predictions.answer.shape[1] == 1 or not can_be_folded(len(labels), groups):
        return AVERAGED
    costs = objective.stop_costs
    fold = folds(labels, seed=0, groups=groups)
    table = reward_table(predictions, labels, costs)
    averaged = scores(predictions, labels, costs)["reward"]

    def threshold(rows: NDArray[np.bool_]) -> Stop:
        return Stop(float(THRESHOLDS[best_threshold(table[:, rows])]), Costs(matrix=costs.matrix))

    sure = np.empty(len(labels))
    for k in range(fold.max() + 1):
        held = fold == k
        sure[held] = table[best_threshold(table[:, ~held]), held]
    everywhere = np.ones(len(labels), dtype=np.bool_)
    if clearly(sure - averaged, groups):
        return _corrected(predictions, labels, groups, costs, threshold(everywhere), sure, fold, threshold)
    return _corrected(predictions, labels, groups, costs, AVERAGED, averaged, fold, lambda _: AVERAGED)


def clearly(gain: NDArray[np.float64], groups: Ints | None = None) -> bool:
    """Whether the mean of a paired difference (rows,) is above its standard error."""
    return bool(gain.mean() > standard_error(gain, groups))


def _corrected(
    predictions: Predictions,
    labels: Ints,
    groups: Ints | None,
    costs: Costs,
    base: Stop,
    held_out: NDArray[np.float64],  # (rows,): its rewards where it was not fitted
    fold: Ints,
    fitted: Callable[[NDArray[np.bool_]], Stop],  # it, from these rows alone
) -> Stop:
    """``base``, or what a policy learned of it where that wins."""
    if len(labels) < FEWEST:
        return base
    from sweepstack.ensembles.combinations.learned_stop import learn_head  # torch: a second to import

    def learned(base: Stop, rows: NDArray[np.bool_]) -> Stop:
        own = predictions.rows(rows)
        stopped = base.apply(own.probabilities, own.answer, own.n_segments)
        head = learn_head(stopped, own.answer, labels[rows], costs)
        return replace(base, costs=Costs(matrix=costs.matrix), head=head)

    def rewards(stop: Stop, rows: NDArray[np.bool_]) -> NDArray[np.float64]:
        own = predictions.rows(rows)
        return scores(stop.apply(own.probabilities, own.answer, own.n_segments), labels[rows], costs)["reward"]

    everywhere = np.ones(len(labels), dtype=np.bool_)
    best = learned(base, everywhere)
    fitted_gain = rewards(best, everywhere) - rewards(base, everywhere)
    if not clearly(fitted_gain, groups):  # nor will it where it was not fitted
        return base
    gain = np.empty(len(labels))
    for k in range(fold.max() + 1):
        held = fold == k
        gain[held] = rewards(learned(fitted(~held), ~held), held) - held_out[held]
        if k and gain[fold <= k].mean() <= 0:  # five folds take their time, and most of what fits is noise
            return base
    return best if clearly(gain, groups) else base
