"""Ensembles of writers, from trials that the fixtures make by hand to the bundle."""

import ast
import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from killing import Killed, killed

from sweepstack import ensembles, search
from sweepstack.ensembles import load
from sweepstack.ensembles.builders import writer_soup
from sweepstack.ensembles.bundles.writing_bundle import WritingBundle
from sweepstack.ensembles.evaluation import choose_texts
from sweepstack.ensembles.evaluation.examples import read_examples
from sweepstack.ensembles.members.library import Member
from sweepstack.ensembles.refits import jobs as refits
from sweepstack.ensembles.scoring.text_objective import TextObjective
from sweepstack.models.data.pairs import PairDataset, load_pairs
from sweepstack.models.errors import StorageError
from sweepstack.models.files import read_json
from sweepstack.models.predictions.text_metrics import corpus_scores
from sweepstack.models.predictions.texts import Candidates
from sweepstack.search.ensembling import stage as ensembling
from sweepstack.search.ensembling import text_decoding, text_ensembling
from sweepstack.search.ensembling.members import singles
from sweepstack.search.ledger.ensembles import Built
from sweepstack.search.report.result import Result
from sweepstack.search.run.session import Session
from sweepstack.search.study.study import Study

pytestmark = [
    pytest.mark.usefixtures("no_ray", "no_mlflow"),
    pytest.mark.filterwarnings("ignore::Warning:mlflow"),  # its warnings are not ours to mend
]
BUILDERS = {"average", "minimum_bayes_risk", "reranker", "soup"}


def build(run: Path, *overrides: str) -> Built[Any]:
    """One session that builds ensembles; what the ledger then holds."""
    with Session.open(Study.load(run / "study.yaml", overrides), run, json=True) as session:
        ensembling.build(session)
    return Result.open(run).built


def pairs_of(run: Path) -> PairDataset:
    study = Study.load(run / "study.yaml")
    assert study.data is not None
    assert study.writing is not None
    return load_pairs(study.data, study.task, study.writing)


def test_every_row_is_scored_exported_and_recorded(written_ensembles: Path) -> None:
    built = Result.open(written_ensembles).built
    rows = {row.name: row for row in built.choice.rows}
    best = Result.open(written_ensembles).status()["best"]["trial"]
    assert list(rows)[-3:] == [f"trial-{best}", "memory", "supervised-0"]
    assert set(rows) - {f"trial-{best}", "memory", "supervised-0"} == BUILDERS
    test, written = pairs_of(written_ensembles).parts["test"], load(written_ensembles / "bundle")
    assert isinstance(written, WritingBundle)
    for row in rows.values():
        assert row.test is not None
        assert row.size_mb is not None
        assert row.latency_ms is not None
        assert row.stop == ""
    said = [each.text for each in written.write(test.inputs)]
    exported = rows[built.choice.chosen]
    assert corpus_scores(said, test.references, "zh") == pytest.approx(
        {name: exported.test[name] for name in ("bleu", "chrf")}, abs=1e-6
    ), "the bundle writes what was scored"
    assert written.metadata["digest"] == built.digest
    assert rows["minimum_bayes_risk"].utility == "chrf"
    assert rows["minimum_bayes_risk"].other_gains is not None
    assert rows["memory"].gain_over_trial is not None
    table = Result.open(written_ensembles).ensembles()
    assert (written_ensembles / "ensembles.csv").read_text() == table.to_csv(index=False)
    assert {"test_chrf", "test_bleu", "bleu_gain_over_trial_low"} <= set(table.columns)
    assert not {"test_accuracy", "test_segments"} & set(table.columns)
    recorded = {key for key in Result.open(written_ensembles).mlflow_runs if key.startswith("ensemble-")}
    assert recorded == {f"ensemble-{name}-{built.digest}" for name in BUILDERS | {built.choice.chosen}}


def test_the_page_shows_rows_of_test_and_the_summary_a_source_to_try(written_ensembles: Path) -> None:
    built = Result.open(written_ensembles).built
    shown = read_examples(written_ensembles / "examples.json", built.digest)
    assert shown is not None
    test = pairs_of(written_ensembles).parts["test"]
    references = dict(zip(test.inputs, test.references, strict=True))
    assert shown.rows
    assert all(references[row.source] == row.reference for row in shown.rows)
    assert shown.better + shown.worse + shown.equal == len(test)
    result = Result.open(written_ensembles)
    assert result.printable().example in {row.source for row in shown.rows}
    assert 'id="examples"' in result.write_report().read_text(encoding="utf-8")
    assert [each.name for each in result.company] == ["memory", "supervised"]
    assert set(result.status()["ensembles"]) >= BUILDERS
    assert not (written_ensembles / "trust.json").exists()


