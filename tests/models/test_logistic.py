import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sweepstack.models.logistic import SparseDesign, distinct, fit_path, log_loss, softmax
from sweepstack.models.predictions import Floats


def shares(labels: NDArray[np.int64], classes: int) -> Floats:
    return np.eye(classes, dtype=np.float32)[labels] / np.float32(len(labels))


def test_equal_rows_are_counted_once() -> None:
    matrix = csr_array(np.array([[1, 0], [0, 1], [1, 0], [1, 0]], dtype=np.float32))
    rows, shares = distinct(matrix, np.array([0, 1, 1, 0]), 2)
    assert rows.toarray().tolist() == [[1, 0], [0, 1]]
    assert shares.tolist() == [[0.5, 0.25], [0, 0.25]]


def test_logistic_regression_is_that_of_scikit_learn() -> None:
    """Where valid likes the first strength best, the solution is the optimum for C = 1 of another library."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    x = rng.normal(size=(90, 4)).astype(np.float32)
    y = np.argmax(x[:, :3] + 0.5 * rng.normal(size=(90, 3)), axis=1).astype(np.int64)
    against = (y + 1) % 3  # labels that a sharper model only gets more wrong
    coef, intercept, _ = fit_path(SparseDesign(csr_array(x)), shares(y, 3), 90, SparseDesign(csr_array(x)), against, 4)
    reference = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(x, y)
    assert coef == pytest.approx(reference.coef_.T, abs=5e-3)
    assert intercept - intercept.mean() == pytest.approx(reference.intercept_ - reference.intercept_.mean(), abs=5e-3)


def test_the_log_loss_is_that_of_the_softmax() -> None:
    probabilities = softmax(np.log(np.array([[1.0, 3.0], [1.0, 1.0], [1.0, 0.0 + 1e-30]])))
    assert probabilities[:2].tolist() == [[0.25, 0.75], [0.5, 0.5]]
    worst = -np.log(1e-9)
    assert log_loss(probabilities, np.array([1, 0, 1])) == pytest.approx((-np.log(0.75 * 0.5) + worst) / 3)
