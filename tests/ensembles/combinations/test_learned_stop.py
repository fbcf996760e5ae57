import numpy as np
import pytest
import torch

from sweepstack.ensembles.combinations.learned_stop import CombinedActor, learn_head
from sweepstack.ensembles.combinations.read_head import SHAPES
from sweepstack.ensembles.combinations.stop import AVERAGED, Stop, fit_stop
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Ints, Predictions, scores

COST = 0.02


def misleading(rows: int, seed: int = 0, segments: int = 5) -> tuple[Predictions, Ints]:
    """Sure at once and then right for half of the texts only; less sure after the second segment, and always right.

    No threshold can say so: one of up to .7 answers at once and earns about .5, one above .9 reads everything and earns
    1 − 4·COST. To read one segment more earns 1 − COST.
    """
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, rows)
    first = np.where(random.random(rows) < 0.5, labels, (labels + 1) % 3)
    probabilities = np.full((rows, segments, 3), 0.15, np.float32)
    probabilities[:, 0] = 0.05
    probabilities[np.arange(rows), 0, first] = 0.9
    probabilities[np.arange(rows), 1:, labels] = 0.7
    answer = np.where(np.arange(segments) == segments - 1, 1.0, 0.9).astype(np.float32)
    return Predictions(probabilities, np.tile(answer, (rows, 1)), np.full(rows, segments)), labels


def test_it_learns_what_no_threshold_can_say_and_keeps_it_on_new_rows() -> None:
    predictions, labels = misleading(400)
    stop = fit_stop(predictions, labels, Objective("reward", Costs(COST)))
    assert stop.head is not None
    fresh, answers = misleading(300, seed=1)
    stopped = stop.apply(fresh.probabilities, fresh.answer, fresh.n_segments)
    assert scores(stopped, answers, Costs(COST))["reward"].mean() == pytest.approx(1 - COST)
    assert str(stop).startswith("learned from ")


def test_it_is_left_out_where_the_average_is_as_good_as_can_be() -> None:
    predictions, labels = misleading(400)
    answer = np.ones_like(predictions.answer)
    answer[:, 0] = 0.01
    best = Predictions(predictions.probabilities, answer, predictions.n_segments)
    assert fit_stop(best, labels, Objective("reward", Costs(COST))) == AVERAGED


def test_few_rows_teach_nothing() -> None:
    predictions, labels = misleading(99)
    assert fit_stop(predictions, labels, Objective("reward", Costs(COST))).head is None


def test_one_seed_gives_one_head_and_another_another() -> None:
    predictions, labels = misleading(120)
    first, again, other = (learn_head(predictions, predictions.answer, labels, Costs(COST), seed) for seed in (0, 0, 1))
    assert first == again
    assert hash(first) == hash(again)
    assert first != other
    assert sum(array.size for array in first.arrays().values()) == 65
    assert {name: array.shape for name, array in first.arrays().items()} == SHAPES


def test_torch_and_numpy_judge_alike() -> None:
    predictions, _ = misleading(50)
    actor = CombinedActor(predictions, predictions.answer, Costs(COST), torch.Generator().manual_seed(3))
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.uniform_(-1, 1, generator=torch.Generator().manual_seed(len(parameter)))
        read = actor.everywhere(torch.arange(50), None).read_logits.numpy()
    stopped = actor.head().correct(predictions, predictions.answer, Costs(COST))
    last = np.arange(5) == 4
    np.testing.assert_array_equal(stopped.stops(), ((read <= 0) | last).argmax(axis=1))


def test_where_reading_is_free_a_cost_matrix_decides_what_it_is_worth() -> None:
    """Label 1 for a 0 costs 3: at once half of the answers are wrong, so it reads one segment more, as before."""
    matrix = np.float32([[0, 3, 1], [1, 0, 1], [1, 1, 0]])
    predictions, labels = misleading(400)
    stop = fit_stop(predictions, labels, Objective("reward", Costs(COST, matrix)))
    assert stop.head is not None
    assert stop.costs == Costs(matrix=matrix)
    assert isinstance(stop, Stop)
    stopped = stop.apply(predictions.probabilities, predictions.answer, predictions.n_segments)
    assert scores(stopped, labels, Costs(COST, matrix))["reward"].mean() == pytest.approx(1 - COST)
