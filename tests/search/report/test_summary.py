import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sweepstack.ensembles.evaluation.table import Row
from sweepstack.search.ledger.confirmation import Confirmation
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.report.summary import Results, print_results, print_status, quoted, result_lines, shown_path
from sweepstack.search.study.study import Study

Make = Callable[..., TrialRecord]
Rows = tuple[Row, ...]
REASON = "selection is exported: with a probability of 98% it is better than every single member."


@pytest.fixture
def results(study: Study, make_record: Make, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    monkeypatch.chdir(tmp_path)
    best = make_record(7, [0.895])
    return Results(study, tmp_path / "runs/quickstart", best, rows, "selection", REASON, "guten Morgen")


def text(results: Results, width: int = 1000) -> list[str]:
    return [line for line, _ in result_lines(results, width)]


def test_the_lines_are_those_of_the_design(results: Results) -> None:
    lines = text(results)
    assert lines == [
        "Best trial   #7  lr 8.1e-3, cosine, batch 64, γ .999, λ .80, start 2     test reward .891   "
        "accuracy .913 after 3.2 of 12 segments",
        "Ensembles               valid   blend   test reward   accuracy   read   members     MB   ms/row",
        "  selection              .921    .919    .914 ±.014       .937    3.3         3    3.1      1.2",
        "  trial-7                .895    .893    .891 ±.014       .913    3.2         1      –        –   "
        "(best trial)",
        "  linear, sure enough    .902    .899    .900 ±.014       .934    4.4         1    0.9      0.1   (baseline)",
        "Exported     runs/quickstart/bundle   selection: +.023 [.009, .037] over the best trial, "
        "+.014 [-.003, .025] over the baseline",
        f"             {REASON}",
        'Next         echo "guten Morgen" | sweepstack predict runs/quickstart/bundle -',
        "             sweepstack ui runs/quickstart   every trial in MLflow",
        "             runs/quickstart/report.html     what mattered, in pictures",
    ]


@pytest.mark.parametrize("width", [72, 80, 100])
def test_every_line_but_a_command_fits_the_terminal(results: Results, width: int) -> None:
    assert max(len(line) for line in text(results, width) if "sweepstack predict" not in line) <= width


def test_before_the_ensembles_the_best_trial_stands_with_its_valid_score(results: Results) -> None:
    lines = text(Results(results.study, results.folder, results.best))
    assert "valid reward .895   accuracy .917 after 3.2 of 12 segments" in lines[0]
    assert not any(line.startswith(("Ensembles", "Exported")) for line in lines)
    assert not any("predict" in line for line in lines)


def test_a_sweep_without_a_result_says_so(results: Results) -> None:
    assert text(Results(results.study, results.folder, None))[0].startswith("Best trial   none: no trial has come to")


def test_before_test_is_scored_its_columns_are_not_there(results: Results) -> None:
    bare = tuple(
        replace(row, test=None, test_interval=None, gain_over_trial=None, gain_over_linear=None) for row in results.rows
    )
    lines = text(replace(results, rows=bare))
    assert "test" not in " ".join(lines[1:])
    assert any(line.split()[:3] == ["selection", ".921", ".919"] for line in lines)


def test_a_plain_file_gets_no_colours(results: Results) -> None:
    out = io.StringIO()
    print_results(results, out)
    assert out.getvalue().splitlines() == text(results)


def test_commands_can_be_pasted_into_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "runs/a b") == "'runs/a b'"
    assert shown_path(tmp_path.parent / "elsewhere") == str(tmp_path.parent / "elsewhere")
    assert quoted("it's a\ndog") == '"it\'s a dog"'
    assert quoted("$(rm -rf .)") == "'$(rm -rf .)'"


