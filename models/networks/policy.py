"""The policy: an encoder–decoder Transformer that reads a text segment by segment and may answer after each.

The encoder is causal over segments (a token sees the tokens of its own and of earlier segments) and the decoder takes
one step a segment (it sees its own earlier steps and the segments up to its own), so one forward pass gives the
decision after every segment, and none depends on what comes later. Beside the Transformer runs a linear model of the
same text. Heads give the label logits, the logit of READ and the value of the state.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sweepstack.models.networks.dropout import dropped
from sweepstack.models.networks.precision import Precision, autocast
from sweepstack.models.networks.wide import ALONE, CLASSES, DROPPED, LONGEST, Wide, hashed_ngrams
from sweepstack.models.settings.trial import Condition, Model, Reading

UNKNOWN = 1
NGRAMS = 2048  # rows of each table of n-grams: four times as many cost a fifth of the time and gained nothing
CONFIDENT = 3.0  # log-odds of the top label at which an untrained policy is as likely to answer as to read on
FEATURES = 7  # of any policy's confidence
MOST_ODDS = 12.0
ODDS_SCALE = 0.25  # of log-odds, which reach MOST_ODDS
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "silu": F.silu,
}


class PolicyOutput(NamedTuple):
    label_logits: Tensor  # (B, S, K)
    read_logits: Tensor  # (B, S): P(READ) = σ
    values: Tensor  # (B, S)


WIDTHS = 16  # tokens: a single segment is cut to a multiple of it


@dataclass(frozen=True)
class Shape:
    """What a policy's weights have to fit, besides its settings."""

    vocab_size: int
    classes: int
    ngrams: int = 0  # that the linear model beside the Transformer knows


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, causal: bool = False) -> Tensor:
    """Scaled dot-product attention of (B, H, T, d/H) to (B, H, U, d/H) where mask (B or 1, 1, T or 1, U) is true;
    without one to all of them, or, if causal, to those that are not later."""
    if query.device.type == "cuda":  # the fused kernels' backward passes add up in any order
        with sdpa_kernel(SDPBackend.MATH):
            return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
    with autocast("float32", query.device):
        query, key, value = query.float(), key.float(), value.float()
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)


class Attention(nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.heads = model.heads
        self.query = nn.Linear(model.d_model, model.d_model)
        self.key_value = nn.Linear(model.d_model, 2 * model.d_model)
        self.out = nn.Linear(model.d_model, model.d_model)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None, *, causal: bool = False) -> Tensor:
        """x (B, T, d) looks at memory (B, U, d) where mask (B or 1, T or 1, U) is true; see :func:`attend`."""
        b, t, d = x.shape
        if memory is x:  # one product instead of two
            weight = torch.cat([self.query.weight, self.key_value.weight])
            joint = F.linear(x, weight, torch.cat([self.query.bias, self.key_value.bias]))
            query, key, value = joint.view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (B, H, T, d/H)
        else:
            query = self.query(x).view(b, t, self.heads, -1).transpose(1, 2)
            key, value = self.key_value(memory).view(b, memory.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = attend(query, key, value, None if mask is None else mask[:, None], causal=causal)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(b, t, d))  # (B, T, d)
        return out


