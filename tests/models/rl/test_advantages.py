"""Each estimate by hand on three episodes, and what masks and groups do to them."""

import dataclasses
from typing import Any

import pytest
import torch

from sweepstack.models.rl.advantages import estimated, leave_one_out, returns
from sweepstack.models.rl.episodes import Rollout
from sweepstack.models.settings.trial import Train

FAR = 1e6


def rollout(**changes: Any) -> Rollout:
    """Rewards −.1, −.1, 1 and 0 and −.1, 1; values .5 everywhere; what nobody decided is far away."""
    taken = torch.tensor([[True, True, True], [True, False, False], [True, True, False]])
    rewards = torch.tensor([[-0.1, -0.1, 1.0], [0.0, FAR, FAR], [-0.1, 1.0, FAR]])
    row, step = taken.nonzero(as_tuple=True)
    n = len(row)
    plain = Rollout(
        rewards=rewards,
        values=torch.where(taken, 0.5, FAR),
        taken=taken,
        ends=None,
        bootstrap=None,
        group=torch.tensor([0, 0, 1]),
        row=row,
        step=step,
        actions=torch.zeros(n),
        log_probs=torch.zeros(n),
        counted=torch.ones(n, dtype=torch.bool),
    )
    return dataclasses.replace(plain, **changes)


def near(*values: float) -> Any:
    return pytest.approx(values, abs=1e-6)


def test_returns_by_hand() -> None:
    """From the decision on: .8, .9, 1; 0; .9, 1. Their mean is 4.6/6."""
    plain = returns(rollout(), Train(), "none", whiten=False)
    assert plain.advantages.tolist() == near(0.8, 0.9, 1.0, 0.0, 0.9, 1.0)
    mean = 4.6 / 6
    less_mean = returns(rollout(), Train(), "mean", whiten=False).advantages
    assert less_mean.tolist() == near(*(x - mean for x in (0.8, 0.9, 1.0, 0.0, 0.9, 1.0)))


@pytest.mark.parametrize("baseline", ["none", "mean"])
def test_returns_ask_no_value_that_nobody_teaches_what_comes_after_a_cut(baseline: str) -> None:
    cut = rollout(bootstrap=torch.full((3, 3), 100.0))
    plain = returns(rollout(), Train(), baseline, whiten=False).advantages
    assert torch.equal(returns(cut, Train(), baseline, whiten=False).advantages, plain)


def test_returns_are_discounted() -> None:
    got = returns(rollout(), Train(gamma=0.5), "none", whiten=False).advantages
    assert got.tolist() == near(-0.1 - 0.05 + 0.25, -0.1 + 0.5, 1.0, 0.0, -0.1 + 0.5, 1.0)


def test_a_mean_baseline_looks_at_what_counts_alone() -> None:
    counted = torch.tensor([True, False, True, True, False, False])
    got = returns(rollout(counted=counted), Train(), "mean", whiten=False).advantages
    mean = (0.8 + 1.0 + 0.0) / 3
    assert got.tolist() == near(0.8 - mean, 0, 1.0 - mean, 0 - mean, 0, 0)


def test_leave_one_out_by_hand() -> None:
    """Episodes 0 and 1 began alike, with returns .8 and 0: each is compared with the other."""
    pair = rollout(group=torch.tensor([0, 0, 0]))
    got = leave_one_out(pair, Train(), whiten=False).advantages
    others = [(0 + 0.9) / 2, (0.8 + 0.9) / 2, (0.8 + 0) / 2]
    whole = [0.8, 0.0, 0.9]
    assert got.tolist() == near(*(whole[i] - others[i] for i in (0, 0, 0, 1, 2, 2)))


def test_estimated_is_gae_with_its_own_targets() -> None:
    """γ = 1, λ = 0: δ = r + V' − V. Targets by value_lambda = 1: what was still to come."""
    got = estimated(rollout(), Train(gae_lambda=0.0), whiten=False)
    assert got.advantages.tolist() == near(-0.1, -0.1, 0.5, -0.5, -0.1, 0.5)
    assert got.targets.tolist() == near(0.8, 0.9, 1.0, 0.0, 0.9, 1.0)
    td = estimated(rollout(), Train(gae_lambda=1.0, value_lambda=0.0), whiten=False)
    assert td.advantages.tolist() == near(0.3, 0.4, 0.5, -0.5, 0.4, 0.5)
    assert td.targets.tolist() == near(0.4, 0.4, 1.0, 0.0, 0.4, 1.0)


def test_lambda_by_length() -> None:
    """α = 1: λ is 1 − 1/3 for three decisions, 0 for one, 1/2 for two."""
    got = estimated(rollout(), Train(lambda_alpha=1.0, gae_lambda=0.123), whiten=False).advantages
    third = [0.5, -0.1 + 2 / 3 * 0.5]
    assert got.tolist() == near(-0.1 + 2 / 3 * third[1], third[1], 0.5, -0.5, -0.1 + 0.5 * 0.5, 0.5)


def test_lambda_by_length_where_episodes_end_inside_a_row() -> None:
    """The row of three decisions is one of one and one of two: λ is 0 and 1/2."""
    ends = torch.tensor([[True, False, True], [True, False, False], [False, True, False]])
    got = estimated(rollout(ends=ends), Train(lambda_alpha=1.0), whiten=False).advantages
    assert got.tolist() == near(-0.1 - 0.5, -0.1 + 0.5 * 0.5, 0.5, -0.5, -0.1 + 0.5 * 0.5, 0.5)


def test_whitened_over_what_counts() -> None:
    counted = torch.tensor([True, True, False, True, True, False])
    got = estimated(rollout(counted=counted), Train(gae_lambda=1.0), whiten=True).advantages
    assert got[counted].mean().item() == pytest.approx(0, abs=1e-6)
    assert got[counted].std().item() == pytest.approx(1, abs=1e-4)
    assert got[~counted].tolist() == [0.0, 0.0]


def test_a_cut_off_episode_is_worth_the_value_of_its_last_state() -> None:
    bootstrap = torch.tensor([[FAR, FAR, 0.4], [0.0, FAR, FAR], [FAR, 0.0, FAR]])
    got = estimated(rollout(bootstrap=bootstrap), Train(gae_lambda=0.0), whiten=False)
    assert got.advantages.tolist() == near(-0.1, -0.1, 0.9, -0.5, -0.1, 0.5)
    assert got.targets[0].item() == pytest.approx(1.2)


def test_without_a_value_nothing_is_expected_not_even_after_a_cut() -> None:
    """γ = 1, λ = ½: the discounted sum of the rewards, −.1 − .05 + .25 of the first episode."""
    cut = rollout(bootstrap=torch.full((3, 3), 100.0))
    got = estimated(cut, Train(gae_lambda=0.5), whiten=False, by_value=False)
    assert got.advantages.tolist() == near(0.1, 0.4, 1.0, 0.0, 0.4, 1.0)
