"""The writer: an encoder–decoder Transformer that reads a source and writes a text, token by token.

Pre-norm blocks as in the reading policy, learned positions that begin as sinusoids, and one table that embeds what was
written and says what comes next. In training a pass sees a whole text at once (teacher forcing); in decoding a step
takes one token (writer_cache.py), and both give the same. A small head gives the value of a state.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Parameter

from sweepstack.models.data.bpe import BEGIN, PADDING, UNKNOWN
from sweepstack.models.networks.dropout import dropped
from sweepstack.models.networks.policy import Block, initialise
from sweepstack.models.networks.precision import Precision, autocast
from sweepstack.models.networks.products import linear
from sweepstack.models.networks.writer_cache import Cache, Layer
from sweepstack.models.settings.trial import Model

NEVER = -1e4  # a logit whose probability is 0 and whose products with it are no NaN
NOT_WRITTEN = (PADDING, UNKNOWN, BEGIN)


@dataclass(frozen=True)
class Shape:
    """What a writer's weights have to fit, besides its settings."""

    source_vocab: int
    target_vocab: int
    shared: bool  # one vocabulary, and so one embedding, of what is read and what is written
    max_source: int  # tokens
    max_target: int  # tokens, END included


@dataclass(frozen=True)
class Memory:
    """Encoded sources: states (B, S, d) where ``there`` (B, S) is true, and padding elsewhere."""

    states: Tensor
    there: Tensor

    def select(self, rows: Tensor) -> "Memory":
        return Memory(self.states[rows], self.there[rows])

    def mask(self) -> Tensor | None:
        """(B, 1, S): what may be looked at; None: all, which is faster."""
        return mask_of(self.there)


def mask_of(there: Tensor) -> Tensor | None:
    # On a GPU the question alone would wait for all that was asked of it before.
    return None if there.device.type == "cpu" and bool(there.all()) else there[:, None]


