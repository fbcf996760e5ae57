"""Against scikit-learn, by hand, and as functions of means over rows, which is what a bootstrap relies on."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from sweepstack.models.predictions.classification_metrics import (
    BINS,
    CLASS_METRICS,
    calibration_error,
    calibration_features,
    calibration_means,
    class_features,
    class_means,
    class_scores,
)


@given(rows=st.integers(1, 40), classes=st.integers(1, 6), seed=st.integers(0, 1000))
def test_precision_recall_and_f1_are_those_of_scikit_learn(rows: int, classes: int, seed: int) -> None:
    """Also where a class is never answered, never labelled, or neither."""
    random = np.random.default_rng(seed)
    labels, answers = random.integers(0, classes, rows), random.integers(0, classes, rows)
    answers = np.where(random.random(rows) < 0.5, labels, answers)
    found = class_scores(class_means(labels, answers, classes))
    assert found.keys() == set(CLASS_METRICS)
    for average in ("macro", "micro", "weighted"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that nothing was answered or labelled is what is asked about
            *expected, _ = precision_recall_fscore_support(labels, answers, average=average, zero_division=0)
        got = [found[f"{score}_{average}"] for score in ("precision", "recall", "f1")]
        assert got == pytest.approx(expected, abs=1e-12)


def test_a_confusion_by_hand() -> None:
    # Class 0: 2 labelled, 1 right, 1 answered. Class 1: 2 labelled, 2 right, 3 answered. Class 2: 0 of both.
    found = class_scores(class_means(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), 3))
    assert found["precision_macro"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["recall_macro"] == found["recall_weighted"] == pytest.approx(0.75)
    assert found["f1_macro"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["f1_micro"] == found["precision_micro"] == found["recall_micro"] == pytest.approx(0.75)


def test_they_are_functions_of_means_over_rows() -> None:
    random = np.random.default_rng(0)
    labels, answers = random.integers(0, 4, (2, 50))
    features = class_features(labels, answers, 4)
    np.testing.assert_allclose(features.mean(axis=0), class_means(labels, answers, 4))
    halves = np.stack([features[:25].mean(axis=0), features[25:].mean(axis=0)])
    for name, values in class_scores(halves).items():
        assert values[1] == pytest.approx(class_scores(class_means(labels[25:], answers[25:], 4))[name])


def test_a_calibration_error_by_hand() -> None:
    """Two rows at .9, one right: off by .4; two at .6, both right: off by .4 as well; one at .5, wrong: off by .5."""
    probabilities = np.float32([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.4, 0.6], [0.5, 0.5]])
    labels = np.array([0, 0, 0, 1, 1])
    assert calibration_error(calibration_means(probabilities, labels)) == pytest.approx((2 * 0.4 + 2 * 0.4 + 0.5) / 5)


def test_a_bin_holds_its_upper_bound() -> None:
    at_bound = np.array([[1.0, 0.0], [14 / 15 + 1e-6, 1 / 15], [14 / 15 - 1e-6, 1 / 15]], dtype=np.float32)
    bins = calibration_features(at_bound, np.ones(3, dtype=np.int64)).argmax(axis=1)
    assert bins.tolist() == [14, 14, 13]


@given(seed=st.integers(0, 1000))
def test_calibration_against_a_loop_over_bins(seed: int) -> None:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(3), 60).astype(np.float32)
    labels = random.integers(0, 3, 60)
    top, right = probabilities.max(axis=1).astype(float), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for low in np.arange(BINS) / BINS:
        inside = (top > low) & (top <= low + 1 / BINS)
        if inside.any():
            expected += inside.mean() * abs(top[inside].mean() - right[inside].mean())
    means = calibration_means(probabilities, labels)
    assert calibration_error(means) == pytest.approx(expected)
    np.testing.assert_allclose(calibration_features(probabilities, labels).mean(axis=0), means)


def test_a_sure_and_right_classifier_has_no_error() -> None:
    sure = np.eye(3, dtype=np.float32)
    assert calibration_error(calibration_means(sure, np.arange(3))) == 0
    assert calibration_error(calibration_means(sure, np.array([1, 2, 0]))) == 1
