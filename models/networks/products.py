"""Linear maps without gradients, by whichever kernel is the faster one.

In float32 torch multiplies by MKL, which uses half the width of an AMD processor's vectors; oneDNN, which comes with
torch, too, uses all of it, and on Intel's it is on a par. It takes longer to begin, so small products stay with MKL.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST = 1_200_000  # multiplications from which oneDNN is ahead
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)  # None: torch was built without it


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x (…, K), weight (N, K), bias (N,) → (…, N), as torch's own; with gradients on, it is torch's own."""
    if (
        _ONEDNN is None
        or torch.is_grad_enabled()
        or x.numel() * len(weight) < LEAST
        or x.device.type != "cpu"
        or x.dtype != torch.float32
    ):
        return F.linear(x, weight, bias)
    product: Tensor = _ONEDNN(x, weight, bias, "none", [], "")
    return product
