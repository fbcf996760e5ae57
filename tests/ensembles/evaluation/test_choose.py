import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.builders.base import Builder
from sweepstack.ensembles.builders.registry import make
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.evaluation.budget import Budget, Serving, pareto
from sweepstack.ensembles.evaluation.choose import Choice, choose, choose_out_of_fold, score_test
from sweepstack.ensembles.evaluation.table import Row
from sweepstack.ensembles.members.library import Library, Member, Stack
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.errors import DataError, TrainingError
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.number_format import score
from sweepstack.models.predictions.probabilities import DIRECTION, Ints, metrics

OBJECTIVE = Objective("reward", Costs(0.02))
BUILDERS: tuple[Builder, ...] = (make("average"), make("selection"), make("stacking"), make("bagging"))
KINDS = ["trial", "trial", "trial", "baseline", "control", "refit", "refit"]


def three_parts(
    synthetic: SimpleNamespace, qualities: list[float], kinds: list[str], seed: int = 0, rows: int = 400
) -> list[tuple[Library, Ints]]:
    stack, labels = synthetic.stack(qualities, rows=3 * rows, seed=seed)
    parts = (np.arange(i * rows, (i + 1) * rows) for i in range(3))
    return [(synthetic.library(stack.rows(part), kinds), labels[part]) for part in parts]


@pytest.fixture(scope="module")
def made() -> SimpleNamespace:
    from typing import Any

    return SimpleNamespace(cache=dict[str, Any]())


@pytest.fixture
def chosen(synthetic: SimpleNamespace, made: SimpleNamespace) -> tuple[Choice, Library, Ints]:
    """A choice over seven members and the test part that it never saw."""
    if not made.cache:
        valid, blend, test = three_parts(synthetic, [3.0, 3.5, 2.0, 3.0, 2.5, 3.0, 3.0], KINDS)
        made.cache["choice"] = (choose(*blend, *valid, BUILDERS, OBJECTIVE), *test)
    return made.cache["choice"]  # type: ignore[no-any-return]


def test_the_table_has_every_builder_best_first_and_then_honest_company(
    chosen: tuple[Choice, Library, Ints],
) -> None:
    choice, *_ = chosen
    assert [row.role for row in choice.rows] == ["ensemble"] * 4 + ["trial", "baseline", "control"]
    assert {row.name for row in choice.rows[:4]} == {"average", "selection", "stacking", "bagging"}
    on_blend = [row.blend["reward"] for row in choice.rows[:4]]
    assert on_blend == sorted(on_blend, reverse=True)
    assert choice.rows[4].name == "trial-1"  # the best on valid
    assert choice.row("bagging").members == ("refit-5", "refit-6")
    assert not {"refit-5", "refit-6"} & set(choice.row("average").members)
    assert all(sum(row.weights or ()) == pytest.approx(1) for row in choice.rows)
    assert [choice.row(name).title for name in ("trial-1", "baseline-3", "control-4")] == [
        "trial-1",
        "linear, sure enough",
        "supervised, sure enough",
    ]


def test_a_likely_better_ensemble_is_exported(chosen: tuple[Choice, Library, Ints]) -> None:
    choice, *_ = chosen
    assert choice.chosen == choice.rows[0].name
    assert choice.reason.startswith(f"{choice.chosen} is exported: with a probability of ")
    assert "the choice among 7 counted (blend reward ." in choice.reason


def test_blend_figures_of_ensembles_are_those_of_rows_not_fitted_on(synthetic: SimpleNamespace) -> None:
    """Members that know nothing: what was fitted on 200 rows looks good on them; its row in the table must not."""
    valid, blend, _ = three_parts(synthetic, [0.0] * 8, ["trial"] * 8, rows=200)
    choice = choose(*blend, *valid, [make("selection")], Objective("accuracy_full"))
    fitted = choice.combinations["selection"].predict(blend[0].stack)
    assert metrics(fitted, blend[1], Costs(0.02))["accuracy_full"] > 0.33
    assert choice.rows[0].blend["accuracy_full"] == pytest.approx(0.25, abs=0.1)


