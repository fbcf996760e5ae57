"""A study that a person adds to, stops and retries, while it works and afterwards."""

import csv
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import STUDY, command, marked, processes_of, sweepstack, write_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TOO_HIGH = 1e30  # a learning rate under which no training goes on
MANY = 400  # trials: more than there is time for


def status(folder: Path) -> dict[str, Any]:
    done = sweepstack("status", "runs/small", "--json", cwd=folder)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {"trials": {"complete": 0}}


def board(folder: Path) -> dict[int, dict[str, str]]:
    with (folder / "runs" / "small" / "leaderboard.csv").open(encoding="utf-8") as file:
        return {int(row["number"]): row for row in csv.DictReader(file) if row["number"]}


def test_add_stop_and_retry_while_a_study_works_and_after(workplace: Path) -> None:
    space = {**STUDY["space"], "train.lr": [0.003, 0.01, TOO_HIGH]}
    study = write_study(workplace, space=space, search={**STUDY["search"], "trials": MANY})
    driver = subprocess.Popen(
        command("run", study),
        cwd=workplace,
        env=marked(workplace),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 600
        while status(workplace)["trials"]["complete"] < 2:
            assert driver.poll() is None, driver.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.5)
        added = sweepstack("add", "runs/small", "--set", f"train.lr={TOO_HIGH}", "--json", cwd=workplace)
        assert added.returncode == 0, added.stderr
        asked = json.loads(added.stdout)
        assert asked["taken"]
        number = asked["queued"][0]["trial"]
        stopped = sweepstack("stop", "runs/small", cwd=workplace)
        assert stopped.returncode == 0, stopped.stderr
        assert stopped.stdout.startswith("the search ends")
        out, err = driver.communicate(timeout=900)
    finally:
        driver.kill()
    assert driver.returncode == 0, err
    first = status(workplace)
    assert first["budget"] == "stop"
    assert first["exported"]
    assert f"of {MANY} trials" in out
    assert first["trials"]["running"] == 0
    begun = len(board(workplace))
    assert begun < MANY

    again = sweepstack("add", "runs/small", "--set", "train.lr=0.01", "--json", cwd=workplace, timeout=900)
    assert again.returncode == 0, again.stderr
    done = json.loads(again.stdout)
    rows = board(workplace)
    (queued,) = done["queued"]
    assert rows[queued["trial"]]["state"] == "complete"
    assert float(rows[queued["trial"]]["train.lr"]) == 0.01
    assert len(rows) <= begun + 2, "what was queued before the stop, and this one: the sampler is not asked"
    assert rows[number]["state"] == "failed"
    digest = json.loads((workplace / "runs" / "small" / "bundle" / "bundle.json").read_text())["digest"]

    failed = [n for n, row in rows.items() if row["state"] == "failed"]
    retried = sweepstack("retry", "runs/small", "--failed", cwd=workplace, timeout=900)
    assert retried.returncode == 0, retried.stderr
    after = board(workplace)
    assert len(after) == len(rows) + len(failed)
    assert [after[n]["state"] for n in range(len(rows), len(after))] == ["failed"] * len(failed)
    assert all(after[n] == rows[n] or after[n]["state"] != "failed" for n in failed), "the old rows stay"
    assert json.loads((workplace / "runs" / "small" / "bundle" / "bundle.json").read_text())["digest"] == digest
    assert not (list((workplace / "runs" / "small" / "requests").iterdir()))
    assert processes_of(workplace) == []
