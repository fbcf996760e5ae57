import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.ensembles.evaluation.reliability import POINTS, reliability, risk_coverage, untempered
from sweepstack.ensembles.scoring.temperature import tempered


def test_bins_and_error_by_hand() -> None:
    """Two rows at .9, one of them right, and two at .6, both right: |.9 − .5|/2 + |.6 − 1|/2."""
    probabilities = np.float32([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    found = reliability(probabilities, np.array([0, 1, 1, 1]))
    assert found.rows == (2, 2)
    assert found.confidence == pytest.approx((0.6, 0.9))
    assert found.accuracy == (1.0, 0.5)
    assert found.error == pytest.approx(0.4)


def test_bins_are_scikit_learns() -> None:
    from sklearn.calibration import calibration_curve

    random = np.random.default_rng(0)
    probabilities = random.dirichlet([1, 1, 1], 500).astype(np.float32)
    labels = np.array([random.choice(3, p=row / row.sum()) for row in probabilities.astype(float)])
    right = probabilities.argmax(axis=1) == labels
    accuracy, confidence = calibration_curve(right, probabilities.max(axis=1), n_bins=15)
    found = reliability(probabilities, labels)
    assert found.accuracy == pytest.approx(accuracy.tolist())
    assert found.confidence == pytest.approx(confidence.tolist())
    gaps = np.abs(np.array(found.accuracy) - np.array(found.confidence))
    assert found.error == pytest.approx(float((gaps * found.rows).sum() / 500))


def test_who_says_how_often_it_is_right_has_no_error_and_who_is_always_sure_has_its_errors() -> None:
    honest = np.tile(np.float32([0.75, 0.25]), (400, 1))
    assert reliability(honest, np.arange(400) % 4 // 3).error == pytest.approx(0, abs=1e-6)
    sure = np.tile(np.float32([1.0, 0.0]), (400, 1))
    assert reliability(sure, np.arange(400) % 4 // 3).error == pytest.approx(0.25)


@given(st.floats(0.3, 3), st.integers(0, 1000))
def test_a_temperature_can_be_taken_off_again(temperature: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    before = random.dirichlet(np.full(4, 5.0), (6, 1)).astype(np.float32)
    after = tempered(before, temperature)
    np.testing.assert_allclose(untempered(after, temperature), before, atol=1e-3)


def test_the_surest_are_answered_first_by_hand() -> None:
    share, accuracy = risk_coverage(np.array([0.5, 0.9, 0.7, 0.7]), np.array([False, True, True, False]))
    assert share.tolist() == [0.25, 0.75, 1.0]  # the two at .7 are answered together
    assert accuracy == pytest.approx([1.0, 2 / 3, 0.5])


@given(st.integers(1, 900), st.integers(0, 1000))
def test_a_curve_ends_with_everything_answered(rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    confidence, right = random.random(rows), random.random(rows) < 0.7
    share, accuracy = risk_coverage(confidence, right)
    assert len(share) == min(rows, POINTS)
    assert (np.diff(share) > 0).all()
    assert share[-1] == 1
    assert accuracy[-1] == pytest.approx(right.mean())
