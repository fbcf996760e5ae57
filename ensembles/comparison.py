"""How sure a difference is: paired bootstrap for the choice, 95% intervals for what is shown.

Two classifiers are compared on the same rows, row by row: most of the noise is in which rows there are, and it cancels.
A metric that is no mean over rows (F1, calibration error) is a function of several means, and worked out anew for each
resample of the rows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweepstack.models.predictions import Ints
from sweepstack.models.seeds import derive_seed

Values = NDArray[np.float64]
NORMAL_95 = 1.959964
RESAMPLES = 2000
BLOCK = 4_000_000  # counts in memory at a time


@dataclass(frozen=True)
class Sample:
    """What a metric is worked out from: ``of`` the means of ``features`` over rows. More is better.

    features: (rows, F); of: (…, F) → (…), or None where the metric is the mean of the only feature. groups: (rows,),
    equal numbers for rows that belong together (one author, one input), or None where every row stands for itself.
    """

    features: Values
    of: Callable[[Values], Values] | None = None
    groups: Ints | None = None

    @staticmethod
    def mean_of(values: Values, groups: Ints | None = None) -> "Sample":
        """Of a metric that is a mean over rows; values: (rows,)."""
        return Sample(values[:, None], groups=groups)

    @property
    def score(self) -> float:
        return float(self.at(self.features.mean(axis=0)))

    def at(self, means: Values) -> Values:
        return means[..., 0] if self.of is None else self.of(means)

    def resampled(self, seed: int) -> Values:
        """(RESAMPLES,): the metric of bootstrap resamples, the same ones for every sample of these rows and groups."""
        return self.at(resampled_means(self.features, seed, self.groups))


@dataclass(frozen=True)
class Gain:
    """A paired difference, more is better, and its 95% interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def half_width(values: Values) -> float:
    """Half of the 95% interval of the mean of ``values`` (rows,), by the normal approximation; 0 for one row."""
    return NORMAL_95 * float(values.std(ddof=1)) / float(np.sqrt(len(values))) if len(values) > 1 else 0.0


def gain(sample: Sample, rival: Sample, seed: int = 0) -> Gain:
    """Of ``sample`` over ``rival``, on the same rows in the same order.

    The interval is normal; its standard error is that of the mean difference, or, of a metric that is no mean over
    rows, the deviation of the difference over paired resamples.
    """
    difference = sample.score - rival.score
    if sample.of is None and rival.of is None:
        half = half_width(sample.features[:, 0] - rival.features[:, 0])
    else:
        half = NORMAL_95 * float((sample.resampled(seed) - rival.resampled(seed)).std(ddof=1))
    return Gain(difference, difference - half, difference + half)


def chance_better(sample: Sample, rival: Sample, seed: int) -> float:
    """The share of paired bootstrap resamples of the rows in which ``sample`` is better; half for a tie."""
    differences = sample.resampled(seed) - rival.resampled(seed)
    tied = np.abs(differences) < 1e-12
    return float(((differences > 0) & ~tied).mean() + 0.5 * tied.mean())


def resampled_means(features: Values, seed: int, groups: Ints | None = None) -> Values:
    """(RESAMPLES, F): the means of ``features`` (rows, F) in bootstrap resamples.

    Drawn with replacement are groups of rows (the cluster bootstrap), as many as there are; a mean is the sum over the
    rows drawn by their number. Without ``groups`` (rows,), or where each is one row, rows are drawn.
    """
    sums, sizes = by_group(features, groups)
    units, random = len(sizes), np.random.default_rng(derive_seed(seed, "bootstrap"))
    means = np.empty((RESAMPLES, features.shape[1]))
    block = max(1, min(RESAMPLES, BLOCK // units))
    for begin in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - begin)
        counts = np.array(
            [np.bincount(random.integers(0, units, units), minlength=units) for _ in range(size)], dtype=np.float64
        )
        means[begin : begin + size] = counts @ sums / (counts @ sizes)[:, None]
    return means


def by_group(values: Values, groups: Ints | None) -> tuple[Values, Values]:
    """(groups, F), (groups,): the sums of ``values`` (rows, F) over each group's rows, and how many these are.

    Groups stand in the order of their first rows, so that groups of one row each are the rows themselves.
    """
    if groups is None:
        return values, np.ones(len(values))
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    place = np.empty(len(first), dtype=np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    sums = np.zeros((len(first), values.shape[1]))
    np.add.at(sums, place[inverse], values)
    return sums, np.bincount(place[inverse], minlength=len(first)).astype(np.float64)
