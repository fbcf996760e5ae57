"""How texts are found by a policy that gives the log-probabilities of the next token: greedily, by beam, by sampling.

Anything that says what comes next can be decoded, one writer or several together. All texts of a batch are written side
by side, and those that have ended leave it. What sampling draws from and what scores a drawn text is one distribution,
that of :func:`filtered` logits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from sweepstack.models.data.bpe import BEGIN, END, PADDING, Tokenizers
from sweepstack.models.networks.writer import NEVER, Writer
from sweepstack.models.networks.writer_cache import Cache
from sweepstack.models.predictions.texts import Candidates
from sweepstack.models.settings.writing import Decode, Sample

ENDED = 1 / 8  # share of a batch that has ended before it is made smaller: doing so copies what was written
CUT = 1e6  # that a text which was cut stands behind one which ended


class NextToken(Protocol):
    """What is decoded. A state is used up by the step that is made from it, and belongs to nobody else."""

    @property
    def device(self) -> torch.device: ...

    @property
    def max_source(self) -> int:
        """Tokens that are read of a source; the others are left out."""
        ...

    @property
    def max_target(self) -> int:
        """Tokens that can be written, END included."""
        ...

    def begin(self, sources: Tensor) -> Any:
        """The state before BEGIN; sources (B, S), 0-padded."""
        ...

    def step(self, state: Any, tokens: Tensor) -> tuple[Tensor, Any]:
        """The last token of each text (N,) → log-probabilities of the next (N, V), and the state then."""
        ...

    def select(self, state: Any, rows: Tensor) -> Any:
        """The state of the texts ``rows`` (N',) alone, in that order; one may stand there more than once."""
        ...


class WriterTokens:
    """The next token of one writer, which nobody trains meanwhile."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.device = writer.positions.device
        self.max_source, self.max_target = writer.shape.max_source, writer.shape.max_target

    @torch.no_grad()
    def begin(self, sources: Tensor) -> Cache:
        return self.writer.begin(self.writer.encode(sources))

    @torch.no_grad()
    def step(self, state: Cache, tokens: Tensor) -> tuple[Tensor, Cache]:
        states, state = self.writer.step(state, tokens)
        return self.writer.logits(states).log_softmax(-1), state

    def select(self, state: Cache, rows: Tensor) -> Cache:
        return state.select(rows)


@dataclass(frozen=True)
class Hypotheses:
    """n texts of each source, best first. A text that was cut has no END; where a source has fewer than n, the last
    are empty and have a log-probability of −∞."""

    tokens: Tensor  # (B, n, T) long, 0-padded, END kept
    log_probs: Tensor  # (B, n): of a whole text

    def scores(self, length_penalty: float) -> Tensor:
        """(B, n): log-probability / lengthᵅ, END counted; α = 1 is the mean of a token, 0 the log-probability."""
        lengths = (self.tokens != PADDING).sum(-1).clamp(min=1)
        return self.log_probs / lengths.to(self.log_probs.dtype) ** length_penalty


def filtered(logits: Tensor, how: Sample) -> Tensor:
    """Of tokens that may be drawn, the logits over the temperature, else NEVER; (…, V).

    First those outside the ``top_k`` go, then, of what is left, all but the likeliest that together have ``top_p``.
    Tokens as likely as the last that stays do stay.
    """
    if how.temperature != 1:
        logits = logits / how.temperature
    if 0 < how.top_k < logits.shape[-1]:
        logits = logits.where(logits >= logits.topk(how.top_k).values[..., -1:], NEVER)
    if how.top_p < 1:
        ordered = logits.detach().sort(descending=True).values
        probabilities = ordered.softmax(-1)
        before = probabilities.cumsum(-1) - probabilities
        least = ordered.where(before < how.top_p, torch.inf).amin(-1, keepdim=True)
        logits = logits.where(logits >= least, NEVER)
    return logits


def greedy(next_token: NextToken, sources: Tensor, most: int) -> Hypotheses:
    """The likeliest token at each step, ``most`` at most; sources (B, S) → one text of each."""

    def likeliest(log_probs: Tensor) -> tuple[Tensor, Tensor]:
        best = log_probs.max(-1)
        return best.indices, best.values

    tokens, log_probs = _write(next_token, next_token.begin(sources), len(sources), most, likeliest)
    return Hypotheses(tokens[:, None], log_probs.sum(-1)[:, None])


def sample(
    next_token: NextToken, sources: Tensor, most: int, how: Sample, random: torch.Generator, samples: int
) -> tuple[Hypotheses, Tensor]:
    """``samples`` texts of each source, drawn independently, in no order, and the log-probability of each of their
    tokens (B, samples, T) under the distribution that they were drawn from; 0 at padding."""

    def draw(log_probs: Tensor) -> tuple[Tensor, Tensor]:
        log_probs = filtered(log_probs, how).log_softmax(-1)
        # One uniform number a text instead of one a token: the first token at which the sum of probabilities is above.
        sums = log_probs.exp().cumsum(-1, dtype=torch.float64)
        uniform = torch.rand((len(sums), 1), generator=random, device=sums.device, dtype=torch.float64)
        drawn = torch.searchsorted(sums, uniform * sums[:, -1:], right=True).clamp(max=sums.shape[-1] - 1)
        return drawn.squeeze(1), log_probs.gather(1, drawn).squeeze(1)

    b = len(sources)
    rows = torch.arange(b, device=sources.device).repeat_interleave(samples)
    state = next_token.begin(sources)
    if samples > 1:
        state = next_token.select(state, rows)
    tokens, log_probs = (each.view(b, samples, -1) for each in _write(next_token, state, len(rows), most, draw))
    return Hypotheses(tokens, log_probs.sum(-1)), log_probs


def _write(
    next_token: NextToken, state: Any, n: int, most: int, choose: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """n texts by one choice a step: ``choose`` takes (N, V) to tokens and their log-probabilities, both (N,). Returns
    tokens and log-probabilities, both (n, T), 0 behind a text's end."""
    device = next_token.device
    tokens = torch.zeros((n, most), dtype=torch.long, device=device)
    log_probs = torch.zeros((n, most), device=device)
    begin, columns, gained = 0, [], []  # what was written since the batch became what it is, from step `begin`
    place = torch.arange(n, device=device)  # (N,): which of the n is written there
    last = torch.full((n,), BEGIN, device=device)
    writing = torch.ones(n, dtype=torch.bool, device=device)
    with torch.inference_mode():  # a seventh of a small step is torch's bookkeeping for gradients
        for step in range(1, most + 1):
            next_log_probs, state = next_token.step(state, last)
            last, chosen = choose(next_log_probs)
            last = last.where(writing, PADDING)
            columns.append(last)
            gained.append(chosen.where(writing, 0))
            writing = writing & (last != END)
            left = int(writing.sum())
            if left and step < most and left > (1 - ENDED) * len(place):
                continue
            tokens[place, begin:step] = torch.stack(columns, dim=1)
            log_probs[place, begin:step] = torch.stack(gained, dim=1)
            if not left or step == most:
                break
            begin, columns, gained = step, [], []
            rows = writing.nonzero().squeeze(1)
            state, place, last, writing = next_token.select(state, rows), place[rows], last[rows], writing[rows]
    return tokens[:, :step], log_probs[:, :step]


def beam(
    next_token: NextToken, sources: Tensor, most: int, beam: int, length_penalty: float, candidates: int
) -> Hypotheses:
    """The best ``candidates`` that beam search finds, by log-probability / lengthᵅ (α = ``length_penalty``, at least 0;
    length counts END); texts that ended come before those cut at ``most`` tokens. sources (B, S).

    ``beam`` texts of a source are continued at each step. One that ends among the best ``beam`` continuations is kept.
    A source is done when it has kept ``beam`` texts, or when no other, however it goes on, could be among its best.
    """
    device, b = next_token.device, len(sources)
    kept = _Kept(b, beam, most, device)
    place = torch.arange(b, device=device)  # (R,): which source is searched there
    tokens = torch.zeros((b, 1, 0), dtype=torch.long, device=device)  # (R, w, t): what is continued
    log_probs = torch.zeros((b, 1), device=device)  # (R, w)
    last = torch.full((b,), BEGIN, device=device)
    with torch.inference_mode():
        state = next_token.begin(sources)
        for length in range(1, most + 1):
            next_log_probs, state = next_token.step(state, last)
            r, w = log_probs.shape
            v = next_log_probs.shape[-1]
            total = (log_probs[..., None] + next_log_probs.view(r, w, v)).view(r, w * v)
            best = total.topk(min(2 * beam, w * v))
            value = best.values.where(best.values > NEVER / 2, -torch.inf)  # (R, 2·beam)
            origin, token = best.indices // v, best.indices % v
            extended = torch.cat([_gathered(tokens, origin), token[..., None]], dim=-1)
            ended = token == END
            if bool(ended[:, :beam].any()):
                kept.add(place, extended[:, :beam], value[:, :beam].where(ended[:, :beam], -torch.inf), length_penalty)
            # Those that go on, best first; where there are too few, ended ones fill up, which nothing can come of.
            order = ended.int().argsort(dim=1, stable=True)[:, :beam]
            log_probs = value.where(~ended, -torch.inf).gather(1, order)  # (R, beam)
            tokens, origin = _gathered(extended, order), origin.gather(1, order)
            if length == most:
                kept.add(place, tokens, log_probs, length_penalty, behind=CUT)
                break
            searched = ~kept.done(place, candidates, log_probs[:, 0], most**length_penalty)
            rows = searched.nonzero().squeeze(1)  # (R',)
            if not len(rows):
                break
            place, tokens, log_probs = place[rows], tokens[rows], log_probs[rows]
            selected = (rows[:, None] * w + origin[rows]).flatten()
            if len(selected) != r * w or bool((selected != torch.arange(r * w, device=device)).any()):
                state = next_token.select(state, selected)
            last = tokens[..., -1].flatten()
    return kept.best(candidates)


class _Kept:
    """The best texts that ended, ``beam`` of each of b sources at most."""

    def __init__(self, b: int, beam: int, most: int, device: torch.device) -> None:
        self._keys = torch.full((b, beam), -torch.inf, dtype=torch.float64, device=device)  # best first
        self._log_probs = torch.full((b, beam), -torch.inf, device=device)
        self._tokens = torch.zeros((b, beam, most), dtype=torch.long, device=device)
        self._count = torch.zeros(b, dtype=torch.long, device=device)

    def add(self, place: Tensor, tokens: Tensor, log_probs: Tensor, length_penalty: float, behind: float = 0.0) -> None:
        """tokens (R, n, t) and log_probs (R, n) of the sources ``place`` (R,); −∞: no text."""
        length, beam = tokens.shape[-1], self._keys.shape[1]
        keys = torch.cat([self._keys[place], log_probs.double() / length**length_penalty - behind], dim=1)
        self._count[place] += (log_probs > -torch.inf).sum(1)
        padded = torch.nn.functional.pad(tokens, (0, self._tokens.shape[-1] - length))
        chosen = keys.topk(beam)
        self._keys[place] = chosen.values
        self._log_probs[place] = torch.cat([self._log_probs[place], log_probs], dim=1).gather(1, chosen.indices)
        self._tokens[place] = _gathered(torch.cat([self._tokens[place], padded], dim=1), chosen.indices)

    def done(self, place: Tensor, candidates: int, best: Tensor, most: float) -> Tensor:
        """(R,): whether the search of the sources ``place`` is over; ``best`` (R,) log-probability of those that go on,
        which only falls, and ``most``, what it can be divided by at most."""
        return (self._count[place] >= self._keys.shape[1]) | (self._keys[place, candidates - 1] >= best / most)

    def best(self, candidates: int) -> Hypotheses:
        log_probs = self._log_probs[:, :candidates]
        tokens = self._tokens[:, :candidates].where(log_probs[..., None] > -torch.inf, PADDING)
        longest = int((tokens != PADDING).sum(-1).max())
        return Hypotheses(tokens[..., : max(longest, 1)], log_probs)


def _gathered(tokens: Tensor, index: Tensor) -> Tensor:
    """tokens (R, w, t) at index (R, n) → (R, n, t)"""
    return tokens.gather(1, index[..., None].expand(*index.shape, tokens.shape[-1]))


def written(
    next_token: NextToken, tokenizers: Tokenizers, texts: Sequence[str], decode: Decode, batch: int = 64
) -> Candidates:
    """What is written for each text: by beam search, distinct texts, best first, at most ``decode.candidates``, with
    their scores. ``batch`` texts of like length are written side by side."""
    if not texts:
        return Candidates((), ())
    sources = torch.from_numpy(tokenizers.encode_sources(texts, next_token.max_source))
    lengths = (sources != PADDING).sum(1)
    most = next_token.max_target
    found: list[tuple[tuple[str, ...], tuple[float, ...]]] = [((), ())] * len(texts)
    for rows in torch.split(lengths.argsort(stable=True), batch):
        batched = sources[rows, : int(lengths[rows].max())].to(next_token.device)
        if decode.beam == 1:
            hypotheses = greedy(next_token, batched, most)
        else:
            hypotheses = beam(next_token, batched, most, decode.beam, decode.length_penalty, decode.candidates)
        scores = hypotheses.scores(decode.length_penalty).tolist()
        for row, tokens, of_row in zip(rows.tolist(), hypotheses.tokens.tolist(), scores, strict=True):
            found[row] = _distinct(tokens, of_row, tokenizers)
    return Candidates(tuple(texts for texts, _ in found), tuple(scores for _, scores in found))


def _distinct(
    tokens: list[list[int]], scores: list[float], tokenizers: Tokenizers
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    best: dict[str, float] = {}
    for ids, score in zip(tokens, scores, strict=True):
        if score > -torch.inf or not best:
            best.setdefault(tokenizers.target.decode(ids), score)
    return tuple(best), tuple(best.values())
