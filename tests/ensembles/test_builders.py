"""The contract of every registered builder."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.builders import BUILDERS, make
from sweepstack.ensembles.combination import Combination
from sweepstack.ensembles.crossfit import cross_fit, folds
from sweepstack.ensembles.objective import Objective
from sweepstack.models.costs import Costs
from sweepstack.models.errors import StudyError
from sweepstack.models.predictions import DIRECTION

every_builder = pytest.mark.parametrize("name", BUILDERS)
OBJECTIVE = Objective("reward", Costs(0.02))
QUALITIES = [3.0, 2.0, 4.0, 3.5, 0.0]


@every_builder
def test_one_member_is_that_member(name: str, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0])
    combination = make(name).fit(stack, labels, OBJECTIVE)
    predicted = combination.predict(stack)
    assert combination.members == (0,)
    np.testing.assert_array_equal(predicted.probabilities, stack.probabilities[0])
    np.testing.assert_array_equal(predicted.answer, stack.answer[0])


@every_builder
@pytest.mark.parametrize("metric", DIRECTION)
def test_probabilities_sum_to_one_and_the_last_segment_answers(
    name: str, metric: str, synthetic: SimpleNamespace
) -> None:
    stack, labels = synthetic.stack(QUALITIES)
    predicted = make(name).fit(stack, labels, Objective(metric)).predict(stack)
    np.testing.assert_allclose(predicted.probabilities.sum(axis=2), 1, atol=1e-5)
    assert predicted.probabilities.min() >= 0
    assert predicted.answer.min() >= 0
    beyond = np.arange(stack.answer.shape[2]) >= stack.n_segments[:, None] - 1
    np.testing.assert_allclose(predicted.answer[beyond], 1, atol=1e-6)
    assert predicted.probabilities.dtype == predicted.answer.dtype == np.float32


@every_builder
@pytest.mark.parametrize("metric", ["reward", "log_loss"])
def test_the_order_of_members_does_not_matter(name: str, metric: str, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack(QUALITIES)
    order = [3, 0, 4, 1, 2]
    one = make(name).fit(stack, labels, Objective(metric))
    other = make(name).fit(stack.take(order), labels, Objective(metric))
    assert sorted(one.members) == sorted(order[m] for m in other.members)
    np.testing.assert_allclose(
        one.predict(stack).probabilities, other.predict(stack.take(order)).probabilities, atol=2e-3
    )


@every_builder
def test_state_is_json_and_arrays_and_comes_back_exactly(name: str, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack(QUALITIES)
    combination = make(name).fit(stack, labels, OBJECTIVE)
    state, arrays = combination.state()
    again = Combination.from_state(json.loads(json.dumps(state)), arrays)
    one, other = combination.predict(stack), again.predict(stack)
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    np.testing.assert_array_equal(one.answer, other.answer)


@every_builder
def test_fitting_twice_gives_the_same(name: str, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack(QUALITIES)
    one, other = (make(name).fit(stack, labels, OBJECTIVE).predict(stack) for _ in range(2))
    np.testing.assert_array_equal(one.probabilities, other.probabilities)


@every_builder
def test_several_good_members_beat_one(name: str, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0] * 6, rows=1200)
    combination = make(name).fit(stack.rows(np.arange(600)), labels[:600], OBJECTIVE)
    fresh, fresh_labels = stack.rows(np.arange(600, 1200)), labels[600:]
    best = max(OBJECTIVE.score(fresh.member(m), fresh_labels) for m in range(6))
    assert OBJECTIVE.score(combination.predict(fresh), fresh_labels) > best + 0.02


@every_builder
@pytest.mark.parametrize("metric", ["accuracy", "accuracy_full"])
def test_shuffled_labels_give_no_cross_fitted_gain(name: str, metric: str, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0] * 8, rows=600)
    shuffled = np.random.default_rng(1).permutation(labels)
    objective = Objective(metric)
    predicted = cross_fit(
        lambda part, y: make(name).fit(part, y, objective).predict, stack, shuffled, folds(shuffled, 0)
    )
    chance, error = 0.25, np.sqrt(0.25 * 0.75 / 600)
    assert abs(objective.score(predicted, shuffled) - chance) < 3.5 * error


@every_builder
def test_a_class_that_blend_lacks_can_still_be_answered(name: str, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([6.0, 6.0, 6.0], rows=600)
    rare = labels == 3
    combination = make(name).fit(stack.rows(~rare), labels[~rare], Objective("log_loss"))
    predicted = combination.predict(stack.rows(rare))
    full = predicted.at(predicted.n_segments - 1)
    assert full[:, 3].min() > 0
    assert (full.argmax(axis=1) == 3).mean() > 0.2


@every_builder
def test_a_blend_of_one_class_or_two_rows_is_survived(name: str, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([2.0, 3.0], rows=2)
    for y in (np.zeros_like(labels), np.array([1, 2])):
        predicted = make(name).fit(stack, y, OBJECTIVE).predict(stack)
        assert np.isfinite(predicted.probabilities).all()


def test_options_come_from_the_study_file() -> None:
    assert make({"stacking": {"top": 3}}) == BUILDERS["stacking"](top=3)  # type: ignore[call-arg]
    assert make("selection") == BUILDERS["selection"]()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("boosting", "'boosting' is not available in this version; use one of average, selection"),
        ({"stacking": {"tops": 3}}, "'tops' is no option; did you mean top?"),
        ({"bagging": {"members": 0}}, "bagging.members must be a number above 0, but got 0"),
        ({"bagging": {"members": 2.5}}, "bagging.members must be a number above 0, but got 2.5"),
        ({"stacking": {"top": True}}, "top must be a number above 0, but got True"),
        ({"bagging": {}, "stacking": {}}, "an entry is a name or {name: options}"),
    ],
)
def test_a_wrong_entry_is_refused_with_the_way_out(spec: object, message: str) -> None:
    with pytest.raises(StudyError) as error:
        make(spec)  # type: ignore[arg-type]
    assert message in str(error.value)
