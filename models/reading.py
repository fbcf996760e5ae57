"""Episodes of reading: after each segment the policy reads on, at a cost, or answers; at the last one it must answer.

A text does not depend on what the policy does, so the decisions after all its segments come out of one forward pass,
and an episode is sampled by choosing where it stops. What is learned from are the decisions that were taken, laid out
flat, because most episodes end long before their texts do.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from sweepstack.models.errors import TrainingError
from sweepstack.models.policy import PolicyOutput


@dataclass(frozen=True)
class Texts:
    """The policy part as far as episodes depend on it, on the device that trains."""

    labels: Tensor  # (rows,)
    n_segments: Tensor  # (rows,)
    cost: float  # of each READ


class Actor(Protocol):
    """A policy that plays on the policy part, dropout off. ``rows`` (B,) are indices of the part's rows."""

    samples_labels: bool
    """Whether an answer is sampled from the label distribution (and so learned), or is the likeliest label."""

    def everywhere(self, rows: Tensor) -> PolicyOutput:
        """After every segment: logits and values (B, S, …), S being the most segments that one of the rows has."""
        ...

    def at(self, rows: Tensor, episode: Tensor, step: Tensor) -> PolicyOutput:
        """The same at N decisions, (N, …): after segment ``step`` (N,) of the text ``rows[episode]``."""
        ...


@dataclass(frozen=True)
class Episodes:
    """B episodes, and the N decisions that were taken in them, in the order of episodes and time."""

    rewards: Tensor  # (B, S): 0 where nothing was decided any more
    values: Tensor  # (B, S)
    taken: Tensor  # (B, S) bool: decisions up to the answer
    answers: Tensor  # (B,): the label that was given
    stops: Tensor  # (B,): the segment after which
    episode: Tensor  # (N,): 0 … B−1
    step: Tensor  # (N,): 0-based
    answered: Tensor  # (N,) bool: the answer, not READ
    free: Tensor  # (N,) bool: READ could be chosen
    log_probs: Tensor  # (N,): of what was chosen


def log_probs_of(output: PolicyOutput, answered: Tensor, free: Tensor, answers: Tensor, samples_labels: bool) -> Tensor:
    """(N,): log-probability of what was chosen at each of N decisions: READ, or to answer (and, if sampled, the label).

    answers (N,): the label that the decision's episode ended with.
    """
    read = output.read_logits
    chosen = torch.where(free, F.logsigmoid(torch.where(answered, -read, read)), 0.0)
    if samples_labels:
        of_label = output.label_logits.log_softmax(-1).gather(-1, answers[:, None]).squeeze(-1)
        chosen = chosen + torch.where(answered, of_label, 0.0)
    return chosen


@torch.no_grad()
def roll_out(actor: Actor, rows: Tensor, texts: Texts, random: torch.Generator) -> Episodes:
    """One episode of each row. Rewards are 1 for the right label, minus the cost of each READ.

    Raises TrainingError where the policy's outputs are not numbers.
    """
    output = actor.everywhere(rows)
    if not torch.isfinite(output.values.sum() + output.label_logits.sum() + output.read_logits.sum()):
        raise TrainingError("what the policy says is not a number any more; lower train.lr")
    b, s = output.values.shape
    device = rows.device
    each = torch.arange(b, device=device)
    steps = torch.arange(s, device=device)
    last = texts.n_segments[rows] - 1  # (B,)
    uniform = torch.rand((b, s), generator=random, device=device)
    may_stop = (uniform >= torch.sigmoid(output.read_logits)) | (steps >= last[:, None])
    stops = may_stop.int().argmax(1)  # (B,): the first of them
    at_stop = output.label_logits[each, stops]  # (B, K)
    if actor.samples_labels:
        answers = torch.multinomial(at_stop.softmax(-1), 1, generator=random).squeeze(1)
    else:
        answers = at_stop.argmax(-1)
    right = (answers == texts.labels[rows]).float()
    taken = steps <= stops[:, None]
    rewards = torch.where(steps == stops[:, None], right[:, None], torch.where(taken, -texts.cost, 0.0))
    episode, step = taken.nonzero(as_tuple=True)
    answered = step == stops[episode]
    free = step < last[episode]
    decided = PolicyOutput(*(each_output[episode, step] for each_output in output))
    log_probs = log_probs_of(decided, answered, free, answers[episode], actor.samples_labels)
    return Episodes(rewards, output.values, taken, answers, stops, episode, step, answered, free, log_probs)
