"""The ledger: every trial of a run with its settings, reports and state; the truth that Ray executes and MLflow shows.

An Optuna journal holds one Optuna study a sweep ("trials", and "supervised" for the control), and what belongs to the
run as a whole as attributes of the first.
"""

import contextlib
import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import optuna
from optuna.study import StudyDirection

from sweepstack.models.errors import StorageError
from sweepstack.search.ledger.journal import Journal
from sweepstack.search.ledger.records import MAIN as MAIN
from sweepstack.search.ledger.records import TrialRecord, late_attributes, record_of
from sweepstack.search.ledger.storage import LedgerStorage

NAMES = "study:metric_names"  # Optuna's own place for the names of a study's objectives


class Ledger:
    """One journal file, open for one driver, or for any number of readers with ``writable=False``. Thread-safe."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.lock = threading.RLock()
        try:
            with _no_collection():
                self.storage = LedgerStorage(journal)
        except (KeyError, TypeError, ValueError, AssertionError) as error:
            journal.close()
            raise StorageError(
                f"the ledger {journal.path} is damaged ({type(error).__name__}: {error}); "
                "put back a copy of the run folder, or start afresh with --out"
            ) from error
        except StorageError:
            journal.close()
            raise

    @classmethod
    def open(cls, path: Path, *, writable: bool = True) -> "Ledger":
        """Raises StorageError where ``path`` is missing (for reading), damaged, or in use by another driver."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return cls(Journal(path, writable=writable))

    def sweeps(self) -> tuple[str, ...]:
        """The names of the sweeps that were begun."""
        return tuple(study.study_name for study in self.storage.get_all_studies())

    def records(self, sweep: str) -> list[TrialRecord]:
        """Every trial of a sweep in the order of their numbers; none if it was never begun. For readers."""
        with self.lock:
            study_id = self.study_id(sweep)
            if study_id is None:
                return []
            late = late_attributes(self.storage.get_study_user_attrs(study_id))
            maximize = self.storage.get_study_directions(study_id)[0] == StudyDirection.MAXIMIZE
            names = self.storage.get_study_system_attrs(study_id).get(NAMES, ())
            trials = self.storage.get_all_trials(study_id, deepcopy=False)
            return [record_of(sweep, trial, late.get(trial.number, {}), maximize, names) for trial in trials]

    def attributes(self) -> dict[str, Any]:
        """The values that belong to the run as a whole."""
        study_id = self.study_id(MAIN)
        return {} if study_id is None else self.storage.get_study_user_attrs(study_id)

    def attribute(self, name: str) -> Any:
        """A value that belongs to the run as a whole, or None."""
        return self.attributes().get(name)

    def set_attribute(self, name: str, value: Any) -> None:
        """Stores a JSON value for the run as a whole; the sweep "trials" must have been begun."""
        study_id = self.study_id(MAIN)
        if study_id is None:
            raise RuntimeError(f"begin the sweep {MAIN!r} before storing {name!r}")
        self.storage.set_study_user_attr(study_id, name, value)

    def study_id(self, sweep: str) -> int | None:
        """Of the Optuna study that holds a sweep; None where the sweep was never begun."""
        try:
            return self.storage.get_study_id_from_name(sweep)
        except KeyError:
            return None

    def close(self) -> None:
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection: replaying a long journal makes only objects that stay, and saves a fifth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
