"""Sweeps on Ray: the ledger is obeyed and told everything, whatever happens to trainers and workers."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle

from sweepstack.models.errors import StorageError, TrainingError
from sweepstack.models.files import write_json
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.execution.cluster import Cluster
from sweepstack.search.execution.executor import Job, Packing, run_sweeps
from sweepstack.search.execution.interrupts import Interrupts
from sweepstack.search.execution.sweep import Sweep, open_sweep
from sweepstack.search.execution.worker import Assignment, one_after_another
from sweepstack.search.ledger.ledger import MAIN, Ledger
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.study.search_section import PBT, ASHAStopper, PBTStopper, Resources, Search, StopperSettings
from sweepstack.search.study.space import Space

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test
SPACE = Space.parse({"train.lr": {"log": [1e-3, 1e-1]}}, TrialSettings())
EPOCHS = 3


class Notes:
    """A trainer that keeps its reports in a file, notes each step with its process, and breaks where it is told to."""

    def __init__(self, folder: Path, number: int, behaviour: str, parent: int | None = None) -> None:
        self.folder, self.number, self.behaviour, self.parent = folder, number, behaviour, parent
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state = folder / "state.json"
        self.reports: list[dict[str, float]] = json.loads(self.state.read_text()) if self.state.exists() else []

    def step(self) -> dict[str, float]:
        epoch = len(self.reports) + 1
        with (self.folder / "steps").open("a") as file:
            file.write(f"{epoch} {os.getpid()} {time.time()}\n")
        if self.parent is not None and not (self.folder.parent / str(self.parent) / "state.json").exists():
            raise TrainingError(f"what trial {self.parent} came to is gone")
        getattr(self, self.behaviour)(epoch)
        self.reports.append({"reward": self.number + epoch / 10})
        write_json(self.state, self.reports)
        return self.reports[-1]

    @property
    def kept(self) -> bool:
        return bool(self.reports)

    def close(self, finished: bool) -> None:
        if finished:
            self.state.unlink(missing_ok=True)

    def works(self, epoch: int) -> None: ...

    def waits_for_the_control(self, epoch: int) -> None:
        deadline = time.monotonic() + 60
        while not (self.folder.parent.parent / "supervised" / "0" / "steps").exists():
            assert time.monotonic() < deadline, "nobody has begun the control"
            time.sleep(0.05)

    def sleeps(self, epoch: int) -> None:
        time.sleep(30)

    def diverges(self, epoch: int) -> None:
        if epoch == 2:
            raise TrainingError("the loss is not a number")

    def dies_once(self, epoch: int) -> None:
        if epoch == 2 and not (self.folder / "died").exists():
            (self.folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def dies(self, epoch: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def spoils(self, epoch: int) -> None:
        nothing: Callable[[int], None] = lambda threads: None  # noqa: E731
        gpu: Any = SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: True), set_num_threads=nothing)
        sys.modules["torch"] = gpu
        raise RuntimeError("CUDA error")

    def fills_the_disk(self, epoch: int) -> None:
        raise StorageError("cannot write: no space left")


@dataclass(frozen=True)
class MakeNotes:
    folder: Path
    behaviours: dict[int, str]  # by trial number; the others work

    def __call__(self, trial: Assignment) -> Notes:
        behaviour = self.behaviours.get(trial.number, "works")
        return Notes(self.folder / str(trial.number), trial.number, behaviour, trial.parent)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    opened = Cluster(RunFolder(tmp_path_factory.mktemp("ray") / "run"), concurrency=2)
    yield opened
    opened.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.log") as opened:
        yield opened


class Run:
    """Sweeps over one ledger, executed; ``changes`` are what ``on_change`` was told."""

    def __init__(self, cluster: Cluster, ledger: Ledger, folder: Path) -> None:
        self.cluster, self.ledger, self.folder = cluster, ledger, folder
        self.changes: list[TrialRecord] = []

    def sweep(self, trials: int, name: str = MAIN, stopper: StopperSettings = "none") -> Sweep:
        return open_sweep(
            self.ledger,
            name,
            space=SPACE,
            search=Search(sampler="random", stopper=stopper),
            epochs=EPOCHS,
            trials=trials,
        )

    def __call__(
        self,
        *sweeps: Sweep,
        behaviours: dict[int, str] | None = None,
        on_change: Callable[[TrialRecord], None] | None = None,
        packing: Packing | None = None,
    ) -> None:
        run_sweeps(
            [Job(sweep, MakeNotes(self.folder / sweep.name, behaviours or {}), packing) for sweep in sweeps],
            cluster=self.cluster,
            slots=2,
            resources=Resources(),
            on_change=on_change or self.changes.append,
        )

    def steps(self, number: int, sweep: str = MAIN) -> list[tuple[int, int, float]]:
        """Epoch, process and time of each step of a trial."""
        path = self.folder / sweep / str(number) / "steps"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(epoch), int(pid), float(when)) for epoch, pid, when in (line.split() for line in lines)]

    def left_to_go_on(self) -> list[str]:
        return [path.parent.name for path in self.folder.glob("*/*/state.json")]


@pytest.fixture
def run(cluster: Cluster, ledger: Ledger, tmp_path: Path) -> Run:
    return Run(cluster, ledger, tmp_path / "trials")


def test_two_sweeps_in_one_run_with_every_change_told(run: Run) -> None:
    main, control = run.sweep(5), run.sweep(2, "supervised")
    run(main, control)
    for sweep, trials in ((main, 5), (control, 2)):
        assert [(r.number, r.state, len(r.reports), r.value) for r in sweep.trials()] == [
            (n, "complete", EPOCHS, n + 0.3) for n in range(trials)
        ]
    told = [(r.state, len(r.reports)) for r in run.changes if (r.sweep, r.number) == (MAIN, 4)]
    assert told == [("running", 0), ("running", 1), ("running", 2), ("complete", 3)]
    asked = [(r.sweep, r.number) for r in run.changes if not r.reports]
    assert asked == [(MAIN, n) for n in range(5)] + [("supervised", n) for n in range(2)], "in order"
    working = 0
    for record in run.changes:
        working += (not record.reports) - (record.state != "running")
        assert 0 <= working <= 2
    processes = {pid for sweep, n in asked for _, pid, _ in run.steps(n, sweep)}
    assert len(processes) <= 2, "workers are used again"
    assert run.left_to_go_on() == []


def test_a_slot_that_the_first_sweep_leaves_takes_the_seconds_trials(run: Run) -> None:
    main, control = run.sweep(1), run.sweep(1, "supervised")
    order: list[tuple[str, int]] = []
    run(main, control, on_change=lambda record: order.append((record.sweep, len(record.reports))))
    assert order.index(("supervised", 0)) < order.index((MAIN, EPOCHS))


def test_a_trial_that_diverges_is_a_failed_row_and_the_sweep_goes_on(run: Run) -> None:
    sweep = run.sweep(3)
    run(sweep, behaviours={1: "diverges"})
    assert [r.state for r in sweep.trials()] == ["complete", "failed", "complete"]
    assert sweep.record(1).reason == "the loss is not a number; its checkpoint of epoch 1 is kept"
    assert sweep.record(1).may_be_member(folds=1)
    assert [len(r.reports) for r in sweep.trials()] == [3, 1, 3]
    assert run.changes[-1].state != "running"
    assert run.left_to_go_on() == []


def test_the_stoppers_verdict_ends_a_trial(run: Run) -> None:
    sweep = run.sweep(4, stopper=ASHAStopper())
    sweep.ask()
    sweep.report(0, 1, {"reward": 99.0})  # nobody is better
    sweep.fail(0, "only to be beaten by")
    sweep.ask()
    for epoch in (1, 2, 3):
        sweep.report(1, epoch, {"reward": 99.0})
    sweep.complete(1)
    run(sweep)
    assert [(r.state, r.rung, len(r.reports)) for r in sweep.trials()][2:] == [("pruned", 1, 1)] * 2
    assert run.left_to_go_on() == []


def test_a_killed_worker_is_replaced_and_the_trial_goes_on_from_its_folder(run: Run) -> None:
    sweep = run.sweep(2)
    run(sweep, behaviours={0: "dies_once"})
    assert [r.state for r in sweep.trials()] == ["complete", "complete"]
    steps = run.steps(0)
    assert [epoch for epoch, *_ in steps] == [1, 2, 2, 3], "only the epoch that was cut off is repeated"
    assert steps[0][1] == steps[1][1] != steps[2][1] == steps[3][1]


def test_a_trial_that_kills_its_workers_fails(run: Run) -> None:
    sweep = run.sweep(2)
    run(sweep, behaviours={1: "dies"})
    assert [r.state for r in sweep.trials()] == ["complete", "failed"]
    assert "died 3 times" in str(sweep.record(1).reason)
    assert not sweep.record(1).may_be_member(folds=1), "what its last worker left may be half of one epoch"
    assert len(run.steps(1)) == 3


def test_a_worker_spoilt_by_a_gpus_fault_trains_no_other_trial(run: Run) -> None:
    sweep = run.sweep(4)
    run(sweep, behaviours={1: "spoils"})
    assert [r.state for r in sweep.trials()] == ["complete", "failed", "complete", "complete"]
    assert sweep.record(1).reason == "RuntimeError: CUDA error"
    ((_, spoilt, then),) = run.steps(1)
    assert not [n for n in (0, 2, 3) for _, pid, when in run.steps(n) if pid == spoilt and when > then]


def test_an_adopted_trial_whose_checkpoint_is_ahead_is_replayed_not_trained(run: Run) -> None:
    sweep = run.sweep(2)
    sweep.ask()
    sweep.report(0, 1, {"reward": 0.1})
    trainer = Notes(run.folder / MAIN / "0", 0, "works")
    while len(trainer.reports) < EPOCHS:
        trainer.step()
    done_before = len(run.steps(0))
    again = run.sweep(2)
    run(again)
    assert [r.state for r in again.trials()] == ["complete", "complete"]
    assert again.record(0).reports == tuple(trainer.reports)
    assert len(run.steps(0)) == done_before


def test_a_replay_that_is_judged_trains_no_more(run: Run) -> None:
    sweep = run.sweep(2, stopper=ASHAStopper())
    sweep.ask()
    trainer = Notes(run.folder / MAIN / "0", 0, "works")
    trainer.step()
    sweep.ask()
    for epoch in (1, 2, 3):
        sweep.report(1, epoch, {"reward": 99.0})
    sweep.complete(1)
    again = run.sweep(2, stopper=ASHAStopper())
    run(again)
    assert (again.record(0).state, again.record(0).rung) == ("pruned", 1)
    assert [epoch for epoch, *_ in run.steps(0)] == [1]


OF_TWO = PBTStopper(pbt=PBT(population=2))


def test_a_population_goes_on_from_its_own_states_and_leaves_none(run: Run) -> None:
    """While the slower of two members decides who goes on from whom, the free slot takes the next sweep's trials."""
    main, control = run.sweep(2 * EPOCHS, stopper=OF_TWO), run.sweep(2, "supervised")
    run(main, control, behaviours={0: "waits_for_the_control"})
    assert [(r.number, r.state, len(r.reports)) for r in main.trials()] == [(n, "complete", 1) for n in range(6)]
    assert [r.state for r in control.trials()] == ["complete", "complete"]
    assert run.left_to_go_on() == []


