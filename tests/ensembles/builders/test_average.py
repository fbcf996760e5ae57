from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.builders.average import Average
from sweepstack.ensembles.scoring.objective import Objective


def test_the_best_members_count_alike_and_the_rest_not_at_all(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([0.0, 4.0, 3.0, 0.0, 5.0], rows=600)
    combination = Average(top=3).fit(stack, labels, Objective())
    assert combination.members == (1, 2, 4)
    np.testing.assert_allclose(combination.weights, 1 / 3, rtol=1e-6)
    mixed = replace(combination, temperature=1.0).predict(stack).probabilities
    np.testing.assert_allclose(mixed, stack.probabilities[[1, 2, 4]].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("metric", ["reward", "log_loss"])
def test_trials_that_say_the_same_labels_have_one_vote(metric: str, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([4.0, 3.0, 3.5], rows=600)
    twice = stack.take([0, 0, 0, 1, 2])
    combination = Average(top=3).fit(twice, labels, Objective(metric))
    assert combination.members == (0, 3, 4)
