"""What a worker does with a trial, without Ray around it: epoch by epoch, from where it was, and one after another."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweepstack.models.errors import StorageError, TrainingError
from sweepstack.search.execution.worker import Assignment, TrialWorker, call, hold, limit_threads, reason_of, spoilt_by


class Counts:
    """Reports its number plus a tenth for each epoch; an exception is raised where a report should come."""

    def __init__(self, number: int, reports: list[dict[str, float]], fault: Exception | None = None) -> None:
        self.number, self.reports, self.fault = number, reports, fault
        self.closed: list[bool] = []

    @property
    def kept(self) -> bool:
        return bool(self.reports)

    def step(self) -> dict[str, float]:
        if self.fault is not None:
            raise self.fault
        self.reports.append({"reward": self.number + len(self.reports) / 10})
        return self.reports[-1]

    def close(self, finished: bool) -> None:
        self.closed.append(finished)


def worker_of(*trainers: Counts) -> TrialWorker:
    """A worker that is given the first of the trainers; ``reset_config`` gives it others."""
    worker = TrialWorker.__new__(TrialWorker)
    worker.setup(config(0), makes=(lambda trial: trainers[trial.number],))
    return worker


def config(number: int) -> dict[str, Any]:
    return {"job": 0, "trials": [Assignment(number, {})]}


def heard(*news: dict[str, Any]) -> dict[str, Any]:
    return {"news": list(news), "spoilt": False}


def test_a_new_trial_reports_epoch_by_epoch() -> None:
    worker = worker_of(Counts(0, []))
    assert worker.step() == heard({"number": 0, "first": 1, "reports": [{"reward": 0.0}]})
    assert worker.step() == heard({"number": 0, "first": 2, "reports": [{"reward": 0.1}]})


def test_an_interrupted_trial_first_hands_over_what_it_has_and_trains_nothing() -> None:
    worker = worker_of(Counts(0, [{"reward": 5.0}, {"reward": 6.0}]))
    assert worker.step() == heard({"number": 0, "first": 1, "reports": [{"reward": 5.0}, {"reward": 6.0}]})
    assert worker.step() == heard({"number": 0, "first": 3, "reports": [{"reward": 0.2}]})


def test_setup_makes_nothing() -> None:
    def fail(trial: Assignment) -> Counts:
        raise AssertionError("a spare worker must not touch the trial's files")

    TrialWorker.__new__(TrialWorker).setup(config(0), makes=(fail,))


def test_the_next_trial_starts_anew_and_the_last_one_may_still_be_resumed() -> None:
    first, second = Counts(0, []), Counts(1, [])
    worker = worker_of(first, second)
    worker.step()
    assert worker.reset_config(config(1))
    assert first.closed == [False]
    assert worker.step() == heard({"number": 1, "first": 1, "reports": [{"reward": 1.0}]})
    worker.cleanup()
    assert second.closed == [False]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (TrainingError("the loss is not a number; lower train.lr"), "the loss is not a number; lower train.lr"),
        (ValueError("of\n two lines"), "ValueError: of two lines"),
        (MemoryError(), "MemoryError"),
        (KeyError("x" * 1000), "KeyError: '" + "x" * 289),
    ],
)
def test_a_fault_is_a_reason_in_one_line(
    fault: Exception, reason: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert worker_of(Counts(0, [], fault)).step() == heard({"number": 0, "failed": reason, "kept": False})
    assert "Traceback" in capsys.readouterr().err, "the log must have it whole"


def test_a_fault_leaves_what_was_kept_before_and_says_so() -> None:
    trainer = Counts(0, [])
    worker = worker_of(trainer)
    worker.step()
    trainer.fault = TrainingError("the loss is not a number")
    assert worker.step() == heard({"number": 0, "failed": "the loss is not a number", "kept": True})


def test_a_full_disk_is_no_fault_of_the_trial() -> None:
    assert worker_of(Counts(0, [], StorageError("disk full"))).step() == {"halted": "disk full"}


def test_after_a_fault_on_a_gpu_the_process_is_spoilt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: True)))
    assert spoilt_by(RuntimeError("CUDA error: device-side assert triggered"))
    assert not spoilt_by(TrainingError("the loss is not a number"))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: False)))
    assert not spoilt_by(RuntimeError())


def test_threads_are_limited_where_torch_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(set_num_threads=given.append))
    limit_threads(3)
    assert given == [3]
    monkeypatch.delitem(sys.modules, "torch")
    limit_threads(4)
    assert "torch" not in sys.modules


def lockable(log: Path) -> bool:
    with log.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_the_log_is_locked_while_a_worker_or_a_call_works(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    file = hold(log)
    assert not lockable(log)
    assert call(log, 1, lambda x: (x, lockable(log)), 3) == (3, False), "the lock is shared"
    os.close(file)
    assert lockable(log)


def test_a_worker_imports_neither_optuna_nor_mlflow_nor_torch() -> None:
    module = "sweepstack.search.execution.worker"
    heavy = f"import sys, {module}; print({{'optuna', 'mlflow', 'torch', 'sklearn'}} & {{*sys.modules}})"
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True).stdout == "set()\n"


def test_our_own_errors_are_meant_to_be_read_as_they_are() -> None:
    assert reason_of(TrainingError("lower train.lr")) == "lower train.lr"
