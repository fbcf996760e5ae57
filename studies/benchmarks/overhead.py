"""What a trial costs over its own work: 200 trivial trials with three reports each, two at a time.

Our loop (ledger with the TPE sampler, and MLflow on sqlite beside it) against plain Ray Tune with reused actors, which
keeps no records, and against Ray Tune as it comes with its MLflowLoggerCallback on the same kind of store. Each is
measured in a fresh process, from its first finished trials on, so that the fixed start (Ray, first workers, opening the
MLflow store) is left out; it is shown beside. All take turns, so that other work on the machine favours none, and the
median over the runs counts. Ray Tune's defaults cost about a second a trial, so that it has fewer; all costs are by the
trial. A report's cost is what it holds up the driver's thread: ledger, verdict, and telling the tracker.

    python studies/benchmarks/overhead.py [--trials 200] [--default-trials 40] [--runs 5]
"""

import argparse
import json
import logging
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
from ray import tune

EPOCHS, SLOTS, WARM_UP = 3, 2, 4
LOOPS = {
    "ours": "ledger and MLflow",
    "ledger": "ledger only",
    "reused": "plain Ray Tune, reused actors, no records",
    "default": "Ray Tune as it comes, MLflowLoggerCallback",
}
BOUNDS = {"reused": 1.6, "default": 0.25}  # of our cost over theirs
REPORT_BOUND = 2.0  # ms
SPACE = {"lr": tune.loguniform(3e-4, 3e-2), "batch": tune.choice([64, 128, 256, 512]), "gamma": tune.uniform(0.9, 1.0)}


class Trivial:
    """A trainer without work."""

    kept = False

    def __init__(self) -> None:
        self.reports: list[dict[str, float]] = []

    def step(self) -> dict[str, float]:
        names = ("reward", "accuracy", "segments", "log_loss", "train_loss", "lr", "seconds")
        self.reports.append(dict.fromkeys(names, len(self.reports) / 10))
        return self.reports[-1]

    def close(self, finished: bool) -> None: ...


def make(trial: Any) -> Trivial:
    return Trivial()


