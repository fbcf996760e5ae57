"""What is said where the best trial is not clearly ahead of a control or a baseline; intervals by hand."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from sweepstack.ensembles.evaluation.table import Row
from sweepstack.ensembles.scoring.bootstrap import Gain
from sweepstack.models.settings.trial import Reading
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.report.control_comparison import controls_among, paying
from sweepstack.search.report.notes import remarks
from sweepstack.search.study.study import Study

Make = Callable[..., TrialRecord]
KINDS: list[dict[str, Any]] = [
    {},
    {"train.reward": "constant"},
    {"train.algorithm": "supervised"},
    {"train.algorithm": "rloo", "train.reward": "task"},
    {"train.algorithm": "rloo", "train.reward": "constant"},
]


@pytest.fixture
def records(make_record: Make) -> list[TrialRecord]:
    return [make_record(number, [0.4], settings=settings) for number, settings in enumerate(KINDS)]


def table(rows: Sequence[Row], trial: str = "trial-3", **controls: tuple[str, Gain | None]) -> list[dict[str, Any]]:
    """The rows with that best trial and these controls, each with its method and its gain over the trial."""
    others = [replace(row, name=trial) if row.role == "trial" else row for row in rows]
    made = [
        replace(rows[1], name=name.replace("_", "-"), method=method, role="control", gain_over_trial=gain)
        for name, (method, gain) in controls.items()
    ]
    return [row.to_json() for row in [*others, *made]]


def test_a_difference_that_is_not_clearly_above_zero_is_said(
    writing_study: Study, writing_rows: tuple[Row, ...]
) -> None:
    rows = table(writing_rows, supervised_0=("supervised", Gain(-0.1, -0.62, 0.42)))
    assert paying(writing_study, rows, []) == {
        "Control": "policy optimisation did not clearly pay on test: "
        "chrf of trial-3 37.3 against 37.3 of more supervised training (supervised-0), +0.1 [-0.4, 0.6]"
    }
    both = table(
        writing_rows,
        supervised_0=("supervised", Gain(1.0, 0.5, 1.5)),
        trial_1=("constant", Gain(0.0, -0.5, 0.5)),
        trial_4=("supervised", Gain(-1.0, -1.5, -0.5)),
    )
    assert paying(writing_study, both, []) == {
        "Control": "policy optimisation did not pay on test: chrf of trial-3 37.3 against 37.3 of more "
        "supervised training (supervised-0), -1.0 [-1.5, -0.5], and 37.3 of a constant reward (trial-1), "
        "0.0 [-0.5, 0.5]"
    }
    built = {"ensembles": {"rows": rows, "notes": []}}
    assert remarks(writing_study, built, []) == paying(writing_study, rows, [])


def test_nothing_is_said_where_it_pays_or_nobody_knows(writing_study: Study, writing_rows: tuple[Row, ...]) -> None:
    ahead = table(writing_rows, supervised_0=("supervised", Gain(-1.0, -1.5, -0.5)))
    unknown = table(writing_rows, supervised_0=("supervised", None))
    one_group = table(writing_rows, supervised_0=("supervised", Gain(-1.0, -math.inf, math.inf)))
    for found in (ahead, unknown, one_group, table(writing_rows), []):
        assert paying(writing_study, found, []) == {}


def test_a_classifier_is_held_against_control_and_baseline_the_same_way(study: Study, rows: tuple[Row, ...]) -> None:
    made = table(rows, trial="trial-7", supervised_2=("supervised", Gain(0.005, -0.004, 0.014)))
    for row in made:
        if row["name"] == "linear":
            row["gain_over_trial"] = {"mean": 0.009, "low": 0.0, "high": 0.018}
    assert paying(study, made, []) == {
        "Control": "policy optimisation did not clearly pay on test: "
        "reward of trial-7 .891 against .891 of more supervised training (supervised-2), -.005 [-.014, .004]",
        "Baseline": "the best trial is not clearly ahead of the baseline on test: "
        "reward of trial-7 .891 against .900 of linear, -.009 [-.018, .000]",
    }


def test_trials_that_are_controls_are_found_by_their_settings(writing_study: Study, records: list[TrialRecord]) -> None:
    found = {"trial-1": "constant", "trial-2": "supervised", "trial-4": "constant"}
    assert controls_among(writing_study, records) == found
    assert controls_among(writing_study, records, {"trial-0", "trial-4"}) == {"trial-4": "constant"}
    assert controls_among(writing_study, records[1:3]) == {}, "there is nothing to compare with"
    assert controls_among(writing_study, []) == {}
    train = writing_study.train.model_copy(update={"reward": "constant"})
    constant = writing_study.model_copy(update={"train": train})
    assert controls_among(constant, records)["trial-0"] == "constant"


def test_a_best_trial_that_is_a_control_is_said(
    writing_study: Study, writing_rows: tuple[Row, ...], records: list[TrialRecord]
) -> None:
    rows = table(writing_rows, trial="trial-2", trial_1=("constant", Gain(0.0, -0.5, 0.5)))
    assert paying(writing_study, rows, records) == {
        "Control": "policy optimisation did not pay on valid: "
        "the best trial, trial-2, is one of more supervised training"
    }


def test_where_a_policy_reads_its_control_waits(writing_study: Study, writing_rows: tuple[Row, ...]) -> None:
    reads = writing_study.model_copy(update={"reading": Reading(segment=1)})
    rows = table(writing_rows, supervised_0=("supervised", Gain(0.0, -0.5, 0.5)))
    assert "37.3 of waiting for a fixed number of words (supervised-0), 0.0" in paying(reads, rows, [])["Control"]
