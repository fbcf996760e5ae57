import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sweepstack.models.baselines.logistic import SparseDesign, distinct, fit_path, log_loss, sharper, smoother, softmax
from sweepstack.models.predictions.probabilities import Floats


def shares(labels: NDArray[np.int64], classes: int) -> Floats:
    return np.eye(classes, dtype=np.float32)[labels] / np.float32(len(labels))


def test_equal_rows_are_counted_once() -> None:
    matrix = csr_array(np.array([[1, 0], [0, 1], [1, 0], [1, 0]], dtype=np.float32))
    rows, shares = distinct(matrix, np.array([0, 1, 1, 0]), 2)
    assert rows.toarray().tolist() == [[1, 0], [0, 1]]
    assert shares.tolist() == [[0.5, 0.25], [0, 0.25]]


def test_logistic_regression_is_that_of_scikit_learn() -> None:
    """The solution is the optimum for C = 1 of another library, whatever valid likes."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    x = rng.normal(size=(90, 4)).astype(np.float32)
    y = np.argmax(x[:, :3] + 0.5 * rng.normal(size=(90, 3)), axis=1).astype(np.int64)
    against = (y + 1) % 3  # labels that a sharper model only gets more wrong
    design = SparseDesign(csr_array(x))
    coef, intercept, strength = fit_path(design, shares(y, 3), 90, design, against, 4, found=1.0)
    assert strength == 1.0
    reference = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(x, y)
    assert coef == pytest.approx(reference.coef_.T, abs=5e-3)
    assert intercept - intercept.mean() == pytest.approx(reference.intercept_ - reference.intercept_.mean(), abs=5e-3)


def test_the_log_loss_is_that_of_the_softmax() -> None:
    probabilities = softmax(np.log(np.array([[1.0, 3.0], [1.0, 1.0], [1.0, 0.0 + 1e-30]])))
    assert probabilities[:2].tolist() == [[0.25, 0.75], [0.5, 0.5]]
    worst = -np.log(1e-9)
    assert log_loss(probabilities, np.array([1, 0, 1])) == pytest.approx((-np.log(0.75 * 0.5) + worst) / 3)


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.3, 0.95])
def test_the_strength_is_inside_what_was_tried(noise: float) -> None:
    """From labels that are all but determined to ones that say nothing: the loss on valid is higher a step on, at both
    sides, of the same path; and that path goes as far as it takes."""
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(20, 3))

    def drawn(rows: int) -> tuple[SparseDesign, NDArray[np.int64]]:
        x = rng.normal(size=(rows, 20)).astype(np.float32) / 30  # small numbers want large weights
        labels = (x @ weights).argmax(1)
        return SparseDesign(csr_array(x)), np.where(rng.random(rows) < noise, rng.integers(0, 3, rows), labels)

    (design, labels), (valid, against) = drawn(300), drawn(300)
    *_, strength = fit_path(design, shares(labels, 3), 300, valid, against, 20, steps=200)

    def loss(c: float) -> float:
        coef, intercept, _ = fit_path(design, shares(labels, 3), 300, valid, against, 20, steps=200, found=c)
        return log_loss(softmax(valid.scores(coef) + intercept), against)

    further = [c for c in (strength / 3.4, strength * 3.4) if 1e-4 < c < 1e6]
    assert all(loss(strength) <= loss(c) for c in further)
    assert (strength > 300) == (noise < 0.1)
    assert strength < 1.0 or noise < 0.9


def test_strengths_go_on_by_decades() -> None:
    assert list(sharper((1.0, 3.0)))[:4] == [3.0, 10.0, 30.0, 100.0]
    assert list(sharper((10.0,)))[:2] == [100.0, 1000.0]
    assert list(smoother((1.0, 3.0)))[:3] == pytest.approx([0.3, 0.1, 0.03])
    assert max(sharper((1.0, 3.0))) == 1e6
    assert min(smoother((1.0, 3.0))) >= 0.999e-4