def test_a_member_whose_parent_is_gone_fails_and_goes_on_from_another(run: Run) -> None:
    sweep = run.sweep(
        4 * EPOCHS, stopper=PBTStopper()
    )  # later numbers are better, so only the first changes its parent

    def lose(record: TrialRecord) -> None:
        if record.number == 4 and not record.reports and record.state == "running":
            (run.folder / MAIN / str(record.attributes["parent"]) / "state.json").unlink()

    run(sweep, on_change=lose)
    lost, *others = sorted(sweep.trials(), key=lambda record: record.state != "failed")
    assert (lost.number, lost.reason) == (4, f"what trial {lost.attributes['parent']} came to is gone")
    child = next(
        r for r in others if (r.attributes["member"], r.attributes["generation"]) == (lost.attributes["member"], 2)
    )
    assert [r.state for r in others] == ["complete"] * 11
    assert sweep.record(child.attributes["parent"]).attributes["member"] != child.attributes["member"]
    assert not sweep.unfinished


@pytest.fixture
def forget_signals(cluster: Cluster) -> Iterator[Callable[[], None]]:
    """A run that is interrupted ends its session; the cluster of these tests goes on."""
    cluster.start()

    def forget() -> None:
        cluster.interrupts.restore()
        cluster.interrupts = Interrupts()
        cluster.interrupts.install()

    yield forget
    forget()


