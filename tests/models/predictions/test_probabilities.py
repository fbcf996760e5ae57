"""Scores worked out by hand, the stopping rule, and the threshold that stands in for a learned one."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import (
    DIRECTION,
    Predictions,
    answer_above,
    fit_threshold,
    metrics,
    scores,
)

COST = 0.01


def by_hand() -> Predictions:
    """Three texts of 3, 2 and 1 segments and two labels.

    Text 0: its answer has .45 against READ, then .8, so it stops after the second segment. Text 1: .4, then it must
    answer. Text 2 has one segment.
    """
    probabilities = [
        [[0.6, 0.4], [0.1, 0.9], [0.8, 0.2]],
        [[0.5, 0.5], [0.7, 0.3], [0.7, 0.3]],
        [[0.25, 0.75], [0.25, 0.75], [0.25, 0.75]],
    ]
    answer = [[0.45, 0.8, 1.0], [0.4, 1.0, 1.0], [1.0, 1.0, 1.0]]
    return Predictions(np.float32(probabilities), np.float32(answer), np.array([3, 2, 1]))


@st.composite
def any_predictions(draw: st.DrawFn) -> Predictions:
    rows, segments, classes = draw(st.integers(1, 6)), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    weights = random.random((rows, segments, classes)) ** draw(st.sampled_from([0.5, 1, 8])) + 1e-6
    n_segments = random.integers(1, segments + 1, rows)
    last = np.arange(segments)[None, :] >= n_segments[:, None] - 1
    answer = np.where(last, 1.0, random.random((rows, segments)))
    probabilities = weights / weights.sum(axis=2, keepdims=True)
    return Predictions(probabilities.astype(np.float32), answer.astype(np.float32), n_segments)


def test_scores_by_hand() -> None:
    got = scores(by_hand(), np.array([1, 1, 1]), Costs(COST))
    assert got["segments"].tolist() == [2, 2, 1]
    assert got["accuracy"].tolist() == [1, 0, 1]
    assert got["reward"].tolist() == pytest.approx([0.99, -0.01, 1.0])
    assert got["accuracy_full"].tolist() == [0, 0, 1]  # text 0 would have gone wrong after its third segment
    assert got["log_loss"].tolist() == pytest.approx(-np.log([0.2, 0.3, 0.75]), rel=1e-6)


def test_metrics_are_the_means() -> None:
    got = metrics(by_hand(), np.array([1, 1, 1]), Costs(COST))
    assert got["reward"] == pytest.approx(0.66)
    assert got["segments"] == pytest.approx(5 / 3)
    assert got["accuracy"] == pytest.approx(2 / 3)
    assert got.keys() == DIRECTION.keys()


def test_a_label_held_impossible_costs_a_finite_loss() -> None:
    sure = Predictions(np.float32([[[1.0, 0.0]]]), np.float32([[1.0]]), np.array([1]))
    assert metrics(sure, np.array([1]), Costs(COST))["log_loss"] == pytest.approx(-np.log(1e-12))


@given(any_predictions())
def test_it_stops_where_its_answer_is_as_likely_as_reading(predictions: Predictions) -> None:
    for row, stop in enumerate(predictions.stops()):
        n = int(predictions.n_segments[row])
        assert stop == next(t for t in range(n) if t == n - 1 or predictions.answer[row, t] >= 0.5)


def test_how_likely_the_label_is_does_not_matter() -> None:
    """The policy was trained to choose between its answer and READ: .6 against .4, whatever the label has."""
    probabilities = np.float32([[[0.34, 0.33, 0.33], [0.9, 0.05, 0.05]]])
    assert Predictions(probabilities, np.float32([[0.6, 1.0]]), np.array([2])).stops().tolist() == [0]


@given(any_predictions(), st.floats(0.02, 0.98))
def test_a_threshold_is_answered_at_exactly_where_the_top_label_reaches_it(
    predictions: Predictions, threshold: float
) -> None:
    top = predictions.probabilities.max(axis=2)
    got = answer_above(predictions.probabilities, predictions.n_segments, threshold).stops()
    for row, n in enumerate(predictions.n_segments):
        reached = [t for t in range(n) if top[row, t] >= threshold or t == n - 1]
        assert got[row] == reached[0]


@given(any_predictions(), st.floats(0.02, 0.98))
def test_a_threshold_gives_probabilities_of_answering(predictions: Predictions, threshold: float) -> None:
    got = answer_above(predictions.probabilities, predictions.n_segments, threshold)
    assert ((got.answer >= 0) & (got.answer <= 1)).all()
    last = np.arange(got.answer.shape[1])[None, :] >= predictions.n_segments[:, None] - 1
    assert (got.answer[last] == 1).all()
    assert got.answer.dtype == np.float32


def test_at_the_threshold_reading_and_the_answer_are_equally_likely() -> None:
    """The odds of .9 are 9, those of .8 are 4: answering is 9 : 4. A rounding below a threshold does not answer."""
    got = answer_above(np.float32([[[0.8, 0.2], [0.9, 0.1], [0.9, 0.1]]] * 2), np.array([3, 3]), 0.8)
    assert got.answer[0].tolist() == pytest.approx([0.5, 9 / 13, 1.0], rel=1e-5)
    assert got.stops().tolist() == [0, 0]
    below = np.float32([[[0.7, 0.3]] * 2])  # .69999999
    assert answer_above(below, np.array([2]), 0.7).stops().tolist() == [1]


def tiny(tops: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Probabilities of two labels, (rows, segments, 2), and labels of which the last segment is always right."""
    probabilities = np.where(right[:, :, None], np.stack([tops, 1 - tops], 2), np.stack([1 - tops, tops], 2))
    return probabilities.astype(np.float32), np.zeros(len(tops), dtype=np.int64)