class FeedForward(nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[model.activation]
        width = model.feed_forward or 2 * model.d_model
        self.up = nn.Linear(model.d_model, width)
        self.down = nn.Linear(width, model.d_model)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(self.activation(self.up(x)))
        return out


class Block(nn.Module):
    """Pre-norm: self-attention, attention to a memory where there is one, feed-forward. ``dropout`` is of what each of
    them adds; ``causal``, without a mask, hides what comes later."""

    def __init__(self, model: Model, *, cross: bool, causal: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.causal, self.dropout = causal, dropout
        self.norms = nn.ModuleList(nn.LayerNorm(model.d_model) for _ in range(3 if cross else 2))
        self.attention = Attention(model)
        self.cross = Attention(model) if cross else None
        self.feed_forward = FeedForward(model)

    def forward(
        self, x: Tensor, mask: Tensor | None, memory: Tensor | None = None, sees: Tensor | None = None
    ) -> Tensor:
        rate = self.dropout if self.training else 0.0
        normed = self.norms[0](x)
        x = x + dropped(self.attention(normed, normed, mask, causal=self.causal), rate)
        if self.cross is not None and memory is not None:
            x = x + dropped(self.cross(self.norms[2](x), memory, sees), rate)
        return x + dropped(self.feed_forward(self.norms[1](x)), rate)


class LabelHead(nn.Linear):
    """A linear map of the Transformer's state, plus the wide logits, if any, that stand behind it in a policy's."""

    def forward(self, states: Tensor) -> Tensor:
        """(…, d) or (…, d + K) → (…, K)"""
        d = self.in_features
        logits: Tensor = super().forward(states[..., :d])
        return logits if states.shape[-1] == d else logits + states[..., d:]


def log_odds(log_probs: Tensor) -> Tensor:
    """Bounded and scaled to the order of one, of the same shape."""
    odds = log_probs - torch.log1p(-log_probs.exp().clamp(max=1 - 1e-6))
    return odds.clamp(-MOST_ODDS, MOST_ODDS) * ODDS_SCALE


def initialise(module: nn.Module, model: Model) -> None:
    """Draws the weights of all linear maps, as the settings say, and of all embeddings."""
    initialisers: dict[str, Callable[[Tensor], Tensor]] = {
        "normal": lambda w: nn.init.normal_(w, std=0.02),
        "xavier": nn.init.xavier_uniform_,
        "he": nn.init.kaiming_uniform_,
        "orthogonal": nn.init.orthogonal_,
    }
    for part in module.modules():
        if isinstance(part, nn.Linear):
            initialisers[model.init](part.weight)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=model.d_model**-0.5)
            if part.padding_idx is not None:
                with torch.no_grad():
                    part.weight[part.padding_idx].zero_()


class ReadingPolicy(nn.Module):
    """``precision`` is that of the Transformer's matrix products, ``compiled`` whether torch.compile makes its code;
    both are set by whoever trains it, and a checkpoint knows neither."""

    precision: Precision = "float32"
    compiled: bool = False

    def __init__(self, shape: Shape, reading: Reading, model: Model) -> None:
        super().__init__()
        d = model.d_model
        self.reading, self.model, self.shape = reading, model, shape
        self.tokens = nn.Embedding(shape.vocab_size, d, padding_idx=0)
        # A letter says little; pairs and triples of letters (hashed, looking back only) say much.
        self.ngrams = nn.ModuleList(nn.Embedding(NGRAMS, d) for _ in range(2)) if reading.unit == "characters" else None
        self.positions = nn.Parameter(torch.zeros(reading.max_segments * reading.segment, d))
        self.steps = nn.Parameter(torch.zeros(reading.max_segments, d))
        self.encoder = nn.ModuleList(Block(model, cross=False) for _ in range(model.layers))
        self.decoder = nn.ModuleList(Block(model, cross=True) for _ in range(model.layers))
        self.norm = nn.LayerNorm(d)
        self.wide = None
        if shape.classes <= CLASSES:
            dropped = DROPPED if model.dropout else 0.0
            self.wide = Wide(shape.vocab_size, shape.ngrams, shape.classes, LONGEST[reading.unit], dropped)
        self.state_size = d if self.wide is None else d + shape.classes
        self.label_head = LabelHead(d, shape.classes)
        self.condition = reading.cost if isinstance(reading.cost, Condition) else None
        self.features = FEATURES + (0 if self.wide is None else 2 + shape.classes)
        told = 1 if self.conditioned else 0
        seen = self.features + self.state_size
        sure = seen if model.read_head == "state" else self.features
        self.read_head = nn.Sequential(nn.Linear(sure + told, 32), nn.Tanh(), nn.Linear(32, 1))
        self.value_head = nn.Sequential(nn.Linear(seen + told, 32), nn.Tanh(), nn.Linear(32, 1))
        self._initialise(model)

    def _initialise(self, model: Model) -> None:
        initialise(self, model)
        if self.wide is not None:
            self.wide.reset()
        nn.init.normal_(self.positions, std=0.02)
        nn.init.normal_(self.steps, std=0.02)
        for last in (self.read_head[-1], self.value_head[-1]):  # a start is a soft threshold on confidence, of value 0
            nn.init.zeros_(last.weight)  # type: ignore[arg-type]  # nn.Sequential does not say what it holds

    @property
    def conditioned(self) -> bool:
        """Whether READ and value depend on what a READ is said to cost."""
        return self.condition is not None

    def forward(self, tokens: Tensor, cost: Tensor | float | None = None) -> PolicyOutput:
        """tokens (B, S, W) → the decision after every segment. ``cost`` of a READ, as in :meth:`judge`."""
        return self.heads(self.states(tokens), cost)

    def states(self, tokens: Tensor) -> Tensor:
        """The state after every segment, in float32: (B, S, W) → (B, S, state_size), the decoder's d dimensions and the
        wide logits. Of a single segment only as much is computed as the longest text has."""
        if tokens.shape[1] == 1:
            longest = int((tokens != 0).sum(2).max())
            tokens = tokens[:, :, : max(1, -(-longest // WIDTHS) * WIDTHS)]
        transform = compiled_transform() if self.compiled else ReadingPolicy._transform
        with autocast(self.precision, tokens.device):
            return transform(self, tokens).float()

    def _transform(self, tokens: Tensor) -> Tensor:
        b, s, w = tokens.shape
        flat = tokens.reshape(b, s * w).long()
        there = flat != 0  # (B, T)
        if self.training and self.model.word_dropout:
            hidden = torch.rand(flat.shape, device=flat.device) < self.model.word_dropout
            flat = torch.where(hidden & there, UNKNOWN, flat)
        x = self.tokens(flat) + self.positions[: s * w]
        if self.ngrams is not None:
            for table, ngram in zip(self.ngrams, hashed_ngrams(flat, 3, NGRAMS), strict=True):
                x = x + table(ngram)
        if self.training and self.model.dropout:
            # Of embeddings alone, the same features of a whole text: more of it cost time and gained nothing.
            x = x * F.dropout(torch.ones_like(x[:, :1]), self.model.dropout)
        segment = torch.arange(s, device=tokens.device)
        of_token = segment.repeat_interleave(w)  # (T,)
        reached = of_token <= of_token[:, None]  # (T, T)
        mask = reached & there[:, None, :]  # (B, T, T): even padding sees something, the text's first token
        for block in self.encoder:
            x = block(x, mask)
        sees = (of_token <= segment[:, None]) & there[:, None, :]  # (B, S, T)
        causal = (segment <= segment[:, None])[None]  # (1, S, S)
        shown = (x * there[..., None]).view(b, s, w, -1).sum(2)
        y = self.steps[:s] + shown / there.view(b, s, w).sum(2).clamp(min=1)[..., None]  # its own segment's mean first
        for block in self.decoder:
            y = block(y, causal, x, sees)
        y = self.norm(y)  # (B, S, d)
        if self.wide is None:
            return torch.as_tensor(y)
        wide = self.wide(tokens)  # hiding units from it as well made it less accurate
        if self.training and self.model.dropout:  # else the one that learns faster leaves the other nothing to learn
            share = torch.rand((b, 1, 1), device=y.device)
            deep_alone, wide_alone = share < ALONE, share > 1 - ALONE
            y = y * torch.where(deep_alone, 2.0, torch.where(wide_alone, 0.0, 1.0))
            wide = wide * torch.where(wide_alone, 2.0, torch.where(deep_alone, 0.0, 1.0))
        return torch.cat([y, wide], dim=-1)

    def heads(self, states: Tensor, cost: Tensor | float | None = None) -> PolicyOutput:
        """(B, S, state_size) → logits and values. ``cost`` of a READ, as in :meth:`judge`."""
        label_logits = self.label_head(states)
        return PolicyOutput(label_logits, *self.judge(self.observe(states, label_logits), cost))

    def observe(self, states: Tensor, label_logits: Tensor) -> Tensor:
        """What READ and value are judged from, (B, S, features + state_size): how sure it is, and its states.

        The first are the log-odds and the probability of the top label, the same one segment earlier, the entropy, the
        gap to the second label, and the share of segments read, scaled to the order of one. With a wide model beside
        the Transformer also every label's log-probability, for a label that is seldom mistaken needs less reading, and
        the log-odds that each of the two gives the top label, for where they differ there is more to be read.
        """
        log_probs = label_logits.detach().log_softmax(-1)
        top = log_probs.topk(min(2, log_probs.shape[-1]), dim=-1).values
        odds, probability = log_odds(top[..., 0]), top[..., 0].exp()
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        gap = (top[..., 0] - top[..., -1]).clamp(max=MOST_ODDS) * ODDS_SCALE
        step = torch.arange(odds.shape[1], device=odds.device) / self.reading.max_segments
        before = [F.pad(x, (1, 0))[:, :-1] for x in (odds, probability)]
        features = [torch.stack([odds, probability, *before, entropy, gap, step.expand_as(odds)], dim=-1)]
        if self.wide is not None:
            wide = states[..., -self.shape.classes :].detach()
            alone = torch.stack([label_logits.detach() - wide, wide], dim=-2).log_softmax(-1)  # (B, S, 2, K)
            best = log_probs.argmax(-1)[..., None, None].expand(*alone.shape[:-1], 1)
            features += [log_odds(alone.gather(-1, best).squeeze(-1)), log_probs.clamp(min=-MOST_ODDS) * ODDS_SCALE]
        return torch.cat([*features, states], dim=-1)

    def judge(self, observations: Tensor, cost: Tensor | float | None = None) -> tuple[Tensor, Tensor]:
        """(…, features + state_size) → READ logits and values, each (…).

        ``cost`` of a READ, a number or of the first dimensions of …, is for a conditioned policy alone: without it the
        interval's middle counts, and beyond the interval its end.
        """
        odds = observations[..., 0] / ODDS_SCALE
        sure = observations if self.model.read_head == "state" else observations[..., : self.features]
        if self.condition is not None:
            low, high = self.condition.condition
            told = torch.as_tensor(self.condition.middle if cost is None else cost).to(observations).clamp(low, high)
            told = (told / high).view(*told.shape, *[1] * (odds.dim() - told.dim())).expand_as(odds)[..., None]
            sure, observations = torch.cat([sure, told], dim=-1), torch.cat([observations, told], dim=-1)
        read = self.read_head(sure).squeeze(-1) - odds + CONFIDENT
        return read, self.value_head(observations).squeeze(-1)


@cache
def compiled_transform() -> Callable[[ReadingPolicy, Tensor], Tensor]:
    """For all policies of a process, so that those of one shape share what was compiled."""
    return torch.compile(ReadingPolicy._transform, dynamic=True)
