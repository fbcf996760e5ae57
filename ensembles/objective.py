"""What an ensemble is built for: one of a classifier's metrics, turned so that more is always better."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweepstack.models.predictions import DIRECTION, Ints, Predictions, scores


@dataclass(frozen=True)
class Objective:
    metric: str = "reward"  # a key of predictions.DIRECTION
    cost: float = 0.01  # of each READ

    def __post_init__(self) -> None:
        if self.metric not in DIRECTION:
            raise ValueError(f"metric must be one of {', '.join(DIRECTION)}, but got {self.metric!r}")

    @property
    def reads_all(self) -> bool:
        """Whether the metric looks at a text's last segment only, wherever the ensemble would have answered."""
        return self.metric in ("log_loss", "accuracy_full")

    @property
    def stop_cost(self) -> float:
        """The cost of a READ that a stop is fitted with; a metric that says nothing of reading leaves the study's."""
        return 0.0 if self.metric == "accuracy" else self.cost

    def values(self, predictions: Predictions, labels: Ints) -> NDArray[np.float64]:
        """(rows,): the metric of each row, negated where less is better."""
        return DIRECTION[self.metric] * scores(predictions, labels, self.cost)[self.metric]

    def score(self, predictions: Predictions, labels: Ints) -> float:
        return float(self.values(predictions, labels).mean())
