import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.curves import accuracy_by_segments, front
from sweepstack.models.predictions.probabilities import THRESHOLDS, Predictions, answer_above, metrics


def made(seed: int, rows: int = 40) -> tuple[Predictions, np.ndarray]:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(3) * 0.5, (rows, 4)).astype(np.float32)
    n_segments = random.integers(1, 5, rows)
    at = np.minimum(np.arange(4)[None, :], n_segments[:, None] - 1)
    probabilities = np.take_along_axis(probabilities, at[:, :, None], axis=1)
    return answer_above(probabilities, n_segments, 0.7), random.integers(0, 3, rows)


def test_a_point_for_each_number_of_segments_by_hand() -> None:
    # The first text has three segments and is right after two; the second has one and is right.
    probabilities = np.float32([[[0.4, 0.6], [0.7, 0.3], [0.2, 0.8]], [[0.9, 0.1]] * 3])
    curve = accuracy_by_segments(
        Predictions(probabilities, np.ones((2, 3), np.float32), np.array([3, 1])), np.zeros(2), Costs()
    )
    assert curve.segments.tolist() == [1, 1.5, 2]
    assert curve.accuracy.tolist() == [0.5, 1.0, 0.5]


@given(st.integers(0, 500))
def test_the_last_point_is_the_accuracy_after_reading_everything(seed: int) -> None:
    predictions, labels = made(seed)
    curve = accuracy_by_segments(predictions, labels, Costs())
    assert curve.accuracy[-1] == pytest.approx(metrics(predictions, labels, Costs())["accuracy_full"])
    assert curve.segments[-1] == pytest.approx(predictions.n_segments.mean())


@given(st.integers(0, 500))
def test_the_front_rises_and_no_threshold_lies_above_it(seed: int) -> None:
    predictions, labels = made(seed)
    curve = front(predictions, labels, Costs())
    assert (np.diff(curve.segments) > 0).all()
    assert (np.diff(curve.accuracy) > 0).all()
    assert curve.thresholds is not None
    for threshold in THRESHOLDS[::7]:
        above = answer_above(predictions.probabilities, predictions.n_segments, float(threshold))
        got = metrics(above, labels, Costs())
        reached = curve.accuracy[curve.segments <= got["segments"] + 1e-9]
        assert reached.max() >= got["accuracy"] - 1e-9


def test_where_a_classifier_stops_itself_changes_nothing() -> None:
    predictions, labels = made(3)
    other = Predictions(predictions.probabilities, np.ones_like(predictions.answer), predictions.n_segments)
    assert np.array_equal(front(predictions, labels, Costs()).accuracy, front(other, labels, Costs()).accuracy)


def test_answers_are_those_that_cost_least() -> None:
    """Half sure of class 0: to answer 1 costs nothing where it is wrong, so it is what is said."""
    predictions = Predictions(np.float32([[[0.6, 0.4]]]), np.ones((1, 1), np.float32), np.array([1]))
    lenient = Costs(matrix=np.float32([[0, 0], [1, 0]]))
    assert accuracy_by_segments(predictions, np.array([1]), lenient).accuracy.tolist() == [1]
    assert front(predictions, np.array([1]), lenient).accuracy.tolist() == [1]
    assert front(predictions, np.array([1]), Costs()).accuracy.tolist() == [0]