def test_an_ensemble_that_gains_nothing_is_not_exported(synthetic: SimpleNamespace) -> None:
    valid, blend, _ = three_parts(synthetic, [6.0, 0.3, 0.3], ["trial", "trial", "baseline"])
    choice = choose(*blend, *valid, [make("average")], OBJECTIVE)
    assert choice.chosen == "trial-0"
    assert "is better than every single member with a probability of " in choice.reason
    assert "80% is needed" in choice.reason


def test_a_builder_that_cannot_be_kept_is_left_out_with_the_reason(synthetic: SimpleNamespace) -> None:
    class Unkept(Builder):
        name = "stacking"

        def fit(self, stack: Stack, labels: Ints, objective: Objective) -> Combination:
            raise TrainingError("a learner and its ONNX graph differ")

    valid, blend, _ = three_parts(synthetic, [3.0, 2.0, 2.5], ["trial", "trial", "baseline"])
    choice = choose(*blend, *valid, [Unkept(), make("average")], OBJECTIVE)
    assert choice.notes == ("stacking was left out: a learner and its ONNX graph differ",)
    assert [row.name for row in choice.rows if row.role == "ensemble"] == ["average"]


def test_a_control_that_is_the_best_alone_is_exported_whether_ensembles_may_use_it_or_not(
    synthetic: SimpleNamespace,
) -> None:
    valid, blend, _ = three_parts(synthetic, [1.0, 0.8, 0.9, 7.0], ["trial", "trial", "baseline", "control"])
    for allowed in (frozenset({"trial", "baseline", "control"}), frozenset({"trial", "baseline"})):
        choice = choose(*blend, *valid, [make("average")], OBJECTIVE, allowed=allowed)  # type: ignore[arg-type]
        assert choice.chosen == "control-3"
        assert choice.reason.startswith("control-3 is exported: the best ensemble, average, is better than every ")
    out_of = choose_out_of_fold(*blend, np.arange(400) % 3, [make("average")], OBJECTIVE)
    assert out_of.chosen == "control-3"


def test_every_pipeline_has_a_row_and_may_be_exported(synthetic: SimpleNamespace) -> None:
    valid, blend, _ = three_parts(
        synthetic, [1.0, 0.8, 0.9, 7.0, 0.7], ["trial", "baseline", "pipeline", "pipeline", "control"]
    )
    choice = choose(*blend, *valid, [make("average")], OBJECTIVE)
    assert [(row.name, row.method, row.role) for row in choice.rows[1:]] == [
        ("trial-0", "trial", "trial"),
        ("baseline-1", "linear", "baseline"),
        ("pipeline-2", "pipeline-2", "baseline"),
        ("pipeline-3", "pipeline-3", "baseline"),
        ("control-4", "supervised", "control"),
    ]
    assert choice.chosen == "pipeline-3"
    assert choice.row("pipeline-2").title == "pipeline-2, sure enough"


def test_trials_that_are_controls_have_a_row_of_their_method(synthetic: SimpleNamespace) -> None:
    valid, blend, _ = three_parts(synthetic, [4.0, 3.0, 2.0, 2.5], ["trial", "trial", "trial", "baseline"])
    controls = {"trial-1": "supervised", "trial-2": "supervised"}
    choice = choose(*blend, *valid, [], OBJECTIVE, controls=controls)
    assert [(row.name, row.role) for row in choice.rows] == [
        ("trial-0", "trial"), ("baseline-3", "baseline"), ("trial-1", "control"),
    ]  # fmt: skip
    best = choose(*blend, *valid, [], OBJECTIVE, controls={"trial-0": "supervised"})
    assert [row.role for row in best.rows] == ["trial", "baseline"], "the best of all is one"


def test_a_budget_bounds_the_control_too(synthetic: SimpleNamespace) -> None:
    valid, blend, _ = three_parts(synthetic, [1.0, 7.0, 4.0], ["trial", "control", "control"])

    def measure(combination: Combination) -> Serving:
        return Serving(*[float(5 if 1 in combination.members else 1)] * 3)

    choice = choose(*blend, *valid, [], OBJECTIVE, measure=measure, budget=Budget(latency_ms=2))
    assert [(row.name, row.over_budget) for row in choice.rows] == [
        ("trial-0", ""), ("control-1", "latency_ms 5 > 2"), ("control-2", ""),
    ]  # fmt: skip
    assert choice.chosen == "control-2"


