"""Executes the trials of sweeps on Ray Tune: a thin Searcher and a thin scheduler stand over the ledger.

All sweeps go through one Tune run, in their order, so that a slot which the first has no more trials for takes one of
the next, and workers are used again. The ledger decides what is run and when it ends; Tune keeps nothing that matters.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepstack.models.errors import StorageError
from sweepstack.search.worker import Assignment, Make, TrialWorker

if TYPE_CHECKING:
    from sweepstack.search.runtime import Cluster
    from sweepstack.search.search_settings import Resources
    from sweepstack.search.sweep import Sweep
    from sweepstack.search.trial_record import TrialRecord

RETRIES = 2  # new workers for a trial whose worker process died
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """The trials of a sweep, and how a worker makes what trains one (``make`` is pickled: heavy data as ObjectRefs)."""

    sweep: "Sweep"
    make: Make


class _Stop(BaseException):
    """Leaves Tune at once, past its own handling of errors; what is to be raised stands with the run."""


@dataclass
class _Run:
    """What Searcher and scheduler share. Trials are known by the ids that Tune gives them."""

    jobs: Sequence[Job]
    on_change: Callable[["TrialRecord"], None]
    trials: dict[str, tuple[Job, "TrialRecord"]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)  # why a trial's workers are gone
    exhausted: int = 0  # how many of the jobs have no more trials to give
    error: BaseException | None = None
    controller: Any = None  # Tune's, as soon as it is known

    def next(self, trial_id: str) -> dict[str, Any] | None:
        """The configuration of the next trial, from the first sweep that has one; None where none has."""
        while self.exhausted < len(self.jobs):
            job = self.jobs[self.exhausted]
            record = job.sweep.ask()
            if record is not None:
                self.trials[trial_id] = job, record
                self.on_change(record)
                return {"job": self.exhausted, "trial": Assignment(record.number, record.settings)}
            self.exhausted += 1
        return None

    def take(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Puts what a worker has sent into the ledger; whether the trial goes on."""
        job, record = self.trials[trial_id]
        if "halted" in result:
            raise StorageError(result["halted"])
        if "failed" in result:
            self._fail(job, record, result["failed"])
            return False
        epochs = job.sweep.epochs_of(record.number)
        for epoch, metrics in enumerate(result["reports"], start=result["first"]):
            verdict = job.sweep.report(record.number, epoch, metrics)
            if verdict == "continue" and epoch >= epochs:
                job.sweep.complete(record.number)
            self.on_change(job.sweep.record(record.number))
            if verdict == "stop" or epoch >= epochs:
                self._forget(job, record)
                return False
        return True

    def died(self, trial_id: str, reason: str) -> None:
        job, record = self.trials[trial_id]
        if job.sweep.record(record.number).state == "running":
            self._fail(job, record, reason)

    def _fail(self, job: Job, record: "TrialRecord", reason: str) -> None:
        job.sweep.fail(record.number, reason)
        self.on_change(job.sweep.record(record.number))
        self._forget(job, record)

    def _forget(self, job: Job, record: "TrialRecord") -> None:
        """Removes what the trainer kept to go on. Only now: the verdict stands in the ledger, and its worker rests."""
        try:
            job.make(Assignment(record.number, record.settings)).close(True)
        except Exception:  # what could not be trained may not even be made
            log.warning("what trial %s-%d kept to go on is left", job.sweep.name, record.number, exc_info=True)


def run_sweeps(
    jobs: Sequence[Job],
    *,
    cluster: "Cluster",
    slots: int,
    resources: "Resources",
    on_change: Callable[["TrialRecord"], None],
) -> None:
    """Runs every trial that the sweeps ask for, ``slots`` at a time; ``on_change`` hears of each change in the ledger.

    Raises KeyboardInterrupt soon after a signal, and whatever the ledger or ``on_change`` raise; trials that are
    running then stay so in the ledger, for the next session to go on with. A trial that cannot be trained is failed.
    """
    cluster.start()
    from ray import tune

    run = _Run(jobs, on_change)
    searcher, scheduler = _over(run, lambda: cluster.interrupts.pending)
    worker = tune.with_parameters(
        TrialWorker,
        makes=tuple(job.make for job in jobs),
        log=cluster.folder.log,
        threads=max(1, int(resources.cpu)),
    )
    with cluster.interrupts.deferred(), cluster.storage() as storage:
        tuner = tune.Tuner(
            tune.with_resources(worker, {"cpu": resources.cpu, "gpu": resources.gpu}),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=-1,
                max_concurrent_trials=slots,
                reuse_actors=True,
                trial_dirname_creator=_id_of,
                trial_name_creator=_id_of,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(storage),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        try:
            tuner.fit()
        except _Stop:
            if run.controller is not None:  # ends the workers at once: Tune itself would wait for the running steps
                run.controller._actor_manager.cleanup()
    if run.error is not None:
        raise run.error


def _id_of(trial: Any) -> str:
    return str(trial.trial_id)


def _over(run: _Run, interrupted: Callable[[], bool]) -> tuple[Any, Any]:
    """The Searcher and the scheduler over a run. Whatever they raise Tune would take for a fault of the trial."""
    from ray.tune.schedulers import FIFOScheduler, TrialScheduler
    from ray.tune.search import Searcher

    def guarded(act: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return act(*arguments)
        except BaseException as error:
            run.error = error
            raise _Stop from error

    class LedgerSearcher(Searcher):
        def suggest(self, trial_id: str) -> Any:
            return guarded(run.next, trial_id) or Searcher.FINISHED

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            if error:
                guarded(run.died, trial_id, run.reasons[trial_id])

        def save(self, checkpoint_path: str) -> None:
            Path(checkpoint_path).touch()

        def restore(self, checkpoint_path: str) -> None: ...

        def __reduce__(self) -> tuple[Any, ...]:  # Tune pickles both, and never uses it
            return object, ()

    class LedgerScheduler(FIFOScheduler):
        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            goes_on = guarded(run.take, trial.trial_id, result)
            if result.get("spoilt"):  # the next step fails, and takes the worker with it
                trial.max_failures = 0
                goes_on = True
            return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

        def on_trial_error(self, controller: Any, trial: Any) -> None:
            run.reasons[trial.trial_id] = _why(trial.get_error())

        def choose_trial_to_run(self, controller: Any) -> None:
            """Looks at the flag, ten times a second at least; Tune starts what is waiting without a choice."""
            run.controller = controller
            if interrupted():
                run.error = KeyboardInterrupt()
                raise _Stop

        def __reduce__(self) -> tuple[Any, ...]:
            return object, ()

    scheduler: Any = LedgerScheduler  # Ray's own has no types
    return LedgerSearcher(), scheduler()


def _why(failures: str | None) -> str:
    """Why a trial's workers are gone, in one line, from what Tune wrote down: the last failure comes last."""
    last = (failures or "").rpartition("Failure # ")[2].strip()
    if "low on memory" in last:
        return f"its worker was ended {RETRIES + 1} times for want of memory; lower search.concurrency"
    if "creation task" in last:
        return f"its worker could not start: {last.splitlines()[-1]}"
    return f"its worker process died {RETRIES + 1} times (killed, or out of memory); see log.txt"
