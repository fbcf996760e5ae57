from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.builders.running import InFull, LogLoss, RightAnswers, running_average
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import DIRECTION, Floats, metrics

MATRIX = np.random.default_rng(0).uniform(0.2, 3, (4, 4)).astype(np.float32) * (1 - np.eye(4, dtype=np.float32))


@pytest.mark.parametrize("costs", [Costs(0.02), Costs(0.02, MATRIX)], ids=["errors cost 1", "a cost matrix"])
@pytest.mark.parametrize("metric", DIRECTION)
def test_the_running_average_scores_as_the_metrics_do(metric: str, costs: Costs, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0, 2.0, 4.0], rows=200)
    objective = Objective(metric, costs)
    running = running_average(stack, labels, objective)
    picks = [2, 0, 2]
    for member in picks:
        running.add(member)
    value, log_loss = running.key(1)
    weights: Floats = np.array([0.25, 0.25, 0.5], np.float32)
    combination = Combination((0, 1, 2), weights, temperature=getattr(running, "temperature", 1.0))
    expected = metrics(combination.predict(stack), labels, costs)
    assert -DIRECTION[metric] * value == pytest.approx(expected[metric], abs=1e-5)
    assert log_loss == pytest.approx(expected["log_loss"], abs=1e-5)


@pytest.mark.parametrize("metric", ["reward", "accuracy", "accuracy_full"])
def test_looking_only_where_an_answer_may_turn_gives_what_looking_at_all_gives(
    metric: str, synthetic: SimpleNamespace
) -> None:
    segments = 3 if metric == "accuracy_full" else 1
    stack, labels = synthetic.stack(np.linspace(0.5, 3, 12), rows=400, segments=segments)
    stack.probabilities[:, :40] = np.round(stack.probabilities[:, :40] * 4) / 4  # so that there are ties
    objective = Objective(metric)
    quick, full = running_average(stack, labels, objective), InFull(stack, labels, objective)
    assert isinstance(quick, RightAnswers)
    picks: list[int] = []
    for _ in range(12):
        for member in range(12):
            assert quick.key(member) == pytest.approx(full.key(member), abs=1e-6)
        best = full.best(range(12), picks)
        assert quick.best(range(12), picks) == best
        picks.append(best)
        quick.add(best)
        full.add(best)


def test_the_steepest_members_hold_the_best(synthetic: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 80 members eight are looked at in full, and the picks are those of looking at all."""
    stack, labels = synthetic.stack(np.linspace(0, 3, 80), rows=400, segments=1)
    quick, full = (running_average(stack, labels, Objective("log_loss")) for _ in range(2))
    assert isinstance(quick, LogLoss)
    picks: list[int] = [79, 78]
    for each in (quick, full):
        each.begin(picks)
    for _ in range(10):
        best = full.best(range(80), picks)
        with monkeypatch.context() as patch:
            patch.setattr("sweepstack.ensembles.builders.running.STEEPEST", 8)
            assert quick.best(range(80), picks) == best
        picks.append(best)
        quick.add(best)
        full.add(best)


def test_the_slopes_are_those_of_the_loss(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0, 2.0, 1.0], rows=200, segments=1)
    running = running_average(stack, labels, Objective("log_loss"))
    assert isinstance(running, LogLoss)
    running.begin([0, 1])
    assert running.temperature != 1
    step = np.float32(0.02)
    base = running._loss(running.sum, 2)
    moved = [running._loss(running.sum + step * (each.T - running.sum / 2), 2) for each in running.probabilities]
    slopes = running._slopes() / (200 * running.temperature * 2)
    expected = (np.array(moved) - base) / step
    np.testing.assert_allclose(slopes - (slopes[0] + slopes[1]) / 2, expected, atol=0.05 * np.abs(expected).max())
