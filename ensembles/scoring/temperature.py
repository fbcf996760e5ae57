"""A temperature after averaging: how sure an ensemble says that it is (Rahaman & Thiery 2021, arXiv 2007.08792).

An average of members that err differently is less sure than it is right, all the more where they were trained with
label smoothing. p^(1/T), normalised again, mends that and leaves the order of the classes and the stop as they are.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.scoring.bootstrap import standard_error
from sweepstack.ensembles.scoring.crossfit import can_be_folded, folds
from sweepstack.models.predictions.probabilities import Floats, Ints, Predictions

FLOOR = 1e-6  # a probability below it says nothing more, and the logarithm of zero would decide alone
LARGEST = 8.0  # T lies between 1/LARGEST and LARGEST: positive, whatever the rows say
PRIOR = 10.0  # rows; without them a few that are all right would make an ensemble as sure as it can be


def logs(probabilities: Floats) -> Floats:
    """Natural logarithms of probabilities, in their shape, none below that of FLOOR."""
    return np.asarray(np.log(np.maximum(probabilities, np.float32(FLOOR))), dtype=np.float32)


def normalised(logits: Floats) -> Floats:
    """(..., classes): probabilities from their logarithms up to a constant."""
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True), dtype=np.float32)


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """(…, classes) → the same at ``temperature``; raises ValueError where that is not above 0.

    When a text is answered does not depend on it.
    """
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be a number above 0, but got {temperature}")
    if temperature == 1:
        return probabilities
    return normalised(logs(probabilities) / np.float32(temperature))


def log_losses(logits: NDArray[Any], labels: Ints, temperature: float) -> NDArray[np.float64]:
    """(rows,): the log loss of log-probabilities (rows, classes) at ``temperature``."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(labels)), labels], dtype=np.float64)


def best_temperature(logits: NDArray[Any], labels: Ints, start: float = 1.0) -> float:
    """The temperature with the least log loss of log-probabilities (rows, classes); ``start``: one that is near.

    To the rows PRIOR more are added, whose labels are as likely as the probabilities say: they ask for T = 1. The loss
    is convex in b = 1/T. The root of its derivative, Σ (the mean of the logarithms under p^b − the label's), is found
    by Newton's steps within a bracket.
    """
    z = np.ascontiguousarray(logits.T, dtype=np.float64)  # (classes, rows): sums over classes run over whole rows
    z -= z.max(axis=0)
    prior = PRIOR / len(labels)  # of a row: each is also added with this weight

    def moments(b: float) -> tuple[float, float]:
        """Σ over rows of the mean and of the variance of the logarithms under p^b."""
        odds = np.exp(b * z)
        odds /= odds.sum(axis=0)
        odds *= z
        mean = odds.sum(axis=0)
        return float(mean.sum()), float(np.vdot(odds, z) - np.vdot(mean, mean))

    wanted = (float(z[labels, np.arange(len(labels))].sum()) + prior * moments(1.0)[0]) / (1 + prior)
    low, high, b = 1 / LARGEST, LARGEST, 1 / start
    for _ in range(40):
        mean, variance = moments(b)
        low, high = (low, b) if mean > wanted else (b, high)
        before, b = b, b - (mean - wanted) / variance if variance > 0 else low
        if not low < b < high:
            b = float(np.sqrt(low * high))
        if abs(b - before) <= 1e-6 * b:
            break
    return 1 / b


def fit_temperature(predictions: Predictions, labels: Ints, at: Ints, groups: Ints | None = None) -> float:
    """The temperature for pooled predictions, fitted at the segments ``at`` (rows,); 1 where none helps.

    It is compared where it was not fitted (5 folds, none of which parts rows of one of ``groups``) and must win by more
    than one standard error of the paired difference in log loss.
    """
    if not can_be_folded(len(labels), groups):
        return 1.0
    logits = logs(predictions.at(at))
    fold = folds(labels, seed=0, groups=groups)
    gain = log_losses(logits, labels, 1.0)
    for k in range(fold.max() + 1):
        held = fold == k
        gain[held] -= log_losses(logits[held], labels[held], best_temperature(logits[~held], labels[~held]))
    if gain.mean() <= standard_error(gain, groups):
        return 1.0
    return best_temperature(logits, labels)