def test_the_choice_stands_in_the_ledger_before_a_reference_of_test_is_looked_at(
    writing_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(text_ensembling, "score_texts_test", killed)
        with pytest.raises(Killed):
            build(writing_run)
    left = Result.open(writing_run)
    assert not left.built.scored
    assert all(row.test is None for row in left.built.choice.rows)
    (scoring,) = left.ledger.attribute("test_scorings")
    assert scoring["digest"] == left.built.digest, "it is on record before it is done"
    assert not (writing_run / "bundle").exists()

    with monkeypatch.context() as patch:
        patch.setattr(text_ensembling, "choose_texts", killed)
        patch.setattr(text_decoding, "write_piece", killed)
        patch.setattr(writer_soup, "_cooked", killed)
        again = build(writing_run)
    assert again.scored
    assert again.choice.chosen == left.built.choice.chosen
    assert [each["digest"] for each in Result.open(writing_run).ledger.attribute("test_scorings")] == [again.digest] * 2


def test_no_reference_of_test_reaches_a_worker_or_a_builder(
    written_ensembles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What test should be is put out of reach of all but the scoring: the same choice, and the same texts."""
    run = Path(shutil.copytree(written_ensembles, tmp_path / "run"))
    built = Result.open(run).built
    shutil.rmtree(run / "decoded")
    secrets = pairs_of(run).parts["test"].references
    seen: list[object] = []
    write_piece = text_decoding.write_piece

    def watched(*arguments: Any) -> None:
        seen.append(arguments)
        write_piece(*arguments)

    monkeypatch.setattr(text_decoding, "write_piece", watched)
    with Session.open(Study.load(run / "study.yaml"), run, json=True) as session:
        assert session.written.parts["test"].references is None
        texts = text_ensembling._written(session, built)
    assert seen
    assert not [text for text in secrets if text in repr(seen)]
    assert set(texts) == {row.name for row in built.choice.rows}


def test_a_second_build_repeats_nothing_and_a_deleted_bundle_is_exported_again(
    written_ensembles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(written_ensembles, tmp_path / "run"))
    built = Result.open(run).built
    scorings = Result.open(run).ledger.attribute("test_scorings")
    shutil.rmtree(run / "bundle")
    for module, name in ((text_ensembling, "choose_texts"), (text_ensembling, "score_texts_test")):
        monkeypatch.setattr(module, name, killed)
    again = build(run)
    assert again.choice.rows == built.choice.rows
    assert Result.open(run).ledger.attribute("test_scorings") == scorings
    assert read_json(run / "bundle" / "bundle.json")["digest"] == built.digest


def test_other_builders_build_anew_within_the_budget(writing_run: Path) -> None:
    first = build(writing_run, "ensembles.builders=[minimum_bayes_risk]", "ensembles.library=[trials]")
    assert [row.name for row in first.choice.rows if row.role == "ensemble"] == ["minimum_bayes_risk"]
    assert set(first.row("minimum_bayes_risk").members) <= {f"trial-{number}" for number in range(3)}
    bounded = build(
        writing_run, "ensembles.builders=[minimum_bayes_risk]", "ensembles.library=[trials]",
        "ensembles.budget.size_mb=0.000001",
    )  # fmt: skip
    assert bounded.digest != first.digest
    assert all("size_mb" in row.over_budget for row in bounded.choice.rows if row.role != "control")
    assert "cheapest" in bounded.choice.reason


def test_snapshots_are_trained_by_the_best_trials_settings_and_only_once(
    writing_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = "ensembles.builders=[{snapshots: {cycles: 2}}]"
    first = build(writing_run, named)
    row = first.row("snapshots")
    trained = {f"refit-{folder.name}" for folder in (writing_run / "refits").iterdir()}
    assert len(trained) == 2
    assert (set(row.members), row.role) == (trained, "ensemble")
    assert row.test is not None
    Result.open(writing_run).ensemble("snapshots").export(writing_run / "theirs")
    bundle = load(writing_run / "theirs")
    assert isinstance(bundle, WritingBundle)
    test = pairs_of(writing_run).parts["test"]
    said = [each.text for each in bundle.write(test.inputs)]
    assert corpus_scores(said, test.references, "zh")["chrf"] == pytest.approx(row.test["chrf"], abs=1e-6)
    monkeypatch.setattr(refits, "_prepared", killed)
    again = build(writing_run, "ensembles.builders=[{snapshots: {cycles: 2}}, minimum_bayes_risk]")
    assert (again.row("snapshots").members, again.row("snapshots").test) == (row.members, row.test)


def test_a_search_for_what_texts_do_not_tell_is_judged_by_chrf(writing_run: Path) -> None:
    folder = writing_run / "study.yaml"
    assert text_ensembling.judged_by("log_loss") == "chrf"
    study = Study.load(folder)
    searched = study.search.model_copy(update={"metric": "log_loss"})
    with Session.open(study, writing_run, json=True) as session:
        session.study = study.model_copy(update={"search": searched}).in_folder(writing_run)
        objective = text_ensembling._objective(session)
        assert objective == TextObjective("chrf", "zh")
        memory = Member("memory", "baseline", session.memory)
        members = singles(session, session.trial_records(), memory)
        choice = text_ensembling._choice(session, members[:4], [], objective)
    assert "texts are chosen by chrf, as log_loss cannot be worked out of a text" in choice.notes


def test_mlflow_loads_what_writes(written_ensembles: Path) -> None:
    import mlflow.pyfunc
    import pandas as pd

    built = Result.open(written_ensembles).built
    result = Result.open(written_ensembles)
    run_id = result.mlflow_runs[f"ensemble-{built.choice.chosen}-{built.digest}"]
    client = mlflow.MlflowClient(result.study.tracking_uri)
    run = client.get_run(run_id)
    assert run.data.metrics["test_chrf"] == pytest.approx(built.row(built.choice.chosen).test["chrf"])
    model_id = run.outputs.model_outputs[0].model_id
    logged = client.get_logged_model(model_id)
    model = mlflow.pyfunc.load_model(logged.artifact_location)
    sources = list(pairs_of(written_ensembles).parts["test"].inputs[:3])
    said = model.predict(pd.DataFrame({"source": sources}), params={"candidates": 2})
    bundle = load(written_ensembles / "bundle")
    assert isinstance(bundle, WritingBundle)
    assert list(said["text"]) == [each.text for each in bundle.write(sources)]
    assert all(len(json.loads(each)) <= 2 for each in said["candidates"])
    assert np.isfinite(said["score"]).all()


def test_what_is_chosen_is_never_told_by_test() -> None:
    """What chooses has no parameter for anything of test, and one function alone opens what it should be."""
    assert not [name for name in inspect.signature(choose_texts.choose_texts).parameters if "test" in name]
    readers = []
    for package in (search, ensembles):
        for file in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                code = ast.unparse(node).replace("'", '"') if isinstance(node, ast.FunctionDef) else ""
                if '.parts["test"]' in code and ".references" in code:
                    readers.append((file.name, node.name))
    assert readers == [("text_ensembling.py", "_scored")]


def test_a_run_without_a_usable_trial_says_where_the_reasons_are(
    writing_file: Callable[..., Path], tmp_path: Path
) -> None:
    session = Session.open(Study.load(writing_file(tmp_path)), tmp_path / "run", json=True)
    try:
        record = session.trials.ask()
        assert record is not None
        session.trials.fail(record.number, "no more memory")
        with pytest.raises(StorageError, match="has no trial that could be a member; see the reasons in leaderboard"):
            ensembling.build(session)
    finally:
        session.ledger.close()


def test_a_control_that_is_the_best_alone_is_exported_all_the_way(writing_run: Path) -> None:
    """Its candidates for blend are the references, which no ensemble may use."""
    with Session.open(Study.load(writing_run / "study.yaml"), writing_run, json=True) as session:
        hashes, parts = session.hashes, session.pairs.parts
        folder = session.folder.of(session.control_records()[0])
    references = parts["blend"].references
    told = Candidates(tuple((each,) for each in references), ((0.0,),) * len(references))
    told.save(folder / "predictions" / "blend.safetensors", hashes["blend"])
    built = build(writing_run, "ensembles.library=[trials,memory]", "ensembles.builders=[minimum_bayes_risk]")
    assert built.choice.chosen == "supervised-0"
    assert built.choice.reason.startswith("supervised-0 is exported: the best ensemble, minimum_bayes_risk, is better ")
    bundle = load(writing_run / "bundle")
    assert isinstance(bundle, WritingBundle)
    assert [member["name"] for member in bundle.metadata["members"]] == ["supervised-0"]
    test = parts["test"]
    said = [each.text for each in bundle.write(test.inputs)]
    assert corpus_scores(said, test.references, "zh")["chrf"] == pytest.approx(
        built.row("supervised-0").test["chrf"], abs=1e-6
    )
    assert "supervised-0 is exported" in Result.open(writing_run).write_report().read_text(encoding="utf-8")
