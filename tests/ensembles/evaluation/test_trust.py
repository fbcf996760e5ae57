import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from sweepstack.ensembles.builders.registry import make
from sweepstack.ensembles.evaluation.choose import Choice, choose
from sweepstack.ensembles.evaluation.trust import LONGEST, SHOWN, Trust, examine
from sweepstack.ensembles.members.library import Library
from sweepstack.ensembles.scoring.bootstrap import half_width
from sweepstack.ensembles.scoring.conformal import CROSS_FITTED
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Ints, metrics

CLASSES = ("a", "b", "c", "d")
OBJECTIVE = Objective("reward", Costs(0.01))
TEXTS = ["x" * 1000] * 400


@pytest.fixture(scope="module")
def made() -> tuple[Choice, Library, Ints]:
    from tests.ensembles.conftest import as_library, make_stack

    stack, labels = make_stack([2.5, 3.0, 2.0], rows=499, segments=3)
    kinds = ["trial", "trial", "baseline"]
    blend = as_library(stack.rows(np.arange(99)), kinds)
    choice = choose(blend, labels[:99], blend, labels[:99], [make("average")], OBJECTIVE)
    return replace(choice, chosen="average"), as_library(stack.rows(np.arange(99, 499)), kinds), labels[99:]


@pytest.fixture(scope="module")
def trust(made: tuple[Choice, Library, Ints]) -> Trust:
    choice, test, labels = made
    return examine(choice, test, TEXTS, labels, CLASSES, OBJECTIVE.costs, "digest")


def test_it_comes_back_from_json(trust: Trust) -> None:
    assert Trust.from_json(json.loads(json.dumps(trust.to_json(), allow_nan=False))) == trust


def test_classes_are_scikit_learns(trust: Trust, made: tuple[Choice, Library, Ints]) -> None:
    choice, test, labels = made
    answers = choice.combinations["average"].predict(test.stack).answers(OBJECTIVE.costs)
    expected = np.array(precision_recall_fscore_support(labels, answers, labels=range(4), zero_division=0)).T
    found = [(each.precision, each.recall, each.f1, each.support) for each in trust.classes]
    np.testing.assert_allclose(found, expected)
    assert sum(each.answered for each in trust.classes) == 400


def test_curves_end_at_the_accuracy_of_the_table(trust: Trust, made: tuple[Choice, Library, Ints]) -> None:
    choice, test, labels = made
    assert [(curve.name, curve.role) for curve in trust.curves] == [
        ("average", "ensemble"), (choice.rows[1].name, "trial"), ("baseline-2", "baseline")
    ]  # fmt: skip
    for curve in trust.curves:
        found = metrics(choice.combinations[curve.name].predict(test.stack), labels, OBJECTIVE.costs)
        assert (curve.answered[-1], curve.accuracy[-1]) == (1.0, pytest.approx(found["accuracy"]))


def test_sets_hold_what_they_promise_and_grow_with_it(trust: Trust) -> None:
    assert [each.coverage for each in trust.sets] == [0.8, 0.9, 0.95, 0.99]
    for each in trust.sets:
        noise = np.sqrt(each.coverage * (1 - each.coverage) * (1 / 99 + 1 / 400))
        assert abs(each.held - each.coverage) <= 2 * noise
        assert each.size >= 1
    assert np.all(np.diff([each.size for each in trust.sets]) >= 0)
    assert trust.promise == CROSS_FITTED


def test_the_interval_of_what_sets_hold_knows_groups(trust: Trust, made: tuple[Choice, Library, Ints]) -> None:
    choice, test, labels = made
    assert [each.half_width for each in trust.sets] == [
        pytest.approx(half_width(np.arange(400) < round(400 * each.held), None, (0, 1))) for each in trust.sets
    ]
    twice = np.repeat(np.arange(400), 2)
    doubled = Library(test.members, replace(test.stack.rows(twice), groups=twice))
    found = examine(choice, doubled, ["x"] * 800, labels[twice], CLASSES, OBJECTIVE.costs, "digest")
    assert [each.half_width for each in found.sets] == [
        pytest.approx(each.half_width, rel=0.01) for each in trust.sets
    ], "a row that stands there twice tells no more than one"


def test_what_all_get_wrong_is_shown_the_surest_first(trust: Trust, made: tuple[Choice, Library, Ints]) -> None:
    found = trust.diversity
    assert found is not None
    assert found.name == "average"
    assert len(found.members) == len(found.accuracy) == len(found.disagreement) == len(found.error_correlation)
    assert 0 < len(found.examples) == min(found.missed, SHOWN)
    probabilities = [each.probability for each in found.examples]
    assert probabilities == sorted(probabilities, reverse=True)
    for each in found.examples:
        assert each.label not in each.said
        assert each.text == "x" * LONGEST + " …"


def test_of_a_single_member_the_best_ensemble_shows_how_members_err(made: tuple[Choice, Library, Ints]) -> None:
    choice, test, labels = made
    alone = examine(replace(choice, chosen="baseline-2"), test, TEXTS, labels, CLASSES, OBJECTIVE.costs, "digest")
    assert alone.name == "baseline-2"
    assert alone.before == alone.after
    assert alone.diversity is not None
    assert alone.diversity.name == "average"
    single = {name: each for name, each in choice.combinations.items() if name != "average"}
    rows = tuple(row for row in choice.rows if row.name != "average")
    only = replace(choice, chosen="baseline-2", rows=rows, combinations=single, calibration={})
    found = examine(only, test, TEXTS, labels, CLASSES, OBJECTIVE.costs, "digest")
    assert (found.diversity, found.sets) == (None, ())
    assert Trust.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_costs_decide_what_is_answered(made: tuple[Choice, Library, Ints], synthetic: SimpleNamespace) -> None:
    choice, test, labels = made
    matrix = np.float32([[0, 9, 9, 9], [0.1, 0, 1, 1], [0.1, 1, 0, 1], [0.1, 1, 1, 0]])
    costly = examine(choice, test, TEXTS, labels, CLASSES, Costs(0.01, matrix), "digest")
    plain = examine(choice, test, TEXTS, labels, CLASSES, Costs(0.01), "digest")
    assert costly.classes[0].answered > plain.classes[0].answered
    assert costly.sets == plain.sets  # which labels may be right does not depend on what an error costs