def test_where_nothing_is_combined_the_best_single_member_is_exported(synthetic: SimpleNamespace) -> None:
    valid, blend, _ = three_parts(synthetic, [1.0, 6.0, 0.5], ["trial", "baseline", "control"])
    choice = choose(*blend, *valid, [make("bagging")], OBJECTIVE)
    assert choice.chosen == "baseline-1"
    assert choice.notes == ("bagging was left out: there is no member of kind refit",)
    assert choice.reason.startswith("baseline-1 is exported: nothing was combined, and it has the best blend ")
    close = three_parts(synthetic, [3.0, 3.0, 3.0], ["trial", "baseline", "control"])
    reason = choose(*close[1], *close[0], [], OBJECTIVE).reason
    assert "; the best of 3 looks too good on blend by about ." in reason


def test_a_kind_that_the_study_leaves_out_stands_in_the_table_and_in_no_ensemble(synthetic: SimpleNamespace) -> None:
    valid, blend, _ = three_parts(synthetic, [3.0, 3.0, 3.5], ["trial", "trial", "baseline"])
    choice = choose(*blend, *valid, [make("average")], OBJECTIVE, allowed=frozenset({"trial"}))
    assert choice.row("average").members == ("trial-0", "trial-1")
    assert choice.row("baseline-2").role == "baseline"


def test_the_same_call_gives_the_same_choice(synthetic: SimpleNamespace) -> None:
    valid, blend, _ = three_parts(synthetic, [3.0, 3.5, 2.0], ["trial", "trial", "baseline"])
    one, other = (choose(*blend, *valid, BUILDERS, OBJECTIVE, seed=3) for _ in range(2))
    assert (one.rows, one.chosen, one.reason) == (other.rows, other.chosen, other.reason)


def test_two_entries_of_one_builder_have_two_names(synthetic: SimpleNamespace) -> None:
    valid, blend, _ = three_parts(synthetic, [3.0, 3.0], ["trial", "trial"])
    choice = choose(*blend, *valid, [make({"average": {"top": 1}}), make("average")], OBJECTIVE)
    assert {row.name for row in choice.rows if row.role == "ensemble"} == {"average", "average-2"}
    assert len(choice.row("average").members) == 1


def test_a_blend_part_of_one_row_is_refused(synthetic: SimpleNamespace) -> None:
    valid, blend, _ = three_parts(synthetic, [3.0], ["trial"], rows=1)
    with pytest.raises(DataError, match=r"raise data.splits.blend"):
        choose(*blend, *valid, [make("average")], OBJECTIVE)


def test_test_is_scored_afterwards_with_intervals_and_paired_gains(chosen: tuple[Choice, Library, Ints]) -> None:
    choice, test, labels = chosen
    predictions = choice.predict(test)
    rows = {row.name: row for row in score_test(choice, predictions, labels, OBJECTIVE)}
    assert list(rows) == [row.name for row in choice.rows]
    for name, row in rows.items():
        assert row.test == metrics(predictions[name], labels, OBJECTIVE.costs)
        assert row.blend == choice.row(name).blend
        assert 0 < (row.blend_interval or {})["accuracy"] < 0.06
    assert rows["trial-1"].gain_over_trial is None
    assert rows["baseline-3"].gain_over_linear is None
    over = rows["selection"].gain_over_trial
    mine, theirs = rows["selection"].test, rows["trial-1"].test
    assert over is not None
    assert mine is not None
    assert theirs is not None
    assert over.mean == pytest.approx(mine["reward"] - theirs["reward"])
    assert over.low < over.mean < over.high
    accuracy, width = theirs["accuracy"], (rows["trial-1"].test_interval or {})["accuracy"]
    assert width == pytest.approx(1.96 * np.sqrt(accuracy * (1 - accuracy) / 399), rel=0.02)