def test_status_says_where_a_run_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = io.StringIO()
    status = {
        "name": "quickstart",
        "task": "classification",
        "folder": str(tmp_path / "runs/quickstart"),
        "trials": {"asked_for": 16, "running": 2, "complete": 5, "pruned": 0, "failed": 1},
        "metric": "reward",
        "best": {"trial": 7, "reward": 0.895},
        "company": {"linear": 0.902},
        "ensembles": {"selection": 0.919},
        "exported": "selection",
    }
    print_status(status, out)
    assert out.getvalue().splitlines() == [
        "quickstart   runs/quickstart",
        "Trials       2 running, 5 complete, 1 failed; 16 asked for",
        "Best trial   #7   valid reward .895",
        "Company      linear .902   (valid reward)",
        "Ensembles    selection .919   (blend reward)",
        "Exported     runs/quickstart/bundle   selection",
    ]
    out = io.StringIO()
    live = {"rows": "blend", "score": 0.915, "members": ["linear", "trial-7"], "trial": 7, "trial_score": 0.893}
    print_status({**status, "ensembles": {}, "exported": None, "live_ensemble": live}, out)
    assert out.getvalue().splitlines()[3] == (
        "So far       reward: best .893 (trial 7) · ensemble .915 (both on blend, 2 members)"
    )
    empty = {**status, "trials": {"asked_for": 16}, "best": None, "company": {}, "ensembles": {}, "exported": None}
    out = io.StringIO()
    print_status(empty, out)
    assert out.getvalue().splitlines() == ["quickstart   runs/quickstart", "Trials       none yet; 16 asked for"]


