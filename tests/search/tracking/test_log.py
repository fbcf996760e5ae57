import errno
import sqlite3
import urllib.error

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE

from sweepstack.models.errors import TrackingError, TrackingRefusal
from sweepstack.search.tracking.log import is_permanent, reason

PERMANENT = [
    PermissionError(errno.EACCES, "Permission denied"),
    OSError(errno.EROFS, "Read-only file system"),
    sqlite3.OperationalError("unable to open database file"),
    sqlite3.OperationalError("attempt to write a readonly database"),
    MlflowException("Invalid artifact path length", INVALID_PARAMETER_VALUE),
    ModuleNotFoundError("No module named 'psycopg2'"),
    TrackingRefusal("names no file"),
]
PASSING = [
    ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
    TimeoutError("timed out"),
    OSError(errno.ENOSPC, "No space left on device"),
    sqlite3.OperationalError("database is locked"),
    MlflowException("try later", TEMPORARILY_UNAVAILABLE),
    MlflowException("503 Service Unavailable"),
    urllib.error.URLError("no route"),
    TrackingError("the process that records has ended"),
    ValueError("who knows"),
]


@pytest.mark.parametrize("error", [*PERMANENT, *PASSING], ids=repr)
def test_what_somebody_must_mend_is_told_from_what_passes(error: Exception) -> None:
    assert is_permanent(error) == (error in PERMANENT)


def test_the_cause_counts_and_not_what_mlflow_wraps_around_it() -> None:
    error = MlflowException("INTERNAL_ERROR: something")
    error.__cause__ = PermissionError(errno.EACCES, "Permission denied")
    assert is_permanent(error)
    assert reason(error) == "Permission denied"
