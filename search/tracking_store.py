"""Where MLflow's records lie: what a tracking URI means, whether it can be used, and how its store is opened.

Only ``open_client`` imports mlflow (two seconds), so a URI can be checked before anything starts. A fresh sqlite store
is made beside its place and renamed into it: a kill during MLflow's migrations, or two of them at once, would ruin it.
"""

import base64
import fcntl
import importlib.util
import json
import os
import re
import shutil
import sqlite3
import sys
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepstack.models.errors import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASES = ("postgresql", "mysql", "mssql")  # reached through SQLAlchemy, like sqlite
PATIENCE = 4.0  # seconds that a server or database may take to answer the check
HELP = "use tracking.uri sqlite:////folder/mlflow.db or http://host:port"

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


def sqlite_path(uri: str) -> Path | None:
    """The file of a ``sqlite:///`` URI, absolute; None for any other URI."""
    if not re.match(r"sqlite(\+\w+)?:", uri):
        return None
    name = re.sub(r"^sqlite(\+\w+)?:/{0,3}", "", uri).partition("?")[0]
    if name in ("", ":memory:") or "://" not in uri:
        raise TrackingError(
            f"tracking store {uri!r} names no file; use sqlite:///mlflow.db or sqlite:////folder/mlflow.db"
        )
    return Path(urllib.parse.unquote(name)).absolute()


def sqlite_uri(path: Path) -> str:
    """The URI of the sqlite store at ``path``, which may have any name."""
    return "sqlite:///" + str(path.absolute()).replace("%", "%25").replace("?", "%3F")


def check_tracking(uri: str) -> None:
    """Raises TrackingError, in one line and within a few seconds, where nothing could be recorded at ``uri``.

    Nothing is written, created or imported beyond what the kind of store needs.
    """
    scheme = uri.partition(":")[0] if re.match(r"[A-Za-z][\w+.-]*:", uri) else ""
    kind = scheme.partition("+")[0]
    path = sqlite_path(uri)
    if path is not None:
        _check_sqlite(uri, path)
    elif scheme in ("http", "https"):
        _check_within_patience(uri, lambda: _ask_server(uri))
    elif kind in DATABASES:
        _check_within_patience(uri, lambda: _ask_database(uri))
    elif scheme in ("", "file"):
        raise TrackingError(f"tracking store {uri!r} is a plain folder, which MLflow no longer records to; {HELP}")
    else:
        raise TrackingError(f"tracking store {_shown(uri)!r} has the unknown scheme {scheme!r}; {HELP}")


def _refusal(uri: str, reason: object, advice: str) -> TrackingError:
    reason = " ".join(str(reason).split())[:300]
    return TrackingError(f"tracking store {_shown(uri)} cannot be used: {reason}; {advice}")


def _shown(uri: str) -> str:
    """Without the password that a URI may carry."""
    return re.sub(r"(://[^/:@]*):[^/@]*@", r"\1:***@", uri)


def _check_sqlite(uri: str, path: Path) -> None:
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    try:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder")
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")
    except OSError as error:
        raise _refusal(uri, f"{folder}: {error.strerror or error}", "choose a folder that can be written") from error
    if not path.exists() or path.stat().st_size == 0:
        return
    try:
        with closing(sqlite3.connect(path, timeout=1.0)) as store:
            tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not {"experiments", "alembic_version"} <= tables:
                raise _refusal(uri, f"{path} is a database of something else than MLflow", "choose another file")
            revision = store.execute("SELECT version_num FROM alembic_version").fetchone()[0]
            try:
                store.execute("BEGIN IMMEDIATE")
                store.rollback()
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):  # another driver writes just now; ours will wait
                    raise
    except (sqlite3.Error, TypeError) as error:
        raise _refusal(uri, f"{path}: {error}", "choose another file, or mend its permissions") from error
    revisions, head = _schema_revisions()
    if head is not None and revision != head:
        if revision in revisions:
            raise _refusal(uri, "an older MLflow made it", f"back it up, then run: mlflow db upgrade {uri}")
        raise _refusal(uri, "a newer MLflow made it", "pip install -U mlflow, or choose another file")


