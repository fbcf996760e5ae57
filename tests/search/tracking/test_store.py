import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.utils.file_utils import local_file_uri_to_path

from sweepstack.models.errors import TrackingError
from sweepstack.search.study.tracking_uri import absolute_uri, sqlite_path, sqlite_uri
from sweepstack.search.tracking.check import check_tracking
from sweepstack.search.tracking.mirror import Mirror, RunState
from sweepstack.search.tracking.store import (
    LONGEST_PATH,
    close_connections,
    longest_of,
    open_client,
    quiet_environment,
    ui_command,
)

pytestmark = pytest.mark.filterwarnings("ignore::Warning:mlflow")  # its warnings are not ours to mend


def test_a_fresh_store_is_whole_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "100% fresh" / "mlflow.db"
    close_connections(open_client(sqlite_uri(path)))
    assert [file.name for file in path.parent.iterdir()] == ["mlflow.db"]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        (location,) = db.execute("SELECT artifact_location FROM experiments").fetchone()
    assert location == (path.parent / "mlartifacts" / "0").as_uri()


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    half = tmp_path / ".mlflow.db.new" / "mlflow.db"
    half.parent.mkdir()
    half.write_bytes(b"half a migration")
    (tmp_path / "mlflow.db-wal").write_bytes(b"of a store that was deleted")
    close_connections(open_client(sqlite_uri(tmp_path / "mlflow.db")))
    assert [file.name for file in tmp_path.iterdir()] == ["mlflow.db"]


@pytest.mark.parametrize("name", ["pct%20x", "q?x", "h#x", 'it\'s "so"'])
def test_a_store_lies_where_its_path_says_and_nothing_lies_elsewhere(tmp_path: Path, name: str) -> None:
    """``pct%20x`` was taken for ``pct x``, and ``q?x`` for the file ``q``."""
    path = tmp_path / name / "mlflow.db"
    path.parent.mkdir()
    mirror = Mirror(sqlite_uri(path), "study", "sweep", print)
    run = RunState("sweep", "the sweep", {}, ((0, {"x": 1.0}),), {}, "finished", 1.0, 2.0, parent=False)
    run_id = mirror.record(run, {0: 1000})
    uri = mirror._client.get_run(run_id).info.artifact_uri
    assert local_file_uri_to_path(uri).startswith(f"{path.parent}/mlartifacts/study/")
    mirror.close()
    assert [each.name for each in tmp_path.iterdir()] == [name]
    with closing(sqlite3.connect(path)) as store:
        assert store.execute("SELECT count(*) FROM runs").fetchone() == (1,)


def test_a_path_that_sqlite_cannot_open_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """The longest that passes is opened; a byte more is refused, and rightly: sqlite's limit is 512 bytes."""
    folder = tmp_path
    while len(os.fsencode(folder)) < 350:
        folder /= "ä" * 20
    room = LONGEST_PATH - longest_of(folder / "x" / "mlflow.db")
    longest, too_long = (folder / ("x" * (1 + room + more)) / "mlflow.db" for more in (0, 1))
    check_tracking(sqlite_uri(longest))
    close_connections(open_client(sqlite_uri(longest)))
    with pytest.raises(TrackingError, match="at most 512 bytes, and this store needs 513; name a shorter one"):
        check_tracking(sqlite_uri(too_long))
    fresh = too_long.parent / ".mlflow.db.new" / "mlflow.db"
    fresh.parent.mkdir(parents=True)
    with pytest.raises(sqlite3.OperationalError), closing(sqlite3.connect(fresh)) as store:
        store.execute("CREATE TABLE t (a)")


@pytest.mark.parametrize(
    "uri", ["sqlite:///:memory:", "sqlite:///file:x.db?uri=true", "sqlite:///x?mode=memory", "sqlite:///q?x/mlflow.db"]
)
def test_what_is_no_file_is_refused_and_stays_as_it_is(uri: str, tmp_path: Path) -> None:
    assert absolute_uri(uri, tmp_path) == uri
    with pytest.raises(TrackingError, match=r"names no file|write %3F"):
        check_tracking(uri)


