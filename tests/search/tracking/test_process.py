"""The process that records for the tracker: what it says of the store, and that it never outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweepstack.models.errors import TrackingError
from sweepstack.search.study.tracking_uri import sqlite_uri
from sweepstack.search.tracking.mirror import RunState
from sweepstack.search.tracking.process import RemoteMirror
from sweepstack.search.tracking.store import open_client
from sweepstack.search.tracking.tracker import Tracker

PARENT = RunState(
    "sweep", "the sweep", {"a": 1}, ((0, {"best": 0.5}),), {}, "running", 1_700_000_000.0, None, parent=False
)
CHILD = RunState("trials-0", "trial 0", {}, ((1, {"reward": 0.25}),), {}, "running", 1_700_000_001.0, None)
ORPHAN = """
import sys, time
from sweepstack.search.tracking.process import RemoteMirror
mirror = RemoteMirror(sys.argv[1], "study", "sweep", lambda line: None)
print(mirror._process.pid, flush=True)
time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    """Within twenty seconds."""
    for _ in range(400):
        if not alive(pid):
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return sqlite_uri(tmp_path / "mlflow.db")


@pytest.fixture
def mirror(uri: str) -> Iterator[RemoteMirror]:
    opened = RemoteMirror(uri, "study", "sweep", lambda line: None)
    yield opened
    opened.close()


def test_it_records_like_a_mirror_and_knows_the_parent(mirror: RemoteMirror, uri: str) -> None:
    assert mirror.parent_id is None
    parent = mirror.record(PARENT, {0: 1_700_000_000_500})
    assert mirror.parent_id == parent
    child = mirror.record(CHILD, {1: 1_700_000_001_500})
    assert mirror.is_current()
    run = open_client(uri).get_run(child)
    assert (run.data.metrics, run.data.tags["mlflow.parentRunId"]) == ({"reward": 0.25}, parent)


def test_a_store_that_is_deleted_is_seen(mirror: RemoteMirror, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").unlink()
    assert not mirror.is_current()


def test_what_goes_wrong_comes_in_one_line_and_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database, but longer than nothing " * 40)
    with pytest.raises(TrackingError, match="file is not a database"):
        RemoteMirror(sqlite_uri(tmp_path / "mlflow.db"), "study", "sweep", lambda line: None)


def test_its_death_is_a_failure_like_others_and_the_tracker_goes_on(uri: str) -> None:
    lines: list[str] = []
    tracker = Tracker(uri, "study", "sweep", lambda key, run_id: None, lines.append)
    tracker.put(PARENT)
    while tracker._mirror is None or tracker._mirror.parent_id is None:
        time.sleep(0.01)
    assert isinstance(tracker._mirror, RemoteMirror)
    os.kill(tracker._mirror._process.pid, signal.SIGKILL)
    tracker.put(CHILD)
    assert tracker.close(60), tracker.missing()
    assert any("the process that records has ended; trying again" in line for line in lines)
    experiment = open_client(uri).get_experiment_by_name("study")
    assert len(open_client(uri).search_runs([experiment.experiment_id])) == 2


def test_it_ends_with_its_parent_however_that_ends(uri: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN, uri], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert alive(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(pid)


def test_closing_ends_it(uri: str) -> None:
    opened = RemoteMirror(uri, "study", "sweep", lambda line: None)
    pid = opened._process.pid
    opened.close()
    assert not alive(pid)
