from types import SimpleNamespace

import numpy as np

from sweepstack.ensembles.builder import ranking, stopped
from sweepstack.ensembles.objective import Objective
from sweepstack.ensembles.stop import AVERAGED
from sweepstack.ensembles.store import Stack
from sweepstack.models.costs import Costs


def test_members_are_ranked_by_quality(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([1.0, 5.0, 0.0, 3.0], rows=600)
    for metric in ("reward", "accuracy", "accuracy_full", "log_loss"):
        assert ranking(stack, labels, Objective(metric)) == [1, 3, 0, 2]


def test_ties_go_to_the_lower_log_loss_and_then_to_the_lower_place() -> None:
    labels = np.array([0])
    sure, unsure = np.array([[[0.9, 0.1]]], np.float32), np.array([[[0.6, 0.4]]], np.float32)
    stack = Stack(np.stack([unsure, sure, sure]), np.ones((3, 1, 1), np.float32), np.array([1]))
    assert ranking(stack, labels, Objective("reward")) == [1, 2, 0]


def test_a_member_alone_keeps_its_own_stop(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([6.0, 6.0], rows=400)
    stack.answer[:] = 0.0  # both read everything, which a threshold would mend
    assert stopped([1], stack, labels, Objective("reward", Costs(0.05))).stop == AVERAGED
    assert stopped([0, 1], stack, labels, Objective("reward", Costs(0.05))).stop != AVERAGED
