"""Rewards of an environment divided by the deviation of the discounted return, as seen so far: a value of any task is
then of the order of 1 (VecNormalize of Stable-Baselines3; gymnasium's NormalizeReward is its like).

    G ← γ G + r in every copy, 0 where an episode begins;  r' = clip(r / √(Var G + 1e−8), ±MOST)

Var is that of all G of all copies so far, those of the step itself included.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import Parameter

from sweepstack.models.tasks.gymnasium.environment import Vectors

MOST = 10.0  # of a scaled reward: one that was never seen before must not blow up what was learned
BEFORE = 1e-4  # how many returns of mean 0 and variance 1 count as seen before the first


class RewardScale(nn.Module):
    """What was seen is kept as parameters, which are no part of a policy; the returns under way are not kept."""

    def __init__(self, copies: int, gamma: float) -> None:
        super().__init__()
        self._gamma, self._under_way = gamma, np.zeros(copies)
        self.count = Parameter(torch.tensor(BEFORE, dtype=torch.float64), requires_grad=False)
        self.mean = Parameter(torch.zeros((), dtype=torch.float64), requires_grad=False)
        self.variance = Parameter(torch.ones((), dtype=torch.float64), requires_grad=False)

    def begin(self) -> None:
        """New episodes in all copies."""
        self._under_way[:] = 0

    def scaled(self, rewards: Vectors, ended: np.ndarray) -> Vectors:
        """Of a step of all copies, (copies,) each; ``ended``: where it was the last one of an episode."""
        self._under_way = self._gamma * self._under_way + rewards
        self._count(self._under_way)
        self._under_way[ended] = 0
        divisor = (self.variance.item() + 1e-8) ** 0.5
        scaled: Vectors = np.clip(rewards / divisor, -MOST, MOST).astype(np.float32)
        return scaled

    def _count(self, returns: np.ndarray) -> None:
        """By the update of Chan et al., as mlp.Moments."""
        count, mean, variance = self.count.item(), self.mean.item(), self.variance.item()
        total = count + len(returns)
        apart = float(returns.mean()) - mean
        squares = variance * count + float(returns.var()) * len(returns) + apart**2 * count * len(returns) / total
        self.count.fill_(total)
        self.mean.fill_(mean + apart * len(returns) / total)
        self.variance.fill_(squares / total)
