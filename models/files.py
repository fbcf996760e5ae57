"""Files that are either whole or absent, whatever kills the process that writes them."""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweepstack.models.errors import StorageError


def write_atomic(path: Path, content: bytes | str) -> None:
    """Writes ``content`` beside ``path`` and renames it into place; raises StorageError if the disk refuses."""
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another folder with --out"
        ) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Inside, no other process is; the system ends a lock with the process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_json(path: Path, content: Any) -> None:
    write_atomic(path, as_json(content))


def as_json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def reason_of(error: Exception) -> str:
    """Why a stored thing could not be loaded, as one line. torch says "Error(s) in loading state_dict" first, and what
    is wrong in the lines after it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and "loading state_dict" in lines[0]:
        more = f" (and {len(lines) - 2} more)" if len(lines) > 2 else ""
        return f"config.json and weights.safetensors do not fit: {lines[1].rstrip('. ')}{more}"
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    return lines[0] if lines else type(error).__name__
