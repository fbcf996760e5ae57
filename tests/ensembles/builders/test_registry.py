"""The contract of every registered builder."""

import json
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
from _pytest.mark import ParameterSet

from sweepstack.ensembles.builders.learners import ARRAYS
from sweepstack.ensembles.builders.registry import BUILDERS, make
from sweepstack.ensembles.combinations.registry import from_state as combination_from_state
from sweepstack.ensembles.members.library import Stack
from sweepstack.ensembles.scoring.crossfit import cross_fit, folds
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.errors import StudyError
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import DIRECTION

Spec = str | dict[str, dict[str, str]]
GRAPH = "sklearn.linear_model:LogisticRegression"
LEARNED: list[Spec] = [{"stacking": {"learner": learner}} for learner in (*ARRAYS, GRAPH)]
SPECS: list[Spec] = [*BUILDERS, *LEARNED]


def _case(spec: Spec) -> ParameterSet:
    learner = spec["stacking"]["learner"] if isinstance(spec, dict) else spec
    lacks = learner == GRAPH and any(find_spec(each) is None for each in ("skl2onnx", "onnxruntime"))
    return pytest.param(spec, id=learner, marks=pytest.mark.skipif(lacks, reason="needs the extra onnx"))


every_builder = pytest.mark.parametrize("spec", [_case(spec) for spec in SPECS])
of_several = pytest.mark.parametrize("spec", [_case(spec) for spec in SPECS if spec != "soup"])  # which is one policy
OBJECTIVE = Objective("reward", Costs(0.02))
QUALITIES = [3.0, 2.0, 4.0, 3.5, 0.0]


