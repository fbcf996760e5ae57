import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sweepstack.models.baselines.logistic import log_loss, softmax
from sweepstack.models.baselines.support_vectors import ABSENT, FACTORS, STRENGTHS, fit_machines
from sweepstack.models.predictions.probabilities import Ints


def drawn(classes: int, rows: int, seed: int) -> tuple[csr_array, Ints]:
    """Points around a centre for each class, with one in ten labels at random."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(classes, 12))
    labels = rng.integers(0, classes, rows)
    x = centres[labels] + 0.7 * rng.normal(size=(rows, 12))
    labels = np.where(rng.random(rows) < 0.1, rng.integers(0, classes, rows), labels)
    return csr_array(x.astype(np.float32)), labels


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_their_answers_are_those_of_scikit_learn(classes: int) -> None:
    from sklearn.svm import LinearSVC

    matrix, labels = drawn(classes, 300, 1)
    valid, against = drawn(classes, 200, 2)
    machine = fit_machines(matrix, labels, classes, valid, against)
    other = LinearSVC(C=machine.strength, random_state=0).fit(matrix.toarray(), labels)
    assert ((valid @ machine.coef + machine.intercept).argmax(1) == other.predict(valid.toarray())).mean() > 0.99


def test_the_factor_and_the_strength_are_the_best_on_valid() -> None:
    matrix, labels = drawn(4, 300, 1)
    valid, against = drawn(4, 300, 2)
    best = fit_machines(matrix, labels, 4, valid, against)
    scores = (valid @ best.coef + best.intercept).astype(np.float64)
    assert best.loss == pytest.approx(log_loss(softmax(scores), against))
    assert all(log_loss(softmax(scores * other), against) > best.loss for other in (0.8, 1.25))
    for strength in STRENGTHS:
        assert fit_machines(matrix, labels, 4, valid, against, (strength, best.factor)).loss >= best.loss - 1e-6


def test_what_was_found_needs_no_valid() -> None:
    matrix, labels = drawn(3, 200, 1)
    first = fit_machines(matrix, labels, 3, *drawn(3, 200, 2))
    nonsense: tuple[csr_array, NDArray[np.int64]] = drawn(3, 20, 9)
    again = fit_machines(matrix, labels, 3, *nonsense, (first.strength, first.factor))
    assert np.allclose(again.coef, first.coef, rtol=1e-5)


def test_scores_that_say_nothing_count_nothing() -> None:
    rng = np.random.default_rng(3)
    matrix, labels = csr_array(rng.normal(size=(200, 5)).astype(np.float32)), rng.integers(0, 3, 200)
    valid, against = csr_array(rng.normal(size=(400, 5)).astype(np.float32)), rng.integers(0, 3, 400)
    machine = fit_machines(matrix, labels, 3, valid, against)
    assert machine.loss == pytest.approx(np.log(3), abs=0.03)
    assert machine.factor >= np.exp(FACTORS[0]) - 1e-9


def test_a_class_without_rows_is_never_the_answer() -> None:
    matrix, labels = drawn(2, 200, 1)
    valid, against = drawn(2, 100, 2)
    machine = fit_machines(matrix, 2 * labels, 3, valid, 2 * against)  # class 1 has none
    assert machine.intercept[1] == pytest.approx(ABSENT * machine.factor)
    assert set((valid @ machine.coef + machine.intercept).argmax(1).tolist()) == {0, 2}