class PlainTrivial(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.trainer = Trivial()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        return {**self.trainer.step(), "done": len(self.trainer.reports) == EPOCHS}

    def save_checkpoint(self, checkpoint_dir: str) -> None: ...


class Clock(tune.Callback):
    """When each trial ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.ends.append(time.perf_counter())


def ours(trials: int, folder: Path, *, tracking: bool) -> tuple[list[float], list[float]]:
    """The times at which trials ended, the last being when MLflow had recorded everything; seconds of each report."""
    from sweepstack.search.execution.capacity import cpus
    from sweepstack.search.execution.cluster import Cluster
    from sweepstack.search.execution.executor import Job, run_sweeps
    from sweepstack.search.execution.sweep import open_sweep
    from sweepstack.search.ledger.ledger import MAIN, Ledger
    from sweepstack.search.ledger.run_folder import RunFolder
    from sweepstack.search.study.search_section import Search
    from sweepstack.search.study.space import Space
    from sweepstack.search.study.study import Study
    from sweepstack.search.tracking.run_states import parent_state, trial_state
    from sweepstack.search.tracking.tracker import Tracker

    study = Study.load(Path(__file__).parent.parent / "quickstart.yaml")
    space, _ = Space.of(study.space, study.trial_settings())
    run = RunFolder(folder / "run")
    cluster = Cluster(run, concurrency=SLOTS)
    try:
        cluster.start()
        with Ledger.open(run.ledger) as ledger:
            sweep = open_sweep(
                ledger,
                MAIN,
                space=space,
                search=Search(sampler="tpe", stopper="none"),
                epochs=EPOCHS,
                trials=trials,
            )
            ends: list[float] = []
            reports: list[float] = []
            recorded = sweep.report

            def report(number: int, epoch: int, metrics: dict[str, float]) -> Any:
                began = time.perf_counter()
                verdict = recorded(number, epoch, metrics)
                changed(sweep.record(number))
                reports.append(time.perf_counter() - began)
                return verdict

            sweep.report = report  # type: ignore[method-assign]
            tracker = None
            if tracking:
                known: list[str] = []
                tracker = Tracker(
                    f"sqlite:///{folder}/mlflow.db", "overhead", "sweep", lambda key, run_id: known.append(key), print
                )
                tracker.put(parent_state(study, "running", time.time(), None))
                while not known:
                    time.sleep(0.01)

            def changed(record: Any) -> None:
                if tracker is not None:
                    tracker.put(trial_state(record, run.trial(record.number)))
                if record.state != "running":
                    ends.append(time.perf_counter())

            jobs = [Job(sweep, make)]
            run_sweeps(jobs, cluster=cluster, slots=min(SLOTS, cpus()), resources=cluster.resources, on_change=changed)
            if tracker is not None:
                assert tracker.close(60), tracker.missing()
                ends[-1] = time.perf_counter()
            return ends, reports
    finally:
        cluster.close()


def plain(trials: int, folder: Path, *, reuse: bool) -> list[float]:
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        num_cpus=SLOTS,
        _temp_dir=str(folder / "ray"),
    )
    clock = Clock()
    callbacks: list[Any] = [clock]
    if not reuse:
        callbacks.append(MLflowLoggerCallback(tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="overhead"))
    checkpoints = tune.CheckpointConfig(checkpoint_at_end=False) if reuse else tune.CheckpointConfig()
    tune.Tuner(
        PlainTrivial,
        param_space=SPACE,
        tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=SLOTS, reuse_actors=reuse),
        run_config=tune.RunConfig(
            storage_path=str(folder / "results"), verbose=0, callbacks=callbacks, checkpoint_config=checkpoints
        ),
    ).fit()
    ray.shutdown()
    return clock.ends


def measure(loop: str, trials: int) -> None:
    began = time.perf_counter()
    reports: list[float] = []
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # Ray's sockets need a short path
        if loop in ("ours", "ledger"):
            ends, reports = ours(trials, Path(folder), tracking=loop == "ours")
        else:
            ends = plain(trials, Path(folder), reuse=loop == "reused")
    assert len(ends) == trials
    cost = (ends[-1] - ends[WARM_UP - 1]) / (trials - WARM_UP)
    print(json.dumps({"ms": 1000 * cost, "start": ends[0] - began, "report": 1000 * statistics.median(reports or [0])}))


def measured(loop: str, trials: int) -> dict[str, float]:
    """In a process of its own."""
    token = {"RAY_AUTH_TOKEN": secrets.token_hex(32)}  # else Ray writes one to the user's home
    quiet = {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"} if loop == "reused" else {}
    command = [sys.executable, __file__, "measure", loop, str(trials + WARM_UP)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | token | quiet)
    if done.returncode:
        raise SystemExit(f"{LOOPS[loop]}: {(done.stderr or done.stdout)[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(trials: int, default_trials: int, runs: int) -> None:
    sizes = {loop: default_trials if loop == "default" else trials for loop in LOOPS}
    found: dict[str, list[dict[str, float]]] = {loop: [] for loop in LOOPS}
    for _ in range(runs):
        for loop, size in sizes.items():
            found[loop].append(measured(loop, size))
            print(f"{LOOPS[loop]:44}{found[loop][-1]['ms']:10.0f} ms a trial", file=sys.stderr, flush=True)
    print(f"{EPOCHS} reports a trial, {SLOTS} trials at a time, medians of {runs} runs\n")
    print(f"{'':44}{'trials':>8}{'ms/trial':>10}{'start, s':>10}{'ours/it':>10}{'bound':>8}")
    reached = []
    for loop, name in LOOPS.items():
        cost, start = (statistics.median(each[what] for each in found[loop]) for what in ("ms", "start"))
        ratio = statistics.median(
            own["ms"] / each["ms"] for own, each in zip(found["ours"], found[loop], strict=True)
        )  # of runs side by side
        bound = BOUNDS.get(loop)
        reached.append(bound is None or ratio <= bound)
        print(f"{name:44}{sizes[loop]:8}{cost:10.0f}{start:10.1f}{ratio:10.2f}{'' if bound is None else bound:>8}")
    report = statistics.median(each["report"] for each in found["ours"])
    print(f"\na report costs the driver {report:.2f} ms (bound {REPORT_BOUND:g})")
    sys.exit(not (all(reached) and report <= REPORT_BOUND))


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2], int(sys.argv[3]))
    else:
        parser = argparse.ArgumentParser()
        parser.add_argument("--trials", type=int, default=200)
        parser.add_argument("--default-trials", type=int, default=40)
        parser.add_argument("--runs", type=int, default=5)
        asked = parser.parse_args()
        main(asked.trials, asked.default_trials, asked.runs)
