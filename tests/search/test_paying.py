"""What is said where policy optimisation is not clearly ahead of a control; intervals by hand."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from sweepstack.ensembles.choose import Row
from sweepstack.ensembles.comparison import Gain
from sweepstack.models.settings import Reading
from sweepstack.search.paying import controls_among, paying
from sweepstack.search.remarks import remarks
from sweepstack.search.study import Study
from sweepstack.search.trial_record import TrialRecord

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
    assert paying(writing_study, rows, []) == (
        "policy optimisation did not clearly pay on test: "
        "chrf of trial-3 +0.1 [-0.4, 0.6] over more supervised training (supervised-0)"
    )
    both = table(
        writing_rows,
        supervised_0=("supervised", Gain(1.0, 0.5, 1.5)),
        trial_1=("constant", Gain(0.0, -0.5, 0.5)),
        trial_4=("supervised", Gain(-1.0, -1.5, -0.5)),
    )
    assert paying(writing_study, both, []) == (
        "policy optimisation did not clearly pay on test: chrf of trial-3 -1.0 [-1.5, -0.5] over more supervised "
        "training (supervised-0) and 0.0 [-0.5, 0.5] over a constant reward (trial-1)"
    )
    built = {"ensembles": {"rows": rows, "notes": []}}
    assert remarks(writing_study, built, []) == {"Control": paying(writing_study, rows, [])}


def test_nothing_is_said_where_it_pays_or_nobody_knows(
    study: Study, rows: tuple[Row, ...], writing_study: Study, writing_rows: tuple[Row, ...]
) -> None:
    ahead = table(writing_rows, supervised_0=("supervised", Gain(-1.0, -1.5, -0.5)))
    unknown = table(writing_rows, supervised_0=("supervised", None))
    for found in (ahead, unknown, table(writing_rows), []):
        assert paying(writing_study, found, []) == ""
    tied = table(rows, trial="trial-7", supervised_0=("supervised", Gain(0.0, -0.1, 0.1)))
    assert paying(study, tied, []) == "", "a classifier's table says it"


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
    assert paying(writing_study, rows, records) == (
        "policy optimisation did not pay on valid: the best trial, trial-2, is one of more supervised training"
    )


def test_where_a_policy_reads_its_control_waits(writing_study: Study, writing_rows: tuple[Row, ...]) -> None:
    reads = writing_study.model_copy(update={"reading": Reading(segment=1)})
    rows = table(writing_rows, supervised_0=("supervised", Gain(0.0, -0.5, 0.5)))
    assert paying(reads, rows, []).endswith("over waiting for a fixed number of words (supervised-0)")
