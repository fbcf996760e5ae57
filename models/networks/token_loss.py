"""The loss of writing, token by token: how likely a reference was, each token given those before it.

The product with the vocabulary, the dearest of all, is made of real tokens alone: padding never gets that far.
"""

from typing import Any

import torch
from torch import Tensor

from sweepstack.models.data.bpe import BEGIN, END, PADDING, UNKNOWN
from sweepstack.models.networks.writer import Memory, Writer


def states_before(writer: Writer, memory: Memory, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The states from which all M tokens that can be written are chosen, (M, d), and these tokens, (M,), row by row.

    targets (B, T): padded with 0. Tokens that stand for what the vocabulary has not cannot be written.
    """
    inputs = torch.cat([torch.full_like(targets[:, :1], BEGIN), targets[:, :-1]], dim=1)
    chosen = writable(targets)
    return writer.states(memory, inputs)[chosen], targets[chosen]


def writable(targets: Tensor) -> Tensor:
    """(B, T) bool: neither padding nor what stands for something that the vocabulary has not."""
    return (targets != PADDING) & (targets != UNKNOWN)


def token_losses(logits: Tensor, tokens: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """(M,): cross-entropy in nats of ``tokens`` (M,) under logits (M, V), smoothed over what can be written.

    That is END and all entries behind it: torch's own smoothing would ask for padding, too.
    """
    losses: Tensor = _Smoothed.apply(logits, tokens, label_smoothing)  # type: ignore[no-untyped-call]
    return losses


class _Smoothed(torch.autograd.Function):
    """A gradient by hand, because the logits are the largest thing there is: as torch composes it from logsumexp,
    gather and mean, it goes over them several times more."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor, label_smoothing: float) -> Tensor:
        log_probs = logits.log_softmax(-1)
        ctx.save_for_backward(log_probs, tokens)
        ctx.label_smoothing = label_smoothing
        right = log_probs.gather(-1, tokens[:, None]).squeeze(-1)
        if not label_smoothing:
            return -right
        return -(1 - label_smoothing) * right - label_smoothing * log_probs[:, END:].mean(-1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        log_probs, tokens = ctx.saved_tensors
        smoothing, gradient = ctx.label_smoothing, gradient[:, None]
        of_logits = log_probs.exp().mul_(gradient)
        if smoothing:
            of_logits[:, END:] -= gradient * (smoothing / (log_probs.shape[-1] - END))
        of_logits.scatter_add_(-1, tokens[:, None], gradient * (smoothing - 1))
        return of_logits, None, None
