"""Which rows are trained on together, and how much of them is padding."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

POOL = 8  # batches that are sorted by length together: little padding, and still a fresh order in every epoch


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
