"""One small study from the file to the bundle, and everything a user does with it afterwards."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import LANGUAGES, STUDY, command, processes_of, sweepstack, write_study

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, phrases: str) -> Path:
    """A user's folder in which the small study has been run; the tests below only look at it."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "phrases.jsonl").write_text(phrases, encoding="utf-8")
    done = sweepstack("run", write_study(folder), cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout, encoding="utf-8")
    (folder / "stderr.txt").write_text(done.stderr, encoding="utf-8")
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def mlflow_runs(folder: Path) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def test_the_terminal_shows_results_and_nothing_else(finished: Path) -> None:
    out = (finished / "stdout.txt").read_text()
    for word in ("Best trial", "Ensembles", "linear", "supervised", "Exported", "sweepstack predict", "report.html"):
        assert word in out
    assert "WARNING" not in out
    assert "\x1b" not in out, "no colours where there is no terminal"
    assert (finished / "stderr.txt").read_text() == ""


def test_the_run_folder_is_that_of_the_design(finished: Path) -> None:
    run = finished / "runs" / "small"
    names = {path.name for path in run.iterdir() if not path.name.startswith(".")}
    assert names >= {
        "study.yaml", "provenance.json", "ledger.log", "trials", "starts", "company", "log.txt", "leaderboard.csv",
        "ensembles.csv", "refits", "bundle", "report.html", "calibration.safetensors", "trust.json",
    }  # fmt: skip
    trial = run / "trials" / "0"
    assert {p.name for p in (trial / "checkpoint").iterdir()} == {
        "weights.safetensors",
        "config.json",
        "tokenizer.json",
        "SHA256SUMS",
    }
    assert {p.stem for p in (trial / "predictions").iterdir()} == {"valid", "blend", "test", "SHA256SUMS"}
    assert len(list((run / "starts").glob("[!.]*"))) == 2, "one supervised start for each seed in the space"
    assert len(list((run / "refits").glob("[!.]*"))) == 2


def test_the_leaderboard_has_trials_and_company(finished: Path) -> None:
    rows = table(finished / "runs" / "small" / "leaderboard.csv")
    trials = [row for row in rows if row["number"]]
    assert sorted(int(row["number"]) for row in trials) == [0, 1, 2, 3]
    assert all(row["state"] == "complete" for row in trials)
    assert len(rows) - len(trials) == 2, "the linear baseline and the supervised control stand beside the trials"


def test_every_ensemble_stands_beside_baseline_and_control(finished: Path) -> None:
    rows = table(finished / "runs" / "small" / "ensembles.csv")
    assert {row["role"] for row in rows} == {"ensemble", "trial", "baseline", "control"}
    assert {row["name"] for row in rows if row["role"] == "ensemble"} == {"average", "selection", "stacking", "bagging"}
    for row in rows:
        assert 0 <= float(row["blend_accuracy"]) <= 1
        assert 0 <= float(row["test_accuracy"]) <= 1


def test_mlflow_has_one_parent_and_a_finished_run_for_everything(finished: Path) -> None:
    runs = mlflow_runs(finished)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    assert {run.info.status for run in runs} == {"FINISHED"}
    keys = [run.data.tags["sweepstack.key"] for run in runs]
    assert len(keys) == len(set(keys))
    assert {f"trials-{n}" for n in range(4)} <= set(keys)
    trial = next(run for run in runs if run.data.tags["sweepstack.key"] == "trials-0")
    assert "train.lr" in trial.data.params
    assert trial.data.tags["state"] == "complete"
    assert Path(trial.data.tags["checkpoint"]).is_dir()
    assert trial.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
    built = {key.split("-")[1] for key in keys if key.startswith("ensemble-")}
    assert built >= {"average", "selection", "stacking", "bagging"}, "and what is exported, where that is no ensemble"
    assert sum(key.startswith("refit-") for key in keys) == 2


def test_mlflow_loads_the_logged_bundle_as_a_model(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow
    import pandas as pd

    store = f"sqlite:///{finished / 'runs' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)  # where MLflow leaves it for all tests that follow
    mlflow.set_tracking_uri(store)
    models = mlflow.search_logged_models(
        experiment_ids=[mlflow.get_experiment_by_name("small").experiment_id], output_format="list"
    )
    assert models
    loaded = mlflow.pyfunc.load_model(f"models:/{models[0].model_id}")
    answer = loaded.predict(pd.DataFrame({"text": ["guten Morgen"]}))
    assert set(answer["label"]) <= set(LANGUAGES)


def test_the_same_command_again_repeats_nothing(finished: Path) -> None:
    ledger = finished / "runs" / "small" / "ledger.log"
    before = ledger.read_bytes()
    done = sweepstack("run", "small.yaml", "--json", cwd=finished)
    assert done.returncode == 0, done.stderr
    assert ledger.read_bytes() == before
    assert json.loads(done.stdout)["bundle"].endswith("bundle")


def test_status_report_export_and_leaderboard_answer_for_machines(finished: Path) -> None:
    status = json.loads(sweepstack("status", "runs/small", "--json", cwd=finished).stdout)
    assert status["trials"]["complete"] == 4
    report = json.loads(sweepstack("report", "runs/small", "--json", cwd=finished).stdout)["report"]
    page = Path(report).read_text(encoding="utf-8")
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ), "one self-contained page"
    done = sweepstack("export", "runs/small", "--ensemble", "stacking", "-o", "stacked", "--json", cwd=finished)
    assert done.returncode == 0, done.stderr
    assert json.loads((finished / "stacked" / "bundle.json").read_text())["name"]


