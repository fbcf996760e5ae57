"""Ray Tune executes what the ledger decides.

A thin Searcher asks the ledger for trials and a thin scheduler reports their results to it and passes its verdicts on;
neither knows anything that the ledger does not. Trials are class Trainables in reused actors. A trial that cannot go on
is a failed row with its reason; a worker that was killed is replaced and goes on from the trial's own folder, for which
Tune's checkpoints are not needed. Several sweeps are worked through in one Tune run, so that no slot waits at the end of
one for the beginning of the next.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, TuneConfig
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweepstack.models.errors import StorageError, SweepstackError
from sweepstack.search.ledger import Sweep, TrialRecord
from sweepstack.search.runtime import Cluster, interrupts
from sweepstack.search.study import Resources

WORKER_DEATHS = 2  # that a trial survives


class TrainerLike(Protocol):
    """What trains one trial; models.trainer.Trainer is one."""

    reports: list[dict[str, float]]  # of the epochs that are done, also after it has been taken up again

    def step(self) -> dict[str, float]: ...


@dataclass(frozen=True)
class Job:
    sweep: Sweep
    make: Callable[[TrialRecord], TrainerLike]  # pickled to the workers; large data as a Ray object reference
    ended: Callable[[TrialRecord], None] = lambda record: None  # called here when a trial is complete, pruned or failed


def one_line(error: Exception) -> str:
    """Why a trial failed; our own errors say it themselves."""
    if isinstance(error, SweepstackError):
        return str(error)
    return f"{type(error).__name__}: {error}".splitlines()[0]


class TrialActor(tune.Trainable):
    """Trains the trials that it is given, one after the other, an epoch a step."""

    def setup(self, config: dict[str, Any], makes: Sequence[Any] = (), threads: int = 1) -> None:
        import torch

        torch.set_num_threads(threads)
        self._makes = makes
        self._trainer: TrainerLike | None = None  # made in the first step: Tune sets up spare actors, too

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.config = new_config
        self._trainer = None
        return True

    def step(self) -> dict[str, Any]:
        record: TrialRecord = self.config["record"]
        try:
            if self._trainer is None:
                self._trainer = self._makes[self.config["job"]](record)
                self._reported = min(len(record.reports), len(self._trainer.reports))
            if self._reported < len(self._trainer.reports):  # trained before a kill, and not yet in the ledger
                metrics = self._trainer.reports[self._reported]
            else:
                metrics = self._trainer.step()
        except StorageError as error:  # would be the end of every other trial, too
            return {"fatal": str(error), tune.result.DONE: True}
        except Exception as error:
            self._trainer = None
            return {"failed": one_line(error), tune.result.DONE: True}
        self._reported += 1
        done = self._reported >= self.config["epochs"]
        # As pairs: of a dict Tune would make keys with slashes.
        return {"epoch": self._reported, "metrics": list(metrics.items()), tune.result.DONE: done}

    def cleanup(self) -> None:
        self._trainer = None


@dataclass
class Board:
    """What the Searcher and the scheduler share: which Tune trial is which trial of which sweep."""

    jobs: Sequence[Job]
    on_change: Callable[[TrialRecord], None]
    places: dict[str, tuple[int, int]] = field(default_factory=dict)  # by Tune's id: job and trial number
    fatal: str | None = None

    def next(self, trial_id: str) -> dict[str, Any] | None:
        for place, job in enumerate(self.jobs):
            record = job.sweep.ask()
            if record is not None:
                self.places[trial_id] = (place, record.number)
                self.on_change(record)
                return {"job": place, "record": record, "epochs": job.sweep.epochs_of(record.number)}
        return None

    def result(self, trial_id: str, result: dict[str, Any]) -> str:
        """Records a result; the verdict is the ledger's. A result may come twice."""
        place, number = self.places[trial_id]
        sweep = self.jobs[place].sweep
        if "fatal" in result:
            self.fatal = result["fatal"]
            return TrialScheduler.STOP
        if "failed" in result:
            sweep.fail(number, result["failed"])
            verdict = "stop"
        else:
            verdict = sweep.report(number, result["epoch"], dict(result["metrics"]))
            if verdict == "continue" and result["epoch"] >= sweep.epochs_of(number):
                sweep.complete(number)
        self._changed(place, number)
        return str(TrialScheduler.STOP if verdict == "stop" else TrialScheduler.CONTINUE)

    def lost(self, trial_id: str) -> None:
        place, number = self.places[trial_id]
        self.jobs[place].sweep.fail(number, f"its worker died {WORKER_DEATHS + 1} times; log.txt may say why")
        self._changed(place, number)

    def _changed(self, place: int, number: int) -> None:
        record = self.jobs[place].sweep.record(number)
        if record.state != "running":
            self.jobs[place].ended(record)
        self.on_change(record)


class LedgerSearcher(Searcher):
    def __init__(self, board: Board) -> None:
        super().__init__()
        self._board = board

    def __getstate__(self) -> dict[str, Any]:  # Tune pickles it for a restore that we do not use
        return {}

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:  # a configuration, or FINISHED
        config = self._board.next(trial_id)
        return Searcher.FINISHED if config is None else config

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if error:
            self._board.lost(trial_id)
        elif result and ("metrics" in result or "failed" in result or "fatal" in result):
            self._board.result(trial_id, result)  # Tune shows the last result to nobody but us

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class LedgerScheduler(FIFOScheduler):
    def __init__(self, board: Board) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._board = board

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        return self._board.result(trial.trial_id, result)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        if interrupts.asked:
            raise KeyboardInterrupt
        if self._board.fatal is not None:
            raise StorageError(self._board.fatal)
        return super().choose_trial_to_run(tune_controller)


def run_sweeps(
    jobs: Sequence[Job],
    *,
    cluster: Cluster,
    slots: int,
    resources: Resources,
    on_change: Callable[[TrialRecord], None],
) -> None:
    """Works through the jobs in their order, ``slots`` trials at a time, until every ledger has had enough.

    Raises KeyboardInterrupt when it is told to stop, and StorageError where a disk refuses; trials that were running
    stay so in the ledger, and the next call goes on with them.
    """
    cluster.start()
    board = Board(jobs, on_change)
    trainable = tune.with_parameters(TrialActor, makes=[job.make for job in jobs], threads=max(1, int(resources.cpu)))
    with tempfile.TemporaryDirectory(prefix="sweepstack-tune-") as scratch, interrupts.deferred():
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": resources.cpu, "gpu": resources.gpu}),
            param_space={},
            tune_config=TuneConfig(
                search_alg=LedgerSearcher(board),
                scheduler=LedgerScheduler(board),
                num_samples=-1,
                max_concurrent_trials=slots,
                reuse_actors=True,
            ),
            run_config=RunConfig(
                name="sweep",
                storage_path=scratch,
                failure_config=FailureConfig(max_failures=WORKER_DEATHS),
                checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
                callbacks=[],
            ),
        )
        tuner.fit()
    if board.fatal is not None:
        raise StorageError(board.fatal)


__all__ = ["Job", "TrainerLike", "run_sweeps"]
