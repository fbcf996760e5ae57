"""Dropout whose masks cost little: slices of one pool of random bits, as drawing new ones takes a sixth of a step.

Which slice is drawn from torch's global generator, so that a seed gives the same masks again. Two slices of a pool of
four million share bits, but hardly ever at the same places of the same layers.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

POOL = 1 << 22
POOLS = 8  # of 17 MB each, one a rate: a study may search the rate


def dropped(x: Tensor, rate: float) -> Tensor:
    """x with a share ``rate`` of its values zeroed and the others divided by 1 − rate; x itself where it is 0."""
    if not rate:
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling() or 2 * x.numel() > POOL:
        return F.dropout(x, rate)
    begin = int(torch.randint(POOL - x.numel(), ()))
    return x * _pool(rate, x.dtype)[begin : begin + x.numel()].view(x.shape)


@lru_cache(maxsize=POOLS)
def _pool(rate: float, dtype: torch.dtype) -> Tensor:
    """(POOL,), the same in every process."""
    random = torch.Generator().manual_seed(0)
    return (torch.rand(POOL, generator=random) >= rate).to(dtype) / (1 - rate)
