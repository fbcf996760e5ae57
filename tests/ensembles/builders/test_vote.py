from types import SimpleNamespace

import numpy as np

from sweepstack.ensembles.builders.vote import Vote
from sweepstack.ensembles.members.library import Stack
from sweepstack.ensembles.scoring.objective import Objective


def test_the_majority_of_the_best_members_that_differ(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([4.0, 3.5, 4.5, 0.0], rows=600)
    combination = Vote(top=3).fit(stack, labels, Objective("accuracy_full"))
    assert combination.members == (0, 1, 2)
    end = stack.n_segments - 1
    said = stack.probabilities[:3, np.arange(600), end].argmax(axis=2)
    clear = [(row, label) for row in range(600) for label in range(4) if (said[:, row] == label).sum() >= 2]
    answers = combination.predict(stack).at(end).argmax(axis=1)
    assert len(clear) > 500
    assert all(answers[row] == label for row, label in clear)


def test_one_sure_member_does_not_decide_alone() -> None:
    labels = np.array([0, 0, 1, 1])
    modest = np.array([[0.6, 0.4], [0.6, 0.4], [0.4, 0.6], [0.4, 0.6]])
    other = modest + np.array([[-0.02, 0.02], [0.0, 0.0], [0.0, 0.0], [0.03, -0.03]])
    sure = np.array([[0.01, 0.99], [0.99, 0.01], [0.01, 0.99], [0.01, 0.99]])
    stack = np.array([modest, other, sure], np.float32)[:, :, None]
    stack = Stack(stack, np.ones((3, 4, 1), np.float32), np.ones(4, np.int64))
    combination = Vote().fit(stack, labels, Objective("accuracy_full"))
    assert len(combination.members) == 3
    np.testing.assert_array_equal(combination.predict(stack).at(np.zeros(4, np.int64)).argmax(axis=1), labels)
