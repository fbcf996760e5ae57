from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.scoring.objective import Objective, half_widths
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import DIRECTION, Predictions, metrics

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
    objective = Objective(metric, Costs(0.1))
    sample = objective.sample(PREDICTIONS, LABELS)
    np.testing.assert_allclose(sample.features[:, 0], expected, rtol=1e-6)
    assert sample.of is None
    assert objective.score(PREDICTIONS, LABELS) == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("metric", DIRECTION)
def test_every_metric_is_worked_out_as_it_is_reported(metric: str, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0])
    predictions = stack.member(0)
    score = Objective(metric, Costs(0.02)).score(predictions, labels)
    assert score == pytest.approx(DIRECTION[metric] * metrics(predictions, labels, Costs(0.02))[metric])


def test_every_metric_has_an_interval(synthetic: SimpleNamespace) -> None:
    """Micro-averaged F1 is the accuracy, and so is its interval."""
    stack, labels = synthetic.stack([3.0], rows=500)
    found = half_widths(stack.member(0), labels, Costs(0.02))
    assert found.keys() == DIRECTION.keys()
    assert found["f1_micro"] == pytest.approx(found["accuracy"], rel=1e-9)
    assert min(found.values()) > 0
    assert found["f1_macro"] == pytest.approx(found["accuracy"], rel=0.25)


def test_an_unknown_metric_is_refused_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"one of reward, accuracy.*'rewards'"):
        Objective("rewards")


def test_accuracy_fits_its_stop_as_if_reading_were_free() -> None:
    assert Objective("accuracy", Costs(0.02)).stop_costs.read == Objective("f1_macro", Costs(0.02)).stop_costs.read == 0
    assert (
        Objective("reward", Costs(0.02)).stop_costs.read == Objective("log_loss", Costs(0.02)).stop_costs.read == 0.02
    )


def test_errors_cost_the_same_where_reading_is_free() -> None:
    matrix = np.float32([[0, 2], [1, 0]])
    assert Objective("accuracy", Costs(0.02, matrix)).stop_costs == Costs(0.0, matrix)
    assert Objective("reward", Costs(0.02, matrix)).stop_costs == Costs(0.02, matrix)


def test_a_reward_counts_what_errors_cost() -> None:
    """The first text is .9 sure of 0: to say 0 for 1 costs 20, so 1 is said, which costs .5 here."""
    costs = Costs(0.1, np.float32([[0, 0.5], [20, 0]]))
    assert Objective("reward", costs).sample(PREDICTIONS, LABELS).features[:, 0].tolist() == pytest.approx([0.5, 0.9])
