import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from killing import Killed, killed
from safetensors.numpy import load_file

from sweepstack.ensembles.builders.registry import make
from sweepstack.ensembles.bundles.bundle import load
from sweepstack.ensembles.evaluation.reliability import reliability
from sweepstack.ensembles.members.library import Library
from sweepstack.ensembles.scoring.objective import half_widths
from sweepstack.models.baselines.linear import LinearBaseline
from sweepstack.models.data.labelled import Part, load_dataset
from sweepstack.models.errors import DamagedError, StorageError
from sweepstack.models.files import read_json
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.number_format import score
from sweepstack.models.predictions.probabilities import Predictions, metrics
from sweepstack.models.training.folds import put_together, unfinished
from sweepstack.search.ensembling import stage as ensembling
from sweepstack.search.ledger.ensembles import BuiltEnsembles
from sweepstack.search.report.report_trust import read_trust
from sweepstack.search.report.result import Result
from sweepstack.search.run.baselines import fit_linear
from sweepstack.search.run.session import Session
from sweepstack.search.study.study import Study

pytestmark = pytest.mark.filterwarnings("ignore::Warning:mlflow")  # its warnings are not ours to mend


def study_of(run: Path, *overrides: str) -> Study:
    return Study.load(run / "study.yaml", overrides)


def build(run: Path, *overrides: str) -> BuiltEnsembles:
    """One session that builds ensembles; what the ledger then holds."""
    with Session.open(study_of(run, *overrides), run, json=True) as session:
        ensembling.build(session)
    return Result.open(run).built


def described(run: Path, *overrides: str) -> tuple[list[tuple[str, str]], str]:
    """The library that a session would build from, and its digest."""
    session = Session.open(study_of(run, *overrides), run)
    with closing(session.ledger):
        usable = [record for record in session.trials.trials() if record.state in ("complete", "pruned")]
        members = ensembling._members(session, usable)
        builders = [make(spec) for spec in session.study.builder_specs()]
        return [(m.name, m.kind) for m in members], ensembling._digest(session, members, builders)


def test_members_are_the_trials_by_number_then_the_baseline_then_the_best_control(run: Path) -> None:
    members, _ = described(run)
    assert members == [
        *((f"trial-{number}", "trial") for number in range(4)),
        ("linear", "baseline"),
        ("supervised-0", "control"),
    ]


def test_a_failed_trial_is_no_member_and_a_running_one_is_none_yet(run: Path) -> None:
    session = Session.open(study_of(run, "search.trials=6"), run)
    with closing(session.ledger):
        for reward in (0.1, 0.2):
            record = session.trials.ask()
            assert record is not None
            session.trials.report(record.number, 1, {"reward": reward})
        session.trials.fail(4, "no more memory")
    members, _ = described(run)
    assert [name for name, kind in members if kind == "trial"] == [f"trial-{number}" for number in range(4)]


def test_the_digest_is_of_everything_that_the_choice_depends_on(
    run: Path, train_by_hand: Callable[[Session], None]
) -> None:
    _, digest = described(run)
    same = [described(run), described(run, "search.concurrency=2"), described(run, "search.trials=6")]
    assert {digest} == {each for _, each in same}, "a trial that is only asked for changes nothing"
    session = Session.open(study_of(run, "search.trials=6"), run)
    with closing(session.ledger):
        train_by_hand(session)
    digests = {digest, described(run)[1]}
    assert len(digests) == 2, "two trials more"
    for change in ("builders=[average]", "builders=[{stacking: {top: 2}}]", "library=[trials]"):
        digests.add(described(run, f"ensembles.{change}")[1])
    assert len(digests) == 5


def test_a_run_without_a_usable_trial_says_where_the_reasons_are(
    study_file: Callable[..., Path], tmp_path: Path
) -> None:
    study = Study.load(study_file(tmp_path))
    session = Session.open(study, tmp_path / "run", json=True)
    with closing(session.ledger):
        record = session.trials.ask()
        assert record is not None
        session.trials.fail(record.number, "no more memory")
        with pytest.raises(StorageError, match="has no trial that could be a member; see the reasons in leaderboard"):
            ensembling.build(session)
        assert session.ledger.attribute("ensembles") is None