def test_predict_from_a_process_that_has_only_the_bundle(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "runs" / "small" / "bundle", tmp_path / "bundle")
    (tmp_path / "texts.jsonl").write_text('{"text": "guten Morgen"}\n{"text": "drapeau"}\n', encoding="utf-8")
    from_file = sweepstack("predict", "bundle", "texts.jsonl", "-o", "out.jsonl", cwd=tmp_path)
    assert from_file.returncode == 0, from_file.stderr
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(records) == 2
    for record in records:
        assert record["label"] in LANGUAGES
        assert record["probabilities"][record["label"]] == record["probability"]
        assert abs(sum(record["probabilities"].values()) - 1) < 1e-4
        assert 1 <= record["segments"] <= 5
    plain = sweepstack("predict", "bundle", "-", cwd=tmp_path, stdin="guten Morgen\ndrapeau\n")
    json_lines = sweepstack("predict", "bundle", "-", cwd=tmp_path, stdin='{"text": "guten Morgen"}\n')
    assert [json.loads(line) for line in plain.stdout.splitlines()] == records
    assert [json.loads(line) for line in json_lines.stdout.splitlines()] == records[:1]


def test_a_changed_byte_in_the_bundle_is_refused(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "runs" / "small" / "bundle", tmp_path / "bundle")
    weights = next((tmp_path / "bundle").rglob("weights.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    done = sweepstack("predict", "bundle", "-", cwd=tmp_path, stdin="guten Morgen\n")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "weights.safetensors" in done.stderr


def test_python_calls_of_the_design(finished: Path, tmp_path: Path) -> None:
    script = f"""
from sweepstack.search import Study
import sweepstack.ensembles
result = Study.load("small.yaml").run()
assert len(result.leaderboard()) == 6
result.ensemble("stacking").export({str(tmp_path / "bundle")!r})
bundle = sweepstack.ensembles.load({str(tmp_path / "bundle")!r})
labels = bundle.predict(["guten Morgen", "drapeau"])
assert len(labels) == 2 and bundle.predict_proba(["drapeau"]).shape == (1, 4)
record = bundle.read(["drapeau"])[0]
assert record.label == labels[1] and record.segments >= 1
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=finished, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


def test_more_trials_extend_a_finished_study(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "user"
    shutil.copytree(finished, copy)
    data = {**STUDY["data"], "train": str(finished / "phrases.jsonl")}
    study = write_study(copy, data=data, tracking={"uri": f"sqlite:///{copy / 'runs' / 'mlflow.db'}"})
    done = sweepstack("run", study, "--trials", 5, cwd=copy)
    assert done.returncode == 0, done.stderr
    old = {row["number"]: row for row in table(finished / "runs" / "small" / "leaderboard.csv")}
    new = {row["number"]: row for row in table(copy / "runs" / "small" / "leaderboard.csv")}
    assert set(new) - set(old) == {"4"}
    assert all(new[number]["reward"] == old[number]["reward"] for number in old)


def test_other_changes_of_a_finished_study_are_refused(finished: Path) -> None:
    done = sweepstack("run", "small.yaml", "--set", "train.epochs=3", cwd=finished)
    assert done.returncode == 2
    assert "train.epochs" in done.stderr
    assert "--out" in done.stderr


def test_no_process_is_left_behind(finished: Path) -> None:
    assert processes_of(finished) == []


def test_help_answers_at_once_and_names_only_what_is_there(tmp_path: Path) -> None:
    done = subprocess.run(command("--help"), capture_output=True, text=True, cwd=tmp_path, check=True)
    for name in ("run", "search", "ensemble", "export", "predict", "status", "report", "ui"):
        assert f"    {name} " in done.stdout
    assert "submit" not in done.stdout
    heavy = "import sys, sweepstack.search.cli as c; c.parser(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True).stdout.split()
    assert not {"ray", "torch", "mlflow", "optuna", "sklearn", "pandas", "numpy", "pydantic"} & set(loaded)
