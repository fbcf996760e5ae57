"""How sure a figure or a difference is: bootstrap resamples for the choice, 95% intervals for what is shown.

Two classifiers are compared on the same rows, row by row: most of the noise is in which rows there are, and it cancels.
Rows of one group are not independent, so groups are drawn, and standard errors are those of sums over groups.

A metric that is no mean over rows (F1, BLEU) is a function of several means. Each row has an influence on it, by which
the metric is as good as a mean over rows (the infinitesimal jackknife, Efron 1982).

That all rows agree does not make a share of rows certain. So where values have bounds, the variance is that of the rows
and a few made-up ones at the bounds: two at each for a figure (Agresti & Coull 1998), one at each for a paired
difference (Bonett & Price 2012).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from sweepstack.models.predictions.number_format import interval
from sweepstack.models.predictions.probabilities import Ints
from sweepstack.models.seeds import derive_seed

Values = NDArray[np.float64]
Bounds = tuple[float, float]
NORMAL_95 = 1.959964
RESAMPLES = 2000
BLOCK = 4_000_000  # numbers in memory at a time
ROUNDING = 1e-9


@dataclass(frozen=True)
class Sample:
    """What a metric is worked out from: ``of`` the means of ``features`` over rows. More is better.

    features: (rows, F); of: (…, F) → (…), or None where the metric is the mean of the only feature. groups: (rows,),
    equal numbers for rows that belong together (one author, one input), or None where every row stands for itself.
    bounds: the least and the most that a row's value, or the whole metric, can be; None where it has no bounds. graded:
    rows lie anywhere between them, so the bounds count only where no row differs from another.
    """

    features: Values
    of: Callable[[Values], Values] | None = None
    groups: Ints | None = None
    bounds: Bounds | None = None
    graded: bool = False

    @staticmethod
    def mean_of(values: Values, groups: Ints | None = None, bounds: Bounds | None = None) -> "Sample":
        """Of a metric that is a mean over rows; values: (rows,)."""
        return Sample(values[:, None], None, groups, bounds)

    @property
    def score(self) -> float:
        return float(self.at(self.features.mean(axis=0)))

    def at(self, means: Values) -> Values:
        return means[..., 0] if self.of is None else self.of(means)

    @property
    def influence(self) -> Values:
        """(rows,): see :func:`influence`."""
        return self.features[:, 0] if self.of is None else influence(self.features, self.of)

    @property
    def half_width(self) -> float:
        """Of the 95% interval."""
        return half_width(self.influence, self.groups, self.bounds, graded=self.graded)

    def resampled(self, seed: int) -> Values:
        """(RESAMPLES,): the metric of bootstrap resamples, the same ones for every sample of these rows and groups."""
        return self.at(resampled_means(self.features, seed, self.groups))


@dataclass(frozen=True)
class Gain:
    """A paired difference, more is better, and its 95% interval."""

    mean: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is an interval: not of the log loss, say, where test is a single group."""
        return bool(np.isfinite(self.high - self.low))

    def __str__(self) -> str:
        return interval("", self.mean, self.low, self.high)


def half_width(
    values: Values, groups: Ints | None = None, bounds: Bounds | None = None, *, graded: bool = False
) -> float:
    """Half of the 95% interval of the mean of ``values`` (rows,); ``groups``, ``bounds`` and ``graded`` as of Sample.

    Infinite for a single row or group without bounds.
    """
    return _half_width(values, groups, () if bounds is None else 2 * bounds, graded)


def gain(sample: Sample, rival: Sample) -> Gain:
    """Of ``sample`` over ``rival``, on the same rows in the same order."""
    widest = 0.0 if sample.bounds is None else sample.bounds[1] - sample.bounds[0]
    made_up = (-widest, widest) if widest else ()
    difference = sample.score - rival.score
    half = _half_width(sample.influence - rival.influence, sample.groups, made_up, sample.graded)
    return Gain(difference, difference - half, difference + half)


def standard_error(values: Values, groups: Ints | None = None) -> float:
    """Of the mean of ``values`` (rows,); infinite for a single row or group."""
    return float(np.sqrt(_variance(values, groups)))


def influence(features: Values, of: Callable[[Values], Values]) -> Values:
    """(rows, …) for ``of`` (…, F) → (…, …): what each row would make of the metric, were the metric a mean over rows.

    Of row i of n it is θ + (n + 1)(θ₊ᵢ − θ), where θ₊ᵢ is the metric of all rows and row i once more. Of a metric that
    is a mean it is the row's own value.
    """
    rows, mean = len(features), features.mean(axis=0)
    now = of(mean)
    block = max(1, BLOCK // features.shape[1])
    blocks = [of((rows * mean + features[begin : begin + block]) / (rows + 1)) for begin in range(0, rows, block)]
    return np.asarray(now + (rows + 1) * (np.concatenate(blocks) - now))


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
    own = numbered(groups)
    sizes = np.bincount(own)
    sums = np.add.reduceat(values[np.argsort(own, kind="stable")], np.cumsum(sizes) - sizes, axis=0)
    return sums, sizes.astype(np.float64)


def numbered(groups: Ints) -> Ints:
    """(rows,): groups by numbers from 0, in the order of their first rows."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse], dtype=np.int64)


def _half_width(values: Values, groups: Ints | None, made_up: tuple[float, ...], graded: bool) -> float:
    """By Student's t, with one degree of freedom less than there are groups.

    Beside rows that stand for ``units`` independent ones, each made-up row counts as one of these; their variance is
    that of all of them, and the mean stays that of the rows.
    """
    variance, degrees = _variance(values, groups), len(by_group(values[:, None], groups)[1]) - 1
    widest = max(made_up) - min(made_up) if made_up else float("inf")
    units = _units(values, groups)
    if units <= 1:
        return widest
    if made_up and not (graded and np.ptp(values) > ROUNDING):
        mean, extremes, count = float(values.mean()), np.array(made_up), units + len(made_up)
        centre = (units * mean + extremes.sum()) / count
        squares = units * (variance * (units - 1) + (mean - centre) ** 2) + ((extremes - centre) ** 2).sum()
        variance = float(squares) / count / (units - 1)
    return min(widest, float(stdtrit(degrees, 0.975)) * float(np.sqrt(variance)))


def _variance(values: Values, groups: Ints | None) -> float:
    """Of the mean, by the sums over groups of what rows deviate from it; infinite for a single row or group."""
    sums, sizes = by_group((values - values.mean())[:, None], groups)
    count = len(sizes)
    return float((sums**2).sum()) * count / (count - 1) / len(values) ** 2 if count > 1 else float("inf")


def _units(values: Values, groups: Ints | None) -> float:
    """How many independent rows would tell as much of the mean: all, or fewer where rows of a group are alike.

    At least as many as if all rows of a group said the same (Kish 1965), which holds where nothing varies.
    """
    rows = float(len(values))
    if groups is None:
        return rows
    fewest = rows**2 / float((by_group(values[:, None], groups)[1] ** 2).sum())
    alone, grouped = _variance(values, None), _variance(values, groups)
    return float(np.clip(rows * alone / grouped, fewest, rows)) if alone > 0 and grouped < np.inf else fewest
