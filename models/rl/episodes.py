"""What algorithms learn from, whatever is played: episodes laid out for GAE, and the decisions that were taken in them.

A player knows its task (texts to read, environments to step); an algorithm knows how to learn. They meet here: a
player rolls episodes out, and says of any decisions in them what its policy, as it is now, thinks of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn import Parameter


@dataclass(frozen=True)
class Rollout:
    """B rows of at most S decisions each, and the N decisions that were taken, in the order of rows and time."""

    rewards: Tensor  # (B, S): 0 where nothing was decided
    values: Tensor  # (B, S)
    taken: Tensor  # (B, S) bool
    ends: Tensor | None  # (B, S) bool: where an episode ends inside a row; None: a row is one episode
    bootstrap: Tensor | None  # (B, S): where an episode ends, the value of a state that was cut off, else 0; None: 0
    group: Tensor  # (B,): rows of one group are episodes that began alike
    row: Tensor  # (N,): 0 … B−1
    step: Tensor  # (N,): 0-based
    actions: Tensor  # (N, …): what was chosen, as the policy's distribution takes it
    log_probs: Tensor  # (N,): of what was chosen
    counted: Tensor  # (N,) bool: there was something to choose, so it counts for the policy

    def at(self, table: Tensor) -> Tensor:
        """The entries of a table (B, S) at the decisions: (N,)."""
        return table[self.row, self.step]


class Evaluation(NamedTuple):
    """What a policy says of M decisions."""

    distribution: Distribution  # over actions, of batch shape (M,)
    values: Tensor  # (M,)
    cross_entropy: Tensor | None = None  # (M,): the supervised loss there, where the task has one
    possible: Tensor | None = None  # (M,) bool: whether what was chosen there still is; None: it always is


class Learning(Protocol):
    """A policy as it learns from a rollout."""

    def minibatches(self, rollout: Rollout, size: int, random: torch.Generator) -> Iterator[Tensor]:
        """All decisions once, as indices (M,) into the N, those of ``size`` units at a time, in random order."""
        ...

    def pieces(self, rollout: Rollout, index: Tensor) -> Sequence[Tensor]:
        """``index`` cut so that each piece fits into one forward pass."""
        ...

    def evaluate(self, rollout: Rollout, index: Tensor) -> Evaluation:
        """What the policy says now of the decisions ``index`` (M,) of ``rollout``, with gradients."""
        ...

    def decisions(self, rollout: Rollout, index: Tensor) -> int | Tensor:
        """How many decisions the minibatch ``index`` has: a number, or of several trials (K,)."""
        ...

    def value_parameters(self) -> Sequence[Parameter]:
        """What nothing but the value depends on."""
        ...


class Player(Learning, Protocol):
    """A policy at play. It counts in units: texts, where a text is an episode, or decisions in environments."""

    def batches(self, size: int, random: torch.Generator) -> Iterator[Tensor]:
        """What an epoch is made of: the units of one rollout after the other, ``size`` of them (the last fewer)."""
        ...

    def sizes(self, size: int) -> list[int]:
        """How many units each of ``batches`` has."""
        ...

    def roll_out(self, batch: Tensor, samples: int, random: torch.Generator) -> Rollout:
        """Plays ``batch``, each episode ``samples`` times. Raises TrainingError where outputs are not numbers."""
        ...


def policy_parameters(player: Player, parameters: Sequence[Parameter]) -> list[Parameter]:
    """Those of ``parameters`` that the policy depends on: all but what nothing but the value does."""
    of_value = {id(p) for p in player.value_parameters()}
    return [p for p in parameters if id(p) not in of_value]


def batches_of(units: int, size: int, random: torch.Generator) -> Iterator[Tensor]:
    """All of so many units once, ``size`` at a time, in random order: Player.batches where a text is a unit."""
    yield from torch.split(torch.randperm(units, generator=random, device=random.device), size)


def sizes_of(units: int, size: int) -> list[int]:
    """How many each of :func:`batches_of` has."""
    full, rest = divmod(units, size)
    return [size] * full + ([rest] if rest else [])


def minibatches_of_groups(rollout: Rollout, size: int, random: torch.Generator) -> Iterator[Tensor]:
    """All decisions once, those of ``size`` groups at a time, in random order: Learning.minibatches where a group is a
    unit."""
    groups = int(rollout.group[-1]) + 1
    rank = torch.randperm(groups, generator=random, device=rollout.group.device)
    part = rank[rollout.group[rollout.row]] // size
    order = torch.argsort(part, stable=True)
    yield from torch.split(order, torch.bincount(part, minlength=-(-groups // size)).tolist())
