"""A writer that translates while it reads: before each token it reads on, segment by segment, or writes.

A source is read some words at a time. Its encoder is causal over segments, so one pass gives what every prefix of the
source comes to, and a token is written from the segments that had been read by then. Training draws how many are read
ahead for every text, so that one writer knows all paths (Elbayad et al. 2020, arXiv 2005.08595); with everything read
it is a writer like others, and is decoded as they are.

READ is decided by how sure it is of the next token and by how far reading is ahead of writing. Before anything is
learned that is a wait-k rule whose k need not be whole: between two of them, confidence decides.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from sweepstack.models.data.bpe import BEGIN, END, PADDING, Tokenizers
from sweepstack.models.data.source_words import last_words, readable, word_tables
from sweepstack.models.networks.policy import MOST_ODDS, ODDS_SCALE, initialise, log_odds
from sweepstack.models.networks.writer import Memory, Shape, Writer, never_empty
from sweepstack.models.predictions.texts import Candidates
from sweepstack.models.settings.trial import Model, Reading
from sweepstack.models.tasks.writing.lagging import average_lagging, wait_k

FEATURES = 8
AHEAD = 6  # of them, where it stands by how much reading is ahead of writing
SEGMENTS_SCALE = 0.25  # of segments, which are a handful
SHARP = 6.0  # log-odds of READ that the lead loses with each segment that reading is ahead

Choose = Callable[[Tensor, Tensor, int], Tensor]
"""What is seen (B, FEATURES), segments read (B,) and the number of tokens written → (B,) bool: whether to read on."""


@dataclass(frozen=True)
class Prefixes(Memory):
    """An encoded source, and in which segment each of its tokens (B, S) ends."""

    segments: Tensor  # (B, S)
    words: Tensor  # (B,): that can be read

    @property
    def first(self) -> Tensor:
        """(B,): segments after which there is a token to see."""
        return self.segments[:, 0] + 1

    @property
    def count(self) -> Tensor:
        """(B,): segments that can be read."""
        return self.segments.where(self.there, 0).amax(1) + 1

    def select(self, rows: Tensor) -> "Prefixes":
        return Prefixes(self.states[rows], self.there[rows], self.segments[rows], self.words[rows])

    def sees(self, read: Tensor) -> Tensor:
        """(B, T, S): what is seen where so many segments (B, T) have been read."""
        read = torch.maximum(read, self.first[:, None])
        return (self.segments[:, None] < read[..., None]) & self.there[:, None]


class SimultaneousWriter(Writer):
    """``wait``: segments that are read before the first token, and then one a token; None: as its head decides."""

    wait: int | None = None
    tables: Tensor  # (V, 3): see lagging.word_tables

    def __init__(self, shape: Shape, model: Model, reading: Reading) -> None:
        super().__init__(shape, model)
        self.reading = reading
        self.register_buffer("tables", torch.zeros((shape.source_vocab, 3), dtype=torch.long))
        self.rule = nn.Linear(FEATURES, 1)
        self.read_head, self.value_head = (
            nn.Sequential(nn.Linear(FEATURES, 32), nn.Tanh(), nn.Linear(32, 1)) for _ in range(2)
        )
        for head in (self.read_head, self.value_head):
            initialise(head, model)
            nn.init.zeros_(head[-1].weight)  # type: ignore[arg-type]  # nn.Sequential does not say what it holds
        self.lead(1.0)

    @torch.no_grad()
    def lead(self, k: float) -> None:
        """Makes READ, of a head that has learned nothing, as likely as WRITE where the next token is as likely as not
        and reading is ``k`` segments ahead of writing."""
        self.rule.weight.zero_()
        self.rule.weight[0, 0], self.rule.weight[0, AHEAD] = -1 / ODDS_SCALE, -SHARP / SEGMENTS_SCALE
        self.rule.bias.fill_(SHARP * k)

    def know(self, tokenizers: Tokenizers) -> None:
        """Tells it where the words of its source vocabulary begin and end."""
        self.tables.copy_(word_tables(tokenizers.source.entries))

    def head_parameters(self) -> list[Parameter]:
        """Of READ and of the value, all that policy optimisation trains."""
        return [*self.rule.parameters(), *self.read_head.parameters(), *self.value_head.parameters()]

    def encode(self, sources: Tensor) -> Prefixes:
        """As Writer.encode; what stands behind the last segment that may be read is not there."""
        sources = never_empty(sources)
        segment, most = self.reading.segment, self.reading.max_segments
        word = last_words(sources, self.tables)
        segments = word // segment
        there = readable(sources, segments, most)
        mask = (segments[:, None] <= segments[..., None]) & there[:, None]  # (B, S, S)
        words = word.where(there, 0).amax(1) + 1
        return Prefixes(self._encoded(sources, mask), there, segments, words)

    def states(self, memory: Memory, targets_in: Tensor) -> Tensor:
        """As Writer.states, everything being read; in training each text by a path of its own."""
        if not self.training:
            return super().states(memory, targets_in)
        assert isinstance(memory, Prefixes)
        count = memory.count
        k = 1 + (torch.rand(len(count), device=count.device) * count).long()
        return self.along(memory, targets_in, wait_k(k, targets_in.shape[1], count))

    def along(self, memory: Prefixes, targets_in: Tensor, read: Tensor) -> Tensor:
        """As :meth:`states`, where so many segments (B, T) are read when each token is written."""
        return self._decoded(targets_in, memory.states, memory.sees(read))

    def observe(self, log_probs: Tensor, read: Tensor, written: int, just_read: Tensor) -> Tensor:
        """What READ and value are judged from, (B, FEATURES), of the order of one: log-odds and probability of the next
        token, the entropy, the gap to the second, the log-odds of END, the segments that were read, and by how many
        that is more than tokens were written, and whether the last action was READ (B,)."""
        top = log_probs.topk(2, dim=-1).values
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        gap = (top[:, 0] - top[:, 1]).clamp(max=MOST_ODDS) * ODDS_SCALE
        end, segments = log_odds(log_probs[:, END]), [read * SEGMENTS_SCALE, (read - written) * SEGMENTS_SCALE]
        return torch.stack(
            [log_odds(top[:, 0]), top[:, 0].exp(), entropy, gap, end, *segments, just_read.float()], dim=-1
        )

    def judge(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """(…, FEATURES) → READ logits and values, each (…)."""
        read = self.rule(observations) + self.read_head(observations)
        return read.squeeze(-1), self.value_head(observations).squeeze(-1)

    def chooses(self) -> Choose:
        """How it reads where it is not learning: by ``wait``, or READ where that is likelier than not."""
        return waits(self.wait) if self.wait is not None else lambda seen, read, written: self.judge(seen)[0] > 0


def waits(k: int) -> Choose:
    return lambda seen, read, written: read < k + written


@dataclass(frozen=True)
class Translations:
    """B texts, and the I rounds of decisions that they came from: in each, one reads on, writes or waits for others."""

    tokens: Tensor  # (B, T): 0-padded, END kept
    log_probs: Tensor  # (B,): mean of a token
    lagging: Tensor  # (B, T): in words, what each token adds to it
    read: Tensor  # (B, T): segments, when each token was written
    observations: Tensor  # (B, I, FEATURES)
    decided: Tensor  # (B, I) bool: the text's turn,
    free: Tensor  # (B, I) bool: and reading was a choice,
    reads: Tensor  # (B, I) bool: and it was read


@torch.no_grad()
def translate(writer: SimultaneousWriter, memory: Prefixes, most: int, choose: Choose) -> Translations:
    """The likeliest token each time that ``choose`` does not read on, ``most`` at most. The first segment is read, and
    before END all are: a text that ended earlier would leave out what it has not read, and gain by it in lagging."""
    count, read, b = memory.count, memory.first, len(memory.states)
    cache, last = writer.begin(memory), torch.full((b,), BEGIN, device=memory.states.device)
    writing = just_read = torch.ones_like(last, dtype=torch.bool)
    tokens, gained, path, rounds = [], [], [], []
    for written in range(most):
        deciding = writing
        while True:
            states, after = writer.step(cache._replace(mask=memory.sees(read[:, None])[:, None]), last)
            log_probs = writer.logits(states).log_softmax(-1)
            seen = writer.observe(log_probs, read, written, just_read)
            unread, best = deciding & (read < count), log_probs.max(-1)
            ends = unread & (best.indices == END)
            free = unread & ~ends
            reads = ends | (free & choose(seen, read, written))
            rounds.append((seen, deciding, free, reads))
            if not bool(reads.any()):
                break
            read, deciding, just_read = read + reads, reads, reads
        cache, just_read = after, torch.zeros_like(writing)
        last = best.indices.where(writing, PADDING)
        tokens.append(last)
        gained.append(best.values.where(writing, 0))
        path.append(read)
        writing = writing & (last != END)
        if not bool(writing.any()):
            break
    written_tokens, read = torch.stack(tokens, dim=1), torch.stack(path, dim=1)
    words = torch.minimum(read * writer.reading.segment, memory.words[:, None])
    lengths = (written_tokens != PADDING).sum(1)
    shown = ((written_tokens != PADDING) & (written_tokens != END)).sum(1).clamp(min=1)
    return Translations(
        written_tokens,
        torch.stack(gained, dim=1).sum(1) / lengths,
        average_lagging(words, shown, memory.words),
        read,
        *(torch.stack(each, dim=1) for each in zip(*rounds, strict=True)),
    )


def read_and_written(
    writer: SimultaneousWriter, tokenizers: Tokenizers, texts: Sequence[str], choose: Choose, batch: int = 256
) -> Candidates:
    """One text for each, as ``choose`` reads it, and how far it lags behind."""
    sources = torch.from_numpy(tokenizers.encode_sources(texts, writer.shape.max_source))
    lengths = (sources != PADDING).sum(1)
    found, scores, lagging = [""] * len(texts), [0.0] * len(texts), [0.0] * len(texts)
    for rows in torch.split(lengths.argsort(stable=True), batch) if len(texts) else ():
        memory = writer.encode(sources[rows, : int(lengths[rows].max())].to(writer.positions.device))
        made = translate(writer, memory, writer.shape.max_target, choose)
        each = made.tokens, made.log_probs, made.lagging.sum(1)
        for row, tokens, score, behind in zip(rows.tolist(), *(made_of.tolist() for made_of in each), strict=True):
            found[row], scores[row], lagging[row] = tokenizers.target.decode(tokens), score, behind
    return Candidates(tuple((text,) for text in found), tuple((score,) for score in scores), tuple(lagging))
