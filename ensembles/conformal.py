"""Sets of labels that hold the right one as often as is asked for: split conformal prediction (Vovk et al. 2005).

The score of a label is 1 − its probability where the ensemble answers. With the scores of n right labels on blend, the
set of a new text is every label whose score is at most their ⌈(n + 1)·coverage⌉-th smallest: where texts are drawn
alike, it holds the right one with a probability of at least the coverage, whatever the probabilities are worth. Of all
sets that do, those of this score (LAC, Sadinle, Lei & Wasserman 2019, arXiv 1609.00451) are the smallest on average and
need no chance; APS (Romano et al. 2020) has larger ones, and its promise for each text is kept by chance alone. A set
may be empty, of a text like no other.

What is combined is fitted on blend. So the scores there are those of fits on other folds, as in cross-conformal
prediction (Vovk 2015); the ensemble itself was fitted on more rows and errs a little to the safe side.
"""

import math

import numpy as np
from numpy.typing import NDArray

from sweepstack.models.errors import InputError
from sweepstack.models.predictions import Floats, Ints, Predictions


def calibration_scores(predictions: Predictions, labels: Ints) -> Floats:
    """(rows,): the scores of the right labels, ascending."""
    said = predictions.at(predictions.stops())
    return np.sort(1 - said[np.arange(len(labels)), labels])


def limit(calibration: Floats, coverage: float) -> float:
    """The largest score that is in a set; ``calibration``: (n,), ascending.

    Raises InputError where coverage is none, or where n is less than coverage / (1 − coverage).
    """
    if not 0 < coverage < 1:
        raise InputError(f"coverage must be above 0 and below 1, but got {coverage:g}; 0.9 is nine sets in ten")
    n = len(calibration)
    rank = math.ceil((n + 1) * coverage - 1e-9)
    if rank > n:
        least = math.ceil(coverage / (1 - coverage) * (1 - 1e-9))
        raise InputError(
            f"coverage {coverage:g} needs at least {least} rows to be calibrated on, but this ensemble has {n}; "
            f"ask for at most {math.floor(1000 * n / (n + 1)) / 1000:g}"
        )
    return float(calibration[rank - 1])


def in_sets(probabilities: Floats, largest: float) -> NDArray[np.bool_]:
    """(…, classes) → the same: whether a label is in the set; ``largest``: see :func:`limit`."""
    return np.asarray(1 - probabilities <= np.float32(largest))
