"""A study whose settings are repeated and that has two objectives: from its file to what is found, and killed."""

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import command, marked, sweepstack, write_study

from sweepstack.models.data.encoding import encode
from sweepstack.models.data.labelled import load_dataset
from sweepstack.models.tasks.trainers import new_trainer
from sweepstack.search.ledger.records import by_repetition
from sweepstack.search.ledger.repetitions import settings_of_repetition
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.report.result import Result
from sweepstack.search.study.study import Study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
SEARCH = {"sampler": "random", "stopper": "none", "trials": 2, "seeds": 2, "metric": ["reward", "seconds"]}
SPACE = {"train.lr": {"log": [1e-3, 3e-2]}}


def rows_of(folder: RunFolder) -> dict[str, dict[str, str]]:
    with folder.leaderboard.open(encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def runs_of(workplace: Path) -> dict[str, Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{workplace / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    return {run.data.tags["sweepstack.key"]: run.data for run in client.search_runs([experiment.experiment_id])}


def test_seeds_race_and_the_winner_is_confirmed_on_others(workplace: Path) -> None:
    study_file = write_study(workplace, search=SEARCH, space=SPACE, precision="float32")
    done = sweepstack("search", study_file, "--json", cwd=workplace, timeout=900)
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    folder = RunFolder(workplace / "runs" / "small")
    result, study = Result.open(folder.root), Study.load(folder.study)
    best = result.best
    assert best is not None
    assert best.seeds == 2

    # A repetition is the training of the same settings with the next seeds, to the last bit.
    settings = settings_of_repetition(study.trial_settings().with_values(best.settings), best.settings, 1)
    data = encode(load_dataset(study.data, study.reading), study.reading)
    trainer = new_trainer(settings, data, workplace / "starts", workplace / "again", "reward")
    second = [best.reports[epoch - 1]["reward"] for epoch in by_repetition(best.reports)[1]]
    assert [trainer.step()["reward"] for _ in range(2)] == second
    for repetition in range(2):
        own = RunFolder.repetition(folder.trial(best.number), repetition)
        assert {path.name for path in own.iterdir()} >= {"checkpoint", "predictions"}
    assert not list(folder.root.glob("trials/**/state.json")) + list(folder.root.glob("trials/**/parts.json"))

    confirmation = summary["confirmation"]
    assert (confirmation["trial"], confirmation["searched"], len(confirmation["values"])) == (
        best.number,
        best.value,
        3,
    )
    assert confirmation["low"] < confirmation["mean"] < confirmation["high"]
    new = [record.settings for record in result.ledger.records(f"confirmation-{best.number}")]
    assert sorted(each["train.seed"] for each in new) == [2, 3, 4]

    rows = rows_of(folder)
    row = rows[f"trial {best.number}"]
    assert (float(row["reward"]), int(row["seeds"])) == (best.value, 2)
    assert float(row["reward_sd"]) == pytest.approx(best.spread)
    front = {record["trial"] for record in summary["pareto"]}
    assert front == {int(row["number"]) for row in rows.values() if row["pareto"] == "True"}
    assert best.number in front

    runs = runs_of(workplace)
    assert confirmation["rows"] == "blend"
    assert runs["sweep"].metrics["confirmed_blend_reward"] == pytest.approx(confirmation["mean"])
    assert runs["sweep"].metrics["confirmed_valid_reward"] == pytest.approx(confirmation["on_valid"])
    for key in ("sweep", f"trials-{best.number}"):
        assert runs[key].metrics["reward"] == pytest.approx(best.value)
        assert runs[key].metrics["reward_sd"] == pytest.approx(best.spread)
    assert sum(key.startswith("confirmation-") for key in runs) == 3

    again = sweepstack("search", study_file, cwd=workplace, timeout=900)
    assert again.returncode == 0, again.stderr
    assert "Confirmed    reward" in again.stdout
    assert "Pareto front" in again.stdout
    assert "±" in again.stdout
    assert rows_of(folder) == rows, "nothing is trained again"


def test_a_race_that_is_killed_goes_on_as_if_nobody_had(workplace: Path) -> None:
    search = {**SEARCH, "metric": "reward", "concurrency": 1}
    study_file = write_study(
        workplace, search=search, space=SPACE, precision="float32", ensembles={"builders": ["average"]}
    )
    undisturbed = sweepstack("search", study_file, "--json", "--out", "runs/whole", cwd=workplace, timeout=900)
    assert undisturbed.returncode == 0, undisturbed.stderr
    folder = RunFolder(workplace / "runs" / "killed")
    for lines in (30, 45, 60):  # so far the ledger comes before the next kill
        process = subprocess.Popen(
            command("search", study_file, "--json", "--out", folder.root),
            cwd=workplace,
            env=marked(workplace),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if folder.ledger.exists() and folder.ledger.read_bytes().count(b"\n") >= lines:
                os.kill(process.pid, signal.SIGKILL)
                break
            time.sleep(0.05)
        process.wait()
    done = sweepstack("search", study_file, "--json", "--out", folder.root, cwd=workplace, timeout=900)
    assert done.returncode == 0, done.stderr
    whole = RunFolder(workplace / "runs" / "whole")
    times = {"seconds"}

    def timeless(of: RunFolder) -> dict[str, dict[str, str]]:
        return {
            name: {key: value for key, value in row.items() if not key.startswith(tuple(times))}
            for name, row in rows_of(of).items()
        }

    assert timeless(folder) == timeless(whole)
    first, second = (json.loads(each.stdout)["confirmation"] for each in (undisturbed, done))
    assert first == second