class Writer(nn.Module):
    """``precision`` is that of a pass's matrix products and ``compiled`` whether torch.compile makes its code; both are
    set by whoever trains it, and a checkpoint knows neither. Steps are always in float32."""

    precision: Precision = "float32"
    compiled: bool = False
    never: Tensor  # (V,): NEVER at what is not written, and 0 elsewhere
    written: Tensor  # (V, 1): 0 there, and 1 elsewhere

    def __init__(self, shape: Shape, model: Model) -> None:
        super().__init__()
        if shape.shared and shape.source_vocab != shape.target_vocab:
            raise ValueError(f"a shared vocabulary has one size, but got {shape.source_vocab} and {shape.target_vocab}")
        d = model.d_model
        self.shape, self.model = shape, model
        self.tokens = nn.Embedding(shape.target_vocab, d, padding_idx=PADDING)
        self.source_tokens = None if shape.shared else nn.Embedding(shape.source_vocab, d, padding_idx=PADDING)
        self.source_positions = Parameter(sinusoids(shape.max_source + 1, d))
        self.positions = Parameter(sinusoids(shape.max_target + 1, d))
        self.encoder = nn.ModuleList(Block(model, cross=False, dropout=model.dropout) for _ in range(model.layers))
        self.source_norm = nn.LayerNorm(d)
        self.decoder = nn.ModuleList(
            Block(model, cross=True, causal=True, dropout=model.dropout) for _ in range(model.layers)
        )
        self.norm = nn.LayerNorm(d)
        self.value_head = nn.Sequential(nn.Linear(d, 32), nn.Tanh(), nn.Linear(32, 1))
        never = torch.zeros(shape.target_vocab)
        never[list(NOT_WRITTEN)] = NEVER
        self.register_buffer("never", never, persistent=False)
        self.register_buffer("written", (never == 0).float()[:, None], persistent=False)
        initialise(self, model)
        nn.init.zeros_(self.value_head[-1].weight)  # type: ignore[arg-type]  # nn.Sequential does not say what it holds

    def encoder_parameters(self) -> list[Parameter]:
        """Of what a source alone goes through; a shared embedding is not among them."""
        embedding = [] if self.source_tokens is None else list(self.source_tokens.parameters())
        return [*embedding, self.source_positions, *self.encoder.parameters(), *self.source_norm.parameters()]

    def encode(self, sources: Tensor) -> Memory:
        """sources (B, S), 0-padded; one without any token is read as a single UNKNOWN."""
        sources = never_empty(sources)
        there = sources != PADDING
        return Memory(self._encoded(sources, mask_of(there)), there)

    def states(self, memory: Memory, targets_in: Tensor) -> Tensor:
        """The decoder's states, in float32, from which tokens come next: targets_in (B, T), beginning with BEGIN →
        (B, T, d). What stands behind a text's end changes nothing before it."""
        return self._decoded(targets_in, memory.states, memory.mask())

    def logits(self, states: Tensor) -> Tensor:
        """Of the next token, in float32: (…, d) → (…, V), NEVER at what is not written: PADDING, UNKNOWN and BEGIN."""
        weight = self.tokens.weight
        if torch.is_grad_enabled():  # label smoothing must not pull at what is never written
            weight = weight * self.written
        if self.precision == "float32":
            return linear(states.float(), weight, self.never)
        with autocast(self.precision, states.device):
            return F.linear(states, weight).float() + self.never

    def values(self, states: Tensor) -> Tensor:
        """(…, d) → (…)"""
        values: Tensor = self.value_head(states).squeeze(-1)
        return values

    @torch.no_grad()
    def begin(self, memory: Memory) -> Cache:
        """Before the first token, which is BEGIN."""
        layers = tuple(Layer(block, self.model) for block in self.decoder if isinstance(block, Block))
        return Cache.begin(layers, memory.states, memory.mask())

    @torch.no_grad()
    def step(self, cache: Cache, tokens: Tensor) -> tuple[Tensor, Cache]:
        """tokens (N,), the next of each hypothesis → states (N, d), as :meth:`states` gives them without dropout."""
        x, cache = cache.step(F.embedding(tokens, self.tokens.weight) * self._scale + self.positions[cache.length])
        return F.layer_norm(x, x.shape[1:], self.norm.weight, self.norm.bias, self.norm.eps), cache

    def _encoded(self, sources: Tensor, mask: Tensor | None) -> Tensor:
        """(B, S), each token of which sees where mask (B, 1 or S, S) is true → (B, S, d), in float32."""
        transform = compiled(Writer._encode) if self.compiled else Writer._encode
        with autocast(self.precision, sources.device):
            return transform(self, sources, mask).float()

    def _decoded(self, targets_in: Tensor, memory: Tensor, sees: Tensor | None) -> Tensor:
        """As :meth:`states`, of memory (B, S, d), which is seen where ``sees`` (B, 1 or T, S) is true."""
        transform = compiled(Writer._decode) if self.compiled else Writer._decode
        with autocast(self.precision, targets_in.device):
            return transform(self, targets_in.long(), memory, sees).float()

    @property
    def _scale(self) -> float:
        return math.sqrt(self.model.d_model)  # an embedding's values are then of the order of one, as positions are

    def _encode(self, sources: Tensor, mask: Tensor | None) -> Tensor:
        table = self.tokens if self.source_tokens is None else self.source_tokens
        x = table(sources) * self._scale + self.source_positions[: sources.shape[1]]
        x = dropped(x, self.model.dropout if self.training else 0.0)
        for block in self.encoder:
            x = block(x, mask)
        out: Tensor = self.source_norm(x)
        return out

    def _decode(self, targets_in: Tensor, memory: Tensor, sees: Tensor | None) -> Tensor:
        x = self.tokens(targets_in) * self._scale + self.positions[: targets_in.shape[1]]
        x = dropped(x, self.model.dropout if self.training else 0.0)
        for block in self.decoder:
            x = block(x, None, memory, sees)
        out: Tensor = self.norm(x)
        return out


def never_empty(sources: Tensor) -> Tensor:
    """(B, S) long: a source without any token is a single UNKNOWN."""
    sources = sources.long()
    first = torch.where(sources[:, :1] == PADDING, UNKNOWN, sources[:, :1])
    return torch.cat([first, sources[:, 1:]], dim=1)


def sinusoids(length: int, d: int) -> Tensor:
    """(length, d): sines, then cosines, of wavelengths from 2π to 10,000·2π (Vaswani et al. 2017)."""
    half = (d + 1) // 2
    angles = torch.arange(length)[:, None] * torch.exp(torch.arange(half) * (-math.log(1e4) / half))
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :d].contiguous()


@cache
def compiled(transform: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """For all writers of a process, so that those of one shape share what was compiled."""
    return torch.compile(transform, dynamic=True)
