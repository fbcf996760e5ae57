"""Scaled rewards against a plain loop after Stable-Baselines3's VecNormalize, over episodes of different lengths."""

import numpy as np
import pytest
import torch

from sweepstack.models.tasks.gymnasium.reward_scale import BEFORE, MOST, RewardScale


def as_stable_baselines(rewards: np.ndarray, ended: np.ndarray, gamma: float) -> np.ndarray:
    """(steps, copies) of VecNormalize.step_wait, with its RunningMeanStd written out."""
    mean, variance, count = 0.0, 1.0, 1e-4
    returns, found = np.zeros(rewards.shape[1]), []
    for reward, dones in zip(rewards, ended, strict=True):
        returns = returns * gamma + reward
        delta, batch = returns.mean() - mean, len(returns)
        total = count + batch
        m_2 = variance * count + returns.var() * batch + delta**2 * count * batch / total
        mean, variance, count = mean + delta * batch / total, m_2 / total, total
        found.append(np.clip(reward / np.sqrt(variance + 1e-8), -10, 10))
        returns[dones] = 0
    return np.array(found)


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_it_is_that_of_stable_baselines(gamma: float) -> None:
    random = np.random.default_rng(0)
    rewards = (random.standard_normal((500, 3)) * 40 + 7).astype(np.float32)
    ended = random.random((500, 3)) < 0.1
    scale = RewardScale(3, gamma)
    found = np.array([scale.scaled(r, e) for r, e in zip(rewards, ended, strict=True)])
    assert found == pytest.approx(as_stable_baselines(rewards, ended, gamma), rel=1e-5)
    assert scale.count.item() == pytest.approx(1500 + BEFORE)


def test_scaled_returns_come_to_a_deviation_of_one() -> None:
    """γ 0: a return is a reward, and those of deviation 40 come to a deviation of 1, their mean with them."""
    random = np.random.default_rng(1)
    scale, never = RewardScale(8, 0.0), np.zeros(8, dtype=bool)
    found = np.array(
        [scale.scaled((random.standard_normal(8) * 40 + 80).astype(np.float32), never) for _ in range(2000)]
    )
    assert found[1000:].std() == pytest.approx(1.0, abs=0.03)
    assert found[1000:].mean() == pytest.approx(2.0, abs=0.06)


def test_an_episode_begins_without_what_the_one_before_brought() -> None:
    """Rewards of 1 with γ 1: the third return of an episode of three is 3, and that of the next begins at 1."""
    scale = RewardScale(1, 1.0)
    for step in range(6):
        scale.scaled(np.ones(1, dtype=np.float32), np.array([step % 3 == 2]))
    assert scale.mean.item() == pytest.approx(2.0, rel=1e-3)
    assert scale.variance.item() == pytest.approx(2 / 3, rel=1e-3)  # of 1, 2, 3, 1, 2, 3
    scale.scaled(np.ones(1, dtype=np.float32), np.array([False]))
    scale.begin()
    scale.scaled(np.ones(1, dtype=np.float32), np.array([False]))
    assert scale.mean.item() == pytest.approx((12 + 1 + 1) / 8, rel=1e-3), "a new epoch begins anew"


def test_a_single_great_reward_is_bounded() -> None:
    scale = RewardScale(2, 0.9)
    for _ in range(1000):
        scale.scaled(np.array([0.01, -0.01], dtype=np.float32), np.array([True, True]))
    assert scale.scaled(np.array([1e6, -1e6], dtype=np.float32), np.array([False, False])).max() <= MOST


def test_what_was_seen_goes_on_from_its_parameters() -> None:
    one, other = RewardScale(2, 0.9), RewardScale(2, 0.9)
    random, never = np.random.default_rng(2), np.array([False, False])
    for _ in range(5):
        one.scaled(random.standard_normal(2).astype(np.float32), never)
    with torch.no_grad():
        for p, q in zip(one.parameters(), other.parameters(), strict=True):
            assert not p.requires_grad
            q.copy_(p)
    one.begin()
    reward = np.array([3.0, -1.0], dtype=np.float32)
    assert np.array_equal(one.scaled(reward, never), other.scaled(reward, never))