def test_a_store_that_was_moved_with_its_artifacts_finds_them(tmp_path: Path) -> None:
    def record(folder: Path, key: str) -> str:
        mirror = Mirror(sqlite_uri(folder / "mlflow.db"), "study", "sweep", print)
        run = RunState(key, key, {}, (), {}, "finished", 1.0, 2.0, parent=False)
        run_id = mirror.record(run, {})
        (tmp_path / "a.txt").write_text(key)
        mirror._client.log_artifact(run_id, str(tmp_path / "a.txt"))
        mirror.close()
        return run_id

    old, new = tmp_path / "old", tmp_path / "new 100%"
    old.mkdir()
    first = record(old, "first")
    old.rename(new)
    second = record(new, "second")
    client = open_client(sqlite_uri(new / "mlflow.db"))
    for run_id in (first, second):
        assert [each.path for each in client.list_artifacts(run_id)] == ["a.txt"]
        assert local_file_uri_to_path(client.get_run(run_id).info.artifact_uri).startswith(f"{new}/mlartifacts/")
    close_connections(client)
    assert not old.exists()


def test_a_fresh_store_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        close_connections(open_client(sqlite_uri(tmp_path / "mlflow.db")))
    finally:
        os.umask(before)
    assert (tmp_path / "mlflow.db").stat().st_mode & 0o777 == 0o664


def test_a_path_survives_its_uri(tmp_path: Path) -> None:
    for name in ("plain.db", "100% sure?.db", "a b#c+d.db", "größe.db", "%41.db", 'it\'s "so".db'):
        assert sqlite_path(sqlite_uri(tmp_path / name)) == tmp_path / name
        assert absolute_uri("sqlite:///m.db", tmp_path / name) == sqlite_uri(tmp_path / name / "m.db")
        assert absolute_uri(sqlite_uri(tmp_path / name), Path("/elsewhere")) == sqlite_uri(tmp_path / name)
    assert sqlite_uri(Path("/a%20b/m.db")) == "sqlite+pysqlite:////a%2520b/m.db"
    assert absolute_uri("sqlite:///a%20b.db?timeout=3", Path("/x")) == "sqlite:////x/a b.db?timeout=3"
    assert sqlite_path("sqlite:///here.db") == Path.cwd() / "here.db"
    assert sqlite_path("http://127.0.0.1:5000") is None


def test_the_ui_is_for_this_machine_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    uri = sqlite_uri(tmp_path / "mlflow.db")
    command = ui_command(uri, 5077)
    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options["--backend-store-uri"] == uri
    assert options["--host"] == "127.0.0.1"
    assert options["--port"] == "5077"
    assert options["--artifacts-destination"] == str(tmp_path / "mlartifacts")
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    with pytest.raises(TrackingError, match="browser"):
        ui_command("http://127.0.0.1:5000")


def test_telemetry_stays_as_the_user_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    quiet_environment()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "false"


FRESH = """
import sys, time
from pathlib import Path
from sweepstack.search.tracking.store import open_client
from sweepstack.search.study.tracking_uri import sqlite_uri

print("begins", flush=True)
open_client(sqlite_uri(Path(sys.argv[1]) / "mlflow.db"))
"""


@pytest.mark.slow
def test_a_kill_while_a_store_is_made_ruins_nothing(tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    for seconds in (1.5, 2.5, 3.5, 4.5):
        process = subprocess.Popen([sys.executable, "-c", FRESH, tmp_path], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(seconds)
        process.kill()
        process.communicate()
        check_tracking(sqlite_uri(store))
    client = open_client(sqlite_uri(store))
    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]
    close_connections(client)
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


@pytest.mark.slow
def test_two_processes_may_make_one_store(tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", FRESH, tmp_path], stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
    check_tracking(sqlite_uri(tmp_path / "mlflow.db"))
