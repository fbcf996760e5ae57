import json
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.builders.cascade import CascadeBuilder, Regret
from sweepstack.ensembles.builders.selection import Selection
from sweepstack.ensembles.combinations.cascade import Cascade
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.combinations.ensemble import Ensemble
from sweepstack.ensembles.combinations.pools import LINEAR
from sweepstack.ensembles.combinations.registry import from_state as combination_from_state
from sweepstack.ensembles.combinations.stop import AVERAGED
from sweepstack.ensembles.members.library import Stack
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Floats, Ints, Predictions

OBJECTIVE = Objective("reward", Costs(0.02))
EQUAL: Floats = np.full(2, 0.5, dtype=np.float32)


@pytest.fixture(autouse=True)
def _quick_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweepstack.ensembles.combinations.stop.FEWEST", 10**9)


class Said:
    """A member whose texts are the numbers of rows; it notes which it was asked for."""

    classes = ("a", "b", "c", "d")
    conditioned = True

    def __init__(self, predictions: Predictions) -> None:
        self.predictions = predictions
        self.asked: list[int] = []

    def read(self, texts: Sequence[str], cost: float | None = None) -> Predictions:
        rows = np.array([int(text) for text in texts], dtype=np.int64)
        self.asked += rows.tolist()
        said = self.predictions.rows(rows)
        longest = int(said.n_segments.max(initial=1))
        return Predictions(said.probabilities[:, :longest], said.answer[:, :longest], said.n_segments)


def whole_texts(*of_first: Sequence[float]) -> Stack:
    """Members' probabilities of the first of two classes for each row; one segment."""
    first = np.array(of_first, dtype=np.float32)
    rows = first.shape[1]
    probabilities = np.stack([first, 1 - first], axis=2)[:, :, None]
    return Stack(probabilities, np.ones((len(first), rows, 1), dtype=np.float32), np.ones(rows, dtype=np.int64))


def test_a_text_leaves_where_the_running_average_is_sure_by_hand() -> None:
    stack = whole_texts([0.95, 0.60, 0.60], [0.10, 0.90, 0.50], [0.10, 0.60, 0.20])
    thirds: Floats = np.full(3, 1 / 3, dtype=np.float32)
    cascade = Cascade((0, 1, 2), thirds, temperatures=(1.0, 1.0), sure=0.75)
    said = cascade.predict(stack).probabilities[:, 0, 0]
    # .95 is sure; (.6 + .9)/2 = .75 just is; (.6 + .5)/2 = .55 is not, so all three say (.6 + .5 + .2)/3.
    assert said == pytest.approx([0.95, 0.75, 1.3 / 3])
    assert cascade.depths(stack).tolist() == [1, 2, 3]


def test_a_text_goes_from_segment_to_segment_and_from_stage_to_stage_by_hand() -> None:
    """Three segments, two members: the first wants to read on until the last, the second to answer at once."""
    of_first = np.array([[[0.5, 0.7, 0.8]] * 4, [[0.6, 0.9, 0.9]] * 4], dtype=np.float32)  # (members, rows, segments)
    probabilities = np.stack([of_first, 1 - of_first], axis=3)
    answer = np.array([[[0.1, 0.1, 1.0]] * 4, [[1.0, 1.0, 1.0]] * 4], dtype=np.float32)
    stack = Stack(probabilities, answer, np.full(4, 3))
    weights: Floats = np.array([0.25, 0.75], dtype=np.float32)
    whole = Combination((0, 1), weights)
    assert whole.predict(stack).stops().tolist() == [0] * 4
    ends = []
    for sure, unsure in ((0.75, 0.9), (0.85, 0.9), (0.75, 0.6), (0.75, 0.0)):
        said, depths = (cascade := Cascade((0, 1), weights, LINEAR, AVERAGED, 1.0, (1.0,), sure, unsure)).walked(
            cascade.stages(stack.probabilities, stack.answer, stack.n_segments)
        )
        stops = said.stops()
        ends.append((int(stops[0]), int(depths[0]), round(float(said.at(stops)[0, 0]), 4)))
    assert ends == [
        (2, 1, 0.8),  # reads on while it wants to, then .8 is sure enough
        (2, 2, 0.875),  # .8 is not: (.8 + 3 · .9)/4, of the last segment, where it has come to
        (1, 2, 0.85),  # .7 is too sure to be read on with: both answer there, (.7 + 3 · .9)/4
        (0, 2, 0.575),  # the whole ensemble is asked at once
    ]


