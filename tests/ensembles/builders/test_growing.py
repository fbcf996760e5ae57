from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.builders.growing import MOST, PICKS, GrowingSelection, LiveSelection
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.members.library import Stack
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import DIRECTION, Floats

MATRIX = np.array([[0, 2, 1, 1], [1, 0, 1, 1], [1, 1, 0, 0.5], [1, 3, 1, 0]], dtype=np.float32)
OBJECTIVE = Objective("reward", Costs(0.02))


def mixed(stack: Stack, picks: dict[str, int]) -> Combination:
    total = sum(picks.values())
    weights: Floats = np.array([count / total for count in picks.values()], dtype=np.float32)
    return Combination(tuple(map(int, picks)), weights)


@pytest.mark.parametrize("costs", [Costs(0.02), Costs(0.02, MATRIX)])
@pytest.mark.parametrize("metric", DIRECTION)
def test_the_score_is_that_of_the_average_of_the_picks(metric: str, costs: Costs, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0, 3.5, 2.0, 3.0])
    objective = Objective(metric, costs)
    growing = GrowingSelection(labels, stack.n_segments, objective)
    for m in range(len(stack)):
        growing.add(str(m), stack.member(m))
        expected = objective.score(mixed(stack, growing.picks).predict(stack), labels)
        assert growing.score == pytest.approx(expected, abs=1e-6)


def test_a_new_member_never_makes_it_worse_and_good_ones_make_it_better(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0] * 12, rows=600)
    growing = GrowingSelection(labels, stack.n_segments, OBJECTIVE)
    scores = [growing.add(str(m), stack.member(m)) for m in range(12)]
    assert scores == sorted(scores)
    assert scores[-1] > scores[0] + 0.05
    assert len(growing.picks) <= MOST
    assert growing.picks.total() <= PICKS


def test_a_much_better_member_begins_anew(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([0.5, 0.5, 0.5, 9.0])
    growing = GrowingSelection(labels, stack.n_segments, OBJECTIVE)
    for m in range(4):
        growing.add(str(m), stack.member(m))
    assert growing.picks["3"] / growing.picks.total() > 0.5


def test_when_there_is_no_room_a_better_member_takes_anothers_place(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0] * MOST + [6.0], rows=600)
    growing = GrowingSelection(labels, stack.n_segments, OBJECTIVE)
    for m in range(MOST):
        growing.add(str(m), stack.member(m))
    growing.picks = Counter({str(m): 1 for m in range(MOST)})
    growing.resume(growing.picks, {str(m): stack.member(m) for m in range(MOST)})
    growing.add(str(MOST), stack.member(MOST))
    assert str(MOST) in growing.picks
    assert len(growing.picks) <= MOST


def test_gains_by_hand() -> None:
    """Two members, each right and sure about its own half; a third that repeats the first adds nothing."""
    labels = np.array([0, 1, 0, 1])
    sure, unsure = 0.9, 0.45  # of class 0, where the label is 0

    def member(knows: list[bool]) -> Floats:
        of_label = np.where(knows, sure, unsure)
        zero = np.where(labels == 0, of_label, 1 - of_label)
        return np.stack([zero, 1 - zero], axis=1)[:, None].astype(np.float32)

    first, second = member([True, True, False, False]), member([False, False, True, True])
    stack = Stack(np.stack([first, second, first]), np.ones((3, 4, 1), dtype=np.float32), np.ones(4, dtype=np.int64))
    growing = GrowingSelection(labels, stack.n_segments, Objective("accuracy", Costs()))
    assert growing.add("0", stack.member(0)) == 0.5
    assert growing.gain_of("0", growing.laid_out(stack.member(0))) is None, "nothing is left without it"
    assert growing.add("1", stack.member(1)) == 1.0
    gains = [growing.gain_of(str(m), growing.laid_out(stack.member(m))) for m in range(3)]
    assert gains == [0.5, 0.5, 0.0]


def test_it_goes_on_where_another_session_was(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0, 3.5, 2.0, 3.0, 2.5, 4.0])
    half = np.arange(len(labels)) % 2
    whole, before, after = (LiveSelection(labels, stack.n_segments, OBJECTIVE, half) for _ in range(3))
    for m in range(3):
        before.add(str(m), stack.member(m))
    used = {name: stack.member(int(name)) for picks in before.picks for name in picks}
    assert after.resume(before.picks, used) == pytest.approx(before.score)
    for m in range(6):
        whole.add(str(m), stack.member(m))
    for m in range(3, 6):
        after.add(str(m), stack.member(m))
    assert after.picks == whole.picks
    assert after.score == whole.score


def test_the_live_score_is_of_rows_that_it_was_not_fitted_on(synthetic: SimpleNamespace) -> None:
    """Members that know nothing: each half's best picks are lucky there, and at chance on the other half."""
    stack, labels = synthetic.stack([0.0] * 30, rows=400)
    objective = Objective("accuracy_full", Costs())
    live = LiveSelection(labels, stack.n_segments, objective, np.arange(400) % 2)
    fitted = GrowingSelection(labels, stack.n_segments, objective)
    for m in range(30):
        live.add(str(m), stack.member(m))
        fitted.add(str(m), stack.member(m))
    assert (fitted.score or 0) > 0.31
    assert live.score == pytest.approx(0.25, abs=0.065)  # three standard errors


def test_less_log_loss_is_shown_as_it_is(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0, 3.0])
    live = LiveSelection(labels, stack.n_segments, Objective("log_loss"), np.arange(len(labels)) % 2)
    first = live.add("0", stack.member(0))
    assert 0 < live.add("1", stack.member(1)) < first
