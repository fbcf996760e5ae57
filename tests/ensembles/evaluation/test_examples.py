from pathlib import Path

import pytest
from example_rows import writing_rows

from sweepstack.ensembles.evaluation.choose_texts import TextChoice
from sweepstack.ensembles.evaluation.examples import MOST, Examples, differing, read_examples
from sweepstack.ensembles.scoring.text_objective import TextObjective
from sweepstack.models.files import write_json
from sweepstack.models.predictions.text_metrics import sentence_chrf
from sweepstack.models.predictions.texts import Candidates

SOURCES = ("open", "close", "save", "print")
REFERENCES = ("打开文件", "关闭窗口", "保存文件", "打印文件")
OBJECTIVE = TextObjective("chrf", "zh")


def texts(*best: str) -> Candidates:
    return Candidates(tuple((text,) for text in best), ((0.0,),) * len(best))


@pytest.fixture
def choice() -> TextChoice:
    return TextChoice(writing_rows(), {}, "minimum_bayes_risk", "", ())


WRITTEN = {
    "minimum_bayes_risk": texts("打开文件", "关闭", "保存文件", "文件"),
    "trial-3": texts("打开", "关闭窗口", "保存文件", "文件"),
    "memory": texts(*REFERENCES),
}


def found(choice: TextChoice) -> Examples:
    shown = differing(choice, WRITTEN, SOURCES, REFERENCES, OBJECTIVE, "0123")
    assert shown is not None
    return shown


def test_rows_that_differ_are_shown_whichever_is_better(choice: TextChoice) -> None:
    shown = found(choice)
    assert (shown.ensemble, shown.trial, shown.score) == ("minimum_bayes_risk", "trial-3", "chrf")
    assert (shown.better, shown.worse, shown.equal) == (1, 1, 2)
    assert {row.source for row in shown.rows} == {"open", "close"}, "equal texts show nothing"
    (first,) = (row for row in shown.rows if row.source == "open")
    assert (first.reference, first.trial, first.ensemble) == ("打开文件", "打开", "打开文件")
    assert first.ensemble_score == pytest.approx(100.0)
    assert first.trial_score == pytest.approx(100 * sentence_chrf(["打开"], ["打开文件"])[0])
    differences = [abs(row.ensemble_score - row.trial_score) for row in shown.rows]
    assert differences == sorted(differences, reverse=True)


def test_at_most_so_many_are_kept_and_the_largest_differences(choice: TextChoice) -> None:
    many = 3 * MOST
    references = ["abcdefgh" * 4] * many
    ours = texts(*references)
    theirs = texts(*[("abcdefgh" * 4)[: 32 - row // 2] for row in range(many)])
    written, sources = {"minimum_bayes_risk": ours, "trial-3": theirs}, [str(row) for row in range(many)]
    shown = differing(choice, written, sources, references, OBJECTIVE, "")
    assert shown is not None
    assert len(shown.rows) == MOST
    assert {int(row.source) for row in shown.rows} == set(range(many - MOST, many))
    assert (shown.better, shown.equal) == (many - 2, 2)


def test_where_nothing_differs_the_first_rows_show_what_is_written(choice: TextChoice) -> None:
    same = {**WRITTEN, "trial-3": WRITTEN["minimum_bayes_risk"]}
    shown = differing(choice, same, SOURCES, REFERENCES, OBJECTIVE, "")
    assert shown is not None
    assert (shown.better, shown.worse, shown.equal) == (0, 0, 4)
    assert tuple(sorted(row.source for row in shown.rows)) == tuple(sorted(SOURCES))


def test_half_are_rows_that_became_worse_however_little(choice: TextChoice) -> None:
    many = 3 * MOST
    whole, cut = "abcdefgh", ["abcdefg", "ab"]  # ours lose a letter in even rows, theirs six in odd ones
    ours = texts(*[cut[0] if row % 2 == 0 else whole for row in range(many)])
    theirs = texts(*[whole if row % 2 == 0 else cut[1] for row in range(many)])
    written, sources = {"minimum_bayes_risk": ours, "trial-3": theirs}, [str(row) for row in range(many)]
    shown = differing(choice, written, sources, [whole] * many, OBJECTIVE, "")
    assert shown is not None
    assert [int(row.source) for row in shown.rows] == [*range(1, MOST, 2), *range(0, MOST, 2)]


def test_the_best_ensemble_stands_for_a_single_member_that_is_exported(choice: TextChoice) -> None:
    single = TextChoice(choice.rows, {}, "memory", "", ())
    assert found(single).ensemble == "minimum_bayes_risk"
    alone = TextChoice(choice.rows[1:], {}, "trial-3", "", ())
    assert differing(alone, WRITTEN, SOURCES, REFERENCES, OBJECTIVE, "") is None


def test_what_was_kept_is_read_again_for_its_own_build(choice: TextChoice, tmp_path: Path) -> None:
    shown = found(choice)
    write_json(tmp_path / "examples.json", shown.to_json())
    assert read_examples(tmp_path / "examples.json", "0123") == shown
    assert read_examples(tmp_path / "examples.json", "4567") is None
    assert read_examples(tmp_path / "nowhere.json", "0123") is None
    write_json(tmp_path / "examples.json", None)
    assert read_examples(tmp_path / "examples.json", "0123") is None
