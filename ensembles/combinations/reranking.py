"""What tells a good candidate of a row from a worse one before its reference is known, as numbers.

All are taken relative to their row, since only the order within a row matters: how difficult a source is, is none of a
reranker's business. What a member's name says (some members are better) is among them.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.members.texts import Pool

Values = NDArray[np.float64]
PLAIN = (
    "expected utility",  # against the pool, see Pool.expected
    "own score",  # a log-probability a token, the mean of the writers that proposed it
    "length against the source's",  # how far its ratio is from the usual one
    "length against the pool's",
    "shorter or longer than the pool",  # how far, either way
    "proposed by",  # the share of the members
    "vote",  # its share of the members' votes, see Pool.weights
    "likeness to the memory's answer",  # times how like the memory found its source
)


def features(pool: Pool, source: str, usual: float, memories: Sequence[bool]) -> Values:
    """(n, F) of the candidates of one row, centred; F is len(PLAIN) and one a member: whether it proposed the text.

    ``usual``: the usual log ratio of lengths, see :func:`log_ratio`; ``memories`` (members,): which of the members are
    translation memories, whose scores are cosines.
    """
    proposed = ~np.isnan(pool.scores)
    is_memory = np.array(memories, dtype=np.bool_)
    lengths = np.array([log_ratio(text, "") for text in pool.texts])
    to_pool = lengths - np.median(lengths)
    columns = [
        pool.expected,
        _mean_score(pool.scores[~is_memory]),
        np.abs(lengths - log_ratio(source, "") - usual),
        to_pool,
        np.abs(to_pool),
        proposed.mean(axis=0),
        pool.weights,
        _likeness(pool, is_memory),
        *proposed.astype(np.float64),
    ]
    stacked = np.stack(columns, axis=1)
    return np.asarray(stacked - stacked.mean(axis=0))


def log_ratio(text: str, source: str) -> float:
    """Of their lengths in characters; an empty one counts as one character."""
    return math.log(max(len(text), 1)) - math.log(max(len(source), 1))


def _mean_score(scores: Values) -> Values:
    """(n,) of the members that proposed a text; of one that no writer proposed, the row's mean, which says nothing."""
    there = ~np.isnan(scores)
    count = there.sum(axis=0)
    mean = np.where(there, scores, 0.0).sum(axis=0) / np.maximum(count, 1)
    return np.where(count > 0, mean, mean[count > 0].mean() if count.any() else 0.0)


def _likeness(pool: Pool, is_memory: NDArray[np.bool_]) -> Values:
    found = np.zeros(len(pool.texts))
    for own in pool.scores[is_memory]:
        nearest = int(np.nanargmax(own))
        found = np.maximum(found, own[nearest] * pool.utility[:, nearest])
    return found
