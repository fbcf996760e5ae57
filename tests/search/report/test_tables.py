from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.report.tables import Column, TrialTable, fit, labelled, line
from sweepstack.search.study.axes import axes_by_path
from sweepstack.search.study.space import Space
from sweepstack.search.study.study import Study


def test_space_goes_first_and_then_the_least_important_column() -> None:
    columns = [Column("a", 5), Column("b", 5, importance=3), Column("c", 5, importance=4)]
    assert fit(columns, 21) == (columns, 3)
    assert fit(columns, 20) == (columns, 2)
    assert fit(columns, 17) == (columns, 1)
    assert fit(columns, 16) == ([columns[0], columns[2]], 3)
    assert fit(columns, 3) == ([columns[0], columns[2]], 1)


def test_a_cell_that_is_too_long_ends_in_an_ellipsis() -> None:
    columns = [Column("n", 3), Column("state", 6, right=False)]
    assert line(columns, 2, {"n": "7", "state": "complete"}, indent=1) == "   7  compl…"


def test_a_label_stands_in_its_margin() -> None:
    assert labelled("Exported", ["one", "two"], 30) == ["Exported     one   two"]
    assert labelled("Exported", ["one", "a longer chunk"], 30) == ["Exported     one", "             a longer chunk"]


@given(st.integers(min_value=60, max_value=200))
def test_every_line_fits(width: int) -> None:
    lines = labelled("Best trial", ["word " * 20, "#7  lr 8.1e-3, cosine"], width)
    assert max(map(len, lines)) <= width


def test_the_table_fits_and_keeps_number_metric_and_state(
    study: Study, space: Space, make_record: Callable[..., TrialRecord]
) -> None:
    table = TrialTable(study, space)
    for width in (50, 72, 100, 140):
        heading, (row,) = table.lines([make_record(7, [0.895])], width)
        assert max(len(heading), len(row)) <= width
        assert {"trial", "reward", "state"} <= set(heading.split())
        assert row.split()[0] == "7"
        assert ".895" in row


def test_a_log_loss_study_shows_it_first_and_a_plain_classifier_reads_nothing(
    make_study: Callable[..., Study], make_record: Callable[..., TrialRecord]
) -> None:
    study = make_study(reading="off", train={"algorithm": "ppo"}, search={"metric": "log_loss"})
    table = TrialTable(study, Space.of(study.space, study.trial_settings())[0])
    heading, (row,) = table.lines([make_record(7, [0.895])], 200)
    assert heading.split()[:4] == ["trial", "lr", "schedule", "batch"]
    assert "γ" not in heading
    assert "read" not in heading
    assert heading.index("log loss") < heading.index("accuracy")
    assert row.split()[-3:] == [".250", ".917", "complete"]


def test_settings_that_hang_on_a_choice_have_columns_of_their_own(
    make_study: Callable[..., Study], make_record: Callable[..., TrialRecord]
) -> None:
    study = make_study(space={"train.lr_schedule": ["constant", {"step": {"train.step_every": {"int": [1, 4]}}}]})
    space = Space.of(study.space, study.trial_settings())[0]
    assert list(axes_by_path(space.axes)) == ["train.lr_schedule", "train.step_every"]
    heading, (row,) = TrialTable(study, space).lines(
        [make_record(1, [0.8], settings={"train.lr_schedule": "constant"})], 200
    )
    assert heading.split()[:4] == ["trial", "schedule", "step", "every"]
    assert row.split()[:3] == ["1", "constant", "–"]


def test_a_trial_may_have_its_own_number_of_epochs(
    study: Study, space: Space, make_record: Callable[..., TrialRecord]
) -> None:
    third = make_record(1, [0.8], attributes={"member": 1, "generation": 2, "parent": 5, "epochs_before": 2})
    assert TrialTable(study, space).cells(third)["epoch"] == "3/4", "of its lineage"
    record = make_record(1, [0.8], settings={"train.epochs": 9})
    assert TrialTable(study, space).cells(record)["epoch"] == "1/9"


@pytest.mark.parametrize("state", ["complete", "pruned", "failed", "running"])
def test_a_trial_without_a_report_has_dashes(
    state: str, study: Study, space: Space, make_record: Callable[..., TrialRecord]
) -> None:
    cells = TrialTable(study, space).cells(make_record(1, state=state))
    assert (cells["reward"], cells["segments"], cells["epoch"]) == ("–", "–", "0/4")


def test_returns_of_any_size_fit_their_columns(
    environment_study: Study, played_record: Callable[..., TrialRecord]
) -> None:
    space = Space.of(environment_study.space, environment_study.trial_settings())[0]
    table = TrialTable(environment_study, space)
    heading, rows = table.lines([played_record(0, [9.5, 487.25]), played_record(1, [-1234.56])], 120)
    assert heading.split() == ["trial", "lr", "γ", "λ", "epoch", "reward", "reward", "std", "length", "state"]
    assert rows[0].split() == ["0", "1.0e-03", ".9900", ".800", "2/2", "487.2", "20.0", "487.2", "complete"]
    assert rows[1].split()[5:] == ["-1234.6", "20.0", "-1234.6", "complete"]


def test_a_writer_is_shown_by_its_corpus_metrics_and_its_reward(
    writing_study: Study, make_record: Callable[..., TrialRecord]
) -> None:
    space, notes = Space.of(writing_study.space, writing_study.trial_settings())
    assert notes == (), "an episode has many decisions, so the discount matters"
    report = {"reward": 0.412, "bleu": 41.27, "chrf": 9.04, "log_loss": 1.25, "length": 7.5}
    record = replace(make_record(7, [0.412]), reports=(report,))
    heading, (row,) = TrialTable(writing_study, space).lines([record], 140)
    names = ["trial", "lr", "schedule", "batch", "γ", "λ", "start", "epoch", "chrf", "bleu", "reward", "state"]
    assert heading.split() == names
    assert row.split()[-5:] == ["1/2", "9.0", "41.3", ".412", "complete"]


def test_seeds_have_a_column_and_the_metric_its_spread(
    make_study: Callable[..., Study], space: Space, raced_record: Callable[..., TrialRecord]
) -> None:
    table = TrialTable(make_study(search={"seeds": 3}), space)
    cells = table.cells(raced_record(7, [[0.8, 0.9, 0.9, 0.9], [0.7, 0.8, 0.8, 0.8]]))
    assert (cells["reward"], cells["seeds"], cells["epoch"], cells["accuracy"]) == (".850 ± .071", "2/3", "4/4", ".872")
    begun = table.cells(raced_record(7, [[0.8, 0.9, 0.9, 0.9], [0.7]], "running"))
    assert (begun["seeds"], begun["epoch"]) == ("2/3", "1/4")
    heading, (row,) = table.lines([raced_record(7, [[0.8]])], 160)
    assert "seeds" in heading
    assert "±" not in row


def test_all_objectives_have_a_column(
    make_study: Callable[..., Study], space: Space, make_record: Callable[..., TrialRecord]
) -> None:
    table = TrialTable(make_study(search={"metric": ["reward", "f1_macro", "seconds"]}), space)
    objectives = {"reward": 0.9, "f1_macro": 0.8, "seconds": 12.34}
    cells = table.cells(make_record(3, [0.8, 0.9], objectives=objectives))
    assert (cells["reward"], cells["f1_macro"], cells["seconds"]) == (".900", ".800", "12.3")
    assert [name for name in table.header if name in objectives] == list(objectives)
    assert table.header["f1_macro"] == "f1 macro"
