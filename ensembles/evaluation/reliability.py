"""Whether an ensemble is as often right as it says, and what it gains by not answering where it is unsure.

The reliability diagram (Guo et al. 2017, arXiv 1706.04599) and the risk–coverage curve (El-Yaniv & Wiener 2010), over
rows whose answers are given where the ensemble answers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.scoring.temperature import logs, normalised
from sweepstack.models.predictions.classification_metrics import BINS, calibration_error, calibration_means
from sweepstack.models.predictions.probabilities import Floats, Ints

POINTS = 200  # of a curve: a page shows no more


@dataclass(frozen=True)
class Reliability:
    error: float  # expected calibration error, as in models/predictions/classification_metrics.py
    rows: tuple[int, ...]  # in each bin of the top probability that has any
    confidence: tuple[float, ...]  # its mean
    accuracy: tuple[float, ...]  # of the likeliest label


def reliability(probabilities: Floats, labels: Ints) -> Reliability:
    """probabilities: (rows, classes). Bins are those of classification_metrics.calibration_features."""
    top = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(top * BINS).astype(np.int64) - 1, 0, BINS - 1)
    there = np.unique(bins)
    error = float(calibration_error(calibration_means(probabilities, labels)))
    of = [bins == each for each in there]
    return Reliability(
        error,
        tuple(int(each.sum()) for each in of),
        tuple(float(top[each].mean()) for each in of),
        tuple(float(right[each].mean()) for each in of),
    )


def untempered(probabilities: Floats, temperature: float) -> Floats:
    """(…, classes): what the probabilities were before a temperature was put on them."""
    return probabilities if temperature == 1 else normalised(logs(probabilities) * np.float32(temperature))


def risk_coverage(
    confidence: NDArray[np.floating], right: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The shares of rows that are answered when only the surest are, ascending, and the accuracy of those answers.

    Rows of equal confidence are answered together. At most POINTS of them, the last (all rows) among them.
    """
    order = np.argsort(-confidence, kind="stable")
    answered = np.arange(1, len(order) + 1)
    accuracy = right[order].cumsum() / answered
    last = np.append(np.diff(confidence[order]) != 0, True)
    places = np.flatnonzero(last)
    if len(places) > POINTS:
        places = places[np.unique(np.linspace(0, len(places) - 1, POINTS).round().astype(np.int64))]
    return answered[places] / len(order), accuracy[places]
