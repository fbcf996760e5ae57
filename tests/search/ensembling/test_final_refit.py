"""Members trained again on all rows but test: for real, but in this process."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from killing import Killed, killed
from topic_words import topics_dataset

from sweepstack.ensembles.builders.retrained import Grounds
from sweepstack.ensembles.bundles.bundle import load
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.evaluation.choose import Choice
from sweepstack.ensembles.evaluation.table import Row
from sweepstack.ensembles.members.library import Library, Member
from sweepstack.ensembles.scoring.conformal import REFITTED
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.baselines.linear import LinearBaseline, LinearMember
from sweepstack.models.data.labelled import load_dataset
from sweepstack.models.data.refit_rows import all_but_test
from sweepstack.models.errors import TrainingError
from sweepstack.models.files import read_json
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions, metrics
from sweepstack.models.settings.data import Data
from sweepstack.models.settings.trial import Reading
from sweepstack.models.tasks import trainers
from sweepstack.models.tasks.classification import supervised
from sweepstack.models.tasks.classification.checkpoint import load_member
from sweepstack.search.ensembling import final_refit
from sweepstack.search.ensembling import stage as ensembling
from sweepstack.search.ensembling.refits import Refitted
from sweepstack.search.ledger.ensembles import BuiltEnsembles
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.report.result import Result
from sweepstack.search.run.baselines import fit_linear
from sweepstack.search.run.session import Session
from sweepstack.search.study.search_section import PBTStopper
from sweepstack.search.study.study import Study

pytestmark = [
    pytest.mark.filterwarnings("ignore::Warning:mlflow"),  # its warnings are not ours to mend
    pytest.mark.usefixtures("no_ray"),
]


@pytest.fixture
def choose_average(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trials and the baseline, of equal weight: so far as tests may decide that."""
    decide = ensembling._choice

    def chosen(session: Session, members: Any, builders: Any, objective: Any) -> Choice:
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
    assert row.test == metrics(said, test.labels, Costs(session.cost))
    bundle = load(run / "bundle")
    np.testing.assert_allclose(bundle.predict_proba(test.inputs), said.at(said.stops()), atol=1e-5)
    assert [member["kind"] for member in bundle.metadata["members"]] == ["refit"] * 3
    assert bundle.calibration is not None
    assert bundle.calibration.promise == REFITTED
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
    with monkeypatch.context() as patch:
        patch.setattr(final_refit, "refit_linear", killed)
        with pytest.raises(Killed):
            build(run)
    left = Result.open(run).built
    assert (left.choice.chosen, left.scored) == ("average", False), "the choice stands before the refits"
    assert Result.open(run).ledger.attribute("test_scorings") is None
    built = build(run)
    trained = {path: path.stat().st_mtime_ns for path in (run / "refits").rglob("*")}
    assert build(run).choice.rows == built.choice.rows
    assert {path: path.stat().st_mtime_ns for path in (run / "refits").rglob("*")} == trained
    assert len(Result.open(run).ledger.attribute("test_scorings")) == 1


