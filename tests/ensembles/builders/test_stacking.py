from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.builders.stacking import Stacking, examples
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.combinations.pools import LOGARITHMIC
from sweepstack.ensembles.members.library import Stack
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import metrics


def log_loss(combination: Combination, stack: Stack, labels: np.ndarray) -> float:
    return metrics(combination.predict(stack), labels, Costs(0.01))["log_loss"]


def test_weights_without_a_penalty_are_those_of_the_odds_that_made_the_labels() -> None:
    """Two classes whose log-odds are 3·a + b: three quarters on a, and a member that is noise gets next to nothing."""
    random = np.random.default_rng(0)
    odds = random.normal(size=(3, 20000))
    labels = (random.random(20000) < 1 / (1 + np.exp(-(3 * odds[0] + odds[1])))).astype(np.int64)
    weights = Stacking(c=1e6)._weigh(np.stack([-odds, odds], axis=2), labels, np.ones(20000))
    np.testing.assert_allclose(weights, [0.75, 0.25, 0], atol=0.02)


def test_the_penalty_pulls_towards_all_members_alike(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([4.0, 2.0, 0.0], rows=400)
    strong, weak = (Stacking(c=c).fit(stack, labels, Objective("log_loss")) for c in (1e-6, 1.0))
    np.testing.assert_allclose(strong.weights, 1 / 3, atol=0.08)
    assert weak.weights[0] > 0.55


def test_two_classes_are_no_special_case(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0, 3.0, 2.0], classes=2, rows=600)
    combination = Stacking().fit(stack, labels, Objective("log_loss"))
    singles = [metrics(stack.member(m), labels, Costs(0.01))["log_loss"] for m in range(3)]
    assert log_loss(combination, stack, labels) < min(singles)


@pytest.mark.parametrize("metric", ["reward", "log_loss"])
def test_a_member_that_only_misleads_is_not_served(metric: str, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([4.0, 4.0, 3.0], rows=800)
    wrong = stack.probabilities.copy()
    wrong[2] = np.roll(wrong[2], 1, axis=-1)
    combination = Stacking().fit(Stack(wrong, stack.answer, stack.n_segments), labels, Objective(metric))
    assert combination.members == (0, 1)
    assert combination.weights.sum() == pytest.approx(1)


def test_where_nobody_knows_anything_all_count_alike() -> None:
    odds = np.random.default_rng(0).normal(size=(2, 50, 2))
    odds -= odds.mean(axis=2, keepdims=True)
    opposite = odds.sum(axis=0).argmin(axis=1)
    np.testing.assert_array_equal(Stacking()._weigh(odds, opposite, np.ones(50)), [0.5, 0.5])


def test_the_better_members_count_more_on_fresh_rows_too(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([6.0, 2.0, 2.0, 2.0], rows=1600)
    train, fresh = np.arange(600), np.arange(600, 1600)
    combination = Stacking().fit(stack.rows(train), labels[train], Objective("log_loss"))
    assert combination.weights[0] > 2 * combination.weights[1:].max()
    alike = Combination((0, 1, 2, 3), np.full(4, 0.25, np.float32), LOGARITHMIC, temperature=combination.temperature)
    fresh_stack = stack.rows(fresh)
    assert log_loss(combination, fresh_stack, labels[fresh]) < log_loss(alike, fresh_stack, labels[fresh]) - 0.01


def test_only_the_top_members_are_used(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([0.0, 4.0, 3.0, 0.0], rows=400)
    assert Stacking(top=2).fit(stack, labels, Objective()).members == (1, 2)


def test_examples_are_spread_over_a_text_and_count_as_one() -> None:
    rows, at, weight = examples(np.array([1, 3, 8]))
    assert [at[rows == r].tolist() for r in range(3)] == [[0], [0, 1, 2], [1, 3, 5, 7]]
    np.testing.assert_allclose([weight[rows == r].sum() for r in range(3)], 1)


@pytest.mark.parametrize("learner", ["logistic", "naive_bayes"])
def test_what_a_learner_knows_by_heart_does_not_make_it_sure(learner: str, synthetic: SimpleNamespace) -> None:
    """Members that know nothing of 60 rows, each of which stands six times: where copies straddle the inner folds, the
    learner seems to be right, and the temperature leaves it sure of itself."""
    stack, labels = synthetic.stack([0.0, 0.0, 0.0], rows=60, segments=1)
    groups = np.repeat(np.arange(60), 6)
    copies, builder = stack.rows(groups), Stacking(learner=learner, c=100.0)
    by_rows, by_groups = (
        builder.fit(each, labels[groups], Objective("log_loss")) for each in (copies, replace(copies, groups=groups))
    )
    assert by_rows.temperature < 2
    assert by_groups.temperature > 7