def test_the_threshold_with_the_most_reward_is_found() -> None:
    """Wrong at .7, right at .8, one READ costs .01: any threshold in (.7, .8] is best, and the middle one is taken."""
    probabilities, labels = tiny(
        np.array([[0.7, 0.99], [0.8, 0.99], [0.6, 0.99], [0.95, 0.99]]), np.array([[0, 1], [1, 1], [0, 1], [1, 1]]) > 0
    )
    threshold = fit_threshold(probabilities, np.full(4, 2), labels, Costs(COST))
    assert 0.7 < threshold <= 0.8
    assert threshold == pytest.approx(0.75, abs=0.02)
    got = metrics(answer_above(probabilities, np.full(4, 2), threshold), labels, Costs(COST))
    assert got["reward"] == pytest.approx((0.99 + 1 + 0.99 + 1) / 4)


@pytest.mark.parametrize(("cost", "segments"), [(0.0, 2.0), (0.6, 1.0)])
def test_where_reading_is_free_it_reads_and_where_it_is_dear_it_does_not(cost: float, segments: float) -> None:
    """Half the texts are wrong at first, all at the same confidence: reading on gains .5 a text."""
    probabilities, labels = tiny(np.array([[0.7, 0.9], [0.7, 0.9]]), np.array([[0, 1], [1, 1]]) > 0)
    threshold = fit_threshold(probabilities, np.full(2, 2), labels, Costs(cost))
    assert metrics(answer_above(probabilities, np.full(2, 2), threshold), labels, Costs(cost))["segments"] == segments


@given(any_predictions(), st.floats(0, 0.2))
def test_no_threshold_of_a_fine_grid_does_better(predictions: Predictions, cost: float) -> None:
    """Up to the grid that candidates are on: one of them lies between any two tops that are .03 or more apart."""
    labels = np.zeros(len(predictions), dtype=np.int64)
    # Tops on a grid of sixteenths, between which there always is a candidate.
    top = np.ceil(predictions.probabilities.max(axis=2) * 16) / 16 - 1 / 64
    given_labels = predictions.probabilities.argmax(axis=2)
    probabilities = np.where(given_labels[:, :, None] == np.arange(2), top[:, :, None], 1 - top[:, :, None])
    probabilities = np.where(probabilities.max(axis=2, keepdims=True) > 0.5, probabilities, 0.5).astype(np.float32)

    def reward(threshold: float) -> float:
        return metrics(answer_above(probabilities, predictions.n_segments, threshold), labels, Costs(cost))["reward"]

    best = max(reward(t) for t in np.linspace(0.05, 0.95, 60))
    assert reward(fit_threshold(probabilities, predictions.n_segments, labels, Costs(cost))) >= best - 1e-9


def test_rows_and_length() -> None:
    some = by_hand().rows(np.array([2, 0]))
    assert len(some) == 2
    assert some.n_segments.tolist() == [1, 3]
    assert some.stops().tolist() == [0, 1]


@given(any_predictions())
def test_saving_and_loading_keep_every_bit(tmp_path_factory: pytest.TempPathFactory, predictions: Predictions) -> None:
    path = tmp_path_factory.mktemp("p") / "new" / "valid.safetensors"
    predictions.save(path, "some rows")
    again, rows_hash = Predictions.load(path)
    assert rows_hash == "some rows"
    for name in ("probabilities", "answer", "n_segments"):
        saved, loaded = getattr(predictions, name), getattr(again, name)
        assert saved.dtype == loaded.dtype
        assert np.array_equal(saved, loaded)


def test_a_file_whose_numbers_mean_something_else_is_refused(tmp_path: Path) -> None:
    said = by_hand()
    arrays = {"probabilities": said.probabilities, "answer": said.answer, "n_segments": said.n_segments}
    save_file(arrays, tmp_path / "old", {"rows_hash": "h"})
    with pytest.raises(OSError, match="predictions of format 1, but this version reads 2"):
        Predictions.load(tmp_path / "old")


def test_arrays_that_are_not_contiguous_are_saved_as_they_look(tmp_path: Path) -> None:
    plain = by_hand()
    turned = Predictions(np.asfortranarray(plain.probabilities), np.asfortranarray(plain.answer), plain.n_segments)
    turned.save(tmp_path / "a", "h")
    again, _ = Predictions.load(tmp_path / "a")
    assert np.array_equal(again.probabilities, plain.probabilities)
    assert np.array_equal(again.answer, plain.answer)


