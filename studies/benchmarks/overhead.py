"""What a trial costs over its own work: 50 trivial trials with three reports each, two at a time.

Our loop (ledger with the TPE sampler, then MLflow recording beside it) against plain Ray Tune with reused actors, and
plain Ray Tune as it comes. Each is measured in a fresh process, from its first finished trials on, so that the fixed
start (Ray, first workers, opening the MLflow store) is left out; it is shown beside. Two to three minutes on two cores.

    python studies/benchmarks/overhead.py [trials]
"""

import json
import logging
import os
import secrets
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
    "reused": "plain Ray Tune, reused actors, no loggers",
    "default": "plain Ray Tune as it comes",
}
SPACE = {"lr": tune.loguniform(3e-4, 3e-2), "batch": tune.choice([64, 128, 256, 512]), "gamma": tune.uniform(0.9, 1.0)}


class Trivial:
    """A trainer without work."""

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


def ours(trials: int, folder: Path, *, tracking: bool) -> list[float]:
    """The times at which trials ended; the last is when MLflow had recorded everything."""
    from sweepstack.search.capacity import cpus
    from sweepstack.search.executor import Job, run_sweeps
    from sweepstack.search.folder import RunFolder
    from sweepstack.search.ledger import MAIN, Ledger
    from sweepstack.search.mirror import parent_state, trial_state
    from sweepstack.search.runtime import Cluster
    from sweepstack.search.search_settings import Search
    from sweepstack.search.space import Space
    from sweepstack.search.study import Study
    from sweepstack.search.tracking import Tracker

    study = Study.load(Path(__file__).parent.parent / "quickstart.yaml")
    space, _ = Space.of(study.space, study.trial_settings())
    run = RunFolder(folder / "run")
    cluster = Cluster(run, concurrency=SLOTS)
    try:
        cluster.start()
        with Ledger.open(run.ledger) as ledger:
            sweep = ledger.sweep(
                MAIN,
                space=space,
                search=Search(sampler="tpe", stopper="none"),
                epochs=EPOCHS,
                trials=trials,
            )
            ends: list[float] = []
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
            return ends
    finally:
        cluster.close()


def plain(trials: int, folder: Path, *, reuse: bool) -> list[float]:
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        num_cpus=SLOTS,
        _temp_dir=str(folder / "ray"),
    )
    clock = Clock()
    checkpoints = tune.CheckpointConfig(checkpoint_at_end=False) if reuse else tune.CheckpointConfig()
    tune.Tuner(
        PlainTrivial,
        param_space=SPACE,
        tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=SLOTS, reuse_actors=reuse),
        run_config=tune.RunConfig(
            storage_path=str(folder / "results"), verbose=0, callbacks=[clock], checkpoint_config=checkpoints
        ),
    ).fit()
    ray.shutdown()
    return clock.ends


def measure(loop: str, trials: int) -> None:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # Ray's sockets need a short path
        if loop in ("ours", "ledger"):
            ends = ours(trials, Path(folder), tracking=loop == "ours")
        else:
            ends = plain(trials, Path(folder), reuse=loop == "reused")
    assert len(ends) == trials
    cost = (ends[-1] - ends[WARM_UP - 1]) / (trials - WARM_UP)
    print(json.dumps({"cost": cost, "start": ends[0] - began}))


def main(trials: int) -> None:
    print(
        f"{trials} trivial trials, {EPOCHS} reports each, {SLOTS} at a time\n\n{'':44}{'ms/trial':>10}{'start, s':>10}"
    )
    token = {"RAY_AUTH_TOKEN": secrets.token_hex(32)}  # else Ray writes one to the user's home
    quiet = {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
    for loop, name in LOOPS.items():
        environment = os.environ | token | (quiet if loop == "reused" else {})
        command = [sys.executable, __file__, str(trials + WARM_UP), loop]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise SystemExit(f"{name}: {(done.stderr or done.stdout)[-2000:]}")
        result = json.loads(done.stdout.splitlines()[-1])
        print(f"{name:44}{1000 * result['cost']:10.0f}{result['start']:10.1f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(sys.argv[2], int(sys.argv[1]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
