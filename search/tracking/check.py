"""Whether a tracking store can be used, found out before anything starts.

The check is cheap and bounded: it never imports mlflow, writes nothing, and waits a few seconds at most.
"""

import base64
import importlib.util
import json
import os
import re
import shlex
import sqlite3
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sweepstack.models.errors import TrackingError, TrackingRefusal
from sweepstack.search.study.tracking_uri import sqlite_path
from sweepstack.search.tracking.store import LONGEST_PATH, longest_of, shown

DATABASES = ("postgresql", "mysql", "mssql")  # reached through SQLAlchemy, like sqlite
PATIENCE = 4.0  # seconds that a server or database may take to answer
HELP = "use tracking.uri sqlite:////folder/mlflow.db or http://host:port"


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
        raise TrackingRefusal(f"tracking store {uri!r} is a plain folder, which MLflow no longer records to; {HELP}")
    else:
        raise TrackingRefusal(f"tracking store {shown(uri)!r} has the unknown scheme {scheme!r}; {HELP}")


def _refusal(uri: str, reason: object, advice: str) -> TrackingError:
    reason = " ".join(str(reason).split())[:300]
    return TrackingError(f"tracking store {shown(uri)} cannot be used: {reason}; {advice}")


def _check_sqlite(uri: str, path: Path) -> None:
    if (longest := longest_of(path)) > LONGEST_PATH:
        reason = f"sqlite opens paths of at most {LONGEST_PATH} bytes, and this store needs {longest}"
        raise _refusal(uri, reason, "name a shorter one by tracking.uri, sqlite:////folder/mlflow.db")
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
            upgrade = f"mlflow db upgrade {shlex.quote(uri)}"
            raise _refusal(uri, "an older MLflow made it", f"back it up, then run: {upgrade}")
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
        error.close()
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
