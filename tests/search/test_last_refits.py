"""Members trained again on all rows but test: for real, but in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweepstack.ensembles.bundle import load
from sweepstack.ensembles.choose import Choice
from sweepstack.ensembles.combination import Combination
from sweepstack.ensembles.store import Library
from sweepstack.models import folds
from sweepstack.models.checkpoints import load_member
from sweepstack.models.errors import TrainingError
from sweepstack.models.files import read_json
from sweepstack.models.linear import LinearMember
from sweepstack.models.predictions import metrics
from sweepstack.search import ensembling, last_refits
from sweepstack.search.record import BuiltEnsembles
from sweepstack.search.result import Result
from sweepstack.search.runtime import Cluster
from sweepstack.search.session import Session
from sweepstack.search.study import Study

pytestmark = pytest.mark.filterwarnings("ignore::Warning:mlflow")  # its warnings are not ours to mend


class Here:
    """What Ray does, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        result = fn(*args)
        return type("Done", (), {"result": lambda self: result})()


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cluster, "executor", lambda self, resources: Here())
    monkeypatch.setattr(Cluster, "submit", lambda self, fn, *args: Here().submit(fn, *args))
    monkeypatch.setattr(Cluster, "share", lambda self, value: value)


@pytest.fixture
def choose_average(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trials and the baseline, of equal weight: so far as tests may decide that."""
    decide = ensembling._choice

    def chosen(session: Session, members: Any, builders: Any, objective: Any) -> Choice:
        from dataclasses import replace

        choice = decide(session, members, builders, objective)
        places = tuple(i for i, member in enumerate(members) if member.name in ("trial-0", "trial-2", "linear"))
        own = Combination(places, np.full(3, 1 / 3, dtype=np.float32), temperature=0.7)
        row = replace(
            choice.row("average"), members=tuple(members[i].name for i in places), weights=(1 / 3, 1 / 3, 1 / 3)
        )
        rows = (row, *(each for each in choice.rows if each.name != "average"))
        combinations = {**choice.combinations, "average": own}
        return replace(choice, chosen="average", combinations=combinations, rows=rows, reason="It was chosen.")

    monkeypatch.setattr(ensembling, "_choice", chosen)


def build(run: Path, *overrides: str) -> BuiltEnsembles:
    given = ("ensembles.refit=true", "ensembles.builders=[average]", *overrides)
    with Session.open(Study.load(run / "study.yaml", given), run, json=True) as session:
        ensembling.build(session)
    return Result.open(run).built


@pytest.mark.usefixtures("choose_average")
def test_what_is_exported_has_learned_from_every_row_but_test(run: Path) -> None:
    built = build(run)
    row = built.choice.row("refitted")
    assert built.choice.chosen == "refitted"
    assert built.choice.rows[0] == row
    assert (row.valid, row.blend, row.method, row.weights) == ({}, {}, "average", (1 / 3, 1 / 3, 1 / 3))
    assert built.choice.reason == ("It was chosen; its members were trained again on all rows but those of test.")
    own, before = built.choice.combinations["refitted"], built.choice.combinations["average"]
    assert (own.temperature, own.stop, own.pool) == (before.temperature, before.stop, before.pool)
    assert [built.members[place].kind for place in own.members] == ["refit"] * 3
    scorings = Result.open(run).ledger.attribute("test_scorings")
    assert [("refitted" in each["rows"], each["digest"]) for each in scorings] == [(True, built.digest)]

    session = Session.open(Study.load(run / "study.yaml"), run)
    session.ledger.close()
    test = session.dataset.parts["test"]
    said = own.predict(Library.load(built.members, "test", session.data.hashes["test"]).stack)
    assert row.test == metrics(said, test.labels, ensembling.Costs(session.cost))
    bundle = load(run / "bundle")
    np.testing.assert_allclose(bundle.predict_proba(test.inputs), said.at(said.stops()), atol=1e-5)
    assert [member["kind"] for member in bundle.metadata["members"]] == ["refit"] * 3
    old = LinearMember.load(run / "company" / "linear" / "checkpoint")
    new = LinearMember.load(built.members[own.members[2]].checkpoint)
    assert (new.found, new.threshold) == (old.found, old.threshold)
    known = {text for name in ("valid", "blend") for text in session.dataset.parts[name].inputs}
    assert len(new.features.terms) > len(old.features.terms), f"it has read {len(known)} texts more"
    policies = [built.members[place].checkpoint for place in own.members[:2]]
    assert [type(load_member(each)).__name__ for each in policies] == ["PolicyMember"] * 2
    assert {read_json(each / "config.json")["threshold"] for each in policies} == {
        read_json(run / "trials" / number / "checkpoint" / "config.json")["threshold"] for number in "02"
    }, "of trials without a learned stop, as these made-up ones are"
    table = Result.open(run).ensembles().set_index("name")
    assert table.exported.to_dict() == {name: name == "refitted" for name in table.index}
    assert "refitted" in Result.open(run).write_report().read_text(encoding="utf-8")
    assert "refitted" not in Result.open(run).status()["ensembles"]


@pytest.mark.usefixtures("choose_average")
def test_a_killed_run_goes_on_and_a_second_one_repeats_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(last_refits, "refit_linear", killed)
        with pytest.raises(Killed):
            build(run)
    left = Result.open(run).built
    assert (left.choice.chosen, left.scored) == ("average", False), "the choice stands before the refits"
    assert Result.open(run).ledger.attribute("test_scorings") is None
    built = build(run)
    trained = {path: path.stat().st_mtime_ns for path in (run / "refits").rglob("*")}
    assert build(run).choice == built.choice
    assert {path: path.stat().st_mtime_ns for path in (run / "refits").rglob("*")} == trained
    assert len(Result.open(run).ledger.attribute("test_scorings")) == 1


@pytest.mark.usefixtures("choose_average")
def test_what_cannot_be_trained_again_is_kept_and_a_note_says_so(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = folds.make_trainer

    def broken(settings: Any, *args: Any, **more: Any) -> Any:
        if settings.train.lr == Result.open(run).trials[2].settings["train.lr"]:
            raise TrainingError("train_loss is not a number in epoch 1")
        return make(settings, *args, **more)

    monkeypatch.setattr(folds, "make_trainer", broken)
    built = build(run)
    assert built.choice.row("refitted").members[1] == "trial-2"
    assert built.choice.reason.endswith("; 2 of its members were trained again on all rows but those of test.")
    assert "trial-2 is not trained again on all rows: train_loss is not a number in epoch 1" in built.choice.notes


def test_without_it_nothing_is_refitted(run: Path) -> None:
    plain = build(run, "ensembles.refit=false")
    assert "refitted" not in plain.choice.combinations
    assert not (run / "refits").exists()


@pytest.mark.parametrize("builder", ["{bagging: {members: 2}}", "{boosting: {members: 2}}", "{snapshots: {cycles: 2}}"])
def test_refits_are_trained_for_their_builders_and_again_on_all_rows(
    builder: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = builder[1:].partition(":")[0]
    decide = ensembling._choice

    def chosen(*given: Any) -> Choice:
        from dataclasses import replace

        return replace(decide(*given), chosen=name)

    monkeypatch.setattr(ensembling, "_choice", chosen)
    # The trials of this run are linear members: a policy can begin at none of them, but at one trained by its settings.
    monkeypatch.setattr("sweepstack.ensembles.boosting.Boosting.warm", name == "never")
    if name == "boosting":
        from sweepstack.ensembles import refits
        from sweepstack.models import supervised

        begin = supervised.ensure_start
        monkeypatch.setattr(supervised, "ensure_start", lambda s, d, starts, initial=None: begin(s, d, starts))
        assert refits
    built = build(run, f"ensembles.builders=[{builder}]")
    row, again = built.choice.row(name), built.choice.row("refitted")
    assert len(row.members) == len(again.members) >= 1
    assert not set(row.members) & set(again.members)
    assert all(each.startswith("refit-") for each in (*row.members, *again.members))
    np.testing.assert_array_equal(
        built.choice.combinations[name].weights, built.choice.combinations["refitted"].weights
    )
    if name == "bagging":
        assert row.out_of_bag is not None
        assert 0 < row.out_of_bag["accuracy"] < 1
        assert again.out_of_bag is None
        assert any(note.startswith("bagging, out of bag: reward ") for note in built.choice.notes)
        table = Result.open(run).ensembles().set_index("name")
        assert table.loc["bagging", "oob_accuracy"] == row.out_of_bag["accuracy"]
    for refit in (run / "refits").glob("*"):
        if (refit / "predictions" / "fitted.safetensors").exists():
            assert not (refit / "starts").exists()
