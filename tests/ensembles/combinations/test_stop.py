import json
from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.combinations.stop import AVERAGED, THRESHOLDS, Stop, best_threshold, fit_stop, reward_table
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions, answer_above, fit_threshold, scores

MATRIX = np.random.default_rng(0).uniform(0.2, 3, (4, 4)).astype(np.float32) * (1 - np.eye(4, dtype=np.float32))


@pytest.mark.parametrize("costs", [Costs(0.02), Costs(0.02, MATRIX)], ids=["errors cost 1", "a cost matrix"])
def test_the_table_is_what_answering_above_each_threshold_earns(costs: Costs, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0], rows=80)
    predictions = stack.member(0)
    table = reward_table(predictions, labels, costs)
    for i in (0, 20, 40, len(THRESHOLDS) - 1):
        above = answer_above(predictions.probabilities, predictions.n_segments, float(THRESHOLDS[i]), costs)
        np.testing.assert_allclose(table[i], scores(above, labels, costs)["reward"], atol=1e-12)
    fitted = fit_threshold(predictions.probabilities, predictions.n_segments, labels, costs)
    assert THRESHOLDS[best_threshold(table)] == pytest.approx(fitted)


def test_a_threshold_knows_what_errors_cost_and_comes_back_with_it(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([6.0], rows=600, segments=8)
    good = stack.member(0)
    hasty = Predictions(good.probabilities, np.ones_like(good.answer), good.n_segments)
    stop = fit_stop(hasty, labels, Objective("reward", Costs(0.02, MATRIX)))
    assert stop.threshold is not None
    assert stop.costs == Costs(matrix=MATRIX)
    state, arrays = stop.state()
    again = Stop.from_state(json.loads(json.dumps(state)), arrays)
    assert again == stop
    applied = again.apply(hasty.probabilities, hasty.answer, hasty.n_segments)
    above = answer_above(hasty.probabilities, hasty.n_segments, stop.threshold, stop.costs)
    np.testing.assert_array_equal(applied.answer, above.answer)
    assert Stop.from_state(*AVERAGED.state()) == AVERAGED


def test_averaged_keeps_what_it_is_given_and_a_threshold_does_not(synthetic: SimpleNamespace) -> None:
    predictions = synthetic.stack([3.0], rows=30)[0].member(0)
    kept = AVERAGED.apply(predictions.probabilities, predictions.answer, predictions.n_segments)
    assert kept.answer is predictions.answer
    sure = Stop(0.95).apply(predictions.probabilities, predictions.answer, predictions.n_segments)
    assert sure.stops().mean() > kept.stops().mean()
    assert (str(AVERAGED), str(Stop(0.9))) == ("averaged", "confidence 0.9")


@pytest.mark.parametrize("answers", [0.0, 1.0], ids=["reads everything", "answers at once"])
def test_a_threshold_replaces_an_average_that_is_plainly_wrong(answers: float, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([6.0], rows=600, segments=8)
    good = stack.member(0)
    wrong = Predictions(good.probabilities, np.full_like(good.answer, answers), good.n_segments)
    objective = Objective("reward", Costs(0.05))
    stop = fit_stop(wrong, labels, objective)
    assert stop.threshold is not None
    applied = stop.apply(wrong.probabilities, wrong.answer, wrong.n_segments)
    assert objective.score(applied, labels) > objective.score(wrong, labels) + 0.03


def test_the_average_stays_where_a_threshold_is_not_clearly_better(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([5.0], rows=400)
    threshold = fit_threshold(stack.probabilities[0], stack.n_segments, labels, Costs(0.01))
    best = answer_above(stack.probabilities[0], stack.n_segments, threshold)
    assert fit_stop(best, labels, Objective("reward", Costs(0.01))) == AVERAGED


def test_a_single_segment_leaves_nothing_to_stop(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([1.0], segments=1)
    assert fit_stop(stack.member(0), labels, Objective()) == AVERAGED


def test_for_accuracy_reading_costs_nothing(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([6.0], rows=600, segments=8)
    good = stack.member(0)
    hasty = Predictions(good.probabilities, np.ones_like(good.answer), good.n_segments)
    free = fit_stop(hasty, labels, Objective("accuracy", Costs(0.2))).threshold
    dear = fit_stop(hasty, labels, Objective("reward", Costs(0.2))).threshold
    assert free is not None
    assert dear is None or free > dear


@pytest.mark.parametrize("seed", [1, 4, 9])
def test_copies_of_rows_are_no_reason_for_a_threshold(seed: int, synthetic: SimpleNamespace) -> None:
    """30 rows that say nothing clear, each three times."""
    stack, labels = synthetic.stack([5.0], rows=30, seed=seed, segments=6)
    objective, groups = Objective("reward", Costs(0.01)), np.repeat(np.arange(30), 3)
    copies = stack.member(0).rows(groups)
    assert fit_stop(stack.member(0), labels, objective) == AVERAGED
    assert fit_stop(copies, labels[groups], objective).threshold is not None
    assert fit_stop(copies, labels[groups], objective, groups) == AVERAGED
