from types import SimpleNamespace

import numpy as np

from sweepstack.ensembles.bagging import Bagging
from sweepstack.ensembles.objective import Objective


def test_all_refits_count_alike_however_good(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([4.0, 0.0, 3.0])
    combination = Bagging().fit(stack, labels, Objective())
    assert combination.members == (0, 1, 2)
    np.testing.assert_allclose(combination.weights, 1 / 3, rtol=1e-6)


def test_it_uses_refits_and_nothing_else() -> None:
    assert Bagging.kinds == {"refit"}
