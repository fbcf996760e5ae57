"""How noisy a gradient is, measured from parts of one batch (McCandlish et al. 2018, arXiv 1812.06162)."""

from collections.abc import Iterable, Sequence
from itertools import zip_longest

import torch
from torch import Tensor

from sweepstack.models.optim.batching import GradientNoise, gradient_noise

PIECES = 8  # parts that a batch is cut into
Gradient = Sequence[Tensor | None]
"""By parameter; None where it has none."""


def summed(gradients: Iterable[Gradient]) -> Gradient:
    """Of pieces of a batch, each let go of before the next is worked out."""
    total: list[Tensor | None] = []
    for each in gradients:
        total = [
            old if new is None else new if old is None else old + new
            for old, new in zip_longest(total, each, fillvalue=None)
        ]
    return total


def noise_of(gradients: Sequence[Gradient], sizes: Sequence[int], units: int) -> dict[str, Tensor]:
    """``gradients``: of each part of a batch of ``units``, by parameter (None where it has none); ``sizes`` in units.

    grad_variance is the trace of the covariance of a whole batch's gradient, grad_noise the same as a share of the
    squared norm of the true gradient (so that algorithms of any scale compare), noise_scale the batch size at which
    both would be equal. Nothing where there are fewer than two parts, or no part has a gradient above 0.
    """
    if len(gradients) < 2:
        return {}
    used = [i for i, each in enumerate(gradients[0]) if each is not None]
    flat = torch.stack([torch.cat([each[i].flatten() for i in used]) for each in gradients])  # type: ignore[union-attr]
    return logged(gradient_noise(flat, sizes), units) if flat.any() else {}


def logged(noise: GradientNoise, units: int) -> dict[str, Tensor]:
    """What is reported of the noise of a batch of so many units."""
    of_batch = noise.variance / units
    return {"grad_variance": of_batch, "grad_noise": of_batch / noise.squared_norm, "noise_scale": noise.scale}
