import json
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sweepstack.ensembles.builders.minimum_bayes_risk import MinimumBayesRisk
from sweepstack.ensembles.builders.reranker import Reranker
from sweepstack.ensembles.builders.text_builder import TextBuilder
from sweepstack.ensembles.builders.writer_soup import WriterSoup
from sweepstack.ensembles.combinations.text_combination import TextCombination
from sweepstack.ensembles.evaluation.budget import Budget, Serving
from sweepstack.ensembles.evaluation.choose_texts import TextChoice, _folds, _honest, choose_texts, score_texts_test
from sweepstack.ensembles.evaluation.table import Row
from sweepstack.ensembles.members.texts import CandidateLibrary
from sweepstack.ensembles.scoring.text_objective import TextObjective
from sweepstack.models.errors import DataError, TrainingError
from sweepstack.models.predictions.texts import Candidates

OBJECTIVE = TextObjective("chrf", "en")
KINDS = ["trial", "trial", "trial", "baseline", "control", "soup"]
BUILDERS: tuple[TextBuilder, ...] = (MinimumBayesRisk(), Reranker(), WriterSoup())
Parts = list[tuple[CandidateLibrary, tuple[str, ...]]]


class Decoded(TextBuilder):
    """A builder whose texts have to be written anew."""

    name = "average"

    def fit(
        self, blend: CandidateLibrary, members: Sequence[int], references: Sequence[str], objective: TextObjective
    ) -> TextCombination:
        return TextCombination("token_average", tuple(members[:2]), {"mean": "probabilities", "decode": {}})


def nothing(combination: TextCombination, part: str) -> Candidates:
    raise AssertionError("nothing has to be decoded")


def chosen(parts: Parts, builders: Sequence[TextBuilder] = BUILDERS, **options: Any) -> TextChoice:
    valid, blend = parts
    return choose_texts(*blend, *valid, builders, OBJECTIVE, **{"decode": nothing, **options})


@pytest.fixture
def parts(writing: SimpleNamespace) -> Parts:
    return writing.parts([0.32, 0.3, 0.34, 0.5, 0.31, 0.33], KINDS)  # type: ignore[no-any-return]


MADE: dict[str, TextChoice] = {}


@pytest.fixture
def choice(parts: Parts) -> TextChoice:
    """Of all builders; made once."""
    if not MADE:
        MADE["choice"] = chosen(parts)
    return MADE["choice"]


def test_the_table_has_every_builder_best_first_then_honest_company(parts: Parts, choice: TextChoice) -> None:
    assert [row.role for row in choice.rows] == ["ensemble"] * 3 + ["trial", "baseline", "control"]
    on_blend = [row.blend["chrf"] for row in choice.rows[:3]]
    assert on_blend == sorted(on_blend, reverse=True)
    (valid, valid_references), (blend, references) = parts
    by_valid = [OBJECTIVE.score(valid.sources, valid_references, each.best) for each in valid.candidates]
    best = int(np.argmax(by_valid[:3]))
    row = choice.row(f"trial-{best}")
    assert row.valid["chrf"] == by_valid[best]
    assert row.blend == OBJECTIVE.metrics(blend.sources, references, blend.candidates[best].best)
    assert (choice.row("baseline-3").method, choice.row("control-4").method) == ("memory", "supervised")
    assert choice.row("soup").members == ("soup-5",)
    assert {row.stop for row in choice.rows} == {""}
    assert choice.row("baseline-3").title == "baseline-3"
    assert all(0 < (row.blend_interval or {})["bleu"] < 10 for row in choice.rows)


def test_the_best_trial_of_each_kind_of_control_stands_beside_the_best_of_all(writing: SimpleNamespace) -> None:
    parts = writing.parts([0.3, 0.2, 0.25, 0.35, 0.5], ["trial"] * 4 + ["baseline"])
    kinds = {"trial-0": "constant", "trial-2": "constant", "trial-3": "supervised"}
    choice = chosen(parts, [], controls=kinds)
    assert [(row.name, row.method, row.role) for row in choice.rows] == [
        ("trial-1", "trial", "trial"), ("baseline-4", "memory", "baseline"),
        ("trial-2", "constant", "control"), ("trial-3", "supervised", "control"),
    ]  # fmt: skip
    test, references = parts[0]
    written = choice.write(test, "test", nothing)
    rows = {row.name: row for row in score_texts_test(choice, written, test.sources, references, OBJECTIVE)}
    over = rows["trial-2"].gain_over_trial
    assert over is not None
    assert over.mean < 0
    own = chosen(parts, [], controls={"trial-1": "constant", "trial-2": "constant"})
    assert [row.name for row in own.rows] == ["trial-1", "baseline-4"], "the best of all is one"


