"""What MLflow and what it stands on print, sent to a log; and what an exception of theirs comes to."""

import errno
import logging
import sqlite3
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from sweepstack.models.errors import SweepstackError, TrackingRefusal

CHATTY = ("mlflow", "alembic", "sqlalchemy", "urllib3")  # what prints on MLflow's behalf


PERMANENT_ERRNO = {
    getattr(errno, name)
    for name in ("EACCES", "EPERM", "EROFS", "ENOTDIR", "EEXIST", "EISDIR", "ENAMETOOLONG", "ELOOP")
}
PERMANENT_SQLITE = ("unable to open", "readonly", "no such", "has no column")
PERMANENT_MLFLOW = {
    "INVALID_PARAMETER_VALUE",
    "BAD_REQUEST",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "ENDPOINT_NOT_FOUND",
    "FEATURE_DISABLED",
    "NOT_IMPLEMENTED",
}


def reason(error: BaseException) -> str:
    """What the system or sqlite said, if one of them caused it, without what MLflow wraps around it; one line."""
    if isinstance(error, SweepstackError):
        return str(error)
    found, cause = error, error.__cause__ or error.__context__
    while cause is not None:
        if isinstance(cause, OSError | sqlite3.Error):
            found = cause
        cause = cause.__cause__ or cause.__context__
    text = found.strerror if isinstance(found, OSError) and found.strerror else str(found)
    return " ".join(text.split())[:300] or type(error).__name__


def is_permanent(error: BaseException) -> bool:
    """Whether the same is to be expected of every later attempt, so that somebody has to mend something.

    What may pass is a server that does not answer, a lock, a full disk; and what is not known here.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TrackingRefusal | ModuleNotFoundError | sqlite3.NotSupportedError):
            return True
        if isinstance(cause, OSError) and cause.errno in PERMANENT_ERRNO:
            return True
        if isinstance(cause, sqlite3.OperationalError) and any(words in str(cause) for words in PERMANENT_SQLITE):
            return True
        if getattr(cause, "error_code", None) in PERMANENT_MLFLOW:
            return True
        cause = cause.__cause__ or cause.__context__
    return False


class _Line(logging.Handler):
    def __init__(self, log: Callable[[str], None]) -> None:
        super().__init__()
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        self.log(f"{record.name}: {record.getMessage()}")


def route(log: Callable[[str], None]) -> None:
    """Sends the messages and warnings of MLflow and of what it stands on to ``log`` instead of the terminal."""
    for name in CHATTY:
        logger = logging.getLogger(name)
        logger.handlers = [_Line(log)]
        logger.propagate = False
        logger.setLevel(logging.ERROR if name == "urllib3" else logging.WARNING)  # it warns of every retry
    warnings.filterwarnings("default", module=rf"({'|'.join(CHATTY)})(\.|$)")
    usual = warnings.showwarning
    if isinstance(usual, partial) and usual.func is _show_warning:
        usual = usual.args[1]
    warnings.showwarning = partial(_show_warning, log, usual)


def _show_warning(
    log: Callable[[str], None], usual: Any, message: Any, category: Any, filename: str, lineno: int, *rest: Any
) -> None:
    if any(f"/{name}/" in filename for name in CHATTY):
        log(f"{filename}:{lineno}: {category.__name__}: {message}")
    else:
        usual(message, category, filename, lineno, *rest)
