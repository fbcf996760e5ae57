"""Refits as a run trains them, in this process, by the settings of trials that were made by hand."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweepstack.ensembles.builders.bagging import Bagging
from sweepstack.ensembles.builders.registry import make
from sweepstack.ensembles.builders.retrained import Grounds, RefitBuilder
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.errors import TrainingError
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.tasks import trainers
from sweepstack.search.ensembling.refits import Refitted, _told, refitted
from sweepstack.search.report.result import Result
from sweepstack.search.run.session import Session
from sweepstack.search.study.study import Study

pytestmark = [
    pytest.mark.filterwarnings("ignore::Warning:mlflow"),  # its warnings are not ours to mend
    pytest.mark.usefixtures("no_ray"),
]
BUILDERS: list[Any] = ["average", {"bagging": {"members": 2}}, {"snapshots": {"cycles": 2}}]


def trained(run: Path, builders: list[Any] = BUILDERS, notes: list[str] | None = None) -> Refitted[Any]:
    with Session.open(Study.load(run / "study.yaml"), run, json=True) as session:
        if notes is not None:
            session.display.note = notes.append  # type: ignore[method-assign]
        usable = [record for record in session.trials.trials() if record.state == "complete"]
        objective = Objective("reward", Costs(session.cost))
        return refitted(session, usable, [make(spec) for spec in builders], objective)


def test_each_builder_knows_its_own_members_and_each_has_an_mlflow_run(run: Path) -> None:
    found = trained(run)
    average, bagging, snapshots = found.builders
    assert repr(average) == repr(make("average"))
    assert isinstance(bagging, RefitBuilder)
    assert isinstance(snapshots, RefitBuilder)
    assert [bagging.uses(member) for member in found.members] == [True, True, False, False]
    assert [snapshots.uses(member) for member in found.members] == [False, False, True, True]
    assert all((member.predictions("blend")).exists() for member in found.members)
    recorded = Result.open(run).mlflow_runs
    assert {member.name for member in found.members} <= set(recorded)
    assert list(found.out_of_bag) == ["bagging"]
    again = trained(run)
    assert (again.members, again.out_of_bag, again.notes) == (found.members, found.out_of_bag, found.notes)
    assert repr(again.builders) == repr(found.builders)


def test_a_refit_that_breaks_down_is_no_member_and_is_told(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_trainer, made = trainers.make_trainer, []

    def broken(*given: Any, **more: Any) -> Any:
        made.append(given)
        if len(made) == 1:
            raise TrainingError("train_loss is not a number")
        return make_trainer(*given, **more)

    monkeypatch.setattr(trainers, "make_trainer", broken)
    notes: list[str] = []
    found = trained(run, [{"bagging": {"members": 2}}], notes)
    assert len(found.members) == 1
    assert [note.partition(" ")[2] for note in notes] == ["failed: train_loss is not a number"]


def test_under_folds_a_note_says_what_takes_the_place_of_out_of_bag(
    study_file: Callable[..., Path], phrases: Path, tmp_path: Path
) -> None:
    file = study_file(tmp_path, data={"train": str(phrases), "splits": {"folds": 3, "test": 0.25}})
    session = Session.open(Study.load(file), tmp_path / "run", json=True)
    with closing(session.ledger):
        grounds = Grounds(tmp_path, session.data, 0, Objective("reward"))
        found = Refitted[Any](grounds)
        told = _told(found, Bagging(), [])
        assert told.out_of_bag == {}
        (note,) = told.notes
        assert note.startswith("bagging has no out-of-bag estimate under folds")
        few = Refitted[Any](replace(grounds, data=replace(session.data, folds=())))
        assert _told(few, Bagging(), []) == few
