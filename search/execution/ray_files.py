"""Ray's own files: a folder for each driver, removed at its end; those of drivers that were killed are swept.

Ray never removes its session folders (10 MB each), and its agents outlive a killed driver by a minute (185 MB). A
driver holds an OS lock on its folder, so a folder that can be locked belongs to nobody, and what still has files open
in it serves nobody. The path must be short: Ray makes Unix sockets in it, whose names may have 107 bytes.
"""

import fcntl
import importlib
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

PREFIX = "sweepstack-"
LONGEST = 38  # characters; Ray's own folder and what it puts there take 68
DYING = 3.0  # seconds that a killed process may take to be gone


class Scratch:
    """A folder of this process alone, until :meth:`remove`."""

    def __init__(self) -> None:
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent()))
            lock = _lock(self.path)
            if lock is not None:  # else a sweep came in between
                self._lock = lock
                return

    @property
    def ray(self) -> Path:
        """For Ray, which opens its folder to every user of the machine; the one around it stays closed."""
        return self.path / "ray"

    def remove(self) -> None:
        end(self.path)
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def parent() -> Path:
    """The system's folder for temporary files, if a name in it is short enough for Ray."""
    usual = Path(tempfile.gettempdir())
    return usual if len(str(usual / PREFIX)) + 8 <= LONGEST else Path("/tmp")


def sweep() -> None:
    """Ends what drivers of this user that are dead left running on this machine, and removes their folders."""
    for path in parent().glob(f"{PREFIX}????????"):
        with suppress(OSError):
            if path.lstat().st_uid != os.getuid():
                continue
            lock = _lock(path)
            if lock is not None:
                end(path)
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)


def end(path: Path) -> None:
    """Kills every process of this user that has files open in ``path``, and waits until they are gone."""
    psutil = _psutil()
    processes = processes_of(path)
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=DYING)


def processes_of(path: Path) -> list[Any]:
    """The processes (of psutil) with files open in ``path``. Ray's all have their logs there, whatever their names."""
    psutil = _psutil()
    inside = f"{path.resolve()}/"
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            ours = process.uids().real == os.getuid() and process.pid != os.getpid()
            if ours and any(file.path.startswith(inside) for file in process.open_files()):
                found.append(process)
    return found


def _psutil() -> Any:
    """psutil, of which Ray brings a copy of its own along."""
    importlib.import_module("ray")
    return importlib.import_module("psutil")


def _lock(path: Path) -> int | None:
    """A file descriptor that holds the lock on a folder; None if another process does, or the folder is gone."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(file).st_ino:
            return file
    except OSError:
        pass
    os.close(file)
    return None