@pytest.mark.parametrize("metric", ["f1_macro", "calibration_error"])
def test_a_metric_that_is_no_mean_over_rows_can_be_chosen_by(metric: str, synthetic: SimpleNamespace) -> None:
    valid, blend, test = three_parts(synthetic, [4.0, 4.0, 4.0, 1.0], ["trial"] * 3 + ["baseline"])
    objective = Objective(metric, Costs(0.02))
    choice = choose(*blend, *valid, [make("average"), make("selection")], objective)
    assert (
        f"blend {metric} {score(choice.row(choice.chosen).blend[metric])}" in choice.reason
        or "against" in choice.reason
    )
    rows = score_test(choice, choice.predict(test[0]), test[1], objective)
    ensemble, linear = rows[0], rows[-1]
    over = ensemble.gain_over_linear
    assert over is not None
    sign = DIRECTION[metric]
    assert over.mean == pytest.approx(sign * ((ensemble.test or {})[metric] - (linear.test or {})[metric]))
    assert over.low < over.mean < over.high
    assert (ensemble.test_interval or {})[metric] > 0


def test_less_log_loss_is_a_gain(synthetic: SimpleNamespace) -> None:
    valid, blend, test = three_parts(synthetic, [4.0, 4.0, 4.0, 1.0], ["trial"] * 3 + ["baseline"])
    objective = Objective("log_loss")
    choice = choose(*blend, *valid, [make("average")], objective)
    rows = score_test(choice, choice.predict(test[0]), test[1], objective)
    ensemble, linear = rows[0], rows[-1]
    assert ensemble.gain_over_linear is not None
    assert ensemble.gain_over_linear.mean == pytest.approx(
        (linear.test or {})["log_loss"] - (ensemble.test or {})["log_loss"]
    )
    assert ensemble.gain_over_linear.low > 0


def test_a_row_survives_json(chosen: tuple[Choice, Library, Ints]) -> None:
    choice, test, labels = chosen
    for row in (*choice.rows, *score_test(choice, choice.predict(test), labels, OBJECTIVE)):
        assert Row.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_with_one_segment_nothing_is_said_of_a_stop(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0, 3.0], segments=1)
    library = synthetic.library(Stack(stack.probabilities, stack.answer, stack.n_segments), ["trial", "baseline"])
    choice = choose(library, labels, library, labels, [make("average")], OBJECTIVE)
    assert {row.stop for row in choice.rows} == {"one segment"}
    assert choice.row("baseline-1").title == "baseline-1"
    assert replace(choice.row("baseline-1"), name="linear").title == "linear"


def test_twenty_members_are_chosen_among_in_seconds(synthetic: SimpleNamespace) -> None:
    import time

    stack, labels = synthetic.stack(np.linspace(3, 6, 20).tolist(), rows=750, segments=12, classes=14)
    library = synthetic.library(stack, ["trial"] * 18 + ["baseline", "control"])
    begin = time.process_time()
    choose(library, labels, library, labels, BUILDERS, OBJECTIVE)
    assert time.process_time() - begin < 20  # 3 s on an idle core


def out_of_fold(synthetic: SimpleNamespace, qualities: list[float], kinds: list[str]) -> tuple[Library, Ints, Ints]:
    stack, labels = synthetic.stack(qualities, rows=600, seed=4)
    return synthetic.library(stack, kinds), labels, np.arange(600) % 3


def test_out_of_fold_predictions_serve_as_valid_and_blend(synthetic: SimpleNamespace) -> None:
    library, labels, fold = out_of_fold(synthetic, [3.0, 3.5, 2.0, 3.0, 2.5, 3.0, 3.0], KINDS)
    choice = choose_out_of_fold(library, labels, fold, BUILDERS, OBJECTIVE)
    assert [row.role for row in choice.rows] == ["ensemble"] * 4 + ["trial", "baseline", "control"]
    for row in choice.rows[:4]:
        assert row.valid == row.blend, "fitted on some folds, scored on the others"
    linear = choice.row("baseline-3")
    assert linear.valid == linear.blend == metrics(library.stack.member(3), labels, OBJECTIVE.costs)
    # What each builder says of a fold was fitted on the other two.
    average = make("average")
    expected = 0.0
    for k in range(3):
        held, own = fold == k, library.stack.take(range(5))
        said = average.fit(own.rows(~held), labels[~held], OBJECTIVE).predict(own.rows(held))
        expected += OBJECTIVE.score(said, labels[held]) * held.sum() / len(labels)
    assert choice.row("average").blend["reward"] == pytest.approx(expected)


