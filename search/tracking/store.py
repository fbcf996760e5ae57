"""Where MLflow's records lie: what the URI of a store means, how a store is opened and shown.

Only ``open_client`` imports mlflow (two seconds). A fresh sqlite store is made beside its place and renamed into it: a
kill during MLflow's migrations, or two of them at once, would ruin it.
"""

import fcntl
import os
import re
import shutil
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepstack.models.errors import TrackingError, TrackingRefusal
from sweepstack.search.study.tracking_uri import sqlite_path, sqlite_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

TRACKING_URI = "MLFLOW_TRACKING_URI"  # the environment's store, of a study that names none
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",  # its handlers write to the terminal
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",  # no `uv export` of whatever project the user stands in
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the tracker has its own retries; MLflow's block for four minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def quiet_environment() -> None:
    """Sets MLflow's defaults that suit a command line, where the user's environment says nothing else."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def shown(uri: str) -> str:
    """Without the password that a URI may carry."""
    return re.sub(r"(://[^/:@]*):[^/@]*@", r"\1:***@", uri)


def ui_command(uri: str, port: int = 5000) -> list[str]:
    """The command line of MLflow's user interface on a store, for this machine only; raises TrackingError.

    Also sets this process's environment for it, so it is meant to be given to ``os.execvp``.
    """
    if uri.startswith(("http://", "https://")):
        raise TrackingError(f"the runs are kept by a server that shows them itself; open {shown(uri)} in a browser")
    quiet_environment()
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # five more processes, for what we do not use
    path = sqlite_path(uri)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    if path is not None:
        command += ["--artifacts-destination", local_uri(artifact_root(path))]
    return [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]


def local_uri(path: Path) -> str:
    """How MLflow is told of a local folder: it takes the % of a plain path for a quotation."""
    uri = path.absolute().as_uri()
    return str(path) if uri == f"file://{path}" else uri


def artifact_root(path: Path) -> Path:
    """Where models and other files of the sqlite store at ``path`` lie."""
    return path.with_name("mlartifacts")


def open_client(uri: str) -> "MlflowClient":
    """A client on the store, made if it is a sqlite file that does not exist yet (seconds).

    sqlite stores are put in write-ahead mode: a commit costs no fsync, a reader (the UI) never blocks a writer.
    """
    quiet_environment()
    from mlflow import MlflowClient
    from sqlalchemy import event

    path = sqlite_path(uri)
    if path is None:
        return MlflowClient(uri)
    _create(path)
    _relocate(path)
    query = uri.partition("?")[2]
    client = MlflowClient(sqlite_uri(path) + (f"?{query}" if query else ""))
    engine = _engine(client)
    if Path(engine.url.database) != path:
        raise TrackingRefusal(
            f"tracking store {uri}: this SQLAlchemy takes the path for {engine.url.database}; pip install -U sqlalchemy"
        )
    if not event.contains(engine, "connect", _use_write_ahead):
        event.listen(engine, "connect", _use_write_ahead)
    engine.dispose()  # connections to a file that was replaced, or from before the listener
    return client


def close_connections(client: "MlflowClient") -> None:
    """Ends a sqlite client's connections; it makes new ones when it is used again."""
    _engine(client).dispose()


def _engine(client: "MlflowClient") -> Any:
    return client._tracking_client.store.engine  # nothing public leads to the connections' settings


def _use_write_ahead(connection: Any, _record: Any) -> None:
    with suppress(sqlite3.OperationalError):  # another process holds it just now: then the mode it has will do
        connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


LOCATIONS = (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"))
LONGEST_PATH = 512  # bytes of a path that sqlite opens, that of its journal included


def _new(path: Path) -> Path:
    """The folder in which a store is made before it has its place."""
    return path.with_name(f".{path.name}.new")


def longest_of(path: Path) -> int:
    """Bytes of the longest path that making and using the store at ``path`` needs."""
    return max(len(os.fsencode(each)) for each in (path, _new(path) / path.name)) + len("-journal")


def _create(path: Path) -> None:
    """Makes an empty store at ``path`` unless there is one."""
    if _is_there(path):
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(folder, fcntl.LOCK_EX)  # on the folder itself, so that no lock file is left
        if _is_there(path):
            return
        new = _new(path)
        shutil.rmtree(new, ignore_errors=True)  # of a process that was killed
        new.mkdir()
        fresh = new / path.name
        fresh.touch()  # sqlite makes files that others may not write, whatever the umask
        SqlAlchemyStore(sqlite_uri(fresh), local_uri(artifact_root(path))).engine.dispose()  # type: ignore[no-untyped-call]
        with closing(sqlite3.connect(fresh)) as store:
            store.execute("PRAGMA journal_mode=WAL")
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        for leftover in ("-wal", "-shm", "-journal"):  # of a file that was deleted: they would be taken for ours
            path.with_name(path.name + leftover).unlink(missing_ok=True)
        os.replace(fresh, path)
        shutil.rmtree(new, ignore_errors=True)
    finally:
        os.close(folder)


def _relocate(path: Path) -> None:
    """Mends where the store says that its artifacts lie, if it was moved or copied together with them."""
    with closing(sqlite3.connect(path)) as store:
        found = store.execute("SELECT artifact_location FROM experiments WHERE experiment_id = 0").fetchone()
        old, new = (found or ("",))[0].removesuffix("/0"), local_uri(artifact_root(path))
        if old == new or not old.endswith("/mlartifacts") or not artifact_root(path).is_dir():
            return
        for table, column in LOCATIONS:
            store.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                (new, len(old) + 1, len(old) + 1, f"{old}/"),
            )
        store.commit()


def _is_there(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0
