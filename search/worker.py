"""What runs in Ray's worker processes: trials, one after another in the same process, and single tasks.

A worker holds a shared lock on the run's log.txt while it may write to the run folder, by which a new driver knows that
the workers of one that was killed are gone. It imports nothing that it does not need: its start is waited for.
"""

import fcntl
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ray.tune import Trainable

from sweepstack.models.errors import StorageError, TrainingError

REASON = 300  # characters of a failure's reason


@dataclass(frozen=True)
class Assignment:
    """A trial as a worker knows it."""

    number: int
    settings: dict[str, Any]  # the searched values by path


class TrainerLike(Protocol):
    """What trains a trial epoch by epoch, and keeps on disk what it needs to go on in another process."""

    reports: list[dict[str, float]]  # of every finished epoch, also of those before it was interrupted

    def step(self) -> dict[str, float]: ...

    def close(self, finished: bool) -> None: ...


Make = Callable[[Assignment], TrainerLike]


class TrialWorker(Trainable):
    """One trial at a time. A step returns the reports that the driver may not have yet, and where they begin.

    ``setup`` may run for a trial that then runs elsewhere, so nothing is made or read before the first step.
    """

    def setup(
        self, config: dict[str, Any], makes: tuple[Make, ...] = (), log: Path | None = None, threads: int = 1
    ) -> None:
        self._makes, self._threads, self._spoilt = makes, threads, False
        self._trainer: TrainerLike | None = None
        self._lock = None if log is None else hold(log)  # until the process ends, which serves nothing but this run
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._release()
        self._make = self._makes[new_config["job"]]
        self._assignment: Assignment = new_config["trial"]
        return True

    def step(self) -> dict[str, Any]:
        """``{first, reports}``; ``{failed, spoilt}`` where the trial cannot go on, ``{halted}`` where the run cannot.

        A trial that was interrupted first hands over what it has, untrained: perhaps it has been judged already.
        """
        if self._spoilt:
            raise RuntimeError("this process cannot train any more; Tune starts another one")
        try:
            if self._trainer is None:
                self._trainer = self._make(self._assignment)
                limit_threads(self._threads)
                if self._trainer.reports:
                    return {"first": 1, "reports": list(self._trainer.reports)}
            report = self._trainer.step()
            return {"first": len(self._trainer.reports), "reports": [report]}
        except StorageError as error:  # a full disk is no fault of this trial, and the end of every other
            return {"halted": str(error)}
        except Exception as error:
            traceback.print_exc()
            self._spoilt = spoilt_by(error)
            return {"failed": reason_of(error), "spoilt": self._spoilt}

    def cleanup(self) -> None:
        self._release()

    def _release(self) -> None:
        trainer, self._trainer = self._trainer, None
        if trainer is not None:
            trainer.close(False)


def call(log: Path, threads: int, fn: Callable[..., Any], /, *args: Any) -> Any:
    """A task: ``fn(*args)``, which a later driver waits for. Its process may serve other runs afterwards."""
    file = hold(log)
    try:
        limit_threads(threads)
        return fn(*args)
    finally:
        os.close(file)


def hold(log: Path) -> int:
    """Takes part in the shared lock on ``log`` until the file descriptor is closed, or this process ends."""
    file = os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    with suppress(OSError):  # a file system without locks
        fcntl.flock(file, fcntl.LOCK_SH)
    return file


def limit_threads(threads: int) -> None:
    """torch's threads in this process; OMP_NUM_THREADS, which Ray sets, comes too late where torch is there already."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def spoilt_by(error: Exception) -> bool:
    """Whether this process must not train another trial: after a fault on a GPU every later call fails too."""
    torch = sys.modules.get("torch")
    return not isinstance(error, TrainingError) and torch is not None and bool(torch.cuda.is_initialized())


def reason_of(error: BaseException) -> str:
    """One line for the leaderboard; our own errors are meant to be read as they are."""
    text = " ".join(str(error).split())
    if not isinstance(error, TrainingError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text[:REASON]
