import numpy as np
import pytest

from sweepstack.ensembles.objective import Objective
from sweepstack.models.predictions import Predictions

# Two texts of two segments: the first is answered at once and rightly, the second after reading on and wrongly.
PREDICTIONS = Predictions(
    np.array([[[0.9, 0.1], [0.8, 0.2]], [[0.5, 0.5], [0.75, 0.25]]], np.float32),
    np.array([[1.0, 1.0], [0.1, 1.0]], np.float32),
    np.array([2, 2]),
)
LABELS = np.array([0, 1])


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("reward", [1.0, -0.1]),
        ("accuracy", [1.0, 0.0]),
        ("segments", [-1.0, -2.0]),
        ("accuracy_full", [1.0, 0.0]),
        ("log_loss", [np.log(0.8), np.log(0.25)]),
    ],
)
def test_more_is_always_better(metric: str, expected: list[float]) -> None:
    objective = Objective(metric, 0.1)
    np.testing.assert_allclose(objective.values(PREDICTIONS, LABELS), expected, rtol=1e-6)
    assert objective.score(PREDICTIONS, LABELS) == pytest.approx(np.mean(expected))


def test_an_unknown_metric_is_refused_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"one of reward, accuracy.*'rewards'"):
        Objective("rewards")


def test_accuracy_fits_its_stop_as_if_reading_were_free() -> None:
    assert Objective("accuracy", 0.02).stop_cost == 0
    assert Objective("reward", 0.02).stop_cost == Objective("log_loss", 0.02).stop_cost == 0.02
