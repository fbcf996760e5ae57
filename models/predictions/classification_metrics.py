"""Metrics that are no means over rows: precision, recall, F1 and calibration error.

Each is a function of means over rows: of one-hot rows of what was right, answered and labelled, or of how far
confidence and accuracy lie apart in each bin. So a bootstrap of thousands of resamples is one matrix product.
Precision, recall and F1 are those of scikit-learn, with its zero where nothing was answered or labelled; scikit-learn
has no calibration error. That of a classifier which reads is, as a metric, the one after reading everything; a report
names the one where it answers, too.
"""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

CLASS_METRICS = tuple(
    f"{score}_{average}" for score in ("precision", "recall", "f1") for average in ("macro", "micro", "weighted")
)
BINS = 15


def class_features(labels: NDArray[np.int64], answers: NDArray[np.int64], classes: int) -> Values:
    """(rows, 3·classes): one-hot rows of the label where the answer is right, of the answer, and of the label."""
    one_hot = np.eye(classes)
    labelled, answered = one_hot[labels], one_hot[answers]
    return np.hstack([labelled * answered, answered, labelled])


def class_means(labels: NDArray[np.int64], answers: NDArray[np.int64], classes: int) -> Values:
    """(3·classes,): the mean of :func:`class_features` over rows."""
    right = labels[labels == answers]
    counts = [np.bincount(each, minlength=classes) for each in (right, answers, labels)]
    return np.concatenate(counts) / max(len(labels), 1)


def class_scores(means: Values) -> dict[str, Values]:
    """CLASS_METRICS, each (…), from means of :func:`class_features`, (…, 3·classes).

    macro: the mean over the classes that stand among labels or answers. weighted: each class by the rows that have it.
    micro: of all classes' counts together; where each row has one label and one answer, that is the accuracy.
    """
    right, answered, labelled = np.split(means, 3, axis=-1)
    there = answered + labelled > 0
    scores: dict[str, Values] = {}
    for name, twice, of in (("precision", 1, answered), ("recall", 1, labelled), ("f1", 2, answered + labelled)):
        by_class = np.divide(twice * right, of, out=np.zeros_like(right), where=of > 0)
        scores[f"{name}_macro"] = by_class.sum(axis=-1) / np.maximum(there.sum(axis=-1), 1)
        scores[f"{name}_micro"] = twice * right.sum(axis=-1) / np.maximum(of.sum(axis=-1), 1e-300)
        scores[f"{name}_weighted"] = (by_class * labelled).sum(axis=-1) / np.maximum(labelled.sum(axis=-1), 1e-300)
    return scores


def calibration_features(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Values:
    """(rows, BINS): in the bin of its top probability, a row's top probability less 1 if the top label is right.

    Bins are of equal width and hold their upper bound. probabilities: (rows, classes).
    """
    gaps, bins = _gaps(probabilities, labels)
    features = np.zeros((len(labels), BINS))
    features[np.arange(len(labels)), bins] = gaps
    return features


def calibration_means(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Values:
    """(BINS,): the mean of :func:`calibration_features` over rows."""
    gaps, bins = _gaps(probabilities, labels)
    return np.bincount(bins, weights=gaps, minlength=BINS) / max(len(labels), 1)


def calibration_error(means: Values) -> Values:
    """Expected calibration error (…) from means of :func:`calibration_features`, (…, BINS).

    Σ_b |accuracy_b − confidence_b| · rows_b / rows: Naeini et al. 2015, "Obtaining well calibrated probabilities using
    Bayesian binning"; Guo et al. 2017, "On calibration of modern neural networks", with 15 bins of the top probability.
    """
    return np.asarray(np.abs(means).sum(axis=-1))


def _gaps(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[Values, NDArray[np.int64]]:
    top = probabilities.max(axis=1).astype(np.float64)
    bins = np.clip(np.ceil(top * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return top - (probabilities.argmax(axis=1) == labels), bins
