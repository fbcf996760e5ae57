"""Does policy optimisation learn? On the quickstart's data, on rows that nothing was fitted to.

At the quickstart's cost of .01 a start stands where it should by itself: PPO (.907, .905, .908 by start) is within .001
of it. So a READ costs .05 here, for which a start reads too much. Measured when this was written, mean reward on blend
and test (2,250 rows) over train seeds 0–2, start by start:

    start   untrained policy   PPO, γ = 1   PPO, γ = .9   the start's fitted threshold
    0       .8212              .8369        .8293         .8320
    1       .8209              .8324        .8189         .8177
    2       .8184              .8339        .8269         .8335

So PPO gains .011–.016 over its own start as it stands, and .000–.015 over a threshold fitted on valid; it loses
.007–.014 to a γ of .9, which is a hidden cost of reading.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from sweepstack.models.data.encoding import TaskData, encode
from sweepstack.models.data.labelled import Dataset, load_dataset
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions, answer_above, fit_threshold, scores
from sweepstack.models.settings.data import Data, Splits
from sweepstack.models.settings.trial import Reading, TrialSettings
from sweepstack.models.tasks.classification.checkpoint import load_member
from sweepstack.models.tasks.classification.supervised import ensure_start
from sweepstack.models.tasks.trainers import new_trainer

pytestmark = pytest.mark.slow

READING = Reading(unit="characters", segment=2, max_segments=12, cost=0.05)
SPLITS = Splits(test=0.1429, policy=0.3333, valid=0.0833, blend=0.0833)
HELD_OUT = ("blend", "test")
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(Data(train="builtin:languages", splits=SPLITS), READING)


@pytest.fixture(scope="module")
def data(dataset: Dataset) -> TaskData:
    return encode(dataset, READING)


@pytest.fixture(scope="module", params=[0, 1], ids=["start 0", "start 1"])
def rewards(
    request: pytest.FixtureRequest, dataset: Dataset, data: TaskData, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, float]:
    """Mean reward on the held-out rows: of the start, and of PPO over three seeds at γ = 1 and γ = .9."""
    torch.set_num_threads(1)
    folder: Path = tmp_path_factory.mktemp("learning")
    labels = {name: dataset.parts[name].labels for name in dataset.parts}

    def mean(predictions: list[Predictions]) -> float:
        costs = Costs(READING.cost)
        each = [scores(p, labels[name], costs)["reward"] for p, name in zip(predictions, HELD_OUT, strict=True)]
        return float(np.concatenate(each).mean())

    settings = TrialSettings(reading=READING, device="cpu").with_values({"train.warm_start.seed": request.param})
    start = load_member(ensure_start(settings, data, folder / "starts"))
    held_out = [start.read(dataset.parts[name].inputs) for name in HELD_OUT]
    valid = start.read(dataset.parts["valid"].inputs)
    threshold = fit_threshold(valid.probabilities, valid.n_segments, labels["valid"], Costs(READING.cost))
    found = {
        "untrained": mean(held_out),
        "threshold": mean([answer_above(p.probabilities, p.n_segments, threshold) for p in held_out]),
    }
    for gamma in (1.0, 0.9):
        of_seeds = []
        for seed in SEEDS:
            place = folder / f"{gamma}-{seed}"
            changed = settings.with_values({"train.gamma": gamma, "train.seed": seed})
            trainer = new_trainer(changed, data, folder / "starts", place, "reward")
            while len(trainer.reports) < changed.train.epochs:
                trainer.step()
            paths = [place / "predictions" / f"{name}.safetensors" for name in HELD_OUT]
            of_seeds.append(mean([Predictions.load(path)[0] for path in paths]))
        found[f"gamma {gamma}"] = float(np.mean(of_seeds))
    return found


def test_ppo_beats_the_policy_that_it_started_from(rewards: dict[str, float]) -> None:
    """By half of what was measured. A policy that did not learn gains 0."""
    assert rewards["gamma 1.0"] > rewards["untrained"] + 0.006, rewards


def test_ppo_finds_what_a_fitted_threshold_finds(rewards: dict[str, float]) -> None:
    assert rewards["gamma 1.0"] > rewards["threshold"] - 0.005, rewards


def test_a_gamma_below_one_is_a_hidden_cost_of_reading(rewards: dict[str, float]) -> None:
    assert rewards["gamma 0.9"] < rewards["gamma 1.0"] - 0.0035, rewards
