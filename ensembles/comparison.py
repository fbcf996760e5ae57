"""How sure a difference is: paired bootstrap for the choice, 95% intervals for what is shown.

Two classifiers are compared on the same rows, row by row: most of the noise is in which rows there are, and it cancels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweepstack.models.seeds import derive_seed

Values = NDArray[np.float64]
NORMAL_95 = 1.959964
RESAMPLES = 2000


@dataclass(frozen=True)
class Gain:
    """A mean paired difference, more is better, and its 95% interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def half_width(values: Values) -> float:
    """Half of the 95% interval of the mean of ``values`` (rows,), by the normal approximation; 0 for one row."""
    return NORMAL_95 * float(values.std(ddof=1)) / float(np.sqrt(len(values))) if len(values) > 1 else 0.0


def gain(values: Values, rival: Values) -> Gain:
    """Of ``values`` over ``rival``, each (rows,) in the same order."""
    difference = values - rival
    mean, half = float(difference.mean()), half_width(difference)
    return Gain(mean, mean - half, mean + half)


def chance_better(values: Values, rival: Values, seed: int) -> float:
    """The share of paired bootstrap resamples of the rows in which the mean of ``values`` is higher; half for a tie."""
    difference = values - rival
    random = np.random.default_rng(derive_seed(seed, "bootstrap"))
    means = np.array(
        [difference[random.integers(0, len(difference), len(difference))].mean() for _ in range(RESAMPLES)]
    )
    tied = np.abs(means) < 1e-12
    return float(((means > 0) & ~tied).mean() + 0.5 * tied.mean())
