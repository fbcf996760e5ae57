from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.objective import Objective
from sweepstack.ensembles.stop import AVERAGED, THRESHOLDS, Stop, best_threshold, fit_stop, reward_table
from sweepstack.models.predictions import Predictions, answer_above, fit_threshold, scores


def test_the_table_is_what_answering_above_each_threshold_earns(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0], rows=80)
    predictions = stack.member(0)
    table = reward_table(predictions, labels, 0.02)
    for i in (0, 20, 40, len(THRESHOLDS) - 1):
        above = answer_above(predictions.probabilities, predictions.n_segments, float(THRESHOLDS[i]))
        np.testing.assert_allclose(table[i], scores(above, labels, 0.02)["reward"], atol=1e-12)
    fitted = fit_threshold(predictions.probabilities, predictions.n_segments, labels, 0.02)
    assert THRESHOLDS[best_threshold(table)] == pytest.approx(fitted)


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
    objective = Objective("reward", 0.05)
    stop = fit_stop(wrong, labels, objective)
    assert stop.threshold is not None
    applied = stop.apply(wrong.probabilities, wrong.answer, wrong.n_segments)
    assert objective.score(applied, labels) > objective.score(wrong, labels) + 0.03


def test_the_average_stays_where_a_threshold_is_not_clearly_better(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([5.0], rows=400)
    threshold = fit_threshold(stack.probabilities[0], stack.n_segments, labels, 0.01)
    best = answer_above(stack.probabilities[0], stack.n_segments, threshold)
    assert fit_stop(best, labels, Objective("reward", 0.01)) == AVERAGED


def test_a_single_segment_leaves_nothing_to_stop(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([1.0], segments=1)
    assert fit_stop(stack.member(0), labels, Objective()) == AVERAGED


def test_for_accuracy_reading_costs_nothing(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([6.0], rows=600, segments=8)
    good = stack.member(0)
    hasty = Predictions(good.probabilities, np.ones_like(good.answer), good.n_segments)
    free = fit_stop(hasty, labels, Objective("accuracy", 0.2)).threshold
    dear = fit_stop(hasty, labels, Objective("reward", 0.2)).threshold
    assert free is not None
    assert dear is None or free > dear