@pytest.fixture(autouse=True)
def _quick_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop that a policy learns takes seconds; test_stop.py is about it."""
    monkeypatch.setattr("sweepstack.ensembles.combinations.stop.FEWEST", 10**9)


@every_builder
def test_one_member_is_that_member(spec: Spec, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0])
    combination = make(spec).fit(stack, labels, OBJECTIVE)
    predicted = combination.predict(stack)
    assert combination.members == (0,)
    np.testing.assert_array_equal(predicted.probabilities, stack.probabilities[0])
    np.testing.assert_array_equal(predicted.answer, stack.answer[0])


@every_builder
@pytest.mark.parametrize("metric", DIRECTION)
def test_probabilities_sum_to_one_and_the_last_segment_answers(
    spec: Spec, metric: str, synthetic: SimpleNamespace
) -> None:
    stack, labels = synthetic.stack(QUALITIES)
    predicted = make(spec).fit(stack, labels, Objective(metric)).predict(stack)
    np.testing.assert_allclose(predicted.probabilities.sum(axis=2), 1, atol=1e-5)
    assert predicted.probabilities.min() >= 0
    assert predicted.answer.min() >= 0
    beyond = np.arange(stack.answer.shape[2]) >= stack.n_segments[:, None] - 1
    np.testing.assert_allclose(predicted.answer[beyond], 1, atol=1e-6)
    assert predicted.probabilities.dtype == predicted.answer.dtype == np.float32


@every_builder
@pytest.mark.parametrize("metric", ["reward", "log_loss"])
def test_the_order_of_members_does_not_matter(spec: Spec, metric: str, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack(QUALITIES)
    order = [3, 0, 4, 1, 2]
    one = make(spec).fit(stack, labels, Objective(metric))
    other = make(spec).fit(stack.take(order), labels, Objective(metric))
    assert sorted(one.members) == sorted(order[m] for m in other.members)
    np.testing.assert_allclose(
        one.predict(stack).probabilities, other.predict(stack.take(order)).probabilities, atol=2e-3
    )


@every_builder
def test_state_is_json_and_arrays_and_comes_back_exactly(spec: Spec, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack(QUALITIES)
    combination = make(spec).fit(stack, labels, OBJECTIVE)
    state, arrays = combination.state()
    again = combination_from_state(json.loads(json.dumps(state)), arrays)
    one, other = combination.predict(stack), again.predict(stack)
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    np.testing.assert_array_equal(one.answer, other.answer)


@every_builder
def test_fitting_twice_gives_the_same(spec: Spec, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack(QUALITIES)
    one, other = (make(spec).fit(stack, labels, OBJECTIVE).predict(stack) for _ in range(2))
    np.testing.assert_array_equal(one.probabilities, other.probabilities)


@of_several
def test_several_good_members_beat_one(spec: Spec, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0] * 6, rows=1200)
    combination = make(spec).fit(stack.rows(np.arange(600)), labels[:600], OBJECTIVE)
    fresh, fresh_labels = stack.rows(np.arange(600, 1200)), labels[600:]
    best = max(OBJECTIVE.score(fresh.member(m), fresh_labels) for m in range(6))
    assert OBJECTIVE.score(combination.predict(fresh), fresh_labels) > best + 0.02


@every_builder
@pytest.mark.parametrize("metric", ["accuracy", "accuracy_full"])
def test_shuffled_labels_give_no_cross_fitted_gain(spec: Spec, metric: str, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0] * 8, rows=600)
    shuffled = np.random.default_rng(1).permutation(labels)
    objective = Objective(metric)
    predicted = cross_fit(
        lambda part, y: make(spec).fit(part, y, objective).predict, stack, shuffled, folds(shuffled, 0)
    )
    chance, error = 0.25, np.sqrt(0.25 * 0.75 / 600)
    assert abs(objective.score(predicted, shuffled) - chance) < 3.5 * error


@every_builder
def test_a_class_that_blend_lacks_can_still_be_answered(spec: Spec, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([6.0, 6.0, 6.0], rows=600)
    rare = labels == 3
    combination = make(spec).fit(stack.rows(~rare), labels[~rare], Objective("log_loss"))
    predicted = combination.predict(stack.rows(rare))
    full = predicted.at(predicted.n_segments - 1)
    assert full[:, 3].min() > 0
    assert (full.argmax(axis=1) == 3).mean() > 0.2


@every_builder
def test_a_blend_of_one_class_or_two_rows_is_survived(spec: Spec, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([2.0, 3.0], rows=2)
    for y in (np.zeros_like(labels), np.array([1, 2])):
        predicted = make(spec).fit(stack, y, OBJECTIVE).predict(stack)
        assert np.isfinite(predicted.probabilities).all()


@every_builder
def test_a_budget_of_members_is_kept(spec: Spec, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0] * 6)
    assert make(spec).within(None) == make(spec)
    for most in (1, 2):
        builder = make(spec).within(most)
        if builder.counts:
            assert len(builder.fit(stack, labels, OBJECTIVE).members) <= most
        elif spec == "bagging":  # as many are trained, and all of them are members
            assert builder.top * builder.members <= most  # type: ignore[attr-defined]


@every_builder
@pytest.mark.parametrize("metric", ["reward", "log_loss"])
def test_a_member_that_comes_twice_does_no_harm(spec: Spec, metric: str, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0, 2.5, 3.5], rows=1200)
    objective = Objective(metric, Costs(0.02))
    half = np.arange(1200) < 600
    scores = []
    for members in ([0, 1, 2], [0, 0, 0, 0, 1, 2]):
        library = stack.take(members)
        combination = make(spec).fit(library.rows(half), labels[half], objective)
        scores.append(objective.score(combination.predict(library.rows(~half)), labels[~half]))
    if make(spec).kinds != {"refit"}:  # refits of one start are no copies, and all of them count
        assert scores[1] >= scores[0] - 0.01


@every_builder
def test_what_is_cross_fitted_is_what_a_fit_without_those_rows_says(spec: Spec, synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0, 2.0, 4.0], rows=150)
    fold = np.arange(150) % 3
    predicted = cross_fit(lambda part, y: make(spec).fit(part, y, OBJECTIVE).predict, stack, labels, fold)
    by_hand = make(spec).fit(stack.rows(fold != 1), labels[fold != 1], OBJECTIVE)
    for row in np.flatnonzero(fold == 1)[:5]:  # a text at a time
        alone = by_hand.predict(stack.rows(np.array([row])))
        np.testing.assert_allclose(alone.probabilities[0], predicted.probabilities[row], atol=1e-5)
        np.testing.assert_allclose(alone.answer[0], predicted.answer[row], atol=1e-5)


@every_builder
def test_a_member_that_blend_shows_to_know_nothing_does_little_harm(spec: Spec, synthetic: SimpleNamespace) -> None:
    """It memorised its own training rows, is sure of itself, and at chance wherever it is asked anything else."""
    stack, labels = synthetic.stack([3.0, 3.0, 3.0, 40.0], rows=1200)
    memorised = stack.probabilities.copy()
    memorised[3] = memorised[3][np.random.default_rng(0).permutation(1200)]
    spoilt = Stack(memorised, stack.answer, stack.n_segments)
    half = np.arange(1200) < 600
    objective = Objective("log_loss")
    without, beside = (
        make(spec).fit(each.rows(half), labels[half], objective).predict(each.rows(~half))
        for each in (stack.take([0, 1, 2]), spoilt)
    )
    if make(spec).kinds != {"refit"} and spec not in ("average", "vote"):  # which do not ask blend for more than a rank
        assert objective.score(beside, labels[~half]) >= objective.score(without, labels[~half]) - 0.05


def test_options_come_from_the_study_file() -> None:
    assert make({"stacking": {"top": 3}}) == BUILDERS["stacking"](top=3)  # type: ignore[call-arg]
    assert make("selection") == BUILDERS["selection"]()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gluing", "'gluing' is not available in this version; use one of average, vote"),
        ({"stacking": {"tops": 3}}, "'tops' is no option; did you mean top?"),
        ({"bagging": {"members": 0}}, "bagging.members must be a number above 0, but got 0"),
        ({"bagging": {"members": 2.5}}, "bagging.members must be a number above 0, but got 2.5"),
        ({"stacking": {"learner": 3}}, "stacking.learner must be text, but got 3"),
        ({"stacking": {"learner": "tree"}}, "ensembles.builders.stacking: learner must be log_odds, logistic"),
        ({"selection": {"share": 2}}, "ensembles.builders.selection: share must be above 0 and at most 1, but got 2"),
        ({"stacking": {"top": True}}, "top must be a number above 0, but got True"),
        ({"bagging": {}, "stacking": {}}, "an entry is a name or {name: options}"),
    ],
)
def test_a_wrong_entry_is_refused_with_the_way_out(spec: object, message: str) -> None:
    with pytest.raises(StudyError) as error:
        make(spec)  # type: ignore[arg-type]
    assert message in str(error.value)
