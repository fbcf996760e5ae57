"""Episodes of reading: after each segment the policy reads on, at a cost, or answers; at the last one it must answer.

A text does not depend on what the policy does, so the decisions after all its segments come out of one forward pass,
and an episode is sampled by choosing where it stops. What is learned from are the decisions that were taken, laid out
flat, because most episodes end long before their texts do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical
from torch.nn import Parameter

from sweepstack.models.errors import TrainingError
from sweepstack.models.networks.policy import PolicyOutput
from sweepstack.models.optim.batching import micro_batches
from sweepstack.models.rl.episodes import Evaluation, Rollout, batches_of, minibatches_of_groups, sizes_of

NEVER = -1e4  # a logit whose probability is 0 and whose products with it are no NaN


class Actor(Protocol):
    """A policy that plays on the policy part. ``rows`` (B,) are indices of the part's rows, ``cost`` (B,) is what a
    READ costs in each, for a policy that is told so."""

    samples_labels: bool
    """Whether an answer is sampled from the label distribution (and so learned), or is the best label."""

    def everywhere(self, rows: Tensor, cost: Tensor | None) -> PolicyOutput:
        """After every segment: logits and values (B, S, …), S being the most segments that one of the rows has."""
        ...

    def at(self, rows: Tensor, cost: Tensor | None, episode: Tensor, step: Tensor) -> PolicyOutput:
        """The same at N decisions, (N, …): after segment ``step`` (N,) of the text ``rows[episode]``."""
        ...

    def value_parameters(self) -> Sequence[Parameter]: ...


@dataclass(frozen=True)
class Texts:
    """The policy part as far as episodes depend on it, on the device that trains."""

    labels: Tensor  # (rows,)
    n_segments: Tensor  # (rows,)
    cost: tuple[float, float]  # of each READ: an episode's own is drawn from this interval
    worth: Tensor | None = None  # (right, answered): the reward of an answer; None: 1 for the right one, else 0
    constant: bool = False  # every episode is worth 1, whatever is done in it
    told: bool = False  # whether the policy is told what a READ costs
    class_weights: Tensor | None = None  # (classes,): of the supervised loss
    label_smoothing: float = 0.0
    width: int = 1  # tokens in a segment
    token_budget: int | None = None  # of a forward pass


@dataclass(frozen=True)
class ReadingRollout(Rollout):
    texts: Tensor  # (G,): the rows that were played; group says which of them an episode is of
    costs: Tensor  # (G,): of a READ
    free: Tensor  # (N,) bool: READ could be chosen


def choices(output: PolicyOutput, free: Tensor, samples_labels: bool) -> Categorical:
    """What may be done at N decisions: give a label (each of them, or the best one), or, last of all, READ."""
    read = torch.where(free, output.read_logits, NEVER)
    if not samples_labels:
        return Categorical(logits=torch.stack([torch.zeros_like(read), read], dim=-1), validate_args=False)
    labels = output.label_logits.log_softmax(-1) + F.logsigmoid(-read)[..., None]
    return Categorical(logits=torch.cat([labels, F.logsigmoid(read)[..., None]], dim=-1), validate_args=False)


class ReadingPlayer:
    """Rows of the policy part are its units; see episodes.Player and exact.Foreseeing."""

    def __init__(self, actor: Actor, texts: Texts, gamma: float) -> None:
        self._actor, self._texts, self._gamma = actor, texts, gamma

    def batches(self, size: int, random: torch.Generator) -> Iterator[Tensor]:
        return batches_of(len(self._texts.labels), size, random)

    def sizes(self, size: int) -> list[int]:
        return sizes_of(len(self._texts.labels), size)

    @torch.no_grad()
    def roll_out(self, batch: Tensor, samples: int, random: torch.Generator) -> ReadingRollout:
        """Rewards are what the answer is worth, minus the cost of each READ."""
        texts, device = self._texts, batch.device
        low, high = texts.cost
        costs = torch.full((len(batch),), low, device=device)
        if high > low:
            costs += (high - low) * torch.rand(len(batch), generator=random, device=device)
        output = self._played(batch, costs if texts.told else None)
        if not torch.isfinite(output.values.sum() + output.label_logits.sum() + output.read_logits.sum()):
            raise TrainingError("what the policy says is not a number any more; lower train.lr")
        group = torch.arange(len(batch), device=device).repeat_interleave(samples)
        output = PolicyOutput(*(each.repeat_interleave(samples, dim=0) for each in output))
        rows = batch[group]
        b, s = output.values.shape
        each = torch.arange(b, device=device)
        steps = torch.arange(s, device=device)
        last = texts.n_segments[rows] - 1  # (B,)
        uniform = torch.rand((b, s), generator=random, device=device)
        may_stop = (uniform >= torch.sigmoid(output.read_logits)) | (steps >= last[:, None])
        stops = may_stop.int().argmax(1)  # (B,): the first of them
        probabilities = output.label_logits[each, stops].softmax(-1)  # (B, K)
        if self._actor.samples_labels:
            answers = torch.multinomial(probabilities, 1, generator=random).squeeze(1)
        else:
            answers = self._best(probabilities)
        rewards, taken = self._rewards(answers, rows, stops, costs[group], steps)
        row, step = taken.nonzero(as_tuple=True)
        answered = step == stops[row]
        free = step < last[row]
        read_action = output.label_logits.shape[-1] if self._actor.samples_labels else 1
        given = answers[row] if self._actor.samples_labels else torch.zeros_like(row)
        actions = torch.where(answered, given, read_action)
        decided = choices(PolicyOutput(*(of[row, step] for of in output)), free, self._actor.samples_labels)
        counted = free | answered if self._actor.samples_labels else free
        return ReadingRollout(
            rewards=rewards,
            values=output.values,
            taken=taken,
            ends=None,
            bootstrap=None,
            group=group,
            row=row,
            step=step,
            actions=actions,
            log_probs=decided.log_prob(actions),  # type: ignore[no-untyped-call]
            counted=counted,
            texts=batch,
            costs=costs,
            free=free,
        )

    def _played(self, batch: Tensor, costs: Tensor | None) -> PolicyOutput:
        """After every segment of these texts, by as many forward passes as the budget of tokens asks for."""
        pieces = self._cut(batch)
        if len(pieces) == 1:
            return self._actor.everywhere(batch, costs)
        outputs = [self._actor.everywhere(batch[at], None if costs is None else costs[at]) for at in pieces]
        longest = max(output.values.shape[1] for output in outputs)
        order = torch.cat(pieces).argsort()
        tables = ([_padded(each, longest) for each in of] for of in zip(*outputs, strict=True))
        return PolicyOutput(*(torch.cat(of)[order] for of in tables))

    def minibatches(self, rollout: Rollout, size: int, random: torch.Generator) -> Iterator[Tensor]:
        return minibatches_of_groups(rollout, size, random)

    def pieces(self, rollout: Rollout, index: Tensor) -> Sequence[Tensor]:
        assert isinstance(rollout, ReadingRollout)
        if self._texts.token_budget is None:
            return [index]
        of_text = rollout.group[rollout.row[index]]
        played = torch.unique(of_text)
        place = torch.empty(len(rollout.texts), dtype=torch.long, device=index.device)
        pieces = []
        for piece in self._cut(rollout.texts[played]):
            place.fill_(-1)
            place[played[piece]] = 0
            pieces.append(index[place[of_text] == 0])
        return pieces

    def batch_pieces(self, batch: Tensor) -> Sequence[Tensor]:
        return [batch[piece] for piece in self._cut(batch)]

    def _cut(self, rows: Tensor) -> list[Tensor]:
        """Places in ``rows`` that go through one forward pass together."""
        lengths = self._texts.n_segments[rows].cpu().numpy()
        places = np.arange(len(rows))
        pieces = micro_batches(places, lengths, self._texts.width, self._texts.token_budget)
        return [torch.from_numpy(piece).to(rows.device) for piece in pieces]

    def evaluate(self, rollout: Rollout, index: Tensor) -> Evaluation:
        assert isinstance(rollout, ReadingRollout)
        of_text, step = rollout.group[rollout.row[index]], rollout.step[index]
        output = self._actor.at(rollout.texts, rollout.costs if self._texts.told else None, of_text, step)
        supervised = None
        if self._actor.samples_labels:
            right, smoothing = self._texts.labels[rollout.texts[of_text]], self._texts.label_smoothing
            supervised = F.cross_entropy(output.label_logits, right, label_smoothing=smoothing, reduction="none")
            if self._texts.class_weights is not None:
                supervised = supervised * self._texts.class_weights[right]
        distribution = choices(output, rollout.free[index], self._actor.samples_labels)
        return Evaluation(distribution, output.values, supervised)

    @property
    def policy(self) -> Any:
        return self._actor.policy  # type: ignore[attr-defined]  # of a frozen actor

    def inputs(self, rollout: Rollout) -> tuple[Tensor, ...]:
        """What :meth:`judged` needs of all N decisions of a frozen actor, (N, …) each."""
        assert isinstance(rollout, ReadingRollout)
        of_text = rollout.group[rollout.row]
        observed = self._actor.observed(rollout.texts[of_text], rollout.step)  # type: ignore[attr-defined]
        return (observed, rollout.free, *([rollout.costs[of_text]] if self._texts.told else []))

    @staticmethod
    def judged(policy: Any, observed: Tensor, free: Tensor, cost: Tensor | None = None) -> Evaluation:
        """What a policy whose labels are fixed, or a stack of K, says of (…, features + state_size)."""
        read, values = policy.judge(observed, cost)
        return Evaluation(choices(PolicyOutput(observed, read, values), free, samples_labels=False), values)

    def decisions(self, rollout: Rollout, index: Tensor) -> int:
        return len(index)

    def expected_rewards(self, batch: Tensor) -> Tensor:
        texts = self._texts
        low, high = texts.cost
        costs = torch.full((len(batch),), low, device=batch.device)
        if high > low:  # a policy for an interval of costs: each text at a cost of its own, spread over it
            costs += (high - low) * (torch.arange(len(batch), device=batch.device) + 0.5) / len(batch)
        output = self._actor.everywhere(batch, costs if texts.told else None)
        steps = torch.arange(output.values.shape[1], device=batch.device)
        may_read = steps < (texts.n_segments[batch] - 1)[:, None]
        reads = torch.where(may_read, torch.sigmoid(output.read_logits), 0.0)  # (B, S)
        reached = F.pad(reads.cumprod(1), (1, 0), value=1.0)[:, :-1]
        probabilities = output.label_logits.softmax(-1)
        if not self._actor.samples_labels:
            probabilities = F.one_hot(self._best(probabilities), probabilities.shape[-1]).to(probabilities.dtype)
        if texts.constant:
            worth, costs = torch.ones_like(reads), torch.zeros_like(costs)
        elif texts.worth is None:
            worth = probabilities.gather(-1, texts.labels[batch][:, None, None].expand(-1, len(steps), 1)).squeeze(-1)
        else:
            worth = (probabilities * texts.worth[texts.labels[batch]][:, None, :]).sum(-1)
        gained = (1 - reads) * worth - reads * costs[:, None]
        return (reached * self._gamma**steps * gained).sum(1)

    def value_parameters(self) -> Sequence[Parameter]:
        return self._actor.value_parameters()

    def _best(self, probabilities: Tensor) -> Tensor:
        """(…, K) → the label that is worth most."""
        worth = probabilities if self._texts.worth is None else probabilities @ self._texts.worth
        return worth.argmax(-1)

    def _rewards(
        self, answers: Tensor, rows: Tensor, stops: Tensor, costs: Tensor, steps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(B, S) each: the rewards, and which decisions were taken."""
        texts = self._texts
        taken, at_stop = steps <= stops[:, None], steps == stops[:, None]
        if texts.constant:
            return at_stop.float(), taken
        if texts.worth is None:
            worth = (answers == texts.labels[rows]).float()
        else:
            worth = texts.worth[texts.labels[rows], answers]
        return torch.where(at_stop, worth[:, None], torch.where(taken, -costs[:, None], 0.0)), taken


def _padded(table: Tensor, segments: int) -> Tensor:
    """(B, S, …) with zeros behind, where nothing is decided."""
    return F.pad(table, (*(0, 0) * (table.dim() - 2), 0, segments - table.shape[1]))
