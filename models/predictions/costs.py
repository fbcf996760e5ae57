"""What a READ and what a wrong answer cost, and the answer that costs least in expectation.

The reward of an answer after r READs is 1 − cost[right, answered] − read·r. Without a matrix every wrong answer costs
1, and the answer that costs least is the likeliest label. With one it is argmax_a Σ_k p_k (1 − cost[k, a]), the Bayes
decision (Elkan 2001, "The foundations of cost-sensitive learning").
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweepstack.models.errors import DataError

Matrix = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Costs:
    read: float = 0.0  # of each READ
    matrix: Matrix | None = None  # (classes, classes): [right, answered]; None: 1 for every wrong answer

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Costs):
            return NotImplemented
        same = self.matrix is other.matrix or (
            self.matrix is not None and other.matrix is not None and np.array_equal(self.matrix, other.matrix)
        )
        return same and self.read == other.read

    def __hash__(self) -> int:
        return hash((self.read, self.matrix is None))

    def worth(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """(…, classes): the expected reward of each answer."""
        return probabilities if self.matrix is None else np.asarray(probabilities @ (1 - self.matrix))

    def answers(self, probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
        """(…, classes) → (…): the answer that costs least in expectation; of equals the first. Any multiple of the
        probabilities gives the same."""
        return np.asarray(self.worth(probabilities).argmax(axis=-1), dtype=np.int64)

    def confidence(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """(…, classes) → (…), in [0, 1]: 1 less the expected cost of the best answer, as a share of the largest cost.
        Without a matrix it is the probability of the likeliest label."""
        best: NDArray[np.float32] = self.worth(probabilities).max(axis=-1)
        largest = 1.0 if self.matrix is None else float(self.matrix.max())
        return best if largest == 1 else np.asarray(1 - (1 - best) / (largest or 1.0), dtype=np.float32)

    def rewards(self, labels: NDArray[np.int64], answers: NDArray[np.int64]) -> NDArray[np.float64]:
        """What each answer is worth, without the READs before it; labels and answers broadcast."""
        if self.matrix is None:
            return np.asarray(labels == answers, dtype=np.float64)
        return np.asarray(1 - self.matrix[labels, answers].astype(np.float64))


def cost_matrix(costs: Mapping[str, Mapping[str, float]] | None, classes: Sequence[str], source: str) -> Matrix | None:
    """``data.costs``, {right: {answered: cost}}, as a matrix in the order of ``classes``: 0 for the right answer, 1 for
    a wrong one that is not named. Raises DataError where a label stands nowhere in ``source``."""
    if costs is None:
        return None
    place = {label: i for i, label in enumerate(classes)}
    matrix = 1 - np.eye(len(classes), dtype=np.float32)
    for right, row in costs.items():
        _check(right, "data.costs", classes, source)
        for answered, cost in row.items():
            _check(answered, f"data.costs.{right}", classes, source)
            if right == answered and cost != 0:
                raise DataError(f"data.costs.{right}.{right} is {cost:g}, but the right answer costs 0; leave it out")
            matrix[place[right], place[answered]] = cost
    return matrix


def read_matrix(stored: Any, classes: int) -> Matrix | None:
    """A matrix from JSON, or None for null; raises ValueError or TypeError where it is none of so many classes."""
    if stored is None:
        return None
    matrix = np.array(stored, dtype=np.float32)
    if matrix.shape != (classes, classes) or not (np.isfinite(matrix).all() and (matrix >= 0).all()):
        raise ValueError(f"costs must be {classes} rows of as many numbers, at least 0, but got {stored!r}")
    return matrix


def _check(label: str, where: str, classes: Sequence[str], source: str) -> None:
    if label not in classes:
        nearest = difflib.get_close_matches(label, classes, n=1, cutoff=0.0)
        raise DataError(f"{where}: the label {label!r} never stands in {source}; nearest: {nearest[0]!r}")
