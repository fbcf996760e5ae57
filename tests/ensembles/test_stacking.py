from types import SimpleNamespace

import numpy as np

from sweepstack.ensembles.objective import Objective
from sweepstack.ensembles.stacking import Stacking, _examples
from sweepstack.ensembles.store import Stack
from sweepstack.models.costs import Costs
from sweepstack.models.predictions import metrics


def test_the_arrays_say_what_scikit_learn_says(synthetic: SimpleNamespace) -> None:
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    logs = random.normal(size=(3, 200, 4))
    logs -= logs.mean(axis=2, keepdims=True)
    labels = (logs.sum(axis=0) + random.normal(size=(200, 4))).argmax(axis=1)
    coef, intercept = Stacking(c=1e6)._regress(logs, labels, np.ones(200))
    ours = np.einsum("mnk,mkc->nc", logs, coef) + intercept
    # Without a penalty the parametrisation cannot matter, so plain features must give the same probabilities.
    plain = LogisticRegression(C=1e6, tol=1e-6, max_iter=2000).fit(np.hstack(list(logs)), labels)
    odds = np.exp(ours - ours.max(axis=1, keepdims=True))
    expected = plain.predict_proba(np.hstack(list(logs)))
    np.testing.assert_allclose(odds / odds.sum(axis=1, keepdims=True), expected, atol=0.02)


def test_two_classes_are_no_special_case(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0, 3.0, 2.0], classes=2, rows=600)
    combination = Stacking().fit(stack, labels, Objective("log_loss"))
    assert combination.meta is not None
    assert combination.meta.coef.shape == (3, 2, 2)
    ensemble = metrics(combination.predict(stack), labels, Costs(0.01))
    assert ensemble["log_loss"] < min(metrics(stack.member(m), labels, Costs(0.01))["log_loss"] for m in range(3))


def test_it_mends_a_member_that_confuses_classes(synthetic: SimpleNamespace) -> None:
    """Class names swapped in one member: no weights can use it, coefficients for each class can."""
    stack, labels = synthetic.stack([4.0, 1.0], rows=1500)
    swapped = stack.probabilities.copy()
    swapped[0] = swapped[0][..., [1, 0, 3, 2]]
    stack = Stack(swapped, stack.answer, stack.n_segments)
    train, fresh = np.arange(1000), np.arange(1000, 1500)
    combination = Stacking().fit(stack.rows(train), labels[train], Objective("log_loss"))
    ensemble = metrics(combination.predict(stack.rows(fresh)), labels[fresh], Costs(0.01))
    best = max(metrics(stack.rows(fresh).member(m), labels[fresh], Costs(0.01))["accuracy_full"] for m in range(2))
    assert ensemble["accuracy_full"] > best + 0.05


def test_only_the_top_members_are_used(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([0.0, 4.0, 3.0, 0.0], rows=400)
    assert Stacking(top=2).fit(stack, labels, Objective()).members == (1, 2)


def test_examples_are_spread_over_a_text_and_count_as_one() -> None:
    rows, at, weight = _examples(np.array([1, 3, 8]))
    assert [at[rows == r].tolist() for r in range(3)] == [[0], [0, 1, 2], [1, 3, 5, 7]]
    np.testing.assert_allclose([weight[rows == r].sum() for r in range(3)], 1)