@pytest.mark.usefixtures("choose_average")
def test_what_cannot_be_trained_again_is_kept_and_a_note_says_so(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = trainers.make_trainer

    def broken(settings: Any, *args: Any, **more: Any) -> Any:
        if settings.train.lr == Result.open(run).trials[2].settings["train.lr"]:
            raise TrainingError("train_loss is not a number in epoch 1")
        return make(settings, *args, **more)

    monkeypatch.setattr(trainers, "make_trainer", broken)
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
        return replace(decide(*given), chosen=name)

    monkeypatch.setattr(ensembling, "_choice", chosen)
    begin = supervised.ensure_start

    def at_policies(settings: Any, data: Any, starts: Path, initial: Path | None = None) -> Path:
        """The trials of this run are linear members, where no policy can begin; those trained again are policies."""
        linear = initial is not None and read_json(initial / "config.json")["kind"] == "linear"
        return begin(settings, data, starts, None if linear else initial)

    monkeypatch.setattr(supervised, "ensure_start", at_policies)
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
    begun = [path for path in (run / "refits").iterdir() if path.name not in {*_folders(row), *_folders(again)}]
    assert len(begun) == (name == "boosting"), "the trial that the chain begins at is trained on all rows, too"


def test_epochs_are_counted_within_the_best_repetition(
    make_record: Callable[..., TrialRecord], raced_record: Callable[..., TrialRecord]
) -> None:
    assert final_refit._epochs(make_record(0, [0.1, 0.5, 0.3])) == 2
    raced = raced_record(0, [[0.1, 0.3, 0.2], [0.4, 0.5, 0.1]])
    assert (raced.best_epoch, final_refit._epochs(raced)) == (5, 2)
    assert final_refit._epochs(make_record(0)) is None


def test_why_a_member_is_kept(run: Path) -> None:
    with Session.open(Study.load(run / "study.yaml"), run, json=True) as session:
        last = final_refit._Last(
            session, Refitted(Grounds(session.folder.refits, session.data, 0, Objective("reward")))
        )
        for member in (
            Member("soup", "soup", run / "soups" / "a"),
            Member("other.trial-3", "trial", run / "trials" / "0"),
        ):
            last.plan(member)
        assert last.kept == {"soup": "no training of its own makes a soup", "other.trial-3": "it is of another run"}
        changed = session.study.search.model_copy(update={"stopper": PBTStopper.model_validate({"pbt": {}})})
        session.study = session.study.model_copy(update={"search": changed})
        last.plan(Member("trial-1", "trial", run / "trials" / "1"))
    assert last.kept["trial-1"] == "a member of a population has changed its settings while it was trained"
    assert not last.found


@pytest.mark.parametrize("name", ["linear", "naive_bayes", "char_linear"])
def test_a_linear_member_of_folds_becomes_one_of_all_rows(name: str, phrases: Path, tmp_path: Path) -> None:
    reading = Reading(segment=1, max_segments=4, cost=0.02)
    dataset = load_dataset(Data.model_validate({"train": str(phrases), "splits": {"folds": 3, "test": 0.25}}), reading)
    fit_linear(dataset, reading, 0.02, tmp_path / "folds", name)
    checkpoint = tmp_path / "folds" / "checkpoint"
    folds_of = [LinearMember.load(each) for each in sorted(checkpoint.glob("fold-*"))]
    final_refit._fit_again(all_but_test(dataset), reading, name, checkpoint, tmp_path / "again")
    again = LinearMember.load(tmp_path / "again" / "checkpoint")
    assert again.threshold == folds_of[0].threshold
    for key, value in again.found.items():
        assert value == sorted(fold.found[key] for fold in folds_of)[1]
    for fold in folds_of:
        same = again.coef.shape == fold.coef.shape and np.allclose(again.coef, fold.coef, atol=1e-3)
        assert not same, "it has read what the fold held out"
    said, rows_hash = Predictions.load(tmp_path / "again" / "predictions" / "test.safetensors")
    assert rows_hash == dataset.hashes["test"]
    costs = Costs(0.02)
    alone = metrics(said, dataset.parts["test"].labels, costs)["accuracy_full"]
    together, _ = Predictions.load(tmp_path / "folds" / "predictions" / "test.safetensors")
    assert alone > metrics(together, dataset.parts["test"].labels, costs)["accuracy_full"] - 0.05


def test_of_folds_that_found_two_kinds_the_more_frequent_one_is_fitted_again(tmp_path: Path) -> None:
    data = topics_dataset()
    found = [
        {"machines": 1.0, "strength": 1.0, "factor": 4.0, "sublinear": 0.0},
        {"machines": 0.0, "strength": 1000.0, "factor": 1.0, "sublinear": 1.0},
        {"machines": 1.0, "strength": 10.0, "factor": 6.0, "sublinear": 1.0},
        {"machines": 1.0, "strength": 3.0, "factor": 5.0, "sublinear": 0.0},
    ]
    for fold, each in enumerate(found, 1):
        LinearBaseline.fit(data, "off", each).save(tmp_path / "checkpoint" / f"fold-{fold}")
    final_refit._fit_again(data, "off", "linear", tmp_path / "checkpoint", tmp_path / "again")
    again = LinearMember.load(tmp_path / "again" / "checkpoint").found
    assert again == {"machines": 1.0, "strength": 3.0, "factor": pytest.approx(5.0), "sublinear": 0.0}


def test_a_trial_of_folds_becomes_one_policy_of_all_rows(
    study_file: Callable[..., Path], phrases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained for real: two policies before, one afterwards, which answers at their threshold."""
    file = study_file(
        tmp_path,
        data={"train": str(phrases), "splits": {"folds": 2, "test": 0.25}},
        model={"d_model": 16, "heads": 2},
        train={"epochs": 2, "algorithm": "supervised", "warm_start": {"epochs": 2, "lr": 1e-2, "batch_size": 16}},
        space={"train.lr": [1e-2]},
        search={"trials": 1, "sampler": "random", "stopper": "none"},
    )
    run = tmp_path / "run"
    with Session.open(Study.load(file), run, json=True) as session:
        record = session.trials.ask()
        assert record is not None
        settings = session.settings.with_values(record.settings)
        folder = session.folder.trial(record.number)
        trainer = trainers.make_trainer(settings, session.data, session.folder.starts, folder, "reward", session.cost)
        while len(trainer.reports) < 4:
            session.trials.report(record.number, len(trainer.reports) + 1, trainer.step())
        trainer.close(True)
        session.trials.complete(record.number)
        linear = fit_linear(session.dataset, session.study.reading, session.cost, session.folder.linear)
        session.ledger.set_attribute("linear", linear)
    decide = ensembling._choice
    monkeypatch.setattr(ensembling, "_choice", lambda *given: replace(decide(*given), chosen="trial-0"))
    built = build(run)
    row = built.choice.row("refitted")
    assert (built.choice.chosen, len(row.members)) == ("refitted", 1)
    refit = next(member for member in built.members if member.name == row.members[0])
    assert type(load_member(refit.checkpoint)).__name__ == "PolicyMember"
    config, before = (read_json(each / "config.json") for each in (refit.checkpoint, folder / "checkpoint" / "fold-2"))
    assert config["threshold"] == before["threshold"] is not None
    reports = read_json(refit.folder / "done")["reports"]
    assert len(reports) == 2, "as many epochs as each fold had"
    assert row.test is not None
    assert row.test["accuracy_full"] > 0.4


def _folders(row: Row) -> set[str]:
    return {name.removeprefix("refit-") for name in row.members}


def test_a_control_that_is_exported_is_trained_again_as_a_control(
    run: Path, control_that_wins: Callable[[Path], None]
) -> None:
    control_that_wins(run)
    built = build(run)
    row, own = built.choice.row("refitted"), built.choice.combinations["refitted"]
    assert built.choice.reason.startswith("supervised-0 is exported: ")
    assert (built.choice.chosen, row.method, len(own.members)) == ("refitted", "supervised", 1)
    member = built.members[own.members[0]]
    assert member.kind == "refit"
    with Session.open(Study.load(run / "study.yaml"), run, json=True) as session:
        (record,) = session.control_records()
        last = final_refit._Last(
            session, Refitted(Grounds(session.folder.refits, session.data, 0, Objective("reward")))
        )
        job = last._job(record, session.folder.of(record) / "checkpoint")
    assert job.settings.train.algorithm == "supervised"
    assert job.member.name == member.name
    assert load(run / "bundle").metadata["metrics"]["test"] == row.test