def test_the_best_trial_is_scored_where_it_was_not_chosen(synthetic: SimpleNamespace) -> None:
    """Members that know nothing: the luckiest of thirty is above chance on the rows that it was chosen by."""
    library, labels, fold = out_of_fold(synthetic, [0.0] * 30, ["trial"] * 30)
    row = choose_out_of_fold(library, labels, fold, (), Objective("accuracy_full", Costs(0.0))).rows[0]
    each = [metrics(library.stack.member(i), labels, Costs(0.0))["accuracy_full"] for i in range(30)]
    assert row.valid["accuracy_full"] == max(each) > 0.27
    assert row.blend["accuracy_full"] < max(each)
    assert row.blend["accuracy_full"] == pytest.approx(0.25, abs=0.035)  # two standard errors


def test_shuffled_labels_bring_nothing_out_of_fold() -> None:
    """The whole way: members that learn by heart under folds, a fit on what they say, and labels that mean nothing.

    Each predicts a row by its nearest neighbours among the rows of the other folds, which is all that it knows.
    """
    random = np.random.default_rng(0)
    rows, classes = 900, 3
    labels, fold = random.integers(0, classes, rows), np.arange(rows) % 3
    members = []
    for neighbours in (1, 3, 5, 9):
        points = random.normal(size=(rows, 4))
        distances = ((points[:, None] - points[None]) ** 2).sum(axis=2)
        distances[fold[:, None] == fold[None]] = np.inf
        near = np.argsort(distances, axis=1)[:, :neighbours]
        share = np.eye(classes)[labels[near]].mean(axis=1)
        members.append(((share + 0.1) / (1 + 0.1 * classes))[:, None].astype(np.float32))
    ones = np.ones(rows, dtype=np.int64)
    stack = Stack(np.stack(members), np.ones((4, rows, 1), dtype=np.float32), ones)
    names = [Member(f"trial-{i}", "trial", Path(str(i))) for i in range(4)]
    objective = Objective("accuracy", Costs(0.0))
    builders = (make("selection"), make("stacking"))
    choice = choose_out_of_fold(Library(tuple(names), stack), labels, fold, builders, objective)
    for row in choice.rows:
        assert row.blend["accuracy"] == pytest.approx(1 / 3, abs=0.032), row.name  # two standard errors
        assert row.blend["log_loss"] > np.log(3) - 0.01


SIZES = {"trial-0": 4.0, "trial-1": 1.0, "baseline-2": 0.5}


def by_size(library: Library) -> Callable[[Combination], Serving]:
    """A member takes as many milliseconds as megabytes."""

    def measure(combination: Combination) -> Serving:
        size = sum(SIZES[library.members[m].name] for m in combination.members)
        return Serving(size, size, size / 4)

    return measure


