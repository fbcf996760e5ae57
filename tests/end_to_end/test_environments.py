"""A study of an environment from its file to a checkpoint that plays, and what does not exist for it."""

import csv
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import command, marked, processes_of, sweepstack

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

STUDY: dict[str, Any] = {
    "task": "gym:CartPole-v1",
    "train": {"epochs": 3, "lr": 3e-3, "batch_size": 128, "env": {"copies": 4, "steps": 512, "eval_episodes": 5}},
    "space": {"train.gamma": [0.9, 0.98], "train.seed": [0, 1]},
    "search": {"sampler": "grid", "stopper": "none", "trials": 2},
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "balance.yaml"
    path.write_text(json.dumps({**STUDY, **changes}, indent=2), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder in which the study has been run; the tests below only look at it."""
    folder = tmp_path_factory.mktemp("player")
    done = sweepstack("run", write(folder), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (folder / "stdout.txt").write_text(done.stdout, encoding="utf-8")
    return folder


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "runs" / "balance" / "leaderboard.csv").open(encoding="utf-8") as file:
        return {row["number"]: row for row in csv.DictReader(file)}


def test_the_terminal_shows_the_best_trial_and_where_it_is(finished: Path) -> None:
    out = (finished / "stdout.txt").read_text()
    for word in ("gym:CartPole-v1", "Leaderboard", "Best trial", "over 5 episodes", "Checkpoint", "sweepstack ui"):
        assert word in out
    for word in ("Ensembles", "Exported", "linear", "supervised", "predict", "WARNING", "Warning"):
        assert word not in out


def test_the_run_folder_has_trials_and_no_company(finished: Path) -> None:
    run = finished / "runs" / "balance"
    names = {path.name for path in run.iterdir() if not path.name.startswith(".")}
    assert names == {
        "study.yaml", "provenance.json", "ledger.log", "trials", "log.txt", "leaderboard.csv", "report.html"
    }  # fmt: skip
    for trial in ("0", "1"):
        assert {path.name for path in (run / "trials" / trial).iterdir()} == {"checkpoint"}
        assert table(finished)[trial]["state"] == "complete"
    assert len(table(finished)) == 2


def test_the_best_checkpoint_plays(finished: Path) -> None:
    import gymnasium

    from sweepstack.models.tasks.gymnasium.checkpoint import load_agent

    status = json.loads(sweepstack("status", "runs/balance", "--json", cwd=finished).stdout)
    agent = load_agent(Path(status["checkpoint"]))
    environment = gymnasium.make(agent.environment)
    observation, _ = environment.reset(seed=0)
    steps, over = 0, False
    while not over:
        observation, _, terminated, truncated, _ = environment.step(agent.act(observation))
        steps, over = steps + 1, terminated or truncated
    assert 0 < steps <= 500
    assert status["best"]["reward"] == float(table(finished)[str(status["best"]["trial"])]["reward"])


def test_mlflow_has_the_sweep_and_its_trials(finished: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("balance")
    assert experiment is not None
    runs = {run.data.tags["sweepstack.key"]: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"sweep", "trials-0", "trials-1"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs["sweep"].data.params["task"] == "gym:CartPole-v1"
    history = client.get_metric_history(runs["trials-0"].info.run_id, "reward")
    assert sorted(point.step for point in history) == [1, 2, 3]


def test_the_report_is_one_page_about_the_environment(finished: Path) -> None:
    page = (finished / "runs" / "balance" / "report.html").read_text(encoding="utf-8")
    assert "CartPole-v1: it shows a vector of 4 and takes one of 2 actions" in page
    assert "Data protocol" not in page


@pytest.mark.parametrize("arguments", [("ensemble", "runs/balance"), ("export", "runs/balance")])
def test_what_does_not_exist_for_it_is_one_line(finished: Path, arguments: tuple[str, str]) -> None:
    done = sweepstack(*arguments, cwd=finished)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "has no ensembles, since task gym:CartPole-v1" in done.stderr


def test_the_same_command_again_repeats_nothing(finished: Path) -> None:
    ledger = finished / "runs" / "balance" / "ledger.log"
    before = ledger.read_bytes()
    done = sweepstack("run", "balance.yaml", "--json", cwd=finished)
    assert done.returncode == 0, done.stderr
    assert ledger.read_bytes() == before
    assert Path(json.loads(done.stdout)["checkpoint"]).is_dir()


def test_more_trials_extend_it_and_repeat_what_was_there(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    tracking = {"uri": f"sqlite:///{folder / 'runs' / 'mlflow.db'}"}
    done = sweepstack("run", write(folder, tracking=tracking), "--trials", 3, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert set(table(folder)) == {"0", "1", "2"}
    again = sweepstack("search", write(folder, tracking=tracking), "--trials", 3, "--out", "runs/again", cwd=folder)
    assert again.returncode == 0, again.stderr
    other = json.loads(sweepstack("status", "runs/again", "--json", cwd=folder).stdout)
    first = json.loads(sweepstack("status", "runs/balance", "--json", cwd=folder).stdout)
    assert (other["best"], other["trials"]) == (first["best"], first["trials"]), "from the same seeds, the same"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["task=gym:CartPol-v1"], "nearest: gym:CartPole-v"),
        (["task=gym:os:CartPole-v1"], "would import a module"),
        (["train.algorithm=exact"], "use reinforce, a2c, ppo or trpo"),
        (["data.train=x.jsonl"], "is for texts"),
    ],
)
def test_what_cannot_be_played_is_refused_before_anything_starts(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    done = sweepstack("run", write(tmp_path), *[f"--set={each}" for each in arguments], cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"balance.yaml"}


def test_a_killed_run_goes_on_to_the_same_end(finished: Path, tmp_path: Path) -> None:
    write(tmp_path)
    process = subprocess.Popen(
        command("run", "balance.yaml"), cwd=tmp_path, env=marked(tmp_path), stdout=subprocess.DEVNULL
    )
    trials = tmp_path / "runs" / "balance" / "trials"
    until = time.monotonic() + 300
    while not list(trials.glob("*/resume-*.safetensors")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it was killed while a trial was under way"
    done = sweepstack("run", "balance.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ours, theirs = ({n: {**row, "seconds": ""} for n, row in table(each).items()} for each in (tmp_path, finished))
    assert ours == theirs
    for number in ours:
        weights = Path("runs", "balance", "trials", number, "checkpoint", "weights.safetensors")
        assert (tmp_path / weights).read_bytes() == (finished / weights).read_bytes()


def test_no_process_is_left_behind(finished: Path) -> None:
    assert processes_of(finished) == []