def _schema_revisions() -> tuple[set[str], str | None]:
    """MLflow's schema revisions and the newest, read from its migration scripts without importing it."""
    spec = importlib.util.find_spec("mlflow")
    if spec is None or not spec.submodule_search_locations:
        raise TrackingError("the package mlflow is missing; pip install mlflow")
    scripts = Path(spec.submodule_search_locations[0], "store", "db_migrations", "versions").glob("*.py")
    source = "\n".join(script.read_text(encoding="utf-8") for script in scripts)
    revisions = set(re.findall(r"""^revision\b.*=\s*["'](\w+)["']""", source, re.MULTILINE))
    heads = revisions - set(re.findall(r"""^down_revision\b.*=\s*["'](\w+)["']""", source, re.MULTILINE))
    return revisions, heads.pop() if len(heads) == 1 else None


def _check_within_patience(uri: str, ask: Callable[[], None]) -> None:
    """Runs ``ask`` in a thread of its own, because looking up a host's name has no timeout."""
    failures: list[BaseException | None] = []

    def attempt() -> None:
        try:
            ask()
            failures.append(None)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=attempt, name="check-tracking", daemon=True)
    thread.start()
    thread.join(PATIENCE + 0.5)
    if not failures:
        raise _refusal(uri, f"no answer within {PATIENCE:g} seconds", "start the server or choose another store")
    error = failures[0]
    if isinstance(error, TrackingError):
        raise error
    if error is not None:
        reason = getattr(error, "reason", error)
        raise _refusal(uri, getattr(reason, "strerror", None) or reason, "start it or choose another store") from error


def _ask_server(uri: str) -> None:
    request = urllib.request.Request(f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1")
    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    elif user and password:
        request.add_header("Authorization", f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            json.loads(answer.read(1_000_000))
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            advice = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            raise _refusal(uri, f"it refuses the credentials ({error.code})", advice) from error
        raise _refusal(
            uri, f"it answers {error.code} {error.reason}", "give the address of an MLflow server"
        ) from error
    except ValueError as error:
        raise _refusal(uri, "it is no MLflow server", "give the address of an MLflow server") from error


def _ask_database(uri: str) -> None:
    import sqlalchemy

    try:
        with closing(sqlalchemy.create_engine(uri).connect()):
            pass
    except ModuleNotFoundError as error:
        raise _refusal(uri, f"its driver {error.name} is missing", f"pip install {error.name}") from error
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise _refusal(uri, getattr(error, "orig", None) or error, "start it or choose another store") from error


def ui_command(uri: str, port: int = 5000) -> list[str]:
    """The command line of MLflow's user interface on a store, for this machine only; raises TrackingError.

    Also sets this process's environment for it, so it is meant to be given to ``os.execvp``.
    """
    if uri.startswith(("http://", "https://")):
        raise TrackingError(f"the runs are kept by a server that shows them itself; open {_shown(uri)} in a browser")
    quiet_environment()
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # five more processes, for what we do not use
    path = sqlite_path(uri)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    if path is not None:
        command += ["--artifacts-destination", str(artifact_root(path))]
    return [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]


def artifact_root(path: Path) -> Path:
    """Where models and other files of the sqlite store at ``path`` lie."""
    return path.with_name("mlartifacts")


def open_client(uri: str) -> "MlflowClient":
    """A client on the store, made if it is a sqlite file that does not exist yet (seconds).

    sqlite stores are put in write-ahead mode: a commit costs no fsync, a reader (the UI) never blocks a writer.
    """
    from mlflow import MlflowClient

    path = sqlite_path(uri)
    if path is None:
        return MlflowClient(uri)
    _create(path)
    client = MlflowClient(uri)
    from sqlalchemy import event

    engine = _engine(client)
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
        new = path.with_name(f".{path.name}.new")
        shutil.rmtree(new, ignore_errors=True)  # of a process that was killed
        new.mkdir()
        fresh = new / path.name
        SqlAlchemyStore(sqlite_uri(fresh), str(artifact_root(path))).engine.dispose()
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


def _is_there(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0
