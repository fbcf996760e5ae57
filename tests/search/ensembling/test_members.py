"""Text pipelines as members, in a run that the fixtures have searched by hand."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweepstack.ensembles.bundles.bundle import load
from sweepstack.models.baselines.pipelines import PIPELINES
from sweepstack.models.data.labelled import load_dataset
from sweepstack.models.files import read_json
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions, metrics
from sweepstack.search.ensembling import stage as ensembling
from sweepstack.search.ensembling.members import KINDS, allowed, why_none
from sweepstack.search.execution.cluster import Cluster
from sweepstack.search.execution.sweep import Sweep
from sweepstack.search.ledger.records import MAIN
from sweepstack.search.report.result import Result
from sweepstack.search.run.baselines import fit_linear
from sweepstack.search.run.session import Session
from sweepstack.search.study.study import Study

pytestmark = pytest.mark.filterwarnings("ignore::Warning:mlflow")  # its warnings are not ours to mend
ALL = "ensembles.library=[trials, linear, supervised, naive_bayes, char_linear]"


@pytest.fixture(autouse=True)
def _quick_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop that a policy learns takes seconds; it has a test of its own."""
    monkeypatch.setattr("sweepstack.ensembles.combinations.stop.FEWEST", 10**9)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ray's part is done in this process; the names of what was fitted."""
    names: list[str] = []

    def submit(self: Cluster, fn: Any, /, *args: Any) -> Any:
        names.append(args[-1])
        return SimpleNamespace(result=lambda: fn(*args))

    monkeypatch.setattr(Cluster, "submit", submit)
    monkeypatch.setattr(Cluster, "share", lambda self, value: value)
    return names


def build(run: Path, *overrides: str) -> Result:
    with Session.open(Study.load(run / "study.yaml", overrides), run, json=True) as session:
        ensembling.build(session)
    return Result.open(run)


def test_pipelines_that_a_study_names_are_fitted_once_and_are_members(run: Path, begun: list[str]) -> None:
    result = build(run, ALL)
    assert begun == list(PIPELINES)
    members = {member.name: member for member in result.built.members}
    for name in PIPELINES:
        assert (members[name].kind, members[name].folder) == ("pipeline", run / "company" / name)
        assert name in result.mlflow_runs
    average = result.built.row("average")
    assert set(PIPELINES) <= set(average.members)
    assert {row.role for row in result.built.choice.rows} == {"ensemble", "trial", "baseline", "control"}
    result.ensemble("average").export(run.parent / "bundle")
    bundle = load(run.parent / "bundle")
    assert {"name": "naive_bayes", "kind": "pipeline"} in bundle.metadata["members"]
    assert bundle.predict(["fox owl bee", "seven"]) == ["animal", "number"]
    begun.clear()
    again = build(run, ALL)
    assert begun == []
    assert again.built.digest == result.built.digest


def test_what_a_study_does_not_name_is_no_member(run: Path, begun: list[str]) -> None:
    plain = build(run)
    assert begun == []
    assert not set(PIPELINES) & {member.name for member in plain.built.members}
    build(run, ALL)
    without = build(run, "ensembles.library=[trials, naive_bayes]")
    members = {member.name for member in without.built.members}
    assert "naive_bayes" in members
    assert "char_linear" not in members


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("folds", [False, True])
def test_a_pipeline_has_predictions_of_every_held_out_part(
    name: str, folds: bool, finished_run: Path, tmp_path: Path
) -> None:
    data = Study.load(finished_run / "study.yaml").model_dump()["data"]
    if folds:
        data = {**data, "splits": {"folds": 3, "test": 0.25}}
    study = Study.model_validate({**Study.load(finished_run / "study.yaml").model_dump(), "data": data})
    dataset = load_dataset(study.data, study.reading)  # type: ignore[arg-type]
    result = fit_linear(dataset, study.reading, 0.02, tmp_path, name)
    part = dataset.part_for("valid")
    said, rows_hash = Predictions.load(tmp_path / "predictions" / f"{part}.safetensors")
    assert rows_hash == dataset.hashes[part]
    assert result["valid"] == metrics(said, dataset.parts[part].labels, Costs(0.02))
    assert result["valid"]["accuracy"] > 0.5, "one that learned nothing would be at a third"
    assert (tmp_path / "predictions" / "test.safetensors").exists()
    assert read_json(tmp_path / "result.json") == result


def test_every_name_of_a_library_stands_for_a_kind() -> None:
    assert set(KINDS) == {"trials", "linear", "memory", "supervised", *PIPELINES}
    assert allowed(["trials", "naive_bayes"]) == {"trial", "pipeline", "refit", "soup"}


def test_what_a_failed_trial_had_kept_is_a_member_and_is_said(
    tmp_path: Path,
    study_file: Any,
    train_by_hand: Any,
    begun: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The trial fails after its second epoch. It never stands as the best trial, and the table and a note name it."""
    complete = Sweep.complete

    def ends(self: Sweep, number: int) -> None:
        if self.name == MAIN and number == 1:
            self.fail(number, "the loss is not a number; lower train.lr", kept=True)
        else:
            complete(self, number)

    monkeypatch.setattr(Sweep, "complete", ends)
    session = Session.open(Study.load(study_file(tmp_path)), tmp_path / "run")
    train_by_hand(session)
    session.ledger.close()
    result = build(tmp_path / "run")
    assert "trial-1" in {member.name for member in result.built.members}
    assert "trial-1" in result.built.row("average").members
    (note,) = [note for note in result.built.choice.notes if "failed" in note]
    assert note == "checkpoints of trials that failed later may be members, too: trial-1 (epoch 2)"
    board = result.leaderboard()
    row = board[board.name == "trial 1"].iloc[0]
    assert (row.state, row.reason) == (
        "failed",
        "the loss is not a number; lower train.lr; its checkpoint of epoch 2 is kept",
    )
    assert result.best is not None
    assert result.best.number != 1
    assert row.name == board[board.role == "trial"].index[-1], "failed trials stand last"
    result.ensemble("average").export(tmp_path / "bundle")
    assert {"name": "trial-1", "kind": "trial"} in load(tmp_path / "bundle").metadata["members"]


@pytest.mark.parametrize(
    ("records", "ended", "left_out", "line"),
    [
        (["a failed one"], {"budget": "wall_time", "line": "1 of 3 trials"}, [], "see the reasons in leaderboard.csv"),
        ([], None, [], "see the reasons in leaderboard.csv"),
        (
            [],
            {"budget": "wall_time", "line": "0 of 3 trials; of 0.5 s the trials had 0.0 s"},
            [],
            "none was begun, as the search was ended by wall_time: 0 of 3 trials; of 0.5 s the trials had 0.0 s; "
            "raise search.wall_time, or set it to null",
        ),
        (
            [],
            {"budget": "stop", "line": "0 of 3 trials"},
            [],
            "none was begun, as the search was ended by hand: 0 of 3 trials; run the study again",
        ),
        (["x"], None, ["trial-0 is left out: x is damaged"], "1 of them is damaged: trial-0 is left out: x is damaged"),
    ],
)
def test_why_there_is_no_trial_is_said(
    records: list[Any], ended: dict[str, str] | None, left_out: list[str], line: str
) -> None:
    assert why_none(records, ended, left_out) == line
