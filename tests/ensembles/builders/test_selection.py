from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.builders.selection import Selection
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.members.library import Stack
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.ensembles.scoring.temperature import logs, normalised
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Floats, Predictions


def one_segment(*members: list[list[float]]) -> Stack:
    """Members given as (rows, classes) of a plain classifier."""
    probabilities = np.array(members, np.float32)[:, :, None]
    return Stack(probabilities, np.ones(probabilities.shape[:3], np.float32), np.ones(probabilities.shape[1], np.int64))


def test_two_that_complement_each_other_by_hand() -> None:
    # Each is right on two rows of three; together on all. The third is right on one.
    labels = np.array([0, 0, 0])
    a = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]]
    b = [[0.4, 0.6], [0.9, 0.1], [0.9, 0.1]]
    useless = [[0.1, 0.9], [0.6, 0.4], [0.1, 0.9]]
    combination = Selection().fit(one_segment(useless, a, b), labels, Objective("accuracy"))
    assert combination.members == (1, 2)
    np.testing.assert_allclose(combination.weights, [0.5, 0.5])


def test_it_is_cut_at_the_first_best_round() -> None:
    # One member is right everywhere: nothing that is added can be better, so 25 rounds end as one.
    labels = np.array([0, 1])
    perfect, weak = [[0.9, 0.1], [0.1, 0.9]], [[0.6, 0.4], [0.6, 0.4]]
    combination = Selection().fit(one_segment(weak, perfect), labels, Objective("log_loss"))
    assert combination.members == (1,)
    np.testing.assert_array_equal(combination.weights, [1.0])


def test_ties_go_to_a_member_already_in() -> None:
    labels = np.array([0, 1])
    copy = [[0.9, 0.1], [0.1, 0.9]]
    combination = Selection(size=7).fit(one_segment(copy, copy, copy), labels, Objective("accuracy"))
    assert combination.members == (0,)


def test_replacement_weighs_the_better_member_more_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweepstack.ensembles.builders.running.best_temperature", lambda *_: 1.0)
    # With weight w on the better one the likelihoods are .5+.4w, twice, and .9−.6w: the optimum is at w = 7/12.
    labels = np.array([0, 0, 0])
    better = [[0.9, 0.1], [0.9, 0.1], [0.3, 0.7]]
    worse = [[0.5, 0.5], [0.5, 0.5], [0.9, 0.1]]
    combination = Selection(size=100).fit(one_segment(better, worse), labels, Objective("log_loss"))
    assert combination.weights[0] == pytest.approx(7 / 12, abs=0.02)


@pytest.mark.parametrize(("metric", "most"), [("log_loss", 0.1), ("accuracy_full", 0.25), ("reward", 0.25)])
def test_useless_members_get_little_weight(metric: str, most: float, synthetic: SimpleNamespace) -> None:
    """Half of the library is noise. A metric that counts right answers among 600 fits some of it; log loss less."""
    stack, labels = synthetic.stack([4.0, 4.0, 0.0, 0.0, 0.0, 4.0], rows=600)
    combination = Selection().fit(stack, labels, Objective(metric))
    useless = sum(w for m, w in zip(combination.members, combination.weights, strict=True) if m in (2, 3, 4))
    assert useless <= most


def test_it_is_never_worse_than_the_best_member_where_it_was_fitted(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0, 3.5, 2.0, 1.0], rows=150)
    for metric in ("reward", "log_loss", "accuracy_full"):
        objective = Objective(metric, Costs(0.02))
        combination = Selection().fit(stack, labels, objective)
        mixed = Predictions(*combination.mix(*_own(stack, combination)), stack.n_segments)
        best = max(objective.score(stack.member(m), labels) for m in range(4))
        assert objective.score(mixed, labels) >= best - 1e-6


def _own(stack: Stack, combination: Combination) -> tuple[Floats, Floats]:
    own = stack.take(combination.members)
    return own.probabilities, own.answer


def test_for_log_loss_the_better_member_wins_and_not_the_surer(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([6.0, 3.0], rows=600)
    modest = normalised(logs(stack.probabilities[0]) / 6)
    stack = Stack(np.stack([modest, stack.probabilities[1]]), stack.answer, stack.n_segments)
    objective = Objective("log_loss")
    assert objective.score(stack.member(0), labels) < objective.score(stack.member(1), labels)
    combination = Selection().fit(stack, labels, objective)
    assert combination.weights[0] > 0.5


def test_bags_of_the_library_by_hand() -> None:
    # Each bag is one of two members, and nothing else: their picks add up to how often each was drawn.
    labels = np.array([0, 1, 0, 1])
    a = [[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.6, 0.4]]
    b = [[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.1, 0.9]]
    selection = Selection(size=1, bags=40, share=0.5)
    combination = selection.fit(one_segment(a, b), labels, Objective("log_loss"))
    assert combination.members == (0, 1)
    drawn = [bag[0] for bag in selection._bags([0, 1])]
    assert combination.weights[0] == pytest.approx(drawn.count(0) / 40)
    assert 10 < drawn.count(0) < 30


def test_bags_have_their_share_of_the_library_in_order_of_rank() -> None:
    ranked = [4, 2, 0, 1, 3, 5]
    bags = Selection(bags=20, share=0.5)._bags(ranked)
    assert len(bags) == 20
    for bag in bags:
        assert len(set(bag)) == 3
        assert [ranked.index(member) for member in bag] == sorted(ranked.index(member) for member in bag)
    assert {member for bag in bags for member in bag} == set(ranked)
    assert Selection(bags=3, share=1.0)._bags(ranked) == [ranked] * 3
    assert Selection()._bags(ranked) == [ranked]


def test_with_bags_too_no_more_members_are_served_than_allowed(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0] * 12, rows=300)
    many = Selection(bags=10).fit(stack, labels, Objective("log_loss"))
    few = Selection(bags=10, members=3).fit(stack, labels, Objective("log_loss"))
    assert len(many.members) > 3 >= len(few.members)
    assert few.weights.sum() == pytest.approx(1)


def test_a_share_is_a_share() -> None:
    with pytest.raises(ValueError, match=r"share must be above 0 and at most 1, but got 1\.5"):
        Selection(share=1.5)
