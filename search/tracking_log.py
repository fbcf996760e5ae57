"""What MLflow and what it stands on print, sent to a log; and what an exception of theirs comes to."""

import logging
import sqlite3
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from sweepstack.models.errors import SweepstackError

CHATTY = ("mlflow", "alembic", "sqlalchemy", "urllib3")  # what prints on MLflow's behalf


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
