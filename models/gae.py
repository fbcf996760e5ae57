"""Generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438) over episodes of unequal length."""

import torch
from torch import Tensor


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, gae_lambda: float, bootstrap: Tensor | None = None
) -> Tensor:
    """Advantages (episodes, steps); zero where ``mask`` is false.

    For the decisions t = 0 … n−1 of an episode (where ``mask`` is true, in order, gaps and padding skipped)

        δ_t = r_t + γ V_{t+1} − V_t        A_t = δ_t + γλ A_{t+1}        V_n = bootstrap, A_n = 0

    ``bootstrap`` (episodes,) is the value of the state in which an episode was cut off; without it episodes have ended
    and V_n = 0. λ = 0 is the TD error, λ = 1 the Monte Carlo return minus the value. rewards, values and mask are
    (episodes, steps); what they hold where the mask is false has no influence.
    """
    if not rewards.shape == values.shape == mask.shape:
        raise ValueError(
            f"rewards, values and mask must have one shape, but got {rewards.shape}, {values.shape}, {mask.shape}"
        )
    advantages = torch.zeros_like(values)
    next_value = torch.zeros_like(values[:, 0]) if bootstrap is None else bootstrap
    next_advantage = torch.zeros_like(next_value)
    for t in range(rewards.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantage = delta + gamma * gae_lambda * next_advantage
        advantages[:, t] = torch.where(mask[:, t], advantage, 0.0)
        next_advantage = torch.where(mask[:, t], advantage, next_advantage)
        next_value = torch.where(mask[:, t], values[:, t], next_value)
    return advantages


def normalised(advantages: Tensor, mask: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over where ``mask`` is true; 0 elsewhere. A single decision stays as it is."""
    chosen = advantages[mask]
    if chosen.numel() < 2:
        return torch.where(mask, advantages, 0.0)
    return torch.where(mask, (advantages - chosen.mean()) / (chosen.std() + 1e-8), 0.0)
