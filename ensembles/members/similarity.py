"""How alike the candidates of a row are: sentence chrF or smoothed sentence BLEU of each against every other.

Minimum Bayes risk asks for n² scores a row, too many for a scorer that counts n-grams for each pair. Here the n-grams
of each candidate are hashed and counted once. The matches of a pair, Σ min(a, b) over n-grams, are then the sum over
t = 1, 2, … of the n-grams that both hold at least t times: a product of 0/1 matrices of (candidates, n-grams).
Scores are those of sacrebleu (Popović 2015; Papineni et al. 2002, exponential smoothing, effective order).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweepstack.models.predictions.text_metrics import tokenized

Utility = NDArray[np.float64]
Codes = NDArray[np.uint64]
UTILITIES = ("chrf", "bleu")
ORDERS = {"chrf": 6, "bleu": 4}
BETA_SQUARED = 4.0  # of chrF: recall counts twice as much as precision
BLOCK = 256  # rows whose n-grams are hashed at once
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, its bits well mixed
ORDER_BITS = np.uint64(61)  # the order stands above them, so that n-grams of one order lie together when sorted


def pairwise(candidates: Sequence[Sequence[str]], metric: str, language: str) -> list[Utility]:
    """Of each row's n candidates (n, n) in [0, 1]: how good the one (first axis) is with the other as its reference.

    ``metric``: chrf or bleu; ``language`` decides how BLEU finds words, see text_metrics. Raises ValueError where it
    is no other than these.
    """
    if metric not in UTILITIES:
        raise ValueError(f"utility must be one of {', '.join(UTILITIES)}, but got {metric!r}")
    found: list[Utility] = []
    for begin in range(0, len(candidates), BLOCK):
        block = candidates[begin : begin + BLOCK]
        pieces = [_characters(text) for row in block for text in row]
        if metric == "bleu":
            pieces = _words([text for row in block for text in row], language)
        found += _block([len(row) for row in block], pieces, metric)
    return found


def _characters(text: str) -> Codes:
    return np.frombuffer("".join(text.split()).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)


def _words(texts: Sequence[str], language: str) -> list[Codes]:
    ids: dict[str, int] = {}
    return [
        np.array([ids.setdefault(word, len(ids)) for word in line.split()], dtype=np.uint64)
        for line in tokenized(texts, language)
    ]


def _block(sizes: Sequence[int], pieces: Sequence[Codes], metric: str) -> list[Utility]:
    lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
    ends = np.cumsum(lengths)
    hashes = list(_hashes(np.concatenate([*pieces, np.empty(0, np.uint64)]), lengths, ORDERS[metric]))
    found, first = [], 0
    for size in sizes:
        last = first + size
        low, high = (int(ends[first] - lengths[first]), int(ends[last - 1])) if size else (0, 0)
        own = np.repeat(np.arange(size), lengths[first:last])
        matches = _matches([each[low:high] for each in hashes], own, size)
        totals = np.maximum(lengths[first:last] - np.arange(len(hashes))[:, None], 0)  # (orders, n)
        found.append(_chrf(matches, totals) if metric == "chrf" else _bleu(matches, totals))
        first = last
    return found


def _hashes(codes: Codes, lengths: NDArray[np.int64], orders: int) -> Iterator[Codes]:
    """For each order k from 1, at each place the hash of the n-gram that begins there; 0 where the piece ends first."""
    left = np.concatenate([np.arange(length, 0, -1) for length in lengths] or [np.empty(0, np.int64)])
    rolled = np.zeros(len(codes), dtype=np.uint64)
    for k in range(1, orders + 1):
        shifted = np.concatenate([codes[k - 1 :], np.zeros(min(k - 1, len(codes)), dtype=np.uint64)])
        rolled = (rolled + shifted + np.uint64(1)) * MULTIPLIER
        rolled ^= rolled >> np.uint64(29)
        yield np.where(left >= k, (rolled >> np.uint64(3)) | (np.uint64(k) << ORDER_BITS), np.uint64(0))


def _matches(hashes: Sequence[Codes], own: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """(orders, n, n): the n-grams that two candidates have in common; ``own``: the candidate of each place."""
    orders = len(hashes)
    places = [np.flatnonzero(each) for each in hashes]
    kinds, column = np.unique(np.concatenate([each[at] for each, at in zip(hashes, places, strict=True)]),
                              return_inverse=True)  # fmt: skip
    owner = np.concatenate([own[at] for at in places])
    counts = np.bincount(owner * len(kinds) + column, minlength=size * len(kinds)).reshape(size, len(kinds))
    order = (kinds >> ORDER_BITS).astype(np.int64)  # ascending, as kinds are
    most = counts.max(axis=0, initial=0)
    matches = np.zeros((orders, size, size))
    for times in range(1, int(most.max(initial=0)) + 1):
        left = np.flatnonzero(most >= times)
        there = (counts[:, left] >= times).astype(np.float32)
        bounds = np.searchsorted(order[left], np.arange(1, orders + 2))
        for k in range(orders):
            if bounds[k] < bounds[k + 1]:
                part = there[:, bounds[k] : bounds[k + 1]]
                matches[k] += part @ part.T
    return matches


def _chrf(matches: NDArray[np.float64], totals: NDArray[np.int64]) -> Utility:
    """Fβ of the means of precision and recall over the orders of which both texts have n-grams."""
    said, wanted = totals[:, :, None], totals[:, None, :]
    both = (said > 0) & (wanted > 0)
    orders = np.maximum(both.sum(axis=0), 1)
    precision = _ratio(matches, np.where(both, said, 0)).sum(axis=0) / orders
    recall = _ratio(matches, np.where(both, wanted, 0)).sum(axis=0) / orders
    return _ratio((1 + BETA_SQUARED) * precision * recall, BETA_SQUARED * precision + recall)


def _bleu(matches: NDArray[np.float64], totals: NDArray[np.int64]) -> Utility:
    """The geometric mean of precisions over the orders that the candidate has, times the brevity penalty.

    An order without a match has one of 1/(2^k·total) instead, k counting such orders from 1.
    """
    length = totals[0].astype(np.float64)
    logs, smooth = np.zeros(matches.shape[1:]), np.ones(matches.shape[1:])
    for found, total in zip(matches, totals[:, :, None], strict=True):
        smooth = np.where((found == 0) & (total > 0), 2 * smooth, smooth)
        precision = np.where(found > 0, found, 1 / smooth) / np.maximum(total, 1)
        logs += np.where(total > 0, np.log(precision), 0.0)
    orders = np.maximum((totals > 0).sum(axis=0), 1)[:, None]
    brevity = np.minimum(0.0, 1 - _ratio(length[None, :], np.broadcast_to(length[:, None], logs.shape)))
    return np.where(matches.any(axis=0), np.exp(brevity + logs / orders), 0.0)


def _ratio(value: NDArray[Any], of: NDArray[Any]) -> NDArray[np.float64]:
    shape = np.broadcast_shapes(value.shape, of.shape)
    found: NDArray[np.float64] = np.divide(value, of, out=np.zeros(shape), where=of > 0)
    return found
