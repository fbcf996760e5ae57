"""Does a study of 10,000 trials cost the driver more by the trial than one of 100, and can it still be looked at?

    python studies/benchmarks/scale.py [--trials 10000] [--tpe 1000]

Trivial trials of three epochs under ASHA go through the sweep and the ledger as the driver takes them, two at a time,
each change with what screen and MLflow are told; nothing is executed. Time is the driver's own, of the processor, for
asking, reports and end of a trial, over the last 100 trials of a study of 100 and of 10,000; memory is what Python
holds of it by the trial, from tracemalloc, in a process of its own. Then what is done with the folder of either study:
`sweepstack status`, opening it to go on, and its leaderboard. TPE's own cost, which is that of fitting its densities
to all trials, stands beside it.
"""

import argparse
import gc
import json
import random
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

from sweepstack.search.execution.sweep import Sweep, open_sweep
from sweepstack.search.ledger.leaderboard import write_leaderboard
from sweepstack.search.ledger.ledger import MAIN, Ledger
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.report.display import Display
from sweepstack.search.report.result import Result
from sweepstack.search.study.space import Space
from sweepstack.search.study.study import Study
from sweepstack.search.tracking.run_states import trial_state

QUICKSTART = Path(__file__).parent.parent / "quickstart.yaml"
EPOCHS, FEW, WORKERS = 3, 100, 2
BOUNDS = {"time": 2.0, "memory": 2.0, "seconds": 5.0}


def study(sampler: str, trials: int) -> Study:
    given = [f"search.sampler={sampler}", f"search.trials={trials}", f"train.epochs={EPOCHS}"]
    return Study.load(QUICKSTART, given)


def begin(of: Study, ledger: Ledger) -> Sweep:
    space, _ = Space.of(of.space, of.trial_settings())
    return open_sweep(ledger, MAIN, space=space, search=of.search, epochs=EPOCHS)


def drive(of: Study, sweep: Sweep, folder: RunFolder) -> list[float]:
    """Runs the sweep to its end; the seconds of each trial, in the order in which they ended."""
    space, _ = Space.of(of.space, of.trial_settings())
    with open("/dev/null", "w") as nowhere:
        display = Display(of, space, {}, WORKERS, nowhere)
        told: dict[str, Any] = {}
        drawn = random.Random(0)
        running: list[list[Any]] = []
        seconds: list[float] = []

        def changed(number: int) -> None:
            record = sweep.record(number)
            display.trial(record)
            told["last"] = trial_state(record, folder.trial(number))

        while True:
            while len(running) < WORKERS:
                began = time.thread_time()
                record = sweep.ask()
                if record is None:
                    break
                changed(record.number)
                running.append([record.number, 0, time.thread_time() - began])
            if not running:
                return seconds
            trial = running.pop(0)
            number, epoch = trial[0], trial[1] + 1
            names = ("accuracy", "segments", "log_loss", "train_loss", "lr", "seconds")
            metrics = {"reward": drawn.random(), **dict.fromkeys(names, drawn.random())}
            began = time.thread_time()
            verdict = sweep.report(number, epoch, metrics)
            if verdict == "continue" and epoch == EPOCHS:
                sweep.complete(number)
            changed(number)
            trial[1:] = epoch, trial[2] + time.thread_time() - began
            if verdict == "stop" or epoch == EPOCHS:
                seconds.append(trial[2])
            else:
                running.append(trial)


def timed(sampler: str, trials: int, root: Path) -> dict[str, float]:
    folder = RunFolder(root / "run")
    folder.root.mkdir(parents=True)
    of = study(sampler, trials).in_folder(folder.root)
    folder.study.write_text(of.dump())
    with Ledger.open(root / "warm-up" / "ledger.log") as ledger:
        drive(study("random", FEW), begin(study("random", FEW), ledger), folder)
    with Ledger.open(folder.ledger) as ledger:
        seconds = drive(of, begin(of, ledger), folder)
    found = {"ms": 1000 * sum(seconds[-FEW:]) / FEW, "whole": sum(seconds)}
    gc.collect()
    began = time.perf_counter()
    with Ledger.open(folder.ledger) as ledger:
        begin(of, ledger)
    found["resume"] = time.perf_counter() - began
    began = time.perf_counter()
    write_leaderboard(folder.leaderboard, Result.open(folder.root).leaderboard())
    found["leaderboard"] = time.perf_counter() - began
    began = time.perf_counter()
    command = [sys.executable, "-m", "sweepstack.search.cli", "status", str(folder.root)]
    subprocess.run(command, check=True, capture_output=True)
    found["status"] = time.perf_counter() - began
    return found


def weighed(sampler: str, trials: int, root: Path) -> dict[str, float]:
    folder = RunFolder(root / "run")
    of = study(sampler, trials)
    with Ledger.open(root / "warm-up" / "ledger.log") as ledger:
        drive(study("random", FEW), begin(study("random", FEW), ledger), folder)
    with Ledger.open(folder.ledger) as ledger:
        sweep = begin(of, ledger)
        gc.collect()
        tracemalloc.start()
        drive(of, sweep, folder)
        gc.collect()
        return {"kb": tracemalloc.get_traced_memory()[0] / trials / 1024}


def measure(what: str, sampler: str, trials: int) -> dict[str, float]:
    """In a process of its own."""
    done = subprocess.run([sys.executable, __file__, what, sampler, str(trials)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(trials: int, tpe: int) -> None:
    few, many = measure("timed", "random", FEW), measure("timed", "random", trials)
    light, heavy = measure("weighed", "random", FEW), measure("weighed", "random", trials)
    print(f"{'':28}{FEW:>10,}{trials:>10,}  trials, random sampler, ASHA")
    print(f"{'driver, ms a trial':28}{few['ms']:10.1f}{many['ms']:10.1f}  {many['ms'] / few['ms']:.2f}×")
    print(f"{'memory, KB a trial':28}{light['kb']:10.1f}{heavy['kb']:10.1f}  {heavy['kb'] / light['kb']:.2f}×")
    for what in ("status", "resume", "leaderboard"):
        print(f"{what + ', s':28}{few[what]:10.1f}{many[what]:10.1f}")
    own = {n: measure("timed", "tpe", n)["ms"] for n in (FEW, tpe)}
    print(f"\n{'TPE: driver, ms a trial':28}{own[FEW]:10.1f}{own[tpe]:10.1f}  at {tpe:,}")
    reached = [
        many["ms"] <= BOUNDS["time"] * few["ms"],
        heavy["kb"] <= BOUNDS["memory"] * light["kb"],
        *(many[what] <= BOUNDS["seconds"] for what in ("status", "resume", "leaderboard")),
    ]
    sys.exit(not all(reached))


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in ("timed", "weighed"):
        with tempfile.TemporaryDirectory() as name:
            run = timed if sys.argv[1] == "timed" else weighed
            print(json.dumps(run(sys.argv[2], int(sys.argv[3]), Path(name))))
    else:
        parser = argparse.ArgumentParser()
        parser.add_argument("--trials", type=int, default=10_000)
        parser.add_argument("--tpe", type=int, default=1_000)
        asked = parser.parse_args()
        main(asked.trials, asked.tpe)
