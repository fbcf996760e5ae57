from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.combination import Combination
from sweepstack.ensembles.objective import Objective
from sweepstack.ensembles.selection import Selection, _RunningAverage
from sweepstack.ensembles.store import Stack
from sweepstack.ensembles.temperature import logs, normalised
from sweepstack.models.costs import Costs
from sweepstack.models.predictions import DIRECTION, Floats, Predictions, metrics


def one_segment(*members: list[list[float]]) -> Stack:
    """Members given as (rows, classes) of a plain classifier."""
    probabilities = np.array(members, np.float32)[:, :, None]
    return Stack(probabilities, np.ones(probabilities.shape[:3], np.float32), np.ones(probabilities.shape[1], np.int64))


MATRIX = np.random.default_rng(0).uniform(0.2, 3, (4, 4)).astype(np.float32) * (1 - np.eye(4, dtype=np.float32))


@pytest.mark.parametrize("costs", [Costs(0.02), Costs(0.02, MATRIX)], ids=["errors cost 1", "a cost matrix"])
@pytest.mark.parametrize("metric", DIRECTION)
def test_the_running_average_scores_as_the_metrics_do(metric: str, costs: Costs, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0, 2.0, 4.0], rows=200)
    objective = Objective(metric, costs)
    running = _RunningAverage(stack, labels, objective)
    picks = [2, 0, 2]
    for member in picks:
        running.add(member)
    value, log_loss = running.key(1)
    weights: Floats = np.array([0.25, 0.25, 0.5], np.float32)
    combination = Combination((0, 1, 2), weights, temperature=running.temperature)
    expected = metrics(combination.predict(stack), labels, costs)
    assert -DIRECTION[metric] * value == pytest.approx(expected[metric], abs=1e-5)
    assert log_loss == pytest.approx(expected["log_loss"], abs=1e-5)


def test_two_that_complement_each_other_by_hand() -> None:
    # Each is right on two rows of three; together on all. The third is right on one.
    labels = np.array([0, 0, 0])
    a = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]]
    b = [[0.4, 0.6], [0.9, 0.1], [0.9, 0.1]]
    useless = [[0.1, 0.9], [0.6, 0.4], [0.1, 0.9]]
    combination = Selection().fit(one_segment(useless, a, b), labels, Objective("accuracy"))
    assert combination.members == (1, 2)
    np.testing.assert_allclose(combination.weights, [0.5, 0.5])


def test_it_is_cut_at_the_first_best_round() -> None:
    # One member is right everywhere: nothing that is added can be better, so 25 rounds end as one.
    labels = np.array([0, 1])
    perfect, weak = [[0.9, 0.1], [0.1, 0.9]], [[0.6, 0.4], [0.6, 0.4]]
    combination = Selection().fit(one_segment(weak, perfect), labels, Objective("log_loss"))
    assert combination.members == (1,)
    np.testing.assert_array_equal(combination.weights, [1.0])


def test_ties_go_to_a_member_already_in() -> None:
    labels = np.array([0, 1])
    copy = [[0.9, 0.1], [0.1, 0.9]]
    combination = Selection(size=7).fit(one_segment(copy, copy, copy), labels, Objective("accuracy"))
    assert combination.members == (0,)


def test_replacement_weighs_the_better_member_more_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweepstack.ensembles.selection.best_temperature", lambda *_: 1.0)
    # With weight w on the better one the likelihoods are .5+.4w, twice, and .9−.6w: the optimum is at w = 7/12.
    labels = np.array([0, 0, 0])
    better = [[0.9, 0.1], [0.9, 0.1], [0.3, 0.7]]
    worse = [[0.5, 0.5], [0.5, 0.5], [0.9, 0.1]]
    combination = Selection(size=100).fit(one_segment(better, worse), labels, Objective("log_loss"))
    assert combination.weights[0] == pytest.approx(7 / 12, abs=0.02)


@pytest.mark.parametrize(("metric", "most"), [("log_loss", 0.1), ("accuracy_full", 0.25), ("reward", 0.25)])
def test_useless_members_get_little_weight(metric: str, most: float, synthetic: SimpleNamespace) -> None:
    """Half of the library is noise. A metric that counts right answers among 600 fits some of it; log loss less."""
    stack, labels = synthetic.stack([4.0, 4.0, 0.0, 0.0, 0.0, 4.0], rows=600)
    combination = Selection().fit(stack, labels, Objective(metric))
    useless = sum(w for m, w in zip(combination.members, combination.weights, strict=True) if m in (2, 3, 4))
    assert useless <= most


def test_it_is_never_worse_than_the_best_member_where_it_was_fitted(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0, 3.5, 2.0, 1.0], rows=150)
    for metric in ("reward", "log_loss", "accuracy_full"):
        objective = Objective(metric, Costs(0.02))
        combination = Selection().fit(stack, labels, objective)
        mixed = Predictions(*combination.mix(*_own(stack, combination)), stack.n_segments)
        best = max(objective.score(stack.member(m), labels) for m in range(4))
        assert objective.score(mixed, labels) >= best - 1e-6


def _own(stack: Stack, combination: Combination) -> tuple[Floats, Floats]:
    own = stack.take(combination.members)
    return own.probabilities, own.answer


def test_for_log_loss_the_better_member_wins_and_not_the_surer(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([6.0, 3.0], rows=600)
    modest = normalised(logs(stack.probabilities[0]) / 6)
    stack = Stack(np.stack([modest, stack.probabilities[1]]), stack.answer, stack.n_segments)
    objective = Objective("log_loss")
    assert objective.score(stack.member(0), labels) < objective.score(stack.member(1), labels)
    combination = Selection().fit(stack, labels, objective)
    assert combination.weights[0] > 0.5
