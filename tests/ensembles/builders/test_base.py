from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.builders.base import candidates, finished, ranking
from sweepstack.ensembles.combinations.stop import AVERAGED
from sweepstack.ensembles.members.library import Stack
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.ensembles.scoring.temperature import normalised
from sweepstack.models.predictions.costs import Costs


def test_members_are_ranked_by_quality(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([1.0, 5.0, 0.0, 3.0], rows=600)
    for metric in ("reward", "accuracy", "accuracy_full", "log_loss"):
        assert ranking(stack, labels, Objective(metric)) == [1, 3, 0, 2]


def test_ties_go_to_the_lower_log_loss_and_then_to_the_lower_place() -> None:
    labels = np.array([0])
    sure, unsure = np.array([[[0.9, 0.1]]], np.float32), np.array([[[0.6, 0.4]]], np.float32)
    stack = Stack(np.stack([unsure, sure, sure]), np.ones((3, 1, 1), np.float32), np.array([1]))
    assert ranking(stack, labels, Objective("reward")) == [1, 2, 0]


def test_of_members_that_say_the_same_labels_the_best_is_the_candidate(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([5.0, 3.0], rows=600)
    reads_all = stack.take([0, 0, 1])
    reads_all.answer[0] = np.arange(5) >= stack.n_segments[:, None] - 1
    assert candidates(reads_all, labels, Objective("reward", Costs(0.1)), 8) == [1, 2]
    assert candidates(reads_all, labels, Objective("reward", Costs(0.1)), 1) == [1]
    assert candidates(reads_all, labels, Objective("accuracy", Costs(0.1)), 8) == [0, 2]


def test_the_temperature_is_fitted_where_the_objective_looks() -> None:
    """Both members answer at once, as sure as they should be; at the text's end they are half as sure."""
    random = np.random.default_rng(0)
    logits = 2 * random.normal(size=(800, 3)).astype(np.float32)
    member = np.stack([normalised(logits), normalised(logits / 2)], axis=1)
    labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    stack = Stack(np.stack([member, member]), np.ones((2, 800, 2), np.float32), np.full(800, 2))
    assert finished([0, 1], stack, labels, Objective("log_loss")).temperature == pytest.approx(0.5, rel=0.15)
    assert finished([0, 1], stack, labels, Objective("reward", Costs(0.1))).temperature == 1.0


def test_a_member_alone_keeps_its_own_stop(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([6.0, 6.0], rows=400)
    stack.answer[:] = 0.0  # both read everything, which a threshold would mend
    assert finished([1], stack, labels, Objective("reward", Costs(0.05))).stop == AVERAGED
    assert finished([0, 1], stack, labels, Objective("reward", Costs(0.05))).stop != AVERAGED
