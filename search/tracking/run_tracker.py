"""What MLflow is told of a run while it is worked on: each trial as it changes, and how the run ended.

The tracker behind it is started when it is first needed, so a run that has nothing to add does not wait for MLflow; the
ids that MLflow gives are kept in the ledger, where the next driver finds them.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sweepstack.models.errors import TrackingError
from sweepstack.search.execution.sweep import Sweep
from sweepstack.search.ledger.confirmation import Confirmation
from sweepstack.search.ledger.leaderboard import best, front
from sweepstack.search.ledger.ledger import Ledger
from sweepstack.search.ledger.records import MLFLOW_RUN, TrialRecord
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.study.study import Study, Tracking
from sweepstack.search.study.tracking_uri import absolute_uri, sqlite_path
from sweepstack.search.tracking.mirror import REMARK, RunState, Status
from sweepstack.search.tracking.run_states import parent_state, trial_state
from sweepstack.search.tracking.store import TRACKING_URI, shown
from sweepstack.search.tracking.tracker import Tracker, check_tracking

OPENING = 30.0  # seconds to wait for the first answer of a store before the search
PATIENCE = {True: 120.0, False: 4.0}  # seconds to wait for MLflow at a good end, and at any other


class SessionTracker:
    """``sweeps`` gives those that were begun or adopted so far."""

    def __init__(self, study: Study, ledger: Ledger, folder: RunFolder, sweeps: Callable[[], Sequence[Sweep]]) -> None:
        self._study, self._ledger, self._folder, self._sweeps = study, ledger, folder, sweeps
        self._began = time.time()
        self._started: Tracker | None = None
        self._log = logging.getLogger("sweepstack.tracking")
        self._remarks: list[str] = []

    def begin(self) -> None:
        """Opens the store, which takes seconds, while others work."""
        assert self._tracker

    def check(self) -> None:
        """Raises TrackingError where the store will not take a single run: before hours are spent on the search."""
        refusal = self._tracker.refusal(OPENING)
        if refusal is not None:
            raise TrackingError(
                f"tracking store {shown(self._study.tracking_uri)} cannot be used: {refusal}; "
                "mend that, or name another by tracking.uri"
            )

    def remarks(self) -> list[str]:
        """What the user should see of what the store was found to be, each once."""
        found, self._remarks = self._remarks, []
        return found

    def put(self, state: RunState) -> None:
        """Takes the state of any run, and returns at once."""
        self._tracker.put(state)

    def trial(self, record: TrialRecord, *, interrupted: bool = False) -> None:
        if record.state == "waiting":  # its run begins with it
            return
        objective = self._study.search.objective
        metrics = [objective, *(name for name in self._study.metrics if name != objective)]
        self.put(trial_state(record, self._folder.of(record), metrics, interrupted=interrupted))

    def close(self, trials: Sequence[TrialRecord], confirmed: Sweep | None, *, good: bool) -> str | None:
        """Says how the run ended; a line for the user where MLflow has not taken everything.
        ``trials`` are those of the search."""
        if self._started is None:
            return None
        for record in self._records():
            if record.state == "running":
                self.trial(record, interrupted=True)
        status: Status = "finished" if good else "killed"
        search = self._study.search
        leader = best(trials, search.objective)
        worth = None
        if leader is not None and confirmed is not None:
            played = self._study.environment is not None
            worth = Confirmation.of(leader, confirmed.trials(), search.objective, played=played)
        pareto = front(trials, search.objectives) if len(search.objectives) > 1 else ()
        self.put(parent_state(self._study, status, self._began, leader, worth, pareto))
        return None if self._started.close(PATIENCE[good]) else self._started.missing()

    @property
    def _tracker(self) -> Tracker:
        if self._started is None:
            sweep_id = self._ledger.attribute("sweep_id")
            self._started = Tracker(self._study.tracking_uri, self._study.name, sweep_id, self._recorded, self._heard)
            self.put(parent_state(self._study, "running", self._began, None))
            for record in self._records():
                self.trial(record)
        return self._started

    def _heard(self, line: str) -> None:
        self._log.warning(line)
        if line.startswith(REMARK):
            self._remarks.append(line)

    def _records(self) -> list[TrialRecord]:
        return [record for sweep in self._sweeps() for record in sweep.trials()]

    def _recorded(self, key: str, run_id: str) -> None:
        """Keeps the id of an MLflow run with its trial, or, where it is no trial's, with the whole run."""
        name, _, number = key.rpartition("-")
        sweep = next((each for each in self._sweeps() if each.name == name), None)
        if sweep is not None:
            if sweep.record(int(number)).attributes.get(MLFLOW_RUN) != run_id:
                sweep.set_trial_attribute(int(number), MLFLOW_RUN, run_id)
        elif self._ledger.attribute(f"{MLFLOW_RUN}:{key}") != run_id:
            self._ledger.set_attribute(f"{MLFLOW_RUN}:{key}", run_id)


def tracked(study: Study, stored: Study | None, root: Path) -> tuple[Study, tuple[str, ...]]:
    """The study with its tracking store, and what to say of that. A study that names none goes on where its run
    records, or else begins at MLFLOW_TRACKING_URI, as all of MLflow's own commands do."""
    given = os.environ.get(TRACKING_URI)
    if study.tracking.uri is not None or not given:
        return _beside(study, stored, root), ()
    uri = absolute_uri(given, Path.cwd())
    if stored is None:
        try:
            check_tracking(uri)
        except TrackingError as error:
            raise TrackingError(f"{TRACKING_URI}: {error}; tracking.uri in the study comes first") from error
        where = f"MLflow's records go to {shown(uri)}, as {TRACKING_URI} says"
        return study.model_copy(update={"tracking": Tracking(uri=uri)}), (where,)
    study = _beside(study, stored, root)
    if study.tracking_uri == uri:
        return study, ()
    where = f"MLflow's records stay at {shown(study.tracking_uri)}, where this run began, whatever {TRACKING_URI} says"
    return study, (where,)


def _beside(study: Study, stored: Study | None, root: Path) -> Study:
    """With the store that the study names, or that its run has, unless the run was moved away from that; else with the
    one beside the run folders."""
    if study.tracking.uri is None and stored is not None and stored.tracking.uri is not None:
        path = sqlite_path(stored.tracking.uri)
        if path is None or path.exists():
            return study.with_store_of(stored)
    return study.in_folder(root)
