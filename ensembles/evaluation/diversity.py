"""How differently members err: what an ensemble can gain by, and what it cannot mend (Kuncheva & Whitaker 2003)."""

import numpy as np
from numpy.typing import NDArray

from sweepstack.models.predictions.probabilities import Ints

Matrix = NDArray[np.float64]


def disagreement(answers: Ints) -> Matrix:
    """(members, rows) → (members, members): the share of rows that two members answer differently."""
    return np.asarray((answers[:, None] != answers[None]).mean(axis=2), dtype=np.float64)


def error_correlation(answers: Ints, labels: Ints) -> Matrix:
    """(members, members): the correlation of being wrong; not a number where a member is always right or always wrong.

    It is Pearson's of the two indicators, the phi coefficient: 1 where two members are wrong on the same rows, 0 where
    they err independently.
    """
    wrong = (answers != labels).astype(np.float64)
    centred = wrong - wrong.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred**2).sum(axis=1))
    product = spread[:, None] * spread[None]
    found: Matrix = np.divide(centred @ centred.T, product, out=np.full(product.shape, np.nan), where=product > 0)
    return found


def missed_by_all(answers: Ints, labels: Ints) -> Ints:
    """The rows that no member answers right."""
    return np.flatnonzero((answers != labels).all(axis=0))
