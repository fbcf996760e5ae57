"""One small study that writes, from the file to the bundle, and what a user does with it afterwards."""

import csv
import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import command, marked, processes_of, sweepstack, write_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WORDS = {
    "open": "打开", "close": "关闭", "save": "保存", "print": "打印", "file": "文件", "window": "窗口", "page": "页面",
    "table": "表格", "new": "新", "old": "旧", "last": "最后", "all": "全部",
}  # fmt: skip
STUDY: dict[str, Any] = {
    "version": 1,
    "name": "commands",
    "task": "translation",
    "data": {"train": "commands.jsonl", "splits": {"test": 0.2, "policy": 0.2, "valid": 0.15, "blend": 0.15}},
    "writing": {
        "vocabulary": {"source": 60, "target": 60},
        "max_source": 12,
        "max_target": 12,
        "decode": {"beam": 2, "candidates": 2},
    },
    "model": {"d_model": 32, "layers": 1, "heads": 2, "feed_forward": 64, "dropout": 0.0},
    "train": {"epochs": 2, "warm_start": {"epochs": 20, "lr": 1e-2, "token_budget": 120}},
    "space": {
        "train.lr": {"log": [1e-4, 3e-3]},
        "train.gamma": {"near_one": [0.9, 0.9999]},
        "train.warm_start.seed": [0, 1],
    },
    "search": {"sampler": "random", "stopper": "none", "trials": 4},
    "ensembles": {"builders": ["average", "minimum_bayes_risk", "reranker", "soup", {"snapshots": {"cycles": 2}}]},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder in which the small study has been run; the tests below only look at it."""
    folder = tmp_path_factory.mktemp("user")
    draw = random.Random(1)
    texts: dict[str, str] = {}
    while len(texts) < 300:
        words = [draw.choice(list(WORDS)[:4]), *(draw.choice(list(WORDS)[4:]) for _ in range(draw.randint(1, 4)))]
        texts[" ".join(words)] = "".join(WORDS[word] for word in words)
    lines = (json.dumps({"source": source, "target": target}) for source, target in texts.items())
    (folder / "commands.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "commands.yaml").write_text(json.dumps(STUDY, indent=2), encoding="utf-8")
    done = sweepstack("run", "commands.yaml", cwd=folder, timeout=800)
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout, encoding="utf-8")
    assert done.stderr == ""
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_terminal_shows_results_in_points_and_a_source_to_try(finished: Path) -> None:
    out = (finished / "stdout.txt").read_text(encoding="utf-8")
    for word in ("Best trial", "test chrf", "bleu", "memory", "(baseline", "supervised", "Exported", "BLEU"):
        assert word in out
    line = next(line for line in out.splitlines() if line.startswith("Next"))
    assert "| sweepstack predict runs/commands/bundle -" in line
    assert any(word in line for word in WORDS)


def test_the_first_lines_say_what_is_written_and_how_trials_stand(finished: Path) -> None:
    header, heading = (finished / "stdout.txt").read_text(encoding="utf-8").splitlines()[:2]
    assert header.startswith("commands   translates source → zh  rewarded by chrf   ")
    assert heading.split() == ["trial", "lr", "γ", "start", "epoch", "chrf", "bleu", "reward", "state"]


def test_mlflow_has_trials_control_and_memory(finished: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("commands")
    assert experiment is not None
    runs = {run.data.tags["sweepstack.key"]: run for run in client.search_runs([experiment.experiment_id])}
    assert {"sweep", "trials-0", "trials-3", "supervised-0", "memory"} <= set(runs)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert {"chrf", "bleu", "reward", "log_loss", "length"} <= set(runs["trials-0"].data.metrics)


def test_more_trials_extend_the_search_and_repeat_nothing(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    first = {row["number"]: row["chrf"] for row in table(folder / "runs" / "commands" / "leaderboard.csv")}
    store = f"tracking.uri=sqlite:///{folder / 'runs' / 'mlflow.db'}"
    same = f"data.train={finished / 'commands.jsonl'}"
    done = sweepstack("search", "commands.yaml", "--trials", 5, "--set", store, "--set", same, cwd=folder)
    assert done.returncode == 0, done.stderr
    rows = {row["number"]: row["chrf"] for row in table(folder / "runs" / "commands" / "leaderboard.csv")}
    assert set(rows) == {*first, "4"}
    assert {number: rows[number] for number in first} == first


def test_the_tables_have_trials_company_and_every_ensemble(finished: Path) -> None:
    run = finished / "runs" / "commands"
    board = table(run / "leaderboard.csv")
    assert sum(bool(row["number"]) for row in board) == 4
    assert {row["role"] for row in board} == {"trial", "baseline", "control"}
    rows = {row["name"]: row for row in table(run / "ensembles.csv")}
    assert {"average", "minimum_bayes_risk", "snapshots", "memory"} <= set(rows)
    assert len(rows["snapshots"]["members"].split()) == len(list((run / "refits").iterdir())) == 2
    assert all(0 <= float(row["test_chrf"]) <= 100 for row in rows.values())
    assert sum(row["exported"] == "True" for row in rows.values()) == 1
    assert len(list((run / "starts").glob("[!.]*"))) == 2, "one supervised start for each seed in the space"
    assert 'id="examples"' in (run / "report.html").read_text(encoding="utf-8")


def test_the_bundle_writes_lines_with_candidates_where_they_are_asked_for(finished: Path) -> None:
    said = sweepstack("predict", "runs/commands/bundle", "-", cwd=finished, stdin="open file\nclose all window\n")
    assert said.returncode == 0, said.stderr
    records = [json.loads(line) for line in said.stdout.splitlines()]
    assert [set(record) for record in records] == [{"text", "score"}] * 2
    asked = ("predict", "runs/commands/bundle", "-", "--candidates", "2")
    more = sweepstack(*asked, cwd=finished, stdin="open file\n" + "close " * 40 + "\n")
    records = [json.loads(line) for line in more.stdout.splitlines()]
    assert records[0]["candidates"][0] == {"text": records[0]["text"], "score": records[0]["score"]}
    assert len(records[0]["candidates"]) <= 2
    assert "cut" not in records[0]
    assert records[1]["cut"] is True


@pytest.mark.parametrize(
    ("flags", "stdin", "words"),
    [
        (("--coverage", "0.9"), "open file\n", "--coverage is for bundles that answer with labels"),
        (("--cost", "0.1"), "open file\n", "--cost is for bundles that answer with labels"),
        (("--candidates", "0"), "open file\n", "--candidates must be at least 1, but got 0"),
        ((), "", "standard input has no text to read"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(
    flags: tuple[str, ...], stdin: str, words: str, finished: Path
) -> None:
    refused = sweepstack("predict", "runs/commands/bundle", "-", *flags, cwd=finished, stdin=stdin)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"sweepstack: {words}")
    assert refused.stderr.count("\n") == 1


def test_a_line_without_a_source_has_a_line_without_a_text(finished: Path) -> None:
    sources = "".join(json.dumps({"source": text}) + "\n" for text in ("open", " "))
    done = sweepstack("predict", "runs/commands/bundle", "-", cwd=finished, stdin=sources)
    assert done.returncode == 0, done.stderr
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["text"]
    assert second == {"text": "", "score": None}


def test_the_same_command_again_repeats_nothing(finished: Path) -> None:
    run = finished / "runs" / "commands"
    before = {path: path.stat().st_mtime_ns for path in (run / "bundle").rglob("*")}
    again = sweepstack("run", "commands.yaml", cwd=finished)
    assert again.returncode == 0, again.stderr
    results = [out[out.index("Best trial ") :] for out in (again.stdout, (finished / "stdout.txt").read_text("utf-8"))]
    assert results[0] == results[1]
    assert {path: path.stat().st_mtime_ns for path in (run / "bundle").rglob("*")} == before
    assert processes_of(finished) == []


def test_a_killed_search_goes_on_to_the_same_end(finished: Path, tmp_path: Path) -> None:
    for name in ("commands.jsonl", "commands.yaml"):
        shutil.copyfile(finished / name, tmp_path / name)
    run = tmp_path / "runs" / "commands"
    process = subprocess.Popen(
        command("search", "commands.yaml"), cwd=tmp_path, env=marked(tmp_path), stdout=subprocess.DEVNULL
    )
    until = time.monotonic() + 300
    while not list(run.glob("trials/*/*")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it was killed while it searched"
    done = sweepstack("search", "commands.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ours, theirs = (
        {row["name"]: {**row, "seconds": ""} for row in table(folder / "runs" / "commands" / "leaderboard.csv")}
        for folder in (tmp_path, finished)
    )
    assert ours == theirs


def test_several_runs_that_write_are_not_combined(finished: Path) -> None:
    refused = sweepstack("ensemble", "runs/commands", "runs/commands/", "--out", "both", cwd=finished)
    assert refused.returncode == 2
    assert "only runs of classification can be combined" in refused.stderr


def test_a_source_may_be_read_word_by_word(finished: Path, tmp_path: Path) -> None:
    """Trials, control and memory are compared by what lagging leaves of the reward."""
    tree = {**STUDY, "name": "reads", "reading": {"segment": 1, "max_segments": 8, "cost": 0.02}}
    tree["writing"] = {**STUDY["writing"], "decode": {"beam": 1, "candidates": 1}}
    tree |= {"space": {"train.lr": {"log": [1e-3, 3e-2]}}, "search": {"trials": 2}, "ensembles": {}}
    (tmp_path / "reads.yaml").write_text(json.dumps(tree), encoding="utf-8")
    shutil.copy(finished / "commands.jsonl", tmp_path)
    done = sweepstack("run", "reads.yaml", cwd=tmp_path, timeout=400)
    assert done.returncode == 0, done.stderr
    header, heading = done.stdout.splitlines()[:2]
    assert "translates source → zh while it reads 1 word at a time" in header
    assert heading.split() == ["trial", "lr", "epoch", "reward", "chrf", "bleu", "lagging", "state"]
    assert any(line.startswith("Compared ") for line in done.stdout.splitlines())
    assert "is exported: nothing was combined" in done.stdout
    rows = {row["role"]: row for row in table(tmp_path / "runs" / "reads" / "ensembles.csv")}
    assert set(rows) == {"trial", "baseline", "control"}
    words = float(rows["baseline"]["test_lagging"])
    assert 0 < float(rows["trial"]["test_lagging"]) <= words
    assert "lagging" in (tmp_path / "runs" / "reads" / "report.html").read_text(encoding="utf-8")
    said = sweepstack("predict", "runs/reads/bundle", "-", cwd=tmp_path, stdin="open file")
    record = json.loads(said.stdout)
    assert set(record) == {"text", "score", "lagging"}
    assert record["lagging"] <= 2


def test_a_bundle_of_ones_own_may_reward_what_is_written(phrases: str, tmp_path: Path) -> None:
    """Responses in four languages, whatever is asked, and a classifier that wants German: policy optimisation writes
    more of it, which more supervised training on the same responses cannot."""
    (tmp_path / "phrases.jsonl").write_text(phrases, encoding="utf-8")
    classify = write_study(tmp_path, search={"trials": 1}, ensembles={"builders": []})
    done = sweepstack("run", classify, cwd=tmp_path, timeout=400)
    assert done.returncode == 0, done.stderr
    draw = random.Random(2)
    said = [json.loads(line)["text"] for line in phrases.splitlines()]
    pairs = [(f"{draw.choice(['say', 'tell', 'name'])} {number}", draw.choice(said)) for number in range(400)]
    lines = (json.dumps({"prompt": prompt, "response": response}) for prompt, response in pairs)
    (tmp_path / "talk.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tree = {**STUDY, "name": "talk", "task": "generation"}
    tree["data"] = {**STUDY["data"], "train": "talk.jsonl"}
    tree["writing"] = {
        "vocabulary": 150,
        "max_source": 12,
        "max_target": 16,
        "reward": {"classifier": {"bundle": "runs/small/bundle", "label": "de"}},
        "decode": {"beam": 2, "candidates": 2},
    }
    tree["train"] = {**STUDY["train"], "algorithm": "rloo", "epochs": 4, "lr": 3e-3, "batch_size": 16}
    tree |= {"space": {"train.lr": {"log": [2e-3, 5e-3]}}, "search": {"trials": 2, "metric": "reward"}}
    tree["ensembles"] = {"builders": ["soup", "minimum_bayes_risk"]}
    (tmp_path / "talk.yaml").write_text(json.dumps(tree), encoding="utf-8")
    unknown = sweepstack("run", "talk.yaml", "--set", "writing.reward.classifier.label=xx", cwd=tmp_path)
    assert (unknown.returncode, unknown.stdout, unknown.stderr.count("\n")) == (2, "", 1)
    assert "runs/small/bundle has the labels de, fr, it, tr, but got 'xx'" in unknown.stderr
    assert not (tmp_path / "runs" / "talk").exists()
    done = sweepstack("run", "talk.yaml", cwd=tmp_path, timeout=400)
    assert done.returncode == 0, done.stderr
    scored = table(tmp_path / "runs" / "talk" / "ensembles.csv")
    assert "soup" in {row["name"] for row in scored}
    rows = {row["role"]: float(row["test_reward"]) for row in scored}
    assert rows["trial"] > rows["control"] + 0.2