# Of three classes: to take 1 for 2 is dear, everything else costs 1 (a row of zeros but for the diagonal's rest).
DEAR = Costs(COST, np.float32([[0, 1, 1], [1, 0, 5], [1, 1, 0]]))


def test_scores_with_a_cost_matrix_by_hand() -> None:
    """At p = (0, .3, .7) the answer 2 costs .3·5 = 1.5 and the answer 1 costs .7: 1 is given, though 2 is likelier."""
    probabilities = np.float32([[[0.0, 0.3, 0.7]], [[0.0, 0.1, 0.9]], [[0.05, 0.05, 0.9]]])
    predictions = Predictions(probabilities, np.ones((3, 1), np.float32), np.ones(3, dtype=np.int64))
    assert predictions.answers(Costs()).tolist() == [2, 2, 2]
    assert predictions.answers(DEAR).tolist() == [1, 2, 2]
    got = scores(predictions, np.array([1, 1, 2]), DEAR)
    assert got["accuracy"].tolist() == got["accuracy_full"].tolist() == [1, 0, 1]
    assert got["reward"].tolist() == pytest.approx([1, -4, 1])
    assert metrics(predictions, np.array([1, 1, 2]), DEAR)["recall_macro"] == pytest.approx((1 / 2 + 1) / 2)


def test_with_a_cost_matrix_it_answers_where_the_best_answer_costs_little_enough() -> None:
    """Of two texts that are .8 sure, one may be 1 or 2 (best answer: 1, for .2·1 or .8·1 of 5), one 0 or 1."""
    early = [[0.0, 0.2, 0.8], [0.8, 0.2, 0.0]]
    probabilities = np.float32([[row, [0.0, 0.0, 1.0]] for row in early])
    n_segments = np.array([2, 2])
    # Confidence: 1 − .8/5 = .84 and 1 − .2/5 = .96.
    assert answer_above(probabilities, n_segments, 0.9, DEAR).stops().tolist() == [1, 0]
    assert answer_above(probabilities, n_segments, 0.83, DEAR).stops().tolist() == [0, 0]
    assert answer_above(probabilities, n_segments, 0.9).stops().tolist() == [1, 1]


@given(any_predictions(), st.floats(0.02, 0.98), st.integers(0, 100))
def test_a_threshold_is_of_the_confidence_whatever_errors_cost(
    predictions: Predictions, threshold: float, seed: int
) -> None:
    classes = predictions.probabilities.shape[2]
    matrix = np.random.default_rng(seed).random((classes, classes)) * 4 * (1 - np.eye(classes))
    costs = Costs(matrix=matrix.astype(np.float32))
    sure = costs.confidence(predictions.probabilities)
    if np.abs(sure - threshold).min() < 1e-5:
        threshold += 3e-5
    got = answer_above(predictions.probabilities, predictions.n_segments, threshold, costs).stops()
    for row, n in enumerate(predictions.n_segments):
        assert got[row] == next(t for t in range(n) if sure[row, t] >= threshold or t == n - 1)


def test_the_threshold_is_fitted_to_what_errors_cost() -> None:
    """After one segment .7 sure of class 2, in truth 1 in three texts of ten; after two it is known. Where READ costs
    .1, guessing at once is worth .7 without a matrix, less than .9; and where errors are nearly free, .97."""
    early, late = [0.0, 0.3, 0.7], np.eye(3)
    labels = np.array([1] * 3 + [2] * 7)
    probabilities = np.float32([[early, late[label]] for label in labels])
    n_segments = np.full(10, 2)

    def segments(matrix: NDArray[np.float32] | None) -> float:
        costs = Costs(0.1, matrix)
        threshold = fit_threshold(probabilities, n_segments, labels, costs)
        return metrics(answer_above(probabilities, n_segments, threshold, costs), labels, costs)["segments"]

    assert segments(None) == 2
    assert segments(np.float32(0.1 * (1 - np.eye(3)))) == 1
    assert segments(np.float32(5 * (1 - np.eye(3)))) == 2


def test_thresholds_reach_from_answering_at_once_to_reading_everything() -> None:
    """Of 200 classes the likeliest may have .006; where nothing is lost by reading, even .9999 is not sure enough."""
    even = np.full((3, 2, 200), 1 / 200, np.float32)
    labels = even.argmax(2)[:, 0]
    assert fit_threshold(even, np.full(3, 2), labels, Costs(1.0)) < 1 / 200
    probabilities = np.float32([[[1 - 1e-5, 1e-5], [1e-5, 1 - 1e-5]]] * 3)  # as sure as can be, and wrong at first
    threshold = fit_threshold(probabilities, np.full(3, 2), np.ones(3, dtype=np.int64), Costs(0.0))
    said = answer_above(probabilities, np.full(3, 2), threshold)
    assert said.stops().tolist() == [1, 1, 1]
