"""Executes the trials of sweeps on Ray Tune: a thin Searcher and a thin scheduler stand over the ledger.

All sweeps go through one Tune run, in their order, so that a slot which the first has no more trials for takes one of
the next, and workers are used again. The ledger decides what is run and when it ends; Tune keeps nothing that matters.
What Tune takes for a trial is a pack: one trial, or several of one shape that a worker trains as one program. A trial
that has ended leaves its pack, and another one takes its place.
"""

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sweepstack.models.errors import StorageError
from sweepstack.search.execution.worker import Assignment, Make, Together, TrialWorker, one_after_another

if TYPE_CHECKING:
    from sweepstack.search.execution.cluster import Cluster
    from sweepstack.search.execution.sweep import Sweep
    from sweepstack.search.ledger.records import TrialRecord
    from sweepstack.search.study.search_section import Resources

RETRIES = 2  # new workers for a trial whose worker process died
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Packing:
    """How trials of one sweep share a worker, which trains them as one program."""

    width: Callable[[], int]  # how many may be together, by what is known now
    shape: Callable[[dict[str, Any]], Hashable]  # of searched values: what trials must have in common; None: nobody may
    together: Together  # trains an epoch of several trainers; pickled


@dataclass(frozen=True)
class Job:
    """The trials of a sweep, and how a worker makes what trains one (``make`` is pickled: heavy data as ObjectRefs)."""

    sweep: "Sweep"
    make: Make
    packing: Packing | None = None  # None: every trial has a worker to itself


class _Stop(BaseException):
    """Leaves Tune at once, past its own handling of errors; what is to be raised stands with the run."""


@dataclass
class _Pack:
    """The trials that one worker trains: what Tune takes for a trial."""

    place: int  # of the job
    shape: Hashable  # None: a single trial, and no other is added
    members: dict[int, "TrialRecord"]  # by number, those that go on


