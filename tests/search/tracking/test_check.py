import shutil
import socket
import sqlite3
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from sweepstack.models.errors import TrackingError
from sweepstack.search.study.tracking_uri import sqlite_uri
from sweepstack.search.tracking.check import check_tracking
from sweepstack.search.tracking.store import close_connections, open_client

pytestmark = pytest.mark.filterwarnings("ignore::Warning:mlflow")  # its warnings are not ours to mend


@pytest.fixture(scope="module")
def migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh store, to be copied: making one takes seconds."""
    path = tmp_path_factory.mktemp("fresh 100%") / "mlflow.db"
    close_connections(open_client(sqlite_uri(path)))
    return path


def closed_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("/tmp/mlruns", ("plain folder", "sqlite:")),
        ("file:///tmp/mlruns", ("plain folder", "sqlite:")),
        ("gopher://x", ("gopher", "sqlite:")),
        ("sqlite://", ("names no file",)),
        ("sqlite:///:memory:", ("names no file",)),
        ("sqlite:////proc/sweepstack/mlflow.db", ("/proc", "folder")),
        pytest.param(
            f"http://127.0.0.1:{closed_port()}", ("tracking store http://127.0.0.1:", "refused"), id="closed port"
        ),
        ("postgresql+nowhere://me:secret@127.0.0.1/x", ("postgresql", "nowhere")),
    ],
)
def test_a_store_that_refuses_is_told_in_one_line(uri: str, words: tuple[str, ...]) -> None:
    begin = time.monotonic()
    with pytest.raises(TrackingError) as caught:
        check_tracking(uri)
    assert time.monotonic() - begin < 6
    message = str(caught.value)
    assert "\n" not in message
    assert "secret" not in message
    for word in words:
        assert word in message


def test_other_databases_and_other_schemas_are_refused(tmp_path: Path, migrated_store: Path) -> None:
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as db, db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(TrackingError, match="something else than MLflow"):
        check_tracking(sqlite_uri(other))
    (tmp_path / "text.db").write_text("hello, this is no database at all\n" * 20)
    with pytest.raises(TrackingError, match="not a database"):
        check_tracking(sqlite_uri(tmp_path / "text.db"))
    for revision, advice in (("451aebb31d03", "mlflow db upgrade"), ("ffffffffffff", "pip install -U mlflow")):
        copy = tmp_path / f"{revision}.db"
        shutil.copyfile(migrated_store, copy)
        with closing(sqlite3.connect(copy)) as db, db:
            db.execute("UPDATE alembic_version SET version_num = ?", [revision])
        with pytest.raises(TrackingError, match=advice):
            check_tracking(sqlite_uri(copy))


def test_a_good_store_passes_and_the_check_leaves_nothing(tmp_path: Path, migrated_store: Path) -> None:
    shutil.copyfile(migrated_store, tmp_path / "mlflow.db")
    (tmp_path / "empty.db").touch()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    check_tracking(sqlite_uri(tmp_path / "mlflow.db"))
    check_tracking(sqlite_uri(tmp_path / "empty.db"))
    check_tracking(sqlite_uri(tmp_path / "not" / "there" / "mlflow.db"))
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as busy:
        busy.execute("BEGIN IMMEDIATE")
        check_tracking(sqlite_uri(tmp_path / "mlflow.db"))
        busy.execute("ROLLBACK")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("status", "body", "word"),
    [(200, b'{"experiments": []}', None), (200, b"<html>", "no MLflow"), (401, b"", "PASSWORD"), (503, b"", "503")],
)
def test_a_server_is_asked_before_anything_starts(status: int, body: bytes, word: str | None) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            uri = f"http://127.0.0.1:{server.server_port}"
            if word is None:
                check_tracking(uri)
            else:
                with pytest.raises(TrackingError, match=word):
                    check_tracking(uri)
        finally:
            server.shutdown()
            thread.join()


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweepstack.search.tracking.check.PATIENCE", 0.2)
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as silent,
        pytest.raises(TrackingError, match=r"timed out|no answer"),
    ):
        check_tracking(f"http://127.0.0.1:{silent.getsockname()[1]}")
