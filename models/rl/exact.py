"""The exact gradient of a reading policy's expected reward: the control for every estimator that samples.

A text does not depend on what the policy does, so one forward pass gives the probability of every way to read it, and

    J = Σ_s P(answer after s) γ^s r_s − cost Σ_s P(read on after s) γ^s

is differentiable as it stands; r_s is the expected reward of the answer after segment s.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from sweepstack.models.optim.gradient_noise import PIECES, Gradient, noise_of, summed
from sweepstack.models.optim.steps import Steps
from sweepstack.models.rl.episodes import Player, policy_parameters


class Foreseeing(Player, Protocol):
    """A player that can say what its policy is going to get."""

    def expected_rewards(self, batch: Tensor) -> Tensor:
        """(B,): discounted, with gradients."""
        ...

    def batch_pieces(self, batch: Tensor) -> Sequence[Tensor]:
        """``batch`` cut so that each piece fits into one forward pass."""
        ...


class Exact:
    """One step a batch, up the expected reward of its texts."""

    samples = 1

    def steps(self, units: int) -> int:
        return 1

    def learn(
        self, player: Foreseeing, batch: Tensor, steps: Steps, random: torch.Generator, *, measure: bool
    ) -> dict[str, Tensor]:
        noise: dict[str, Tensor] = {}
        if measure and len(batch) >= 2:
            parts = torch.chunk(batch, PIECES)
            gradients = [self._gradient(player, part, steps) for part in parts]
            noise = noise_of(gradients, [len(part) for part in parts], len(batch))
        total = torch.zeros((), device=batch.device)
        for piece in player.batch_pieces(batch):
            loss = -player.expected_rewards(piece).sum() / len(batch)
            torch.autograd.backward(loss)
            total += loss.detach()
        steps.take()
        return {"policy_loss": total, **noise}

    @staticmethod
    def _gradient(player: Foreseeing, part: Tensor, steps: Steps) -> Gradient:
        """Of minus the mean over ``part``."""
        policy = policy_parameters(player, steps.parameters)
        losses = (-player.expected_rewards(piece).sum() / len(part) for piece in player.batch_pieces(part))
        return summed(torch.autograd.grad(loss, policy, allow_unused=True) for loss in losses)
