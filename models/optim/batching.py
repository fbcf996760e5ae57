"""Which rows are trained on together, how many, and how much of them is padding.

A batch size may follow the training: it is a pure function of what the epochs so far have reported, so that a trial
that was interrupted goes on with the size that it would have had.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

POOL = 8  # batches that are sorted by length together: little padding, and still a fresh order in every epoch
UPDATES = 4  # an epoch has at least so many with the largest candidate
CANDIDATES = 4
UNTOLD = 100.0  # times the samples measured: a gradient noise scale beyond it cannot be told from infinity


def batches_by_length(lengths: NDArray[np.int64], size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Every row once, in batches of ``size`` (the last may be smaller) of texts of like length, in random order."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(lengths))
    found = []
    for begin in range(0, len(order), size * POOL):
        pool = order[begin : begin + size * POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        found += [pool[i : i + size] for i in range(0, len(pool), size)]
    for i in random.permutation(len(found)):
        yield found[i]


def batches_by_tokens(
    sources: NDArray[np.int64], targets: NDArray[np.int64], budget: int, seed: int
) -> list[NDArray[np.int64]]:
    """Every row once, in batches of pairs of like length, in random order.

    sources and targets (rows,) are lengths in tokens. Padded to its longest source and its longest target a batch has
    at most ``budget`` tokens on both sides together, or a single row that has more. How many batches there are depends
    on the lengths alone; which of the rows of equal lengths meet in one depends on ``seed``.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(targets))
    order = order[np.lexsort((sources[order], targets[order]))]
    found, begin, longest_source = [], 0, 0
    for end, row in enumerate(order):
        longest_source = max(longest_source, int(sources[row]))
        if end > begin and (end + 1 - begin) * (longest_source + int(targets[row])) > budget:
            found.append(order[begin:end])
            begin, longest_source = end, int(sources[row])
    found += [order[begin:]] if len(order) else []
    return [found[i] for i in random.permutation(len(found))]


def micro_batches(
    index: NDArray[np.int64], lengths: NDArray[np.int64], width: int, token_budget: int | None
) -> list[NDArray[np.int64]]:
    """The rows ``index`` of one batch in pieces for one forward pass each, shortest first; None: all in one, as it is.

    lengths (rows,) are of all rows, in segments of ``width`` tokens. Padded to its longest row a piece has at most
    ``token_budget`` tokens, or a single row that has more.
    """
    if token_budget is None:
        return [index]
    ordered = index[np.argsort(lengths[index], kind="stable")]
    pieces, begin = [], 0
    for end in range(1, len(ordered)):
        if (end + 1 - begin) * int(lengths[ordered[end]]) * width > token_budget:
            pieces.append(ordered[begin:end])
            begin = end
    return [*pieces, ordered[begin:]]


def batch_candidates(rows: int) -> tuple[int, ...]:
    """Batch sizes worth trying on so many rows, ascending: at most CANDIDATES powers of two.

    The largest leaves UPDATES optimiser steps an epoch: with fewer, a schedule has no room and a policy learns too
    little from as many episodes. Powers of two, because what a batch brings is a matter of its ratio to the gradient's
    noise scale, and a study cannot tell neighbours closer than a factor of two apart. Raises ValueError without rows.
    """
    if rows < 1:
        raise ValueError(f"batch sizes are derived from at least one row, but got rows={rows}")
    largest = max(rows // UPDATES, 1).bit_length() - 1
    return tuple(2**k for k in range(max(largest - CANDIDATES + 1, 0), largest + 1))


def next_batch_size(
    kind: Literal["adaptive", "noise_scale"],
    reports: Sequence[Mapping[str, float]],
    values: Sequence[float],
    low: int,
    high: int,
    multiple: int = 1,
) -> int:
    """The batch size of the epoch after ``reports``; the first has ``low``.

    values: the metric on valid of each report, signed so that more is better. adaptive doubles after every epoch that
    has not improved on the best before it. noise_scale goes to the report's ``noise_scale``, rounded to a power of two
    between ``low`` and ``high``, by at most a factor of two an epoch; it stays where a report has none. All sizes are
    rounded down to multiples of ``multiple``, as ``low`` and ``high`` are.
    """
    size = low
    for epoch, (report, value) in enumerate(zip(reports, values, strict=True)):
        if kind == "adaptive":
            if epoch and value <= max(values[:epoch]):
                size = min(2 * size, high)
        elif "noise_scale" in report:
            wanted = 2 ** round(math.log2(max(report["noise_scale"], 1.0)))
            size = max(low, min(high, max(size // 2, min(2 * size, wanted))))
            size -= size % multiple
    return size


class GradientNoise(NamedTuple):
    """Of gradients of single samples, each a scalar tensor in float64."""

    variance: Tensor  # trace of their covariance
    squared_norm: Tensor  # of the true gradient, their mean
    scale: Tensor  # variance / squared_norm: the batch size at which the noise is as large as the gradient


def gradient_noise(gradients: Tensor, sizes: Sequence[int]) -> GradientNoise:
    """From gradients (pieces, parameters), each the mean over ``sizes`` (pieces,) independent samples.

    McCandlish et al. 2018, arXiv 1812.06162, appendix A, for pieces of any size: with ĝ the mean over all N samples,
    variance = Σ sizeᵢ |gᵢ − ĝ|² / (pieces − 1) and squared_norm = |ĝ|² − variance / N, both without bias. The latter is
    floored so that the scale is at most UNTOLD · N. Raises ValueError where there are fewer than two pieces.
    """
    if len(gradients) < 2 or len(sizes) != len(gradients):
        raise ValueError(
            f"gradient noise needs at least two pieces and the size of each, but got {len(gradients)} gradients and "
            f"{len(sizes)} sizes"
        )
    g = gradients.double()
    n = torch.tensor(sizes, dtype=g.dtype, device=g.device)
    mean = (n[:, None] * g).sum(0) / n.sum()
    variance = (n * (g - mean).square().sum(1)).sum() / (len(g) - 1)
    floor = (variance / (UNTOLD * n.sum())).clamp(min=torch.finfo(torch.float32).tiny)
    squared_norm = torch.maximum(mean.square().sum() - variance / n.sum(), floor)
    return GradientNoise(variance, squared_norm, variance / squared_norm)
