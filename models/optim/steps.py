"""The optimiser steps of one epoch: each takes the gradients that there are, clipped, at the schedule's next rate."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import Parameter

from sweepstack.models.optim.optimizers import set_lr


class Descending(Protocol):
    """What takes an epoch's steps."""

    parameters: Sequence[Parameter]
    taken: int

    def take(self) -> None: ...

    def drop(self) -> None:
        """Forgets the gradients that there are."""
        ...

    def skip(self, count: int) -> None:
        """The schedule goes on although ``count`` steps are not taken."""
        ...


@dataclass
class Steps:
    optimizer: torch.optim.Optimizer
    parameters: Sequence[Parameter]
    lr: Iterator[float]  # of each step
    max_grad_norm: float | None
    taken: int = 0
    norms: list[Tensor] = field(default_factory=list)  # of the gradients, before they were clipped

    def take(self) -> None:
        set_lr(self.optimizer, next(self.lr))
        limit = float("inf") if self.max_grad_norm is None else self.max_grad_norm
        self.norms.append(torch.nn.utils.clip_grad_norm_(self.parameters, limit))
        self.optimizer.step()
        self.drop()
        self.taken += 1

    def drop(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def skip(self, count: int) -> None:
        for _ in range(count):
            next(self.lr)
