"""What the libraries print goes into the run folder's log.txt, and only what is meant for the user to the terminal.

Ray, MLflow, torch and their C++ parts write to the file descriptors 1 and 2 whatever Python's ``sys.stdout`` is, so the
descriptors themselves are turned to the log; the display writes to a copy of the terminal's.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from sweepstack.models.errors import StorageError
from sweepstack.models.files import open_log

NOISE = (":job_id:", ":actor_name:", ":task_name:")  # Ray's own marks in the workers' output


class Chatter:
    """``with Chatter(folder.log) as chatter: chatter.terminal.write(...)``; raises StorageError on entering.

    Where ``sys.stdout`` is not the descriptor 1 (a notebook, a test) it is the terminal as it stands.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self.terminal: TextIO = sys.stdout
        self._saved: dict[int, int] = {}
        self._copy: TextIO | None = None

    def __enter__(self) -> Self:
        while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:  # standard streams that whoever started us has closed
            continue
        os.close(spare)
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            log = open_log(self.log)
        except OSError as error:
            raise StorageError(
                f"cannot write {self.log}: {error.strerror}; free some space, or make the folder writable"
            ) from error
        _flush()
        if sys.stdout is None:  # Python found it closed
            self._copy = open(os.devnull, "w", encoding="utf-8")
        elif _descriptor(sys.stdout) == 1:
            self._copy = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
        self.terminal = self._copy or sys.stdout
        for descriptor in (1, 2):
            self._saved[descriptor] = os.dup(descriptor)
            os.dup2(log, descriptor)
        os.close(log)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _flush()
        for descriptor, saved in self._saved.items():
            os.dup2(saved, descriptor)
            os.close(saved)
        self._saved.clear()
        self.terminal = sys.stdout
        if self._copy is not None:
            with suppress(OSError):  # the reader of our output is gone
                self._copy.close()
            self._copy = None


def gather(logs: Path, log: Path) -> None:
    """Appends what Ray's workers have printed, found in a session's ``logs`` folder, to ``log``."""
    lines = []
    for file in sorted([*logs.glob("worker-*.out"), *logs.glob("worker-*.err")]):
        said = [line for line in file.read_text("utf-8", "replace").splitlines() if not line.startswith(NOISE)]
        if said:
            lines += [f"--- {file.name}", *said]
    if lines:
        with log.open("a", encoding="utf-8") as target:
            target.write("\n".join(lines) + "\n")


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue
