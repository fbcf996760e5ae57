"""The supervised loop of every task: an optimiser step a batch, the mean loss, and the noise of the gradient."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Module

from sweepstack.models.errors import TrainingError
from sweepstack.models.optim.batching import GradientNoise, gradient_noise
from sweepstack.models.optim.gradient_noise import PIECES
from sweepstack.models.optim.optimizers import set_lr
from sweepstack.models.settings.trial import Descent

Rows = NDArray[np.int64]


def descend_epoch(
    module: Module,
    batches: Sequence[list[Rows]],
    accumulate: Callable[[list[Rows]], Tensor],
    optimizer: torch.optim.Optimizer,
    descent: Descent,
    seed: int,
    lr: Iterator[float],
) -> Tensor:
    """An optimiser step a batch, (batches,) losses; ``accumulate`` adds the gradient of one, given as pieces of it that
    fit into a forward pass each, and returns its loss."""
    device = next(module.parameters()).device
    limit = None if descent.optimizer == "lbfgs" else descent.max_grad_norm

    def evaluate(pieces: list[Rows], state: Tensor) -> Tensor:
        _set_random_state(state, device)
        optimizer.zero_grad(set_to_none=True)
        loss = accumulate(pieces)
        if limit is not None:
            torch.nn.utils.clip_grad_norm_(module.parameters(), limit)
        return loss

    module.train()
    losses = []
    with seeded(seed, device):
        for pieces in batches:
            set_lr(optimizer, next(lr))
            closure: Any = partial(evaluate, pieces, _random_state(device))  # torch's type has it return a float
            losses.append(optimizer.step(closure))
    module.eval()
    return torch.stack([torch.as_tensor(loss) for loss in losses])


def mean_loss(losses: Tensor, sizes: Sequence[int]) -> float:
    """Over batches of such sizes; raises TrainingError where it is not a number."""
    weights = torch.tensor(sizes, dtype=torch.float64, device=losses.device)
    mean = float((losses.double() * weights).sum() / weights.sum())
    if not np.isfinite(mean):
        raise TrainingError(f"the supervised loss is not a number ({mean}); lower the learning rate")
    return mean


def noise_over_rows(
    module: Module, rows: int, batch_size: int, accumulate: Callable[[Rows], object], seed: int
) -> GradientNoise:
    """See :func:`measure_noise`; ``accumulate`` adds the gradient of the mean loss of the rows that it is given."""
    chosen = np.random.default_rng(seed).permutation(rows)[: max(batch_size, 2)]
    pieces = np.array_split(chosen, min(PIECES, len(chosen)))
    parameters = [p for p in module.parameters() if p.requires_grad]
    before = [p.grad for p in parameters]
    gradients = []
    module.train()
    with seeded(seed, next(module.parameters()).device):
        for piece in pieces:
            for parameter in parameters:
                parameter.grad = None
            accumulate(piece)
            gradients.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
    module.eval()
    for parameter, gradient in zip(parameters, before, strict=True):
        parameter.grad = gradient
    return gradient_noise(torch.stack(gradients), [len(piece) for piece in pieces])


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout draws from torch's global generator: seeded inside, as it was outside."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def steps_in(rows: int, batch_size: int) -> int:
    return -(-rows // batch_size)
