"""How good a supervised start is: accuracy after reading everything, beside the linear model on the same warm rows.

    python studies/benchmarks/supervised_start.py

builtin:languages, two letters at a time (studies/quickstart.yaml's data), five seeds, on test. The start has five
epochs with a batch size of 32 and a rate of 4e-3, chosen on valid and blend for being short. The linear model is the
study's baseline, here without the policy part's rows, which a start does not see either. One thread; about a minute.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sweepstack.models.baselines.linear import LinearBaseline
from sweepstack.models.data.encoding import encode
from sweepstack.models.data.labelled import Part, load_dataset
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import metrics
from sweepstack.models.settings.data import Data
from sweepstack.models.settings.trial import Reading, TrialSettings
from sweepstack.models.tasks.classification.checkpoint import load_member
from sweepstack.models.tasks.classification.supervised import ensure_start

SPLITS = {"test": 0.1429, "policy": 0.3333, "valid": 0.0833, "blend": 0.0833}
SETTINGS = {
    "train.warm_start.batch_size": 32,
    "train.warm_start.epochs": 5,
    "train.warm_start.lr": 4e-3,
    "precision": "float32",
}


def main() -> None:
    torch.set_num_threads(1)
    reading = Reading(unit="characters", segment=2, max_segments=12)
    dataset = load_dataset(Data(train="builtin:languages", splits=SPLITS), reading)
    data, test = encode(dataset, reading), dataset.parts["test"]
    nothing = Part((), np.empty(0, dtype=np.int64))
    warm_only = replace(dataset, parts={**dataset.parts, "policy": nothing})
    linear = metrics(LinearBaseline.fit(warm_only, reading).read(test.inputs), test.labels, Costs(reading.score_cost))
    print(f"test n = {len(test.labels):,}: the linear model on warm alone {linear['accuracy_full']:.4f}")
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(5):
            settings = TrialSettings(reading=reading).with_values({**SETTINGS, "train.warm_start.seed": seed})
            wall, cpu = time.perf_counter(), time.process_time()
            start = ensure_start(settings, data, Path(folder))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            found = metrics(load_member(start).read(test.inputs), test.labels, Costs(reading.score_cost))
            print(
                f"seed {seed}: {found['accuracy_full']:.4f}, log loss {found['log_loss']:.3f}, "
                f"{wall:.1f} s, {cpu:.1f} of the processor's",
                flush=True,
            )


if __name__ == "__main__":
    main()
