"""What an ensemble is built for: one of a classifier's metrics, turned so that more is always better."""

from dataclasses import dataclass, field, replace

import numpy as np

from sweepstack.ensembles.scoring.bootstrap import Bounds, Sample, half_width, influence
from sweepstack.models.predictions.classification_metrics import (
    CLASS_METRICS,
    calibration_error,
    calibration_features,
    class_features,
    class_scores,
)
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import DIRECTION, ROW_METRICS, Ints, Predictions, scores

GRADED = ("segments",)  # metrics whose rows lie anywhere between their bounds, see bootstrap.Sample


@dataclass(frozen=True)
class Objective:
    metric: str = "reward"  # a key of probabilities.DIRECTION
    costs: Costs = field(default_factory=lambda: Costs(read=0.01))

    def __post_init__(self) -> None:
        if self.metric not in DIRECTION:
            raise ValueError(f"metric must be one of {', '.join(DIRECTION)}, but got {self.metric!r}")

    @property
    def reads_all(self) -> bool:
        """Whether the metric looks at a text's last segment only, wherever the ensemble would have answered."""
        return self.metric in ("log_loss", "accuracy_full", "calibration_error")

    def counts_right_answers(self, segments: int) -> bool:
        """Whether, of texts of so many segments, it is the share of right answers after reading everything."""
        one = segments == 1 and self.metric in ("reward", "accuracy")
        return (one or self.metric == "accuracy_full") and self.costs.matrix is None

    @property
    def stop_costs(self) -> Costs:
        """What a stop is fitted with: READ is free where only answers count; a metric that says nothing of reading
        leaves the study's costs."""
        answers_count = self.metric == "accuracy" or self.metric in CLASS_METRICS
        return replace(self.costs, read=0.0) if answers_count else self.costs

    def sample(self, predictions: Predictions, labels: Ints, groups: Ints | None = None) -> Sample:
        """The sample that gives the metric, negated where less is better; ``groups``: see Sample."""
        sign, metric = DIRECTION[self.metric], self.metric
        bounds = bounds_of(metric, self.costs, predictions.answer.shape[1])
        if bounds is not None and sign < 0:
            bounds = -bounds[1], -bounds[0]
        if metric in ROW_METRICS:
            values = sign * scores(predictions, labels, self.costs)[metric]
            return Sample(values[:, None], None, groups, bounds, metric in GRADED)
        if metric in CLASS_METRICS:
            features = class_features(labels, predictions.answers(self.costs), predictions.probabilities.shape[2])
            return Sample(features, lambda means: sign * class_scores(means)[metric], groups, bounds)
        features = calibration_features(predictions.at(predictions.n_segments - 1), labels)
        return Sample(features, lambda means: sign * calibration_error(means), groups, bounds)

    def score(self, predictions: Predictions, labels: Ints) -> float:
        return self.sample(predictions, labels).score


def bounds_of(metric: str, costs: Costs, segments: int) -> Bounds | None:
    """The least and the most that a metric can be, of one row or of all; ``segments``: of the longest text. None for
    the log loss, which has no bounds."""
    if metric == "log_loss":
        return None
    if metric == "segments":
        return 1.0, float(segments)
    worst = 0.0 if costs.matrix is None else 1 - float(costs.matrix.max())
    return (worst - costs.read * (segments - 1), 1.0) if metric == "reward" else (0.0, 1.0)


def half_widths(predictions: Predictions, labels: Ints, costs: Costs, groups: Ints | None = None) -> dict[str, float]:
    """Half of the 95% interval of every metric, see bootstrap.half_width; ``groups``: see Sample. Without an entry
    for a metric of which nothing is known, such as the log loss of a single group."""
    segments = predictions.answer.shape[1]
    of_rows = dict(scores(predictions, labels, costs))
    of_classes = class_features(labels, predictions.answers(costs), predictions.probabilities.shape[2])
    by_class = influence(of_classes, lambda means: np.stack([class_scores(means)[each] for each in CLASS_METRICS], -1))
    of_rows |= dict(zip(CLASS_METRICS, by_class.T, strict=True))
    of_calibration = calibration_features(predictions.at(predictions.n_segments - 1), labels)
    of_rows["calibration_error"] = influence(of_calibration, calibration_error)
    halves = {
        name: half_width(each, groups, bounds_of(name, costs, segments), graded=name in GRADED)
        for name, each in of_rows.items()
    }
    return {name: half for name, half in halves.items() if np.isfinite(half)}