def test_every_row_is_scored_exported_and_recorded(run: Path) -> None:
    built = build(run)
    rows = {row.name: row for row in built.choice.rows}
    assert list(rows)[3:] == [f"trial-{Result.open(run).status()['best']['trial']}", "linear", "supervised-0"]
    assert set(list(rows)[:3]) == {"average", "selection", "stacking"}
    assert built.scored
    for row in rows.values():
        assert row.test is not None
        assert row.test_interval is not None
        assert row.size_mb is not None
        assert row.latency_ms is not None
    bundle = load(run / "bundle")
    assert bundle.metadata["digest"] == built.digest
    assert bundle.metadata["metrics"]["test"] == rows[built.choice.chosen].test
    table = Result.open(run).ensembles()
    assert (run / "ensembles.csv").read_text() == table.to_csv(index=False)
    assert not (run / ".bundles").exists(), "MLflow has taken them"
    recorded = Result.open(run).mlflow_runs
    wanted = {f"ensemble-{name}-{built.digest}" for name in ("average", "selection", "stacking", built.choice.chosen)}
    assert {key for key in recorded if key.startswith("ensemble-")} == wanted


def test_what_is_exported_is_examined_on_test_and_calibrated_on_blend(run: Path) -> None:
    built = build(run)
    trust = read_trust(run / "trust.json", built.digest)
    assert trust is not None
    assert trust.name == built.choice.chosen
    study = Study.load(run / "study.yaml")
    assert study.data is not None
    parts = load_dataset(study.data, study.reading).parts
    assert sum(each.support for each in trust.classes) == len(parts["test"].labels)
    assert trust.curves[0].accuracy[-1] == pytest.approx(built.choice.row(trust.name).test["accuracy"])
    found = load(run / "bundle").calibration
    assert found is not None
    assert len(found.scores) == len(parts["blend"].labels)
    assert found.weights.sum() == pytest.approx(len(np.unique(parts["blend"].units)))
    assert repr(found) == repr(built.choice.calibration[trust.name])
    assert trust.promise == found.promise
    assert 'id="trust"' in Result.open(run).write_report().read_text(encoding="utf-8")


