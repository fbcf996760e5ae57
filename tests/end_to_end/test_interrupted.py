"""Whatever ends a run, the same command goes on, and the end is that of a run which nobody disturbed."""

import csv
import itertools
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import command, marked, processes_of, sweepstack, write_study

from sweepstack.search.ledger.ledger import MAIN, Ledger

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

KILLS = 12
KILLS_PER_RUN = 4
TIMES = {"seconds", "latency_ms", "latency_32_ms", "front"}  # what may differ between two runs of the same study


def start(folder: Path, *options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("run", folder / "small.yaml", *options),
        cwd=folder,
        env=marked(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def workplace(folder: Path, phrases: str) -> Path:
    folder.mkdir()
    (folder / "phrases.jsonl").write_text(phrases, encoding="utf-8")
    write_study(folder, precision="float32")  # where it is measured, another run may come to another one
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def outcome(folder: Path) -> dict[str, Any]:
    """Everything that must not depend on how often a run was interrupted."""
    run = folder / "runs" / "small"
    bundle = json.loads((run / "bundle" / "bundle.json").read_text())
    return {
        "leaderboard": table(run / "leaderboard.csv"),
        "ensembles": table(run / "ensembles.csv"),
        "exported": (bundle["name"], bundle["method"], [member["name"] for member in bundle["members"]]),
        "weights": {
            str(path.relative_to(run)): path.read_bytes() for path in sorted((run / "bundle").rglob("*.safetensors"))
        },
    }


def mlflow_runs(folder: Path) -> dict[str, tuple[str, dict[str, str], dict[str, list[tuple[int, float]]]]]:
    """Status, params and metric histories of every run by its key; fails where a key has two runs."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    found: dict[str, Any] = {}
    for run in client.search_runs([experiment.experiment_id], max_results=1000):
        key = run.data.tags["sweepstack.key"]
        assert key not in found, f"{key} was recorded twice"
        histories = {
            name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
            if name not in TIMES
        }
        params = {
            name: value for name, value in run.data.params.items() if name != "data.train"
        }  # has the folder in it
        found[key] = (run.info.status, params, histories)
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, phrases: str) -> tuple[Path, float]:
    folder = workplace(tmp_path_factory.mktemp("undisturbed") / "user", phrases)
    began = time.monotonic()
    done = start(folder).communicate(timeout=600)
    assert (folder / "runs" / "small" / "bundle").is_dir(), done
    return folder, time.monotonic() - began


def finish(folder: Path) -> None:
    again = start(folder)
    _, errors = again.communicate(timeout=600)
    assert again.returncode == 0, errors


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for key in expected:
        assert found[key] == expected[key], key


@pytest.mark.parametrize("run", range(KILLS // KILLS_PER_RUN))
def test_kill_9_of_the_driver_at_seeded_moments_changes_nothing(
    run: int, undisturbed: tuple[Path, float], tmp_path: Path, phrases: str
) -> None:
    original, duration = undisturbed
    moments = random.Random(run)

    def check(folder: Path) -> None:
        same(outcome(folder), outcome(original))
        same(mlflow_runs(folder), mlflow_runs(original))
        assert {status for status, *_ in mlflow_runs(folder).values()} == {"FINISHED"}

    folders = (workplace(tmp_path / str(i), phrases) for i in itertools.count())
    folder = next(folders)
    killed = 0
    while killed < KILLS_PER_RUN:
        process = start(folder)
        deadline = time.monotonic() + moments.uniform(0.1, 0.95) * duration
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            killed += 1
        else:  # what earlier kills had left to do was done before the moment came: the next one hits a run of its own
            _, errors = process.communicate()
            assert process.returncode == 0, errors
            check(folder)
            folder = next(folders)
    finish(folder)
    check(folder)


def population(folder: Path) -> dict[tuple[int, int], dict[str, Any]]:
    """What became of every member in every generation. Numbers, which are given as slots come free, are left out."""
    with Ledger.open(folder / "runs" / "small" / "ledger.log", writable=False) as ledger:
        records = ledger.records(MAIN)
    places = {r.number: (r.attributes["member"], r.attributes["generation"]) for r in records}
    assert len(set(places.values())) == len(records), "no place is taken twice"
    trials = folder / "runs" / "small" / "trials"
    return {
        places[r.number]: {
            "state": r.state,
            "settings": r.settings,
            "reports": [{name: value for name, value in each.items() if name not in TIMES} for each in r.reports],
            "parent": places.get(r.attributes.get("parent", -1)),
            "weights": (trials / str(r.number) / "checkpoint" / "weights.safetensors").read_bytes(),
        }
        for r in records
    }


def test_kill_9_of_the_driver_changes_nothing_in_a_population(tmp_path: Path, phrases: str) -> None:
    """Neither who goes on from whom, nor with which settings, nor a bit of the weights."""
    changes = {"stopper": {"pbt": {"population": 4}}, "trials": 12, "concurrency": 2, "sampler": "random"}

    def place(name: str) -> Path:
        folder = workplace(tmp_path / name, phrases)
        study = json.loads((folder / "small.yaml").read_text())
        study["search"] = {**study.get("search", {}), **changes}
        study["train"] = {**study["train"], "epochs": 3}
        study["ensembles"] = {"builders": ["average"]}
        (folder / "small.yaml").write_text(json.dumps(study))
        return folder

    original, killed = place("undisturbed"), place("killed")
    finish(original)
    ledger = Path("runs", "small", "ledger.log")
    whole, moments = (original / ledger).stat().st_size, random.Random(0)
    for share in sorted(moments.uniform(0.1, 0.8) for _ in range(KILLS_PER_RUN)):
        process = start(killed)
        while process.poll() is None and not (killed / ledger).exists():
            time.sleep(0.02)
        while process.poll() is None and (killed / ledger).stat().st_size < share * whole:
            time.sleep(0.02)
        assert process.poll() is None, "it is killed at work"
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    finish(killed)
    found, expected = population(killed), population(original)
    assert len(expected) == 12
    assert not list((original / "runs" / "small" / "trials").glob("*/resume-*")), "nobody can go on any more"
    assert any(trial["parent"] not in (None, (member, g - 1)) for (member, g), trial in expected.items())
    same(found, expected)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_soon_says_how_to_go_on_and_goes_on(
    ending: signal.Signals, undisturbed: tuple[Path, float], tmp_path: Path, phrases: str
) -> None:
    original, _ = undisturbed
    folder = workplace(tmp_path / "user", phrases)
    process = start(folder)
    ledger = folder / "runs" / "small" / "ledger.log"
    while not (ledger.exists() and "report:1" in ledger.read_text()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    began = time.monotonic()
    os.kill(process.pid, ending)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert process.returncode == 130
    assert len(errors.splitlines()) == 1
    assert "sweepstack run" in errors
    assert "RUNNING" not in {status for status, *_ in mlflow_runs(folder).values()}
    assert processes_of(folder) == []
    finish(folder)
    same(outcome(folder), outcome(original))
    assert {status for status, *_ in mlflow_runs(folder).values()} == {"FINISHED"}


def test_a_second_driver_on_the_same_run_is_refused(tmp_path: Path, phrases: str) -> None:
    folder = workplace(tmp_path / "user", phrases)
    first = start(folder)
    while not (folder / "runs" / "small" / "ledger.log").exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    second = sweepstack("run", "small.yaml", cwd=folder)
    assert second.returncode == 1
    assert "in use" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    os.kill(first.pid, signal.SIGINT)
    first.communicate(timeout=60)
