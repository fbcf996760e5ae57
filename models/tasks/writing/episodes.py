"""Episodes of writing: a text is an episode and its tokens are the decisions; END is the last of them, if it comes.

A text is written token by token, then looked at as a whole: one pass over it, each token given those before it, says
what the policy thought of all of them, when it played as when it learns. What is chosen from is the distribution that
tokens were drawn from, with its temperature and its cuts. The reward comes with the last token: END, or the one at
which the text was cut. It is of the text as it stands, so nothing is owed for what might have followed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Categorical
from torch.nn import Parameter

from sweepstack.models.data.bpe import BEGIN, END, PADDING, Bpe
from sweepstack.models.data.pairs import EncodedPairs
from sweepstack.models.errors import TrainingError
from sweepstack.models.networks.decoding import WriterTokens, filtered, sample
from sweepstack.models.networks.token_loss import states_before, token_losses, writable
from sweepstack.models.networks.writer import NEVER, Memory, Writer
from sweepstack.models.optim.batching import micro_batches
from sweepstack.models.rl.episodes import Evaluation, Rollout, batches_of, minibatches_of_groups, sizes_of
from sweepstack.models.rl.rewards import Reward
from sweepstack.models.settings.writing import Sample
from sweepstack.models.tasks.writing.supervised import cut_to_longest, lengths_of, targets_of

IMPOSSIBLE = -1e3  # log-probabilities below it are those of tokens that a cut has taken away


@dataclass(frozen=True)
class Play:
    """How texts are played, and what for."""

    reward: Reward
    vocabulary: Bpe  # of what is written
    most: int  # tokens of a text
    how: Sample
    increments: bool = False  # the reward as it grows with every token, instead of at the end
    constant: bool = False  # every episode is worth 1, whatever is written in it
    supervised: bool = False  # whether the cross-entropy of the references is learned from as well,
    label_smoothing: float = 0.0  # and how smooth it is
    token_budget: int | None = None  # of a forward pass
    frozen_encoder: bool = False


@dataclass(frozen=True)
class WritingRollout(Rollout):
    texts: Tensor  # (G,): the rows that were played; group says which of them an episode is of
    tokens: Tensor  # (B, S): what was written, padded with 0


class WritingPlayer:
    """Texts of the policy part are its units; see episodes.Player."""

    def __init__(self, writer: Writer, part: EncodedPairs, play: Play) -> None:
        self._writer, self._part, self._play = writer, part, play
        self._lengths = lengths_of(part.sources)
        self._earned: list[Tensor] = []

    @property
    def earned(self) -> Tensor:
        """(episodes,): what the texts of this epoch were worth to the reward function, also where the control that is
        rewarded for nothing was told otherwise."""
        return torch.cat(self._earned) if self._earned else torch.zeros(0)

    def batches(self, size: int, random: torch.Generator) -> Iterator[Tensor]:
        self._earned = []
        return batches_of(len(self._part), size, random)

    def sizes(self, size: int) -> list[int]:
        return sizes_of(len(self._part), size)

    @torch.no_grad()
    def roll_out(self, batch: Tensor, samples: int, random: torch.Generator) -> WritingRollout:
        device = batch.device
        group = torch.arange(len(batch), device=device).repeat_interleave(samples)
        tokens = self._sampled(batch, samples, random)
        taken = tokens != PADDING
        row, step = taken.nonzero(as_tuple=True)
        actions = tokens[row, step]
        log_probs, values = torch.zeros((2, len(row)), device=device)
        for places in self._pieces(batch[group], tokens):
            here = torch.zeros(len(tokens), dtype=torch.bool, device=device)
            here[places] = True
            of_place, (texts, of_text) = here.cumsum(0) - 1, torch.unique(group[here], return_inverse=True)
            at = here[row]
            memory = self._memory(batch[texts]).select(of_text)
            logits, values[at] = self._judged(memory, _cut(tokens[here]), of_place[row[at]], step[at])
            log_probs[at] = Categorical(logits=logits, validate_args=False).log_prob(actions[at])  # type: ignore[no-untyped-call]
        if not torch.isfinite(values.sum() + log_probs.sum()):
            raise TrainingError("what the policy says is not a number any more; lower train.lr")
        table = torch.zeros(tokens.shape, device=device)
        table[row, step] = values
        return WritingRollout(
            rewards=self._rewards(batch[group], tokens),
            values=table,
            taken=taken,
            ends=None,
            bootstrap=None,
            group=group,
            row=row,
            step=step,
            actions=actions,
            log_probs=log_probs,
            counted=log_probs > IMPOSSIBLE,  # rounding may take from a cut what it left when the token was drawn
            texts=batch,
            tokens=tokens,
        )

    def minibatches(self, rollout: Rollout, size: int, random: torch.Generator) -> Iterator[Tensor]:
        return minibatches_of_groups(rollout, size, random)

    def pieces(self, rollout: Rollout, index: Tensor) -> Sequence[Tensor]:
        """Whole episodes, so that none goes through the writer twice."""
        assert isinstance(rollout, WritingRollout)
        if self._play.token_budget is None:
            return [index]
        of_row = rollout.row[index]
        played = torch.unique(of_row)
        pieces = []
        for places in self._pieces(rollout.texts[rollout.group[played]], rollout.tokens[played]):
            here = torch.zeros(len(rollout.tokens), dtype=torch.bool, device=index.device)
            here[played[places]] = True
            pieces.append(index[here[of_row]])
        return pieces

    def _pieces(self, rows: Tensor, tokens: Tensor) -> list[Tensor]:
        """Places of episodes that go through one forward pass together: ``tokens`` (B, S) written for ``rows`` (B,)."""
        lengths = self._lengths[rows.cpu().numpy()] + (tokens != PADDING).sum(1).cpu().numpy()
        pieces = micro_batches(np.arange(len(rows)), lengths, 1, self._play.token_budget)
        return [torch.from_numpy(piece).to(rows.device) for piece in pieces]

    def _sampled(self, batch: Tensor, samples: int, random: torch.Generator) -> Tensor:
        """(B, S): what is written for each text of ``batch``, B = texts · samples.

        A budget of tokens holds for the sources that are read at a time; other texts are drawn under it than without.
        """
        play, writer = self._play, WriterTokens(self._writer)

        def drawn(rows: Tensor, samples: int) -> Tensor:
            return sample(writer, self._sources(rows), play.most, play.how, random, samples)[0].tokens.flatten(0, 1)

        if play.token_budget is None:
            return _cut(drawn(batch, samples))
        rows = batch.repeat_interleave(samples)
        tokens = torch.zeros((len(rows), play.most), dtype=torch.long, device=batch.device)
        lengths = self._lengths[rows.cpu().numpy()]
        for piece in micro_batches(np.arange(len(rows)), lengths, 1, play.token_budget):
            places = torch.from_numpy(piece).to(batch.device)
            written = drawn(rows[places], 1)
            tokens[places, : written.shape[1]] = written
        return _cut(tokens)

    def evaluate(self, rollout: Rollout, index: Tensor) -> Evaluation:
        """``cross_entropy`` of a decision is the mean over the tokens of its text's reference, none of which belongs to
        one decision more than to another."""
        assert isinstance(rollout, WritingRollout)
        played, place = torch.unique(rollout.row[index], return_inverse=True)
        texts, of_text = torch.unique(rollout.group[played], return_inverse=True)
        rows = rollout.texts[texts]
        memory = self._memory(rows)
        tokens = _cut(rollout.tokens[played])
        logits, values = self._judged(memory.select(of_text), tokens, place, rollout.step[index])
        supervised = self._reference_losses(memory, rows)[of_text[place]] if self._play.supervised else None
        drawn = logits.detach().gather(1, rollout.actions[index][:, None]).squeeze(1)
        return Evaluation(Categorical(logits=logits, validate_args=False), values, supervised, drawn > NEVER)

    def decisions(self, rollout: Rollout, index: Tensor) -> int:
        return len(index)

    def value_parameters(self) -> Sequence[Parameter]:
        return list(self._writer.value_head.parameters())

    def _memory(self, rows: Tensor) -> Memory:
        """What the encoder makes of texts, each once, however many episodes are of it."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._play.frozen_encoder):
            return self._writer.encode(self._sources(rows))

    def _judged(self, memory: Memory, tokens: Tensor, row: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Of N decisions, each after ``step`` (N,) tokens of what was written in ``row`` (N,) of memory and tokens
        (B, S): logits (N, V) of what tokens are drawn from, and values (N,), which teach nothing but their own head."""
        inputs = torch.cat([torch.full_like(tokens[:, :1], BEGIN), tokens[:, :-1]], dim=1)
        states = self._writer.states(memory, inputs)[row, step]  # (N, d)
        return filtered(self._writer.logits(states), self._play.how), self._writer.values(states.detach())

    def _reference_losses(self, memory: Memory, rows: Tensor) -> Tensor:
        """(texts,): the mean over the tokens of each reference."""
        targets = cut_to_longest(targets_of(self._part), rows.cpu().numpy(), rows.device)
        states, tokens = states_before(self._writer, memory, targets)
        losses = token_losses(self._writer.logits(states), tokens, self._play.label_smoothing)
        of_text = writable(targets).nonzero(as_tuple=True)[0]
        sums = losses.new_zeros(len(rows)).index_add(0, of_text, losses)
        return sums / torch.bincount(of_text, minlength=len(rows))

    def _sources(self, rows: Tensor) -> Tensor:
        return cut_to_longest(self._part.sources, rows.cpu().numpy(), rows.device)

    def _rewards(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """(B, S): of what was written for ``rows`` (B,) of the part."""
        index, written = rows.cpu().numpy(), tokens.cpu().numpy()
        last = np.arange(len(written)), lengths_of(written) - 1
        rewards = np.zeros(written.shape)
        if self._play.increments:
            row, step = written.nonzero()
            rewards[row, step] = self._worth(index[row], [written[r, : s + 1] for r, s in zip(row, step, strict=True)])
            worth = rewards[last]
            rewards[:, 1:] = np.where(written[:, 1:] != PADDING, np.diff(rewards, axis=1), 0.0)
        else:
            worth = rewards[last] = self._worth(index, list(written))
        self._earned.append(torch.from_numpy(worth))
        if self._play.constant:
            rewards[:] = 0.0
            rewards[last] = 1.0
        return torch.from_numpy(rewards).float().to(tokens.device)

    def _worth(self, rows: NDArray[np.int64], written: list[NDArray[np.int64]]) -> NDArray[np.float64]:
        """(n,): the reward of tokens that were written for ``rows`` (n,), whether they end or not."""
        return worth_of(self._play.reward, self._play.vocabulary, self._part, rows, written)


def worth_of(
    reward: Reward, vocabulary: Bpe, part: EncodedPairs, rows: NDArray[np.int64], written: Sequence[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """(n,): the reward of tokens that were written for ``rows`` (n,) of the part, whether they end or not.

    Raises TrainingError where it is not a number.
    """
    texts = [vocabulary.decode([int(token) for token in tokens if token > END]) for tokens in written]
    references = None if part.references is None else [part.references[row] for row in rows]
    worth = np.asarray(reward([part.inputs[row] for row in rows], references, texts), dtype=np.float64)
    if not np.isfinite(worth).all():
        wrong = int((~np.isfinite(worth)).argmax())
        raise TrainingError(
            f"the reward of {texts[wrong]!r} is not a number ({worth[wrong]}); mend the function that "
            "writing.reward names"
        )
    return worth


def _cut(tokens: Tensor) -> Tensor:
    """(B, S) without columns that hold padding alone, but at least one."""
    return tokens[:, : max(int((tokens != PADDING).sum(1).max()), 1)]