@pytest.mark.usefixtures("forget_signals")
def test_a_signal_ends_the_run_soon_and_leaves_trials_running(run: Run) -> None:
    sweep = run.sweep(3)
    signalled = 0.0

    def interrupt(record: TrialRecord) -> None:
        nonlocal signalled
        if record.number == 2 and not signalled:
            signalled = time.monotonic()
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        run(sweep, behaviours={1: "sleeps"}, on_change=interrupt)
    assert time.monotonic() - signalled < 2
    assert [r.state for r in sweep.trials()] == ["complete", "running", "running"]


def test_interrupted_trials_are_finished_by_the_next_run(run: Run, forget_signals: Callable[[], None]) -> None:
    sweep = run.sweep(2)

    def interrupt(record: TrialRecord) -> None:
        if len(record.reports) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(sweep, on_change=interrupt)
    assert {r.state for r in sweep.trials()} <= {"running", "complete"}
    forget_signals()
    again = run.sweep(2)
    run(again)
    assert [(r.number, r.state, r.value) for r in again.trials()] == [(0, "complete", 0.3), (1, "complete", 1.3)]
    assert run.left_to_go_on() == []


def test_what_the_listener_raises_comes_through(run: Run) -> None:
    def fail(record: TrialRecord) -> None:
        raise StorageError("the disk is full")

    with pytest.raises(StorageError, match="the disk is full"):
        run(run.sweep(2), on_change=fail)