def test_figures_are_those_of_units_and_the_same_in_table_and_report(run: Path) -> None:
    with Session.open(study_of(run), run, json=True) as session:
        of_four = {  # as if each four rows had one author
            name: replace(part, units=np.arange(len(part.labels)) // 4) for name, part in session.dataset.parts.items()
        }
        session.texts = replace(session.dataset, parts=of_four)
        ensembling.build(session)
        test, hashes, costs = session.dataset.parts["test"], session.data.hashes, Costs(session.cost)
    built = Result.open(run).built
    library = Library.load(built.members, "test", hashes["test"])
    for name, said in built.choice.predict(library).items():
        by_units, by_rows = (half_widths(said, test.labels, costs, units) for units in (test.units, None))
        assert by_units["log_loss"] != pytest.approx(by_rows["log_loss"])
        assert built.choice.row(name).test_interval == pytest.approx(by_units)
        assert built.choice.row(name).test == pytest.approx(metrics(said, test.labels, costs))
    page = Result.open(run).write_report().read_text(encoding="utf-8")
    said = built.choice.combinations[built.choice.chosen].predict(library.stack)
    where_it_answers, full = (reliability(said.at(at), test.labels).error for at in (said.stops(), said.n_segments - 1))
    assert full == pytest.approx(built.choice.row(built.choice.chosen).test["calibration_error"])
    assert f"calibration error where it answers is {score(where_it_answers, 4)}" in page
    if score(full, 4) != score(where_it_answers, 4):
        assert f"(after reading everything, which is calibration_error in the tables, {score(full, 4)})" in page


def test_the_choice_stands_in_the_ledger_before_a_label_of_test_is_looked_at(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill at the scoring leaves the choice; the next session scores that one, and chooses nothing anew."""

    with monkeypatch.context() as patch:
        patch.setattr(ensembling, "score_test", killed)
        with pytest.raises(Killed):
            build(run)
    left = Result.open(run)
    assert not left.built.scored
    assert all(row.test is None for row in left.built.choice.rows)
    (scoring,) = left.ledger.attribute("test_scorings")
    assert scoring["digest"] == left.built.digest, "it is on record before it is done"
    assert not (run / "bundle").exists()

    with monkeypatch.context() as patch:
        patch.setattr(ensembling, "choose", killed)
        again = build(run)
    assert again.scored
    assert again.choice.chosen == left.built.choice.chosen
    assert again.choice.reason == left.built.choice.reason
    assert [scoring["digest"] for scoring in Result.open(run).ledger.attribute("test_scorings")] == [again.digest] * 2


def test_a_second_build_repeats_nothing(run: Path) -> None:
    build(run)
    before = {path: path.stat().st_mtime_ns for path in (run / "bundle").rglob("*")}
    scorings = Result.open(run).ledger.attribute("test_scorings")
    attributes = Result.open(run).ledger.attributes()
    earlier = attributes.pop("sessions")
    build(run)
    assert {path: path.stat().st_mtime_ns for path in (run / "bundle").rglob("*")} == before
    assert Result.open(run).ledger.attribute("test_scorings") == scorings
    after = Result.open(run).ledger.attributes()
    assert after.pop("sessions")[: len(earlier)] == earlier
    assert after == attributes


def test_other_builders_build_anew_and_replace_the_bundle(run: Path) -> None:
    first = build(run)
    second = build(run, "ensembles.builders=[average]", "ensembles.library=[trials]")
    assert second.digest != first.digest
    assert [row.name for row in second.choice.rows if row.role == "ensemble"] == ["average"]
    assert {name for row in second.choice.rows if row.name == "average" for name in row.members} == {
        f"trial-{number}" for number in range(4)
    }
    assert read_json(run / "bundle" / "bundle.json")["digest"] == second.digest
    assert len(Result.open(run).ledger.attribute("test_scorings")) == 2


def test_a_bundle_that_was_deleted_is_exported_again(run: Path) -> None:
    built = build(run)
    shutil.rmtree(run / "bundle")
    build(run)
    assert load(run / "bundle").metadata["digest"] == built.digest


def test_predictions_of_other_rows_are_refused(run: Path) -> None:
    path = run / "trials" / "2" / "predictions" / "blend.safetensors"
    predictions, _ = Predictions.load(path)
    predictions.save(path, "of other rows")
    with pytest.raises(StorageError, match=r"blend\.safetensors was predicted for rows with hash of other rows"):
        build(run)
    assert BuiltEnsembles.read(Result.open(run).ledger, run) is None
    assert not (run / "bundle").exists()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name",
    [f"checkpoint/{name}" for name in ("weights.safetensors", "config.json")]
    + [f"predictions/{part}.safetensors" for part in ("blend", "test")],
)
def test_a_damaged_trial_is_left_out_with_a_line(run: Path, name: str) -> None:
    """A changed bit of a weight leaves a file that loads; its predictions would no longer be those that were scored."""
    first = build(run)
    flip(run / "trials" / "2" / name)
    built = build(run)
    assert [member.name for member in built.members if member.kind == "trial"] == ["trial-0", "trial-1", "trial-3"]
    assert built.digest != first.digest
    path = run / "trials" / "2" / name
    line = f"trial-2 is left out: {path} is damaged: its SHA-256 is not the one in SHA256SUMS beside it"
    assert [note.partition(";")[0] for note in built.choice.notes if "left out" in note] == [line]
    assert (
        f"{line}; put back a copy of it, or sweepstack retry RUN --trial 2 trains the trial again"
        in (Result.open(run).remarks["Builders"])
    )
    assert {each["name"] for each in load(run / "bundle").metadata["members"]} <= {m.name for m in built.members}


def test_a_damaged_control_is_left_out(run: Path) -> None:
    flip(run / "company" / "supervised" / "0" / "predictions" / "valid.safetensors")
    built = build(run)
    assert "supervised-0" not in {member.name for member in built.members}
    assert any(note.startswith("supervised-0 is left out") for note in built.choice.notes)


def test_what_is_exported_later_is_checked_too(run: Path, tmp_path: Path) -> None:
    built = build(run)
    name = next(row.name for row in built.choice.rows if row.name.startswith("trial-"))
    flip(run / "trials" / name.removeprefix("trial-") / "checkpoint" / "weights.safetensors")
    with pytest.raises(DamagedError, match=r"weights\.safetensors is damaged"):
        Result.open(run).ensemble(name).export(tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_a_damaged_calibration_has_the_ensembles_built_anew(run: Path) -> None:
    first = build(run)
    path = run / "calibration.safetensors"
    scores = load_file(path)
    path.write_bytes(path.read_bytes()[:-4])
    again = build(run)
    found = load_file(path)
    assert found.keys() == scores.keys()
    assert all(np.array_equal(found[name], each) for name, each in scores.items())
    assert [(row.name, row.blend, row.test) for row in again.choice.rows] == [
        (row.name, row.blend, row.test) for row in first.choice.rows
    ]
    assert repr(again.choice.calibration) == repr(first.choice.calibration) != "{}"


def train_under_folds(session: Session) -> None:
    """Ray's part: each fold of a trial is a linear member that knows every third row; the last trial loses a fold."""
    folds, cost = session.dataset.folds, Costs(session.cost)
    labels = [fold.parts["valid"].labels for fold in folds]
    while (record := session.trials.ask()) is not None:
        folder = session.folder.trial(record.number)
        for k, fold in enumerate(folds):
            warm = fold.parts["warm"]
            rows = range(record.number % 3, len(warm.labels), 3)
            known = Part(tuple(warm.inputs[i] for i in rows), warm.labels[list(rows)])
            member = LinearBaseline.fit(
                replace(fold, parts={**fold.parts, "warm": known, "policy": known}), session.study.reading
            )
            member.save(unfinished(folder, k) / "checkpoint")
            for part in ("valid", "test"):
                said = member.read(fold.parts[part].inputs)
                said.save(unfinished(folder, k) / "predictions" / f"{part}.safetensors", fold.hashes[part])
            own = metrics(member.read(fold.parts["valid"].inputs), labels[k], cost)
            for epoch in (2 * k + 1, 2 * k + 2):
                session.trials.report(record.number, epoch, {**own, "seconds": 0.5})
            if record.number == 3:
                session.trials.stop(record.number)
        if session.trials.record(record.number).state == "running":
            put_together(folder, labels, session.dataset.hashes, cost, None)
            session.trials.complete(record.number)
    linear = fit_linear(session.dataset, session.study.reading, session.cost, session.folder.linear)
    session.ledger.set_attribute("linear", linear)


def test_a_study_with_folds_is_combined_out_of_fold_and_exported_with_all_of_them(
    study_file: Callable[..., Path], phrases: Path, tmp_path: Path
) -> None:
    file = study_file(tmp_path, data={"train": str(phrases), "splits": {"folds": 3, "test": 0.25}})
    run = tmp_path / "run"
    session = Session.open(Study.load(file), run)
    train_under_folds(session)
    session.ledger.close()
    built = build(run)
    assert [member.name for member in built.members] == ["trial-0", "trial-1", "trial-2", "linear"]
    result = Result.open(run)
    assert result.trials[3].state == "pruned", "a trial that lacks a fold is no member"
    assert result.status()["best"]["trial"] != 3
    frame = result.leaderboard().set_index("name")
    assert frame.loc["trial 0", "folds"] == 3
    scores = result.trials[0].scores
    assert frame.loc["trial 0", "reward"] == pytest.approx(sum(scores) / 3)

    dataset = load_dataset(result.study.data, result.study.reading)
    assert (len(dataset.parts["out_of_fold"].labels), len(dataset.parts["test"].labels)) == (240, 80)
    bundle = load(run / "bundle")
    chosen = built.choice.combinations[built.choice.chosen]
    test = Library.load(built.members, "test", dataset.hashes["test"])
    said = chosen.predict(test.stack)
    assert np.allclose(bundle.predict_proba(dataset.parts["test"].inputs), said.at(said.stops()), atol=1e-6)
    assert bundle.metadata["metrics"]["test"] == metrics(said, dataset.parts["test"].labels, Costs(0.02))
    for row in built.choice.rows:
        assert row.size_mb == pytest.approx(
            sum(
                path.stat().st_size / 1e6
                for member in built.members
                if member.name in row.members
                for path in member.checkpoint.rglob("*.*")
            )
        ), "of all folds"
    assert "3 policies" in (run / "bundle" / "README.md").read_text(encoding="utf-8")
    assert "rows out of fold" in result.write_report().read_text(encoding="utf-8")
    assert build(run).choice.rows == built.choice.rows, "nothing is fitted or scored again"


def test_a_control_that_is_the_best_alone_is_exported_all_the_way(
    run: Path, control_that_wins: Callable[[Path], None]
) -> None:
    import mlflow.pyfunc
    import pandas as pd

    control_that_wins(run)
    built = build(run, "ensembles.library=[trials,linear]", "ensembles.builders=[average]")
    assert built.choice.chosen == "supervised-0"
    assert built.choice.reason.startswith("supervised-0 is exported: the best ensemble, average, is better than every ")
    bundle, result = load(run / "bundle"), Result.open(run)
    assert [(member["name"], member["kind"]) for member in bundle.metadata["members"]] == [("supervised-0", "control")]
    assert "ensemble built by Sweepstack (supervised)" in (run / "bundle" / "README.md").read_text(encoding="utf-8")
    session = Session.open(study_of(run), run)
    session.ledger.close()
    dataset, test = session.dataset, session.dataset.parts["test"]
    said = bundle.predict(test.inputs)
    right = np.mean([label == dataset.classes[k] for label, k in zip(said, test.labels, strict=True)])
    assert right == pytest.approx(built.row("supervised-0").test["accuracy"])
    table = result.ensembles().set_index("name")
    assert list(table.index[table.exported]) == ["supervised-0"]
    trust = read_trust(run / "trust.json", built.digest)
    assert trust is not None
    assert (trust.name, trust.curves[0].role) == ("supervised-0", "control")
    assert "supervised-0 is exported" in result.write_report().read_text(encoding="utf-8")
    assert result.status()["exported"] == "supervised-0"
    client = mlflow.MlflowClient(result.study.tracking_uri)
    recorded = client.get_run(result.mlflow_runs[f"ensemble-supervised-0-{built.digest}"])
    logged = client.get_logged_model(recorded.outputs.model_outputs[0].model_id)
    served = mlflow.pyfunc.load_model(logged.artifact_location).predict(pd.DataFrame({"text": list(test.inputs[:5])}))
    assert list(served["label"]) == list(said[:5])


def test_pipelines_that_a_study_names_have_rows_of_their_own(run: Path, no_ray: None) -> None:
    built = build(run, "ensembles.library=[trials,naive_bayes,char_linear]", "ensembles.builders=[average]")
    rows = [(row.name, row.method, row.role) for row in built.choice.rows if row.role == "baseline"]
    assert sorted(rows) == [(name, name, "baseline") for name in ("char_linear", "linear", "naive_bayes")]
    assert "the choice among 6 counted" in built.choice.reason
