"""The ledger's file: a backend for Optuna's JournalStorage that survives being killed at any byte.

One log is one line and one append is one ``os.write``, so that a kill leaves at most one torn line, and only at the
end; it is cut off when a driver opens the file again (Optuna's own backend would append to it and make the file
unreadable for ever). A line ends with a CRC-32 of itself and of all lines before it, ``"crc32"``, which Optuna's own
backend passes over: a line that was changed, lost or moved is located. Lines that older versions or Optuna's tools
wrote have none. A driver holds an OS lock, which dies with it. What a kill cannot lose a power cut can: a thread syncs
the file to disk every few seconds, because a sync on each append costs more than a small trial.
"""

import fcntl
import json
import os
import threading
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from sweepstack.models.errors import StorageError
from sweepstack.models.files import MODE

SYNC_SECONDS = 2.0
LOOKING = 0.05  # seconds in which one who looks whether a run is driven is done
TAIL = 1 << 16  # bytes read at a time to find the last whole line
SEAL = b',"crc32":"%08x"}'  # how a line ends
SEALED = len(SEAL % 0)
BEGIN = (0, 0, 0)  # of a file


class Journal(BaseJournalBackend):
    """Appends and reads logs; ``writable=False`` looks at a file that a driver may be writing, and takes no lock.

    Raises StorageError where the file cannot be opened, is in use by another driver or is damaged.
    """

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        self.path = path
        self.writable = writable
        self._lock: int | None = None
        self._file = -1
        self._mutex = threading.Lock()
        self._dirty, self._closed = threading.Event(), threading.Event()
        self._position = BEGIN  # logs read so far, the byte where the next one begins, and the seal before it
        self._seal: int | None = None  # of the last line there is; None: not known yet
        self._failure: str | None = None
        try:
            if writable:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._lock = _lock(path)
                self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
                self._size = _whole_lines(self._file)
                os.ftruncate(self._file, self._size)
            else:
                self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self._release()
            raise StorageError(
                f"cannot open the ledger {path}: {error.strerror or error}; "
                + ("make its folder writable, or take another one" if writable else "is this the folder of a run?")
            ) from error
        if writable:
            self._syncer = threading.Thread(target=self._sync_now_and_then, name="ledger-sync", daemon=True)
            self._syncer.start()

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Every whole log from number ``log_number_from`` on."""
        with self._mutex:
            if log_number_from != self._position[0]:
                self._position = BEGIN
            number = self._position[0]
            return self._read_on()[log_number_from - number :]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends all or nothing; raises StorageError if the disk refuses."""
        if not self.writable:
            raise RuntimeError(f"the ledger {self.path} was opened for reading only")
        with self._mutex:
            if self._failure is not None or self._file < 0:
                raise StorageError(f"cannot write {self.path}: {self._failure or 'it is closed'}")
            if self._seal is None:
                self._read_on()
                self._seal = self._position[2]
            seal, data = self._seal, b""
            for log in logs:
                body = json.dumps(log, separators=(",", ":")).encode()
                seal = zlib.crc32(body, seal)
                data += body[:-1] + SEAL % seal + b"\n"
            try:
                written = os.pwrite(self._file, data, self._size)
                if written != len(data):
                    raise OSError(None, "no space left on the disk")
            except OSError as error:
                os.ftruncate(self._file, self._size)
                raise StorageError(
                    f"cannot write {self.path}: {error.strerror or error}; free some space, then run the same again"
                ) from error
            self._size += len(data)
            self._seal = seal
        self._dirty.set()

    def sync(self) -> None:
        """Returns when every append so far is on the disk."""
        if self._dirty.is_set():
            self._dirty.clear()
            try:
                os.fsync(self._file)
            except OSError as error:
                self._failure = error.strerror or str(error)

    def close(self) -> None:
        """Syncs, and lets go of the lock; a second call does nothing."""
        if self._file < 0:
            return
        self._closed.set()
        if self.writable:
            self._syncer.join()
            self.sync()
        self._release()

    def _sync_now_and_then(self) -> None:
        while not self._closed.wait(SYNC_SECONDS):
            self.sync()

    def _release(self) -> None:
        with self._mutex:
            for handle in (self._file, self._lock):
                if handle is not None and handle >= 0:
                    os.close(handle)
            self._file, self._lock = -1, None

    def _read_on(self) -> list[dict[str, Any]]:
        """The logs after those that were read."""
        number, start, seal = self._position
        end = self._size if self.writable else _whole_lines(self._file)
        if end == start:
            return []
        bodies: list[bytes] = []
        for line in _read(self._file, start, end)[:-1].split(b"\n"):
            sealed = line[-SEALED:-10] == SEAL[:10]
            bodies.append(line[:-SEALED] + b"}" if sealed else line)
            seal = zlib.crc32(bodies[-1], seal)
            if sealed and line[-SEALED:] != SEAL % seal:
                self._parse(bodies, number)  # an earlier line without a checksum may be to blame
                raise self._damaged(number + len(bodies), line)
        logs = self._parse(bodies, number)
        self._position = (number + len(logs), end, seal)
        return logs

    def _parse(self, lines: list[bytes], number: int) -> list[dict[str, Any]]:
        try:  # all lines as one list: a third of the time of a line at a time
            logs: list[dict[str, Any]] = json.loads(b"[" + b",".join(lines) + b"]")
            if len(logs) == len(lines) and all(isinstance(log, dict) for log in logs):
                return logs
        except ValueError:
            pass
        for index, line in enumerate(lines):
            try:
                whole = isinstance(json.loads(line), dict)
            except ValueError:
                whole = False
            if not whole:
                raise self._damaged(number + index + 1, line)
        raise StorageError(f"the ledger {self.path} is damaged; put back a copy, or start afresh with --out")

    def _damaged(self, line: int, content: bytes) -> StorageError:
        return StorageError(
            f"the ledger {self.path} is damaged at line {line} ({content[:40]!r}): its checksum is not that of the "
            "lines up to there; put back a copy of the run folder, or start afresh with --out"
        )


def driver_of(path: Path) -> str | None:
    """The id of the process that has the journal ``path`` open for writing, or None."""
    try:
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
    except OSError:  # a file system without locks
        return None
    finally:
        os.close(lock)


def _lock(path: Path) -> int:
    """An open file that holds the lock of the one driver; raises StorageError naming the process that has it."""
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # somebody may only be looking, see driver_of
            time.sleep(LOOKING)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise StorageError(f"run {path.parent} is in use by process {holder}; wait for it to end, or stop it") from None
    except OSError:
        os.close(lock)
        raise
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _whole_lines(file: int) -> int:
    """The size of ``file`` without a torn line at its end."""
    end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - TAIL)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _read(file: int, start: int, end: int) -> bytes:
    parts = []
    while start < end:
        part = os.pread(file, end - start, start)
        if not part:  # cut shorter by somebody else
            break
        parts.append(part)
        start += len(part)
    return b"".join(parts)