def test_a_full_disk_ends_the_run_and_fails_no_trial(run: Run) -> None:
    sweep = run.sweep(3)
    with pytest.raises(StorageError, match="no space left"):
        run(sweep, behaviours={0: "fills_the_disk", 1: "sleeps"})
    assert {r.state for r in sweep.trials()} == {"running"}


def test_nothing_to_do_is_done_at_once(run: Run) -> None:
    sweep = run.sweep(1)
    run(sweep)
    changes = len(run.changes)
    run(sweep)
    assert len(run.changes) == changes


def together(trainers: list[Notes]) -> list[dict[str, float] | Exception]:
    """Notes who was trained beside whom."""
    for trainer in trainers:
        with (trainer.folder / "beside").open("a") as file:
            file.write(f"{len(trainers)}\n")
    return one_after_another(trainers)


def packed(width: int, shape: Callable[[dict[str, Any]], Any] = lambda values: "one") -> Packing:
    return Packing(lambda: width, shape, together)


def widths(run: Run, number: int) -> list[int]:
    """How many trials were trained together, at each step of this one."""
    return [int(line) for line in (run.folder / MAIN / str(number) / "beside").read_text().split()]


def test_trials_of_a_pack_have_their_own_reports_and_leave_no_slot_idle(run: Run) -> None:
    sweep = run.sweep(6)
    run(sweep, packing=packed(4))
    assert [(r.state, len(r.reports), r.value) for r in sweep.trials()] == [
        ("complete", EPOCHS, n + 0.3) for n in range(6)
    ]
    assert max(width for n in range(6) for width in widths(run, n)) == 3, "six trials for two slots"
    told = [(r.state, len(r.reports)) for r in run.changes if r.number == 4]
    assert told == [("running", 0), ("running", 1), ("running", 2), ("complete", 3)]
    assert run.left_to_go_on() == []


def test_only_trials_of_one_shape_are_packed(run: Run) -> None:
    sweep = run.sweep(4)
    run(sweep, packing=packed(4, lambda values: values["train.lr"]))
    assert [r.state for r in sweep.trials()] == ["complete"] * 4
    assert {width for n in range(4) for width in widths(run, n)} == {1}


def test_a_trial_that_is_stopped_leaves_its_pack_and_another_takes_its_place(run: Run) -> None:
    sweep = run.sweep(10, stopper=ASHAStopper())
    sweep.ask()
    for epoch in (1, 2, 3):
        sweep.report(0, epoch, {"reward": 6.0})
    sweep.complete(0)
    run(sweep, packing=packed(2))
    states = {r.number: (r.state, len(r.reports)) for r in sweep.trials()}
    assert states[1] == ("pruned", 1)
    assert states[9] == ("complete", EPOCHS), "the best one"
    assert [epoch for epoch, *_ in run.steps(1)] == [1], "it was not trained on"
    assert all(2 in widths(run, n) for n in (3, 4, 5)), "there was always another"
    assert run.left_to_go_on() == []


def test_a_trial_that_diverges_fails_alone_in_its_pack(run: Run) -> None:
    sweep = run.sweep(4)
    run(sweep, behaviours={1: "diverges"}, packing=packed(2))
    assert [r.state for r in sweep.trials()] == ["complete", "failed", "complete", "complete"]
    assert sweep.record(1).reason == "the loss is not a number; its checkpoint of epoch 1 is kept"


def test_a_pack_whose_worker_is_killed_goes_on_one_by_one(run: Run) -> None:
    sweep = run.sweep(4)
    run(sweep, behaviours={0: "dies_once", 3: "dies"}, packing=packed(2))
    assert [r.state for r in sweep.trials()] == ["complete", "complete", "complete", "failed"]
    assert "died 3 times" in str(sweep.record(3).reason)
    assert [epoch for epoch, *_ in run.steps(0)] == [1, 2, 2, 3]
    assert run.left_to_go_on() == []


def test_interrupted_trials_of_a_pack_are_replayed_and_finished(run: Run) -> None:
    sweep = run.sweep(4)
    for number in range(2):
        sweep.ask()
        trainer = Notes(run.folder / MAIN / str(number), number, "works")
        for _ in range(number + 1):
            trainer.step()
    again = run.sweep(4)
    run(again, packing=packed(4))
    assert [(r.state, r.value) for r in again.trials()] == [("complete", n + 0.3) for n in range(4)]
    assert [len(run.steps(n)) for n in range(4)] == [EPOCHS] * 4, "nothing is trained twice"