@dataclass
class _Run:
    """What Searcher and scheduler share. Packs are known by the ids that Tune gives them."""

    jobs: Sequence[Job]
    on_change: Callable[["TrialRecord"], None]
    slots: int = 1
    packs: dict[str, _Pack] = field(default_factory=dict)  # at work
    waiting: list[_Pack] = field(default_factory=list)  # single trials that were asked for and have no worker
    reasons: dict[str, str] = field(default_factory=dict)  # why a pack's workers are gone
    exhausted: int = 0  # how many of the jobs have no more trials to give
    error: BaseException | None = None
    controller: Any = None  # Tune's, as soon as it is known

    def next(self, trial_id: str) -> dict[str, Any] | Literal["wait"] | None:
        """The configuration of the next pack, from the first sweep that has a trial; None where none has, nor will."""
        pack = self.waiting.pop(0) if self.waiting else self._asked()
        if pack is None:
            return "wait" if self.packs else None  # one may be handed back, or be queued by hand
        self.packs[trial_id] = pack
        self._fill(pack)
        return {"job": pack.place, "trials": [_assignment(record) for record in pack.members.values()]}

    def take(self, trial_id: str, result: dict[str, Any]) -> tuple[list[int], list[Assignment]] | None:
        """Puts what a worker has sent into the ledger. Returns which trials it need not train any more and which are
        to join the others, or None where nothing is left to train there."""
        if "halted" in result:
            raise StorageError(result["halted"])
        pack = self.packs[trial_id]
        before = list(pack.members)
        for news in result["news"]:
            self._hear(pack, news)
        if result["spoilt"]:
            self._hand_back(pack, list(pack.members))
        if not pack.members:
            del self.packs[trial_id]
            return None
        self._share(pack)
        staying = set(pack.members)
        self._fill(pack)
        added = [_assignment(record) for number, record in pack.members.items() if number not in staying]
        return [number for number in before if number not in staying], added

    def died(self, trial_id: str, reason: str) -> None:
        """The workers of a pack are gone. One of several is to blame, and it will show which when each has its own."""
        pack = self.packs.pop(trial_id, None)
        if pack is None:
            return
        job = self.jobs[pack.place]
        for number, record in pack.members.items():
            if job.sweep.record(number).state != "running":
                continue
            if pack.shape is None:
                self._fail(job, record, reason)
            else:
                self.waiting.append(_Pack(pack.place, None, {number: record}))

    def _asked(self) -> _Pack | None:
        for place, job in enumerate(self.jobs[: self.exhausted]):  # somebody may have queued one since
            if job.sweep.queued:
                return self._ask(place)
        for place in range(self.exhausted, len(self.jobs)):
            pack = self._ask(place)
            if pack is not None:
                return pack
            if place == self.exhausted and not self.jobs[place].sweep.expects:
                self.exhausted += 1
        return None

    def _ask(self, place: int) -> _Pack | None:
        job = self.jobs[place]
        record = job.sweep.ask()
        if record is None:
            return None
        self.on_change(record)
        shape = job.packing.shape(record.settings) if job.packing else None
        return _Pack(place, shape, {record.number: record})

    def _fill(self, pack: _Pack) -> None:
        """Adds trials of the same shape, as many as leave all slots busy. A few others may be asked for on the way."""
        packing = self.jobs[pack.place].packing
        if packing is None or pack.shape is None:
            return
        width = packing.width()
        if len(pack.members) < width:
            width = min(width, self._fair())
        while len(pack.members) < width:
            alike = next((each for each in self.waiting if each.shape == pack.shape and each.place == pack.place), None)
            if alike is not None:
                self.waiting.remove(alike)
                pack.members |= alike.members
                continue
            if len(self.waiting) >= width or self.exhausted > pack.place:
                return
            asked = self._asked()
            if asked is None:
                return
            self.waiting.append(asked)

    def _share(self, pack: _Pack) -> None:
        """Hands back what is more than this pack's share, where a slot has nothing to do."""
        if pack.shape is not None and not self.waiting and len(self.packs) < self.slots:
            self._hand_back(pack, list(pack.members)[self._fair() :])

    def _fair(self) -> int:
        """How many trials a pack may have so that no slot goes without."""
        left = 0
        for job in self.jobs:
            records = job.sweep.trials()
            left += max(0, job.sweep.budget - len(records)) + sum(not record.has_ended for record in records)
        return -(-left // self.slots)

    def _hand_back(self, pack: _Pack, numbers: list[int]) -> None:
        for number in numbers:
            self.waiting.append(_Pack(pack.place, pack.shape, {number: pack.members.pop(number)}))

    def _hear(self, pack: _Pack, news: dict[str, Any]) -> None:
        job, record = self.jobs[pack.place], pack.members[news["number"]]
        if "failed" in news:
            self._fail(job, record, news["failed"], kept=news["kept"])
            del pack.members[record.number]
            return
        epochs = job.sweep.epochs_of(record.number)
        for epoch, metrics in enumerate(news["reports"], start=news["first"]):
            verdict = job.sweep.report(record.number, epoch, metrics)
            if verdict == "continue" and epoch >= epochs:
                job.sweep.complete(record.number)
            self.on_change(job.sweep.record(record.number))
            if verdict == "stop" or epoch >= epochs:
                self._forget(job, record)
                del pack.members[record.number]
                return

    def _fail(self, job: Job, record: "TrialRecord", reason: str, *, kept: bool = False) -> None:
        job.sweep.fail(record.number, reason, kept=kept)
        self.on_change(job.sweep.record(record.number))
        self._forget(job, record)

    def _forget(self, job: Job, record: "TrialRecord") -> None:
        """Removes what trainers kept to go on, now that this one's trial has ended. Only now: the verdict stands in the
        ledger, and its worker rests."""
        for number in job.sweep.spent(record.number):
            try:
                job.make(_assignment(job.sweep.record(number))).close(True)
            except Exception:  # what could not be trained may not even be made
                log.warning("what trial %s-%d kept to go on is left", job.sweep.name, number, exc_info=True)


def _assignment(record: "TrialRecord") -> Assignment:
    known = record.attributes
    return Assignment(record.number, record.settings, known.get("parent"), known.get("epochs_before", 0))


def run_sweeps(
    jobs: Sequence[Job],
    *,
    cluster: "Cluster",
    slots: int,
    resources: "Resources",
    on_change: Callable[["TrialRecord"], None],
    poll: Callable[[], None] = lambda: None,
) -> None:
    """Runs every trial that the sweeps ask for, ``slots`` at a time; ``on_change`` hears of each change in the ledger.
    ``poll`` is called about ten times a second.

    Raises KeyboardInterrupt soon after a signal, and whatever the ledger or ``on_change`` raise; trials that are
    running then stay so in the ledger, for the next session to go on with. A trial that cannot be trained is failed.
    """
    cluster.start()
    from ray import tune

    run = _Run(jobs, on_change, slots)
    searcher, scheduler = _over(run, lambda: cluster.interrupts.pending, poll)
    worker = tune.with_parameters(
        TrialWorker,
        makes=tuple(job.make for job in jobs),
        together=tuple(job.packing.together if job.packing else one_after_another for job in jobs),
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


def _over(run: _Run, interrupted: Callable[[], bool], poll: Callable[[], None]) -> tuple[Any, Any]:
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
            config = guarded(run.next, trial_id)
            if config == "wait":
                return None
            return Searcher.FINISHED if config is None else config

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            if error:
                guarded(run.died, trial_id, run.reasons[trial_id])

        def save(self, checkpoint_path: str) -> None:
            Path(checkpoint_path).touch()

        def restore(self, checkpoint_path: str) -> None: ...

        def __reduce__(self) -> tuple[Any, ...]:  # Tune pickles both, and never uses it
            return object, ()

    class LedgerScheduler(FIFOScheduler):
        def on_trial_add(self, controller: Any, trial: Any) -> None:
            pack = run.packs.get(trial.trial_id)
            if pack is not None and pack.shape is not None:  # whose workers die shall not take others with it again
                trial.max_failures = 0

        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            change = guarded(run.take, trial.trial_id, result)
            if result.get("spoilt"):  # the next step fails, and takes the worker with it
                trial.max_failures = 0
                return str(TrialScheduler.CONTINUE)
            if change is None:
                return str(TrialScheduler.STOP)
            if any(change):  # heard before the next step: a worker does one thing after the other, in order
                trial.temporary_state.ray_actor.exchange.remote(*change)
            return str(TrialScheduler.CONTINUE)

        def on_trial_error(self, controller: Any, trial: Any) -> None:
            run.reasons[trial.trial_id] = _why(trial.get_error())

        def choose_trial_to_run(self, controller: Any) -> None:
            """Looks at the flag, ten times a second at least; Tune starts what is waiting without a choice."""
            run.controller = controller
            if interrupted():
                run.error = KeyboardInterrupt()
                raise _Stop
            guarded(poll)

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