def test_a_likely_better_ensemble_is_exported_and_the_choice_says_by_how_much_it_flatters(choice: TextChoice) -> None:
    assert choice.chosen in ("minimum_bayes_risk", "reranker")
    assert choice.reason.startswith(f"{choice.chosen} is exported: with a probability of ")
    assert "; the best of 6 looks too good on blend by about" in choice.reason
    assert choice.optimism is not None


def test_a_control_that_is_the_best_alone_is_exported(writing: SimpleNamespace) -> None:
    parts = writing.parts([0.8, 0.75, 0.85, 0.01], ["trial", "trial", "baseline", "control"])
    choice = chosen(parts, [MinimumBayesRisk()])
    assert choice.chosen == "control-3"
    assert "of control-3)" in choice.reason
    bounded = chosen(
        parts,
        [MinimumBayesRisk()],
        measure=lambda combination: Serving(*[float(5 if 3 in combination.members else 1)] * 3),
        budget=Budget(latency_ms=2),
    )
    assert bounded.row("control-3").over_budget
    assert bounded.chosen == "trial-1"


def test_an_ensemble_that_gains_nothing_is_not_exported(writing: SimpleNamespace) -> None:
    choice = chosen(writing.parts([0.05, 0.8, 0.85], ["trial", "trial", "baseline"]), [MinimumBayesRisk()])
    assert choice.chosen == "trial-0"
    assert "is better than every single member with a probability of " in choice.reason


def test_the_memory_is_a_rival_too(writing: SimpleNamespace) -> None:
    choice = chosen(writing.parts([0.8, 0.1], ["trial", "baseline"]), [WriterSoup()])
    assert choice.chosen == "baseline-1"
    assert choice.notes == ("soup was left out: there is no member of kind soup",)


def test_it_is_said_where_the_utility_is_the_metric(parts: Parts) -> None:
    choice = chosen(parts, [MinimumBayesRisk(utility="chrf"), MinimumBayesRisk(utility="bleu"), Reranker()])
    assert [choice.row(name).utility for name in ("minimum_bayes_risk", "minimum_bayes_risk-2", "reranker")] == [
        "chrf", "bleu", "",
    ]  # fmt: skip
    (note,) = choice.notes
    assert note.startswith("minimum_bayes_risk picks what is likeliest to score well in chrf, which is also the metric")


def test_what_a_reranker_writes_for_a_row_of_blend_it_has_not_learned_from_it(parts: Parts) -> None:
    """Other references for one fold change what is picked elsewhere, and nothing there."""
    blend, references = parts[1]
    fold = _folds(blend, 0)
    fitted = Reranker().fit(blend, (0, 1, 2, 3), references, OBJECTIVE)
    held = fold == 2
    others = tuple("another text" if there else own for own, there in zip(references, held, strict=True))
    before, after = (
        _honest(Reranker(), fitted, blend, each, OBJECTIVE, fold, nothing) for each in (references, others)
    )
    assert before.rows(held) == after.rows(held)
    assert before.rows(~held).scores != after.rows(~held).scores


def test_what_must_be_decoded_is_decoded_part_by_part(parts: Parts) -> None:
    asked = []

    def decode(combination: TextCombination, part: str) -> Candidates:
        asked.append((part, combination.members))
        library = dict(zip(("valid", "blend"), (each for each, _ in parts), strict=True))[part]
        return library.candidates[combination.members[0]]

    choice = chosen(parts, [Decoded()], decode=decode)
    members = choice.combinations["average"].members
    assert sorted(asked) == [("blend", members), ("valid", members)]
    assert choice.row("average").valid["chrf"] == choice.row(choice.row("average").members[0]).valid["chrf"]
    assert choice.write(parts[1][0], "blend", decode)["average"] == parts[1][0].candidates[members[0]]


