"""A policy at play in copies of an environment. Its units are decisions: a step of B copies is B of them.

An epoch begins with new episodes in all copies, from seeds of its own, because the inside of an environment cannot be
kept: an epoch that is repeated after a kill is the same again. A rollout goes on where the one before it stopped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from sweepstack.models.errors import TrainingError
from sweepstack.models.networks.mlp import ActorCritic
from sweepstack.models.rl.episodes import Evaluation, Rollout
from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings.rewards import LARGEST_REWARD
from sweepstack.models.tasks.gymnasium.environment import Copies, Vectors
from sweepstack.models.tasks.gymnasium.reward_scale import RewardScale


@dataclass(frozen=True)
class EnvironmentRollout(Rollout):
    """A row is a copy; where it was cut off, in time or by the rollout's end, the last state's value takes over."""

    observations: Tensor  # (N, observation), as the policy saw them


class EnvironmentPlayer:
    """``steps``: decisions of an epoch, rounded down to what all copies can play; ``scale``: what rewards that are
    learned from go through, if anything; see episodes.Player."""

    def __init__(self, policy: ActorCritic, copies: Copies, steps: int, scale: RewardScale | None = None) -> None:
        self._policy, self._copies, self._steps, self._scale = policy, copies, steps, scale
        self._now: Vectors | None = None  # (B, observation): the states that the next rollout begins in
        self._running = np.zeros(len(copies))  # what the episodes that go on have brought so far
        self.returns: list[float] = []  # of the episodes that ended in this epoch

    def batches(self, size: int, random: torch.Generator) -> Iterator[Tensor]:
        seeds = torch.randint(2**31, (len(self._copies),), generator=random, device=random.device)
        self._now = self._copies.reset(seeds.tolist())
        self._running[:] = 0
        if self._scale is not None:
            self._scale.begin()
        self.returns = []
        for units in self.sizes(size):
            yield torch.arange(units, device=random.device)

    def sizes(self, size: int) -> list[int]:
        copies = len(self._copies)
        full, rest = divmod(max(self._steps // copies, 1), max(size // copies, 1))
        return [max(size // copies, 1) * copies] * full + ([rest * copies] if rest else [])

    @torch.no_grad()
    def roll_out(self, batch: Tensor, samples: int, random: torch.Generator) -> EnvironmentRollout:
        """Of each copy as many steps as make ``batch`` together; ``samples`` can only be 1."""
        now, policy, b = self._now, self._policy, len(self._copies)
        if now is None or samples != 1:
            raise ValueError(f"an epoch begins with batches, and nothing is played twice, but got samples={samples}")
        steps = len(batch) // b
        noise = policy.noise(steps, b, random=random)
        seen = np.empty((steps, b, now.shape[1]), dtype=np.float32)
        rewards = np.empty((steps, b), dtype=np.float32)
        ends = np.zeros((steps, b), dtype=bool)
        actions, cut = [], []
        for t in range(steps):
            seen[t] = now
            actions.append(policy.choose(self._shown(now), noise[t]).cpu().numpy())
            step = self._copies.step(actions[t])
            rewards[t], now = step.rewards, step.observations
            self._running += step.rewards
            for copy, terminated, last in step.ended:
                ends[t, copy] = True
                self.returns.append(float(self._running[copy]))
                self._running[copy] = 0
                if not terminated:
                    cut.append((t, copy, last))
            if self._scale is not None:
                rewards[t] = self._scale.scaled(step.rewards, ends[t])
        largest = float(np.abs(rewards).max())
        if not largest <= LARGEST_REWARD:
            raise TrainingError(
                f"the environment gave a reward of {largest:g}, which nothing can be learned from; "
                "mend it, scale it to about 1, or take train.env.normalize_reward true"
            )
        cut += [(steps - 1, copy, now[copy]) for copy in range(b) if not ends[-1, copy]]
        ends[-1] = True
        self._now = now
        return self._laid_out(seen, np.stack(actions), rewards, ends, cut)

    def _laid_out(
        self,
        seen: Vectors,
        actions: np.ndarray,
        rewards: Vectors,
        ends: np.ndarray,
        cut: list[tuple[int, int, Vectors]],
    ) -> EnvironmentRollout:
        """Tables (B, S) from tables (S, B), which is the layout that GAE is fastest with."""
        policy, device = self._policy, next(self._policy.parameters()).device
        steps, b = rewards.shape
        observations = self._shown(seen)  # (S, B, observation)
        values = policy.values(observations)
        bootstrap = torch.zeros_like(values)
        if cut:
            at, copy, last = zip(*cut, strict=True)
            bootstrap[list(at), list(copy)] = policy.values(self._shown(np.stack(last)))
        observations = observations.transpose(0, 1).flatten(0, 1)  # (N, observation)
        chosen = torch.from_numpy(actions).to(device).transpose(0, 1).flatten(0, 1)
        log_probs = policy.distribution(observations).log_prob(chosen)
        if not torch.isfinite(values.sum() + log_probs.sum()):
            raise TrainingError("what the policy says is not a number any more; lower train.lr")
        if policy.moments is not None:
            policy.moments.update(torch.from_numpy(seen).flatten(0, 1).to(device))
        each = torch.arange(b, device=device)
        return EnvironmentRollout(
            rewards=torch.from_numpy(rewards).to(device).t(),
            values=values.t(),
            taken=torch.ones_like(values, dtype=torch.bool).t(),
            ends=torch.from_numpy(ends).to(device).t(),
            bootstrap=bootstrap.t(),
            group=each,
            row=each.repeat_interleave(steps),
            step=torch.arange(steps, device=device).repeat(b),
            actions=chosen,
            log_probs=log_probs,
            counted=torch.ones(steps * b, dtype=torch.bool, device=device),
            observations=observations,
        )

    def minibatches(self, rollout: Rollout, size: int, random: torch.Generator) -> Iterator[Tensor]:
        order = torch.randperm(len(rollout.row), generator=random, device=random.device)
        yield from torch.split(order, size)

    def pieces(self, rollout: Rollout, index: Tensor) -> Sequence[Tensor]:
        return [index]

    def evaluate(self, rollout: Rollout, index: Tensor) -> Evaluation:
        assert isinstance(rollout, EnvironmentRollout)
        return self.judged(self._policy, rollout.observations[index])

    def decisions(self, rollout: Rollout, index: Tensor) -> int:
        return len(index)

    @property
    def policy(self) -> ActorCritic:
        return self._policy

    def inputs(self, rollout: Rollout) -> tuple[Tensor, ...]:
        """What :meth:`judged` needs of all N decisions, (N, …) each."""
        assert isinstance(rollout, EnvironmentRollout)
        return (rollout.observations,)

    @staticmethod
    def judged(policy: ActorCritic, observations: Tensor) -> Evaluation:
        """What a policy, or a stack of K, says of (…, observation)."""
        return Evaluation(policy.distribution(observations), policy.values(observations))

    def value_parameters(self) -> Sequence[Parameter]:
        return list(self._policy.value.parameters())

    @torch.no_grad()
    def score(self, episodes: int) -> dict[str, float]:
        """Of the likeliest actions: mean and standard deviation of the return, and the mean length. Every policy is
        scored on the same episodes, as far as their beginnings decide them."""
        seeds = [derive_seed("evaluation", episode) for episode in range(episodes)]
        returns, lengths = self._copies.play(lambda seen: self._likeliest(seen), seeds)
        self._now = None  # the copies have been played with
        return {"reward": float(returns.mean()), "reward_std": float(returns.std()), "length": float(lengths.mean())}

    def _likeliest(self, seen: Vectors) -> np.ndarray:
        chosen: np.ndarray = self._policy.choose(self._shown(seen), None).cpu().numpy()
        return chosen

    def _shown(self, seen: Vectors) -> Tensor:
        """States as the policy takes them."""
        observations = torch.from_numpy(seen).to(next(self._policy.parameters()).device)
        return observations if self._policy.moments is None else self._policy.moments(observations)
