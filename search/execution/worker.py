"""What runs in Ray's worker processes: trials, one after another or several together, and single tasks.

A worker holds a shared lock on the run's log.txt while it may write to the run folder, by which a new driver knows that
the workers of one that was killed are gone. It imports nothing that it does not need: its start is waited for.
"""

import ctypes
import fcntl
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ray.tune import Trainable

from sweepstack.models.errors import StorageError, SweepstackError
from sweepstack.models.files import open_log

REASON = 300  # characters of a failure's reason


@dataclass(frozen=True)
class Assignment:
    """A trial as a worker knows it."""

    number: int
    settings: dict[str, Any]  # the searched values by path
    parent: int | None = None  # the trial in whose state it begins
    epochs_before: int = 0  # that its lineage was trained


class TrainerLike(Protocol):
    """What trains a trial epoch by epoch, and keeps on disk what it needs to go on in another process."""

    reports: list[dict[str, float]]  # of every finished epoch, also of those before it was interrupted

    @property
    def kept(self) -> bool:
        """Whether a trial that fails now has a checkpoint with its predictions all the same."""
        ...

    def step(self) -> dict[str, float]: ...

    def close(self, finished: bool) -> None: ...


Make = Callable[[Assignment], TrainerLike]
Together = Callable[[Sequence[Any]], Sequence[dict[str, float] | Exception]]
"""Trains an epoch of each of several trainers; returns, in their order, its report or why it cannot go on."""


def one_after_another(trainers: Sequence[TrainerLike]) -> list[dict[str, float] | Exception]:
    """Shorter than ``trainers`` where a fault has spoilt the process: the others are not to blame."""
    outcomes: list[dict[str, float] | Exception] = []
    for trainer in trainers:
        try:
            outcomes.append(trainer.step())
        except StorageError:
            raise
        except Exception as error:
            outcomes.append(error)
            if spoilt_by(error):
                break
    return outcomes


class TrialWorker(Trainable):
    """One trial at a time, or several as one program. A step returns what the driver may not know yet of each.

    ``setup`` may run for a trial that then runs elsewhere, so nothing is made or read before the first step.
    """

    def setup(
        self,
        config: dict[str, Any],
        makes: tuple[Make, ...] = (),
        together: tuple[Together, ...] = (),
        log: Path | None = None,
        threads: int = 1,
    ) -> None:
        self._makes, self._all_together, self._threads, self._spoilt = makes, together, threads, False
        self._trainers: dict[int, TrainerLike] = {}
        self._lock = None if log is None else hold(log)  # until the process ends, which serves nothing but this run
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._release(list(self._trainers))
        self._make = self._makes[new_config["job"]]
        self._together = self._all_together[new_config["job"]] if self._all_together else one_after_another
        self._assigned: dict[int, Assignment] = {trial.number: trial for trial in new_config["trials"]}
        return True

    def exchange(self, gone: Sequence[int], added: Sequence[Assignment]) -> None:
        """Between two steps: trials that are no longer trained here, by number, and others that are from now on."""
        self._release(gone)
        for number in gone:
            del self._assigned[number]
        self._assigned.update({trial.number: trial for trial in added})

    def step(self) -> dict[str, Any]:
        """``{news, spoilt}``, or ``{halted}`` where the run cannot go on. Of each trial that has news ``{number, first,
        reports}``, or ``{number, failed, kept}``.

        A trial that was interrupted first hands over what it has, untrained: perhaps it has been judged already.
        """
        if self._spoilt:
            raise RuntimeError("this process cannot train any more; Tune starts another one")
        news: list[dict[str, Any]] = []
        try:
            ready = [number for number in self._assigned if self._is_ready(number, news)]
            if ready and not self._spoilt:
                limit_threads(self._threads)
                outcomes = self._together([self._trainers[number] for number in ready])
                for number, outcome in zip(ready, outcomes, strict=False):
                    if isinstance(outcome, Exception):
                        news.append(self._failed(number, outcome))
                    else:
                        first = len(self._trainers[number].reports)
                        news.append({"number": number, "first": first, "reports": [outcome]})
        except StorageError as error:  # a full disk is no fault of this trial, and the end of every other
            return {"halted": str(error)}
        return {"news": news, "spoilt": self._spoilt}

    def cleanup(self) -> None:
        self._release(list(self._trainers))

    def _is_ready(self, number: int, news: list[dict[str, Any]]) -> bool:
        """Whether a trial can train now; makes what trains it."""
        if number in self._trainers:
            return True
        try:
            trainer = self._trainers[number] = self._make(self._assigned[number])
        except StorageError:
            raise
        except Exception as error:
            news.append(self._failed(number, error))
            return False
        if trainer.reports:
            news.append({"number": number, "first": 1, "reports": list(trainer.reports)})
        return not trainer.reports

    def _failed(self, number: int, error: Exception) -> dict[str, Any]:
        traceback.print_exception(error)
        self._spoilt = self._spoilt or spoilt_by(error)
        trainer = self._trainers.get(number)
        return {"number": number, "failed": reason_of(error), "kept": trainer is not None and trainer.kept}

    def _release(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            if number in self._trainers:
                self._trainers.pop(number).close(False)
        if numbers:
            give_back_memory()


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
    file = open_log(log)
    with suppress(OSError):  # a file system without locks
        fcntl.flock(file, fcntl.LOCK_SH)
    return file


def limit_threads(threads: int) -> None:
    """torch's threads in this process; OMP_NUM_THREADS, which Ray sets, comes too late where torch is there already."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def give_back_memory() -> None:
    """What a trial has freed goes back to the system. glibc keeps it where something small above it stays, so that a
    worker would hold the most that any of its trials has needed, and more with each."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def spoilt_by(error: Exception) -> bool:
    """Whether this process must not train another trial: after a fault on a GPU every later call fails too."""
    torch = sys.modules.get("torch")
    return not isinstance(error, SweepstackError) and torch is not None and bool(torch.cuda.is_initialized())


def reason_of(error: BaseException) -> str:
    """One line for the leaderboard; our own errors are meant to be read as they are."""
    text = " ".join(str(error).split())
    if not isinstance(error, SweepstackError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text[:REASON]
