"""Multinomial logistic regression as linear members are fitted: a path of strengths, chosen by the log loss on valid.

For each strength C it lowers mean cross-entropy + ‖coef‖² / (2·C·rows) by L-BFGS, started at the last one's solution,
in coordinates scaled by the diagonal of the Hessian's upper bound (Böhning 1992): rare terms then learn as fast as
common ones. All is float32: 65,000 terms and 52 classes have 3.4 million weights, and memory is what a step costs.
"""

from collections.abc import Iterator, Sequence
from itertools import count, islice, takewhile
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sweepstack.models.optim.lbfgs import minimized
from sweepstack.models.predictions.probabilities import Floats, Ints

STRENGTHS = (1.0, 3.0)  # C of logistic regression, and so on by decades, from smooth to sharp
LEAST, MOST = 1e-4, 1e6  # of it: a loss that still falls there has no optimum
STEPS = 30  # of L-BFGS for each C, begun where the last one ended; more moved nothing


class Design(Protocol):
    """A matrix of rows and terms, in whatever form it is stored."""

    def scores(self, coef: Floats) -> Floats:
        """The matrix times ``coef`` (terms, classes)."""
        ...

    def gradient(self, residuals: Floats) -> Floats:
        """Its transpose times ``residuals`` (rows, classes)."""
        ...

    def squares(self, weights: Floats) -> Floats:
        """(terms, 1): about the mean of each column's squares, rows weighted by ``weights`` (rows, 1)."""
        ...


class SparseDesign:
    def __init__(self, matrix: csr_array) -> None:
        self._matrix, self._transposed = matrix, matrix.T.tocsr()

    def scores(self, coef: Floats) -> Floats:
        return np.asarray(self._matrix @ coef)

    def gradient(self, residuals: Floats) -> Floats:
        return np.asarray(self._transposed @ residuals)

    def squares(self, weights: Floats) -> Floats:
        return np.asarray((self._matrix * self._matrix).T @ weights)


def fit_path(
    design: Design,
    targets: Floats,
    rows: int,
    valid: Design,
    valid_labels: Ints,
    terms: int,
    strengths: Sequence[float] = STRENGTHS,
    steps: int = STEPS,
    found: float | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """coef (terms, classes), intercept (classes,) and C, which grows from the first of ``strengths``, a decade of them,
    until the log loss on valid no longer falls, and where it fell with none shrinks as long as that helps. Or it goes
    on to the one that was ``found`` before: then valid has no say.

    targets: (rows of the design, classes), the share of all rows that each is by label, which sums to 1; ``rows``: how
    many rows those are.
    """
    classes = targets.shape[1]
    weights = targets.sum(axis=1, keepdims=True)
    squares = design.squares(weights)

    def solved(strength: float, theta: Floats) -> tuple[Floats, float]:
        """Begun at ``theta``; and its log loss on valid."""
        l2 = np.float32(1 / (strength * rows))
        scale = np.sqrt(np.concatenate([squares / 4 + l2, [[0.25]]])).astype(np.float32)

        def objective(scaled: Floats) -> tuple[float, Floats]:
            now = scaled / scale
            logits = design.scores(now[:-1]) + now[-1]
            logits -= logits.max(axis=1, keepdims=True)
            right = float((targets * logits).sum(dtype=np.float64))
            exponentials = np.exp(logits, out=logits)
            sums = exponentials.sum(axis=1, keepdims=True)
            loss = float((weights * np.log(sums)).sum(dtype=np.float64)) - right
            loss += 0.5 * float(l2) * float(np.vdot(now[:-1], now[:-1]))
            residuals = np.multiply(exponentials, weights / sums, out=exponentials)
            residuals -= targets
            now *= l2  # from here on the gradient
            now[:-1] += design.gradient(residuals)
            now[-1] = residuals.sum(axis=0)
            now /= scale
            return loss, now

        theta = minimized(objective, theta * scale, steps) / scale
        return theta, log_loss(softmax(valid.scores(theta[:-1]) + theta[-1]), valid_labels)

    first = strengths[0]
    best, best_loss = solved(first, np.zeros((terms + 1, classes), dtype=np.float32))  # the last row is the intercept
    best_strength = first
    for path in (sharper(strengths), smoother(strengths)):
        theta = best
        for strength in path:
            if found is not None and not min(first, found) <= strength <= max(first, found):
                break
            theta, loss = solved(strength, theta)
            if loss >= best_loss and found is None:
                break
            best, best_loss, best_strength = theta, loss, strength
        if best_strength > first:
            break
    return best[:-1], best[-1], best_strength


def sharper(decade: Sequence[float]) -> Iterator[float]:
    """The rest of a ``decade`` of strengths and of those above it, ascending, up to MOST."""
    grid = (each * 10.0**power for power in count() for each in decade)
    return takewhile(lambda each: each <= MOST, islice(grid, 1, None))


def smoother(decade: Sequence[float]) -> Iterator[float]:
    """Those of the decades below it, descending, down to LEAST."""
    return takewhile(lambda each: each >= LEAST, (each / 10.0**power for power in count(1) for each in decade[::-1]))


def distinct(matrix: csr_array, labels: Ints, classes: int) -> tuple[csr_array, NDArray[np.float32]]:
    """Equal rows once, with the share of all rows that they are by label: short prefixes are often the same."""
    places: dict[tuple[bytes, bytes], int] = {}
    firsts: list[int] = []
    inverse = np.empty(len(labels), dtype=np.int64)
    for row, (begin, end) in enumerate(zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)):
        key = (matrix.indices[begin:end].tobytes(), matrix.data[begin:end].tobytes())
        inverse[row] = places.setdefault(key, len(firsts))
        if inverse[row] == len(firsts):
            firsts.append(row)
    counts = np.bincount(inverse * classes + labels, minlength=len(firsts) * classes).reshape(len(firsts), classes)
    return matrix[firsts], (counts / len(labels)).astype(np.float32)


def softmax(logits: NDArray[np.floating]) -> Floats:
    logits = logits.astype(np.float64)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), dtype=np.float32)


def log_loss(probabilities: Floats, labels: Ints) -> float:
    """The mean of −ln p of the labels (rows,), p at least 1e-9."""
    return -float(np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-9)).mean())
