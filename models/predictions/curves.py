"""Accuracy against text read: what a classifier would score if it had to answer after so much, or at such confidence.

It is told by the label probabilities alone, so that any two classifiers can be compared wherever they stop themselves.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import THRESHOLDS, Ints, Predictions, answer_above

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    segments: Values  # (points,): mean number read, rising
    accuracy: Values  # (points,)
    thresholds: Values | None = None  # (points,): of the confidence to answer at


def accuracy_by_segments(predictions: Predictions, labels: Ints, costs: Costs) -> Curve:
    """A point for each number of segments s: every row is answered after s of them, or after all that it has."""
    at = np.minimum(np.arange(predictions.answer.shape[1])[None, :], predictions.n_segments[:, None] - 1)
    answers = np.take_along_axis(costs.answers(predictions.probabilities), at, axis=1)  # (rows, segments)
    return Curve((at + 1).mean(axis=0), (answers == labels[:, None]).mean(axis=0))


def front(predictions: Predictions, labels: Ints, costs: Costs) -> Curve:
    """The thresholds of confidence that no other beats with less text and at least the same accuracy (Pareto)."""
    points = []
    for threshold in THRESHOLDS:
        sure = answer_above(predictions.probabilities, predictions.n_segments, float(threshold), costs)
        points.append((sure.stops().mean() + 1, -(sure.answers(costs) == labels).mean(), threshold))
    kept: list[tuple[float, float, float]] = []
    for point in sorted(points):
        if not kept or point[1] < kept[-1][1]:
            kept.append(point)
    segments, errors, thresholds = np.array(kept).T
    return Curve(segments, -errors, thresholds)