def test_a_builder_that_comes_to_nothing_is_left_out_with_the_reason(parts: Parts) -> None:
    def decode(combination: TextCombination, part: str) -> Candidates:
        raise TrainingError("its members do not fit")

    choice = chosen(parts, [Decoded(), MinimumBayesRisk(utility="bleu")], decode=decode)
    assert choice.notes == ("average was left out: its members do not fit",)
    assert "average" not in choice.combinations
    lonely = chosen(parts, [MinimumBayesRisk()], allowed=frozenset({"baseline"}))
    assert lonely.notes == (
        "minimum_bayes_risk was left out: it needs 2 members of kind baseline that differ, and there is but 1",
    )


def test_the_same_call_gives_the_same_choice(parts: Parts, choice: TextChoice) -> None:
    again = chosen(parts)
    assert (again.rows, again.chosen, again.reason) == (choice.rows, choice.chosen, choice.reason)


def test_one_source_on_blend_is_refused(parts: Parts) -> None:
    blend, references = parts[1]
    with pytest.raises(DataError, match=r"raise data.splits.blend"):
        chosen([parts[0], (replace(blend, sources=("same",) * len(blend)), references)])


def test_test_is_scored_afterwards_with_intervals_and_paired_gains(parts: Parts, choice: TextChoice) -> None:
    test, references = parts[0]
    written = choice.write(test, "test", nothing)
    rows = {row.name: row for row in score_texts_test(choice, written, test.sources, references, OBJECTIVE)}
    trial = next(row for row in rows.values() if row.role == "trial")
    risk = rows["minimum_bayes_risk"]
    assert risk.test == OBJECTIVE.metrics(test.sources, references, written["minimum_bayes_risk"].best)
    assert risk.blend == choice.row("minimum_bayes_risk").blend
    assert trial.gain_over_trial is None
    assert rows["baseline-3"].gain_over_linear is None
    for metric, over in (("chrf", risk.gain_over_trial), ("bleu", (risk.other_gains or {})["bleu"])):
        assert over is not None
        assert over.mean == pytest.approx((risk.test or {})[metric] - (trial.test or {})[metric])
        assert over.low < over.mean < over.high
    assert (risk.test_interval or {})["chrf"] > 0
    for row in rows.values():
        assert Row.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_a_budget_bounds_the_choice_and_the_front_is_marked(parts: Parts) -> None:
    measured = []

    def measure(combination: TextCombination) -> Serving:
        measured.append(combination.members)
        size = sum({0: 4.0, 1: 9.0, 2: 4.0, 3: 1.0, 4: 4.0, 5: 4.0}[m] for m in combination.members)
        return Serving(size, size, size / 4)

    choice = chosen(parts, [MinimumBayesRisk()], measure=measure, budget=Budget(size_mb=5))
    over = {row.name for row in choice.rows if row.over_budget}
    assert "minimum_bayes_risk" in over
    assert choice.row(choice.chosen).size_mb is not None
    assert choice.chosen not in over
    assert len(measured) == len(set(measured))  # each once
    assert choice.row("baseline-3").front
    free = chosen(parts, [MinimumBayesRisk()])
    assert free.row("minimum_bayes_risk").latency_ms is None


def test_rows_of_a_group_share_a_fold_and_without_groups_equal_sources_do(parts: Parts) -> None:
    blend, _ = parts[1]
    groups = np.arange(len(blend)) // 3
    fold = _folds(replace(blend, groups=groups), 0)
    assert all(len(set(fold[groups == group])) == 1 for group in set(groups.tolist()))
    assert set(fold.tolist()) == set(range(5))
    twice = replace(blend, sources=tuple(blend.sources[i // 2] for i in range(len(blend))))
    assert all(len(set(_folds(twice, 0)[i : i + 2])) == 1 for i in range(0, len(blend) - 1, 2))


def test_intervals_of_texts_are_those_of_groups(parts: Parts) -> None:
    """Every row of blend four times."""
    blend, of_blend = parts[1]
    four = np.repeat(np.arange(len(blend)), 4)
    copies = tuple(of_blend[i] for i in four)
    choice = chosen(parts, [MinimumBayesRisk()])
    library = blend.rows(four)
    said = choice.write(library, "test", nothing)
    by_rows, by_groups = (
        score_texts_test(choice, said, library.sources, copies, OBJECTIVE, each) for each in (None, four)
    )
    for one, other in zip(by_rows, by_groups, strict=True):
        assert one.test == other.test
        assert one.test_interval is not None
        assert other.test_interval is not None
        for metric, half in one.test_interval.items():
            assert other.test_interval[metric] == pytest.approx(2 * half, rel=0.05)
