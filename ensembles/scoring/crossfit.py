"""Five folds of the blend part, so that what is fitted there is scored on rows that it has not seen."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from sweepstack.ensembles.members.library import Stack
from sweepstack.models.errors import DataError
from sweepstack.models.predictions.probabilities import Ints, Predictions
from sweepstack.models.seeds import derive_seed

FOLDS = 5
F = TypeVar("F")


def folds(labels: Ints, seed: int, groups: Ints | None = None, count: int = FOLDS) -> Ints:
    """(rows,): the fold of each row, stratified by label; rows of one group (same input, say) share a fold.

    Raises DataError where there are fewer than two groups of rows.
    """
    groups = np.arange(len(labels)) if groups is None else groups
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    if len(first) < 2:
        got = len(first) if len(labels) < 2 else f"{len(labels)} of one group"
        raise DataError(f"blend must have at least 2 rows that may be parted, but got {got}; raise data.splits.blend")
    random = np.random.default_rng(derive_seed(seed, "folds"))
    order = random.permutation(len(first))
    order = order[np.argsort(labels[first][order], kind="stable")]  # dealt out class by class, so folds look alike
    fold = np.empty(len(first), dtype=np.int64)
    fold[order] = np.arange(len(order)) % min(count, len(first))
    return np.asarray(fold[inverse], dtype=np.int64)


def can_be_folded(rows: int, groups: Ints | None) -> bool:
    """Whether there are two groups of rows at least."""
    return (rows if groups is None else len(np.unique(groups))) > 1


def cross_fit(
    fit: Callable[[Stack, Ints], Callable[[Stack], Predictions]], stack: Stack, labels: Ints, fold: Ints
) -> Predictions:
    """Predictions of every row by what ``fit`` made of the other folds."""
    return said_held_out(fit_folds(fit, stack, labels, fold), stack, fold)


def fit_folds(fit: Callable[[Stack, Ints], F], stack: Stack, labels: Ints, fold: Ints) -> list[F]:
    """For each fold what ``fit`` makes of the others."""
    return [fit(stack.rows(fold != k), labels[fold != k]) for k in range(int(fold.max()) + 1)]


def said_held_out(predict: Sequence[Callable[[Stack], Predictions]], stack: Stack, fold: Ints) -> Predictions:
    """Predict each fold's rows with its own entry of ``predict``."""
    rows, segments = stack.answer.shape[1:]
    probabilities = np.empty((rows, segments, stack.probabilities.shape[3]), dtype=np.float32)
    answer = np.empty((rows, segments), dtype=np.float32)
    for k, each in enumerate(predict):
        held = fold == k
        predicted = each(stack.rows(held))
        probabilities[held], answer[held] = predicted.probabilities, predicted.answer
    return Predictions(probabilities, answer, stack.n_segments)