def test_an_environment_ends_with_its_best_trial_and_where_that_is(
    environment_study: Study, played_record: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = text(Results(environment_study, tmp_path / "runs/balance", played_record(3, [300.0, 487.25])))
    assert lines == [
        "Best trial   #3  lr 1.0e-3, γ .99, λ .80     reward 487.2 ± 20.0 over 4 episodes",
        "Checkpoint   runs/balance/trials/3/checkpoint",
        "Next         sweepstack ui runs/balance   every trial in MLflow",
        "             runs/balance/report.html     what mattered, in pictures",
    ]


def test_the_status_of_an_environment_says_where_the_best_checkpoint_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = io.StringIO()
    status = {
        "name": "balance",
        "task": "gym:CartPole-v1",
        "folder": str(tmp_path / "runs/balance"),
        "trials": {"asked_for": 4, "complete": 4},
        "metric": "reward",
        "best": {"trial": 3, "reward": 487.25},
        "checkpoint": str(tmp_path / "runs/balance/trials/3/checkpoint"),
        "company": {},
        "ensembles": {},
        "exported": None,
    }
    print_status(status, out)
    assert out.getvalue().splitlines() == [
        "balance   runs/balance",
        "Trials       4 complete; 4 asked for",
        "Best trial   #3   reward 487.2",
        "Checkpoint   runs/balance/trials/3/checkpoint",
    ]


def test_a_spread_a_confirmation_and_a_front_are_said(
    results: Results, make_study: Callable[..., Study], raced_record: Make, make_record: Make
) -> None:
    study = make_study(search={"seeds": 2, "metric": ["reward", "seconds"]})
    front = [make_record(n, [0.9], objectives={"reward": 0.9 - n / 100, "seconds": 12.34}) for n in range(14)]
    confirmed = Confirmation(7, "reward", 0.85, (0.83, 0.84, 0.82), 0.83, 0.805, 0.855, "blend", 0.84)
    best = raced_record(7, [[0.9], [0.8]])
    lines = text(replace(results, study=study, best=best, front=front, confirmed=confirmed))
    assert lines[0].endswith("valid reward .850 ± .071 over 2 seeds")
    assert lines[1] == (
        "Confirmed    reward .830 [.805, .855] on 3 new seeds, on blend, without the search's luck of seeds and of rows"
        "   (.850 in the search, .840 with the new seeds, on valid)"
    )
    assert lines[2].startswith("Pareto front #0 reward .900, seconds 12.3   #1 reward .890, seconds 12.3")
    assert lines[2].endswith("and 2 more in leaderboard.csv")
    lines = text(replace(results, study=study, best=best, rows=(), chosen=None))
    assert "valid reward .850 ± .071 over 2 seeds   accuracy .872" in lines[0]
    assert lines[0].count("reward") == 1
    lines = text(replace(results, confirmed=Confirmation(7, "reward", 0.85, (0.83,), 0.83, None, None)))
    assert lines[1] == (
        "Confirmed    reward .830 on 1 new seed, on the rows that the search used: luck of seeds only   "
        "(.850 in the search)"
    )


def test_the_table_says_what_a_text_among_others_takes_and_what_is_over_the_budget(results: Results) -> None:
    rows = (
        replace(results.rows[0], latency_32_ms=0.314, over_budget="size_mb 3.1 > 1"),
        replace(results.rows[1], front=True),
        replace(results.rows[2], front=True, latency_32_ms=0.02),
    )
    lines = text(replace(results, rows=rows))[1:5]
    assert lines[0].endswith("MB   ms/row   in 32")
    assert lines[1].endswith("1.2    0.31   (over budget)")
    assert lines[2].endswith("(best trial, front)")
    assert lines[3].endswith("0.1    0.02   (baseline, front)")


def test_a_student_is_named_with_its_bundle(results: Results) -> None:
    student = replace(results.rows[0], name="student", method="student", members=("student",), latency_ms=0.4)
    lines = text(replace(results, rows=(results.rows[0], student, *results.rows[1:])))
    assert "Student      runs/quickstart/student   it says what the ensemble says, in 0.4 ms" in lines


def test_where_nothing_is_combined_the_table_does_not_speak_of_ensembles(
    writing_study: Study, writing_rows: Rows, make_record: Make, tmp_path: Path
) -> None:
    alone = [row for row in writing_rows if row.role != "ensemble"]
    lines = text(Results(writing_study, tmp_path, make_record(3, [0.4]), alone, "trial-3"))
    assert lines[1].split()[:3] == ["Compared", "valid", "blend"]
    assert lines[1].index("valid") == lines[2].index("36.8") - 1
    assert not any("nsemble" in line for line in lines)


def test_a_study_that_writes_is_compared_with_the_memory_in_points(
    writing_study: Study, writing_rows: Rows, make_record: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    best = make_record(3, [0.4], settings={"train.lr": 3.1e-5, "train.lr_schedule": "linear", "train.batch_size": 64})
    results = Results(
        writing_study, tmp_path / "runs/translation", best, writing_rows, "minimum_bayes_risk", "", "Open the file"
    )
    assert text(results) == [
        "Best trial   #3  lr 3.1e-5, linear, batch 64     test chrf 37.3   BLEU 41.3",
        "Ensembles              valid   blend   test chrf   bleu   members     MB   ms/row   in 32",
        "  minimum_bayes_risk    41.2    41.9   41.7 ±1.1   45.7         3   20.1     80.2    6.10",
        "  trial-3               36.8    37.5   37.3 ±1.1   41.3         1      –        –       –   (best trial)",
        "  memory                32.4    33.1   32.9 ±1.1   36.9         1      –        –       –   (baseline)",
        "Exported     runs/translation/bundle   minimum_bayes_risk: +4.4 [3.5, 5.3] over the best trial, "
        "+8.8 [7.6, 10.0] over the memory",
        "             its utility, chrF, is the metric it is measured by: BLEU +4.0 [3.1, 4.9] over the best trial",
        'Next         echo "Open the file" | sweepstack predict runs/translation/bundle -',
        "             sweepstack ui runs/translation   every trial in MLflow",
        "             runs/translation/report.html     what mattered, in pictures",
    ]
    assert max(len(line) for line in text(results, 80) if "sweepstack predict" not in line) <= 80
    other = (replace(writing_rows[0], utility="bleu"), *writing_rows[1:])
    assert not any("its utility" in line for line in text(replace(results, rows=other)))


def test_a_trial_with_a_constant_reward_is_marked_as_such(
    writing_study: Study, writing_rows: Rows, make_record: Make, tmp_path: Path
) -> None:
    constant = replace(writing_rows[1], name="trial-5", method="constant", role="control")
    results = Results(writing_study, tmp_path, make_record(3, [0.4]), (*writing_rows, constant))
    assert any(line.split()[0] == "trial-5" and line.endswith("(constant reward)") for line in text(results))


def test_where_texts_do_not_tell_the_metric_of_the_search_chrf_stands_in_the_table(
    writing_study: Study, writing_rows: Rows, make_record: Make, tmp_path: Path
) -> None:
    searched = writing_study.search.model_copy(update={"metric": "log_loss"})
    study = writing_study.model_copy(update={"search": searched})
    results = Results(study, tmp_path, make_record(3, [0.4]), writing_rows, "minimum_bayes_risk")
    assert (results.metric, results.beside) == ("chrf", ("bleu",))
    assert any("test chrf" in line for line in text(results))
