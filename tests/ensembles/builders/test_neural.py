from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.builders.average import Average
from sweepstack.ensembles.builders.neural import Neural, _is_better, learn
from sweepstack.ensembles.members.library import Stack
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.ensembles.scoring.temperature import logs, normalised
from sweepstack.models.predictions.probabilities import Floats

OBJECTIVE = Objective("log_loss")


def test_it_beats_the_average_where_members_differ_in_worth(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([4.5, 1.0, 1.5, 2.0], rows=1600)
    half = np.arange(1600) < 600
    neural, average = (b.fit(stack.rows(half), labels[half], OBJECTIVE) for b in (Neural(), Average()))
    assert neural.pool.kind == "neural"
    gain = OBJECTIVE.score(neural.predict(stack.rows(~half)), labels[~half])
    assert gain > OBJECTIVE.score(average.predict(stack.rows(~half)), labels[~half]) + 0.03


def test_where_it_is_not_better_the_average_remains(synthetic: SimpleNamespace) -> None:
    """Labels that nobody can know."""
    stack, labels = synthetic.stack([3.0, 3.0, 3.0], rows=300)
    shuffled = np.random.default_rng(0).permutation(labels)
    combination = Neural().fit(stack, shuffled, OBJECTIVE)
    expected = Average().fit(stack, shuffled, OBJECTIVE)
    assert combination.pool.kind == "linear"
    np.testing.assert_array_equal(combination.predict(stack).probabilities, expected.predict(stack).probabilities)


def test_better_is_more_than_the_noise_and_no_matter_of_temperature(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0, 5.0], rows=600)
    fold, at = np.arange(600) % 3, stack.n_segments - 1
    worse, better = stack.probabilities
    assert _is_better(better, worse, at, labels, fold)
    assert not _is_better(worse, better, at, labels, fold)
    softer: Floats = normalised(logs(worse) / 3)
    assert not _is_better(worse, softer, at, labels, fold)


def test_the_network_of_a_fold_has_not_seen_it(synthetic: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweepstack.ensembles.builders.neural.STEPS", 10)  # one look: it cannot stop at another step
    stack, labels = synthetic.stack([4.0, 2.0], rows=300)
    fold = np.arange(300) % 3
    one = learn(stack, labels, fold, 4, 0.3)
    other = learn(stack, np.where((fold == 1) & (np.arange(300) < 12), (labels + 1) % 4, labels), fold, 4, 0.3)
    assert len(one) == len(other) == 4
    unlike = [not np.array_equal(a.linear, b.linear) for a, b in zip(one, other, strict=True)]
    assert unlike == [True, False, True, True]


def test_the_same_rows_give_the_same_numbers_and_few_of_them(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0] * 8, rows=300, segments=3)
    fold = np.arange(300) % 3
    one, other = (learn(stack, labels, fold, 16, 0.3)[-1].state()[1] for _ in range(2))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert sum(array.size for array in one.values()) < 400


def test_classes_may_be_named_anew(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([4.0, 2.0, 3.0], rows=400)
    order = np.array([2, 0, 3, 1])
    renamed = Stack(stack.probabilities[..., order], stack.answer, stack.n_segments)
    fold = np.arange(400) % 3
    one = learn(stack, labels, fold, 8, 0.3)[-1]
    other = learn(renamed, np.argsort(order)[labels], fold, 8, 0.3)[-1]
    alike = np.full(3, 1 / 3, np.float32)
    np.testing.assert_allclose(
        other.mix(renamed.probabilities, alike), one.mix(stack.probabilities, alike)[..., order], atol=1e-3
    )


def test_copies_of_rows_do_not_make_noise_better_than_the_average(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([0.0, 0.0, 0.0], rows=60, segments=1)
    groups = np.repeat(np.arange(60), 6)
    copies = stack.rows(groups)
    assert Neural().fit(copies, labels[groups], OBJECTIVE).pool.kind == "neural"
    assert Neural().fit(replace(copies, groups=groups), labels[groups], OBJECTIVE).pool.kind == "linear"
