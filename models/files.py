"""The one writer and reader of files: a file is whole or absent, whatever kills the process that writes it.

A new file has the mode that the process's umask gives. Where a user names what is written (``-o``), only a new regular
file is made, or with ``--force`` an existing one replaced: never a device, a FIFO, a link, or what is being read.
"""

import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweepstack.models.errors import InputError, NoJSONError, StorageError

MODE = 0o666  # of a new file, less the umask


def write_atomic(path: Path, content: bytes | str) -> None:
    """Writes ``content`` beside ``path`` and renames it into place; raises StorageError if the disk refuses.

    Text is UTF-8. Half of a surrogate pair, which JSON can smuggle into a text, has no place there and becomes ``?``.
    """
    data = content.encode(errors="replace") if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name[:100]}.{os.urandom(4).hex()}")
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; free some space, or make the folder writable"
        ) from error


def as_tensors(arrays: Mapping[str, Any], metadata: dict[str, str] | None = None) -> bytes:
    """``arrays`` (of NumPy) as the content of a safetensors file."""
    import numpy as np
    from safetensors.numpy import save

    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata)


def write_tensors(path: Path, arrays: Mapping[str, Any], metadata: dict[str, str] | None = None) -> None:
    """``arrays`` (of NumPy) as a safetensors file; raises as :func:`write_atomic`. The library's own ``save_file``
    makes files that only their owner can read."""
    write_atomic(path, as_tensors(arrays, metadata))


def open_log(path: Path) -> int:
    """A descriptor that appends to ``path``, made where it is not there; raises OSError."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, MODE)


def user_path(path: str | Path) -> Path:
    """A path as a person gives it: ``~`` is a home folder. Raises InputError where that is unknown."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: no home folder is known for it; write the folder out") from error


def check_output(path: Path, *, force: bool, source: Path | int | None = None) -> None:
    """Raises InputError where writing to ``path`` would destroy something: anything but a regular file is left alone,
    and an existing file, too, without ``force``. Never replaced is ``source`` (a path or a descriptor), which is read.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"-o {path}: {error.strerror}; name another file") from error
    if not stat.S_ISREG(found.st_mode):
        raise InputError(
            f"-o {path} is {_kind(found.st_mode)}, which is left as it is; name a file, or - for the output"
        )
    if source is not None and _same(found, source):
        raise InputError(f"-o {path} is the file that is read; name another one")
    if not force:
        raise InputError(f"-o {path} exists and is left as it is; name another file, or replace it with --force")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _same(found: os.stat_result, source: Path | int) -> bool:
    try:
        return os.path.samestat(found, os.stat(source))
    except OSError:
        return False


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
    """Raises OSError where ``path`` is no regular file, and NoJSONError (a ValueError, too) where it holds no JSON."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):  # a FIFO waits for a writer, a device may have no end
        raise OSError(f"{path} is {_kind(mode)} and no regular file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise NoJSONError(f"{path} is nested too deeply; put back a copy of it") from error
    except ValueError as error:  # not UTF-8, or cut off
        raise NoJSONError(f"{path} is damaged, as it holds no JSON ({error}); put back a copy of it") from error


def reason_of(error: Exception) -> str:
    """Why a stored thing could not be loaded, as one line. torch says "Error(s) in loading state_dict" first, and what
    is wrong in the lines after it. What to do about it says whoever asks."""
    if isinstance(error, NoJSONError):
        return str(error).partition("; ")[0]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and "loading state_dict" in lines[0]:
        more = f" (and {len(lines) - 2} more)" if len(lines) > 2 else ""
        return f"config.json and weights.safetensors do not fit: {lines[1].rstrip('. ')}{more}"
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    return lines[0] if lines else type(error).__name__
