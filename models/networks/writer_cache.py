"""What a writer keeps of a text that it is writing, so that a next token costs one step and not a whole pass.

Keys and values of self-attention are appended step by step to buffers that grow by doubling, in which those of a
hypothesis lie together, as they are read at every step; those of attention to the source are made once, and hypotheses
of one source that lie side by side share them.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sweepstack.models.networks.policy import ACTIVATIONS, Attention, Block
from sweepstack.models.networks.products import linear
from sweepstack.models.settings.trial import Model

FIRST = 16  # steps that a buffer has room for at the beginning


class Layer:
    """The weights of a decoder block as a step needs them: one product gives query, key and value."""

    def __init__(self, block: Block, model: Model) -> None:
        assert isinstance(block.cross, Attention)
        own, cross, forward = block.attention, block.cross, block.feed_forward
        self.norms = [(norm.weight, norm.bias, norm.eps) for norm in block.norms if isinstance(norm, nn.LayerNorm)]
        self.joint = (
            torch.cat([own.query.weight, own.key_value.weight]),
            torch.cat([own.query.bias, own.key_value.bias]),
        )
        self.out = own.out.weight, own.out.bias
        self.cross_query = cross.query.weight, cross.query.bias
        self.cross_key_value = cross.key_value.weight, cross.key_value.bias
        self.cross_out = cross.out.weight, cross.out.bias
        self.up = forward.up.weight, forward.up.bias
        self.down = forward.down.weight, forward.down.bias
        self.activation = ACTIVATIONS[model.activation]
        self.heads = model.heads

    def source(self, states: Tensor) -> Tensor:
        """(M, S, d) → keys and values (2, M, H, S, d/H)"""
        m, s, _ = states.shape
        both = linear(states, *self.cross_key_value)
        return both.view(m, s, 2, self.heads, -1).permute(2, 0, 3, 1, 4).contiguous()

    def step(self, x: Tensor, written: "Buffer", length: int, source: Tensor, mask: Tensor | None) -> Tensor:
        """x (N, d), hypotheses side by side as in :class:`Cache`, is what the ``length``-th token of each has come to,
        whose key and value go into ``written`` → (N, d). ``mask`` (M, 1, 1, S)."""
        n, d = x.shape
        query, key, value = linear(self._norm(x, 0), *self.joint).view(n, 3, self.heads, -1).unbind(1)  # (N, H, d/H)
        written.keys.select(2, length - 1).copy_(key)
        written.values.select(2, length - 1).copy_(value)
        key, value = written.keys.narrow(2, 0, length), written.values.narrow(2, 0, length)  # (N, H, length, d/H)
        mixed = F.scaled_dot_product_attention(query[:, :, None], key, value).view(n, d)
        x = x + linear(mixed, *self.out)
        sources = source.shape[1]
        query = linear(self._norm(x, 2), *self.cross_query).view(sources, n // sources, self.heads, -1)
        mixed = F.scaled_dot_product_attention(query.transpose(1, 2), source[0], source[1], attn_mask=mask)
        x = x + linear(mixed.transpose(1, 2).reshape(n, d), *self.cross_out)
        return x + linear(self.activation(linear(self._norm(x, 1), *self.up)), *self.down)

    def _norm(self, x: Tensor, which: int) -> Tensor:
        weight, bias, eps = self.norms[which]
        return torch.layer_norm(x, weight.shape, weight, bias, eps)


class Buffer(NamedTuple):
    """Room for keys and values of self-attention, those of a hypothesis side by side."""

    keys: Tensor  # (N, H, room, d/H)
    values: Tensor

    def with_room(self, room: int) -> "Buffer":
        n, heads, full, width = self.keys.shape
        larger = Buffer(*(each.new_empty((n, heads, room, width)) for each in self))
        for own, new in zip(self, larger, strict=True):
            new[:, :, :full] = own
        return larger

    def picked(self, rows: Tensor) -> "Buffer":
        """Of the hypotheses ``rows`` (N',)."""
        return Buffer(self.keys.index_select(0, rows), self.values.index_select(0, rows))


class Cache(NamedTuple):
    """Of N hypotheses of M sources, N/M of each side by side. A step fills buffers in place, so a cache that was
    stepped from is used up."""

    layers: tuple[Layer, ...]
    written: tuple[Buffer, ...]  # of each layer
    source: tuple[Tensor, ...]  # of each layer (2, M, H, S, d/H): keys and values of attention to the source
    mask: Tensor | None  # (M, 1, 1, S): what of the source is there; None: all
    hypotheses: int
    length: int  # tokens taken so far, BEGIN included

    @staticmethod
    def begin(layers: tuple[Layer, ...], states: Tensor, mask: Tensor | None) -> "Cache":
        """Of one hypothesis of each source; states (M, S, d), mask (M, 1, S)."""
        m, _, d = states.shape
        sizes = [(m, layer.heads, FIRST, d // layer.heads) for layer in layers]
        written = tuple(Buffer(states.new_empty(size), states.new_empty(size)) for size in sizes)
        source = tuple(layer.source(states) for layer in layers)
        return Cache(layers, written, source, None if mask is None else mask[:, None], m, 0)

    def step(self, x: Tensor) -> "tuple[Tensor, Cache]":
        """x (N, d), the embedded tokens → the decoder's states (N, d), not normed, and what comes after."""
        layers, written, source, mask, hypotheses, length = self
        length += 1
        room = written[0].keys.shape[2]
        if length > room:
            written = tuple(buffer.with_room(2 * room) for buffer in written)
        for layer, buffer, read in zip(layers, written, source, strict=True):
            x = layer.step(x, buffer, length, read, mask)
        return x, Cache(layers, written, source, mask, hypotheses, length)

    def select(self, rows: Tensor) -> "Cache":
        """Of the hypotheses ``rows`` (N',) alone, in that order; one may stand there more than once."""
        written = tuple(buffer.picked(rows) for buffer in self.written)
        sources = self.source[0].shape[1]
        owners = rows // (self.hypotheses // sources)  # (N',): the source of each
        groups, counts = torch.unique_consecutive(owners, return_counts=True)
        if len(groups) > 1 and bool((counts != counts[0]).any()):
            groups = owners
        source, mask = self.source, self.mask
        if len(groups) != sources or bool((groups != torch.arange(sources, device=rows.device)).any()):
            source = tuple(each.index_select(1, groups) for each in source)
            mask = None if mask is None else mask.index_select(0, groups)
        return Cache(self.layers, written, source, mask, len(rows), self.length)
