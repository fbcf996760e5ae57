"""What an ensemble is built for: one of a classifier's metrics, turned so that more is always better."""

from dataclasses import dataclass, field, replace

import numpy as np

from sweepstack.ensembles.comparison import NORMAL_95, Sample, half_width, resampled_means
from sweepstack.models.costs import Costs
from sweepstack.models.measures import (
    CLASS_METRICS,
    calibration_error,
    calibration_features,
    class_features,
    class_scores,
)
from sweepstack.models.predictions import DIRECTION, ROW_METRICS, Ints, Predictions, scores


@dataclass(frozen=True)
class Objective:
    metric: str = "reward"  # a key of predictions.DIRECTION
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
        """What the metric, negated where less is better, is worked out from; ``groups``: see Sample."""
        sign, metric = DIRECTION[self.metric], self.metric
        if metric in ROW_METRICS:
            return Sample.mean_of(sign * scores(predictions, labels, self.costs)[metric], groups)
        if metric in CLASS_METRICS:
            features = class_features(labels, predictions.answers(self.costs), predictions.probabilities.shape[2])
            return Sample(features, lambda means: sign * class_scores(means)[metric], groups)
        features = calibration_features(predictions.at(predictions.n_segments - 1), labels)
        return Sample(features, lambda means: sign * calibration_error(means), groups)

    def score(self, predictions: Predictions, labels: Ints) -> float:
        return self.sample(predictions, labels).score


def half_widths(predictions: Predictions, labels: Ints, costs: Costs, seed: int = 0) -> dict[str, float]:
    """Half of the 95% interval of every metric: normal, with a bootstrap's standard error where no mean over rows is
    behind it."""
    found = {name: half_width(values) for name, values in scores(predictions, labels, costs).items()}
    of_classes = class_features(labels, predictions.answers(costs), predictions.probabilities.shape[2])
    of_calibration = calibration_features(predictions.at(predictions.n_segments - 1), labels)
    means = resampled_means(np.hstack([of_classes, of_calibration]), seed)
    resampled = class_scores(means[:, : of_classes.shape[1]])
    resampled["calibration_error"] = calibration_error(means[:, of_classes.shape[1] :])
    return found | {name: NORMAL_95 * float(values.std(ddof=1)) for name, values in resampled.items()}