def test_never_sure_is_the_whole_ensemble_and_always_sure_its_first_member(synthetic: SimpleNamespace) -> None:
    stack, _ = synthetic.stack([3.0, 3.5, 2.0], segments=1)
    whole = Combination((2, 0, 1), np.array([0.5, 0.25, 0.25], dtype=np.float32))
    never = Cascade(whole.members, whole.weights, temperatures=(1.0, 1.0))
    np.testing.assert_array_equal(never.predict(stack).probabilities, whole.predict(stack).probabilities)
    always = replace(never, sure=0.0)
    np.testing.assert_array_equal(always.predict(stack).probabilities, stack.probabilities[2])
    assert set(always.depths(stack)) == {1}
    assert set(never.depths(stack)) == {3}


def fitted(synthetic: SimpleNamespace, seed: int = 0) -> tuple[Cascade, Stack, Ints]:
    stack, labels = synthetic.stack([4.0, 3.5, 4.0, 3.0, 0.2], rows=800, seed=seed)
    cascade = CascadeBuilder(tolerance=0.002).fit(stack, labels, OBJECTIVE)
    assert isinstance(cascade, Cascade)
    return cascade, stack, labels


@pytest.mark.parametrize("cost", [None, 0.03])
def test_from_texts_it_says_what_it_says_from_the_stack_and_runs_no_member_for_nothing(
    cost: float | None, synthetic: SimpleNamespace
) -> None:
    cascade, stack, _ = fitted(synthetic)
    members = [Said(stack.member(m)) for m in cascade.members]
    texts = [str(row) for row in range(len(stack.n_segments))]
    expected = (cascade if cost is None else replace(cascade, stop=AVERAGED)).predict(stack)
    begin = 0
    for chunk in Ensemble(tuple(members), cascade).read(texts, cost):
        rows = np.arange(begin, begin + len(chunk))
        begin += len(chunk)
        at = np.minimum(expected.n_segments[rows], chunk.answer.shape[1]) - 1
        np.testing.assert_array_equal(chunk.stops(), expected.rows(rows).stops())
        for read in (chunk.stops(), at):
            np.testing.assert_allclose(chunk.at(read), expected.rows(rows).at(read), atol=1e-6)
    assert begin == len(texts)
    depths = cascade.depths(stack) if cost is None else replace(cascade, stop=AVERAGED).depths(stack)
    for k, member in enumerate(members):
        assert member.asked == np.flatnonzero(depths > k).tolist()


def test_texts_of_none_are_read_too(synthetic: SimpleNamespace) -> None:
    cascade, stack, _ = fitted(synthetic)
    assert list(Ensemble(tuple(Said(stack.member(m)) for m in cascade.members), cascade).read([])) == []