@pytest.mark.parametrize(
    ("budget", "exported", "over"),
    [
        (Budget(), "average", {}),
        (Budget(members=3, size_mb=5.5), "average", {}),
        (Budget(members=2), "trial-0", {"average": "members 3 > 2"}),
        (Budget(latency_ms=2), "trial-1", {"average": "latency_ms 5.5 > 2", "trial-0": "latency_ms 4 > 2"}),
        (
            Budget(size_mb=0.25),
            "baseline-2",
            {
                "average": "size_mb 5.5 > 0.25",
                "trial-0": "size_mb 4 > 0.25",
                "trial-1": "size_mb 1 > 0.25",
                "baseline-2": "size_mb 0.5 > 0.25",
            },
        ),
    ],
)
def test_a_budget_bounds_the_choice_and_leaves_the_table(
    budget: Budget, exported: str, over: dict[str, str], synthetic: SimpleNamespace
) -> None:
    valid, blend, _ = three_parts(synthetic, [3.6, 3.0, 2.0], ["trial", "trial", "baseline"])
    measure = by_size(blend[0])
    choice = choose(*blend, *valid, [make("average")], OBJECTIVE, measure=measure, budget=budget)
    assert choice.chosen == exported
    assert {row.name: row.over_budget for row in choice.rows if row.over_budget} == over
    assert choice.row("average").size_mb == 5.5
    if exported == "baseline-2":
        assert choice.reason == (
            "baseline-2 is exported, the cheapest single member: nothing fits ensembles.budget (size_mb 0.25), it has "
            "size_mb 0.5 > 0.25."
        )


def test_the_front_of_score_and_latency_is_marked(synthetic: SimpleNamespace) -> None:
    valid, blend, _ = three_parts(synthetic, [3.6, 0.1, 2.0], ["trial", "trial", "baseline"])
    choice = choose(*blend, *valid, [make("average")], OBJECTIVE, measure=by_size(blend[0]))
    points = {row.name: (row.blend["reward"], row.latency_ms) for row in choice.rows}
    assert {row.name for row in choice.rows if row.front} == pareto(points)  # type: ignore[arg-type]
    assert choice.row("baseline-2").front
    unmeasured = choose(*blend, *valid, [make("average")], OBJECTIVE)
    assert not any(row.front for row in unmeasured.rows)
    assert unmeasured.row("average").latency_32_ms is None


def test_out_of_fold_a_budget_bounds_the_choice_too(synthetic: SimpleNamespace) -> None:
    library, labels, fold = out_of_fold(synthetic, [3.6, 3.0, 2.0], ["trial", "trial", "baseline"])
    choice = choose_out_of_fold(
        library, labels, fold, [make("average")], OBJECTIVE, measure=by_size(library), budget=Budget(latency_ms=2)
    )
    assert choice.chosen == "trial-1"
    assert [row.name for row in choice.rows] == ["average", "trial-0", "trial-1", "baseline-2"]


def test_rows_of_a_group_are_in_one_fold_and_intervals_are_those_of_groups(synthetic: SimpleNamespace) -> None:
    """100 rows of which members know nothing, each four times: a learner that has them by heart is right of copies."""
    stack, labels = synthetic.stack([0.0, 0.0, 0.0, 0.0], rows=100, segments=1)
    groups = np.repeat(np.arange(100), 4)
    copies = synthetic.library(stack.rows(groups))
    parted = replace(copies, stack=replace(copies.stack, groups=groups))
    builders = [make({"stacking": {"learner": "sklearn.neighbors:KNeighborsClassifier"}})]
    objective = Objective("accuracy", Costs())
    known, unknown = (
        choose(each, labels[groups], each, labels[groups], builders, objective).row("stacking")
        for each in (copies, parted)
    )
    assert known.blend["accuracy"] > 0.6
    assert unknown.blend["accuracy"] == pytest.approx(0.25, abs=0.12)
    assert (unknown.blend_interval or {})["accuracy"] == pytest.approx(1.96 * np.sqrt(0.25 * 0.75 / 100), rel=0.2)
    choice = choose(parted, labels[groups], parted, labels[groups], [make("average")], objective)
    said = choice.predict(parted)
    by_rows, by_groups = (score_test(choice, said, labels[groups], objective, each) for each in (None, groups))
    for one, other in zip(by_rows, by_groups, strict=True):
        assert one.test == other.test
        assert (other.test_interval or {})["accuracy"] > 1.8 * (one.test_interval or {})["accuracy"]
        assert (other.test_interval or {})["log_loss"] == pytest.approx(
            2 * (one.test_interval or {})["log_loss"], rel=0.03
        )
        if one.gain_over_trial is not None and other.gain_over_trial is not None and one.role == "ensemble":
            wide, narrow = (each.gain_over_trial.high - each.gain_over_trial.low for each in (other, one))
            assert wide > 1.8 * narrow
