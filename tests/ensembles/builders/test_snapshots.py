from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.builders.retrained import Grounds, Origin
from sweepstack.ensembles.builders.snapshots import Snapshots, cycle
from sweepstack.ensembles.refits.jobs import RefitResult, refit
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.optim.schedules import lr_factors
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions
from sweepstack.models.settings.trial import TrialSettings


def test_cycles_share_the_epochs_of_both_stages_and_only_the_first_warms_up() -> None:
    settings = TrialSettings().with_values(
        {"train.epochs": 10, "train.warm_start.epochs": 4, "train.lr_schedule": "constant", "train.lr_warmup": 0.2}
    )
    parts = [cycle(settings, place, 4, seed=place) for place in range(4)]
    assert [part.train.epochs for part in parts] == [3, 3, 2, 2]
    assert [part.train.warm_start.epochs for part in parts] == [1, 1, 1, 1]
    assert {part.train.lr_schedule for part in parts} == {"cosine"}
    assert [part.train.lr_warmup for part in parts] == [0.2, 0, 0, 0]
    assert [part.train.warm_start.lr_warmup for part in parts] == [0.1, 0, 0, 0]
    assert len({part.train.seed for part in parts}) == len({part.train.warm_start.seed for part in parts}) == 4
    assert [cycle(settings, place, 16, 0).train.epochs for place in (0, 15)] == [1, 1]


@pytest.mark.parametrize(("steps", "cycles"), [(12, 3), (40, 4)])
def test_the_rate_is_that_of_huang_et_al(steps: int, cycles: int) -> None:
    """α(t) = α₀/2 · (cos(π · mod(t − 1, ⌈T/M⌉) / ⌈T/M⌉) + 1), t from 1."""
    settings = TrialSettings().with_values(
        {"train.epochs": cycles, "train.lr_schedule": "step", "train.lr_min_ratio": 0.3}
    )
    length = -(-steps // cycles)
    wanted = [(np.cos(np.pi * ((t - 1) % length) / length) + 1) / 2 for t in range(1, steps + 1)]
    parts = [cycle(settings, place, cycles, 0).train for place in range(cycles)]
    got = [factor for train in parts for factor in lr_factors(train, length, train.epochs)]
    np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_each_cycle_begins_where_the_last_one_ended(topics: SimpleNamespace, tmp_path: Path) -> None:
    settings = topics.quick.with_values({"train.epochs": 2, "train.warm_start.epochs": 4})
    grounds = Grounds(tmp_path, topics.data, 0, Objective("reward", Costs(0.02)))
    snapshots = Snapshots(cycles=2)
    (chain,) = snapshots.chains([Origin(settings, Path("not looked at"))] * 2, grounds)
    results: list[RefitResult] = []
    while (job := chain(results)) is not None:
        assert (job.sample, job.chosen) == (None, False)
        assert job.initial == (results[-1].job.member.checkpoint if results else None)
        results.append(refit(job, topics.data, "reward"))
    assert [(result.error, len(result.reports)) for result in results] == [(None, 1), (None, 1)]
    losses = []
    for result in results:
        said, _ = Predictions.load(result.job.member.predictions("valid"))
        at_end = said.at(said.n_segments - 1)
        losses.append(-np.log(at_end[np.arange(80), topics.dataset.parts["valid"].labels]).mean())
    assert losses[1] < losses[0] - 0.1, "the second knows what the first has learned"
    assert snapshots.trained([results], grounds).refits == tuple(result.job.name for result in results)


def test_the_members_are_averaged(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([4.0, 0.0])
    combination = Snapshots().fit(stack, labels, Objective())
    np.testing.assert_allclose(combination.weights, 0.5)
    assert combination.members == (0, 1)


def test_a_budget_bounds_the_cycles() -> None:
    assert Snapshots(cycles=4).within(2).cycles == 2
    assert Snapshots(cycles=4).within(None).cycles == 4