def test_it_is_nearly_as_good_as_the_whole_for_few_members_on_fresh_rows(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([16.0, 15.0, 16.0, 15.0], rows=3000, segments=3, seed=3)
    ours, fresh = np.arange(1000), np.arange(1000, 3000)
    cascade = CascadeBuilder().fit(stack.rows(ours), labels[ours], OBJECTIVE)
    whole = Selection(members=8).fit(stack.rows(ours), labels[ours], OBJECTIVE)
    assert isinstance(cascade, Cascade)
    assert set(cascade.members) == set(whole.members)
    scores = [OBJECTIVE.score(each.predict(stack.rows(fresh)), labels[fresh]) for each in (cascade, whole)]
    assert scores[0] > scores[1] - 0.006
    assert cascade.depths(stack.rows(fresh)).mean() < 0.6 * len(whole.members)


def test_the_first_member_is_the_best(synthetic: SimpleNamespace) -> None:
    cascade, stack, labels = fitted(synthetic)
    alone = [OBJECTIVE.score(stack.member(m), labels) for m in cascade.members]
    assert alone[0] == max(alone)
    assert sum(cascade.weights) == pytest.approx(1)


def test_with_no_tolerance_it_expects_to_lose_nothing(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([4.0, 3.5, 4.0, 3.0], rows=500)
    cascade = CascadeBuilder(tolerance=1e-9).fit(stack, labels, OBJECTIVE)
    whole = Selection(members=8).fit(stack, labels, OBJECTIVE).predict(stack)
    assert Regret.of(whole, OBJECTIVE)(cascade.predict(stack)) <= 1e-6


def test_regret_by_hand() -> None:
    """Two rows, two segments: at the end the whole ensemble says (.9, .1) and (.4, .6)."""
    ends = np.array([[0.9, 0.1], [0.4, 0.6]], dtype=np.float32)
    probabilities = np.stack([ends, ends], axis=1)
    whole = Predictions(probabilities, np.array([[1, 1], [0, 1]], dtype=np.float32), np.array([2, 2]))
    objective = Objective("reward", Costs(0.02))
    regret = Regret.of(whole, objective)
    assert regret.worth == pytest.approx((0.9 + 0.6) / 2 - 0.02 / 2)
    assert regret(whole) == 0
    flipped = Predictions(probabilities[:, :, ::-1], np.ones((2, 2), dtype=np.float32), whole.n_segments)
    assert regret(flipped) == pytest.approx((0.8 + 0.2) / 2 - 0.02 / 2), "wrong by its own lights, but read less"
    log_loss = Regret.of(whole, Objective("log_loss"))
    kl = 0.8 * np.log(9) + 0.2 * np.log(1.5)
    assert log_loss(flipped) == pytest.approx(kl / 2, rel=1e-5)


def test_state_comes_back_and_what_is_none_is_refused(synthetic: SimpleNamespace) -> None:
    cascade, stack, _ = fitted(synthetic)
    matrix = 1 - np.eye(4, dtype=np.float32)
    cascade = replace(cascade, costs=Costs(matrix=matrix))
    state, arrays = cascade.state()
    state = json.loads(json.dumps(state))
    again = combination_from_state(state, arrays)
    assert isinstance(again, Cascade)
    assert (again.sure, again.unsure, again.temperatures) == (cascade.sure, cascade.unsure, cascade.temperatures)
    assert again.costs == cascade.costs
    np.testing.assert_array_equal(again.predict(stack).answer, cascade.predict(stack).answer)
    state["cascade"]["temperatures"] = [1.0]
    with pytest.raises(ValueError, match="needs a temperature above 0 for all but the last"):
        combination_from_state(state, arrays)


def test_it_says_when_a_text_leaves(synthetic: SimpleNamespace) -> None:
    assert Cascade((0, 1), EQUAL, temperatures=(1.0,), sure=0.9).stops_by() == "averaged; members until 0.9 sure"


def test_answering_as_another_is_as_sure_as_that_one() -> None:
    """And as before where the other is no cascade; its stages keep their own temperatures."""
    one = Cascade((0, 1), EQUAL, temperatures=(0.8,), sure=0.9, unsure=0.2)
    other = Cascade((2, 0, 1), np.full(3, 1 / 3, np.float32), temperature=0.7, temperatures=(1, 1), sure=0.95)
    found = one.answering_as(other)
    assert isinstance(found, Cascade)
    assert (found.members, found.temperature, found.temperatures) == ((0, 1), 0.7, (0.8,))
    assert (found.sure, found.unsure) == (0.95, 0.0)
    plain = one.answering_as(Combination((0,), np.ones(1, np.float32), temperature=1.2))
    assert isinstance(plain, Cascade)
    assert (plain.temperature, plain.sure, plain.unsure) == (1.2, 0.9, 0.2)
