"""Optimisers by name, from torch; weight decay as where it was measured to help."""

from collections.abc import Iterable

import torch
from torch.nn import Parameter

from sweepstack.models.settings import Optimizer

MOMENTUM = 0.9  # of sgd


def make_optimizer(
    name: Optimizer, parameters: Iterable[Parameter], lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    match name:
        case "sgd":
            return torch.optim.SGD(parameters, lr=lr, momentum=MOMENTUM, weight_decay=weight_decay, fused=True)
        case "adam":
            return torch.optim.Adam(parameters, lr=lr, weight_decay=weight_decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr=lr, weight_decay=weight_decay)
