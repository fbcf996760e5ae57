"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347) of a reading policy.

An episode is a text. After each segment the policy reads on, at a cost, or answers; at the last one it must answer. The
text does not depend on what the policy does, so the decisions after all segments come from one forward pass, and an
episode is sampled by choosing where it stops. Where the Transformer is frozen only the heads are trained, and the answer
is the likeliest label; otherwise labels are sampled, too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from sweepstack.models.gae import gae, normalised
from sweepstack.models.policy import PolicyOutput
from sweepstack.models.settings import PPO

MAX_NORM = 1.0  # of the gradient

Forward = Callable[[Tensor], PolicyOutput]
"""From indices of rows of the policy part, (B,), to the policy's output for them, dropout off."""


@dataclass(frozen=True)
class Texts:
    """The policy part as far as episodes depend on it, on the device that trains."""

    labels: Tensor  # (rows,)
    n_segments: Tensor  # (rows,)
    cost: float  # of each READ


@dataclass(frozen=True)
class Episodes:
    """B episodes of at most S decisions, as they were sampled."""

    rows: Tensor  # (B,)
    taken: Tensor  # (B, S) bool: decisions up to the answer
    free: Tensor  # (B, S) bool: those in which READ could be chosen
    answered: Tensor  # (B, S) bool: the answer
    answers: Tensor  # (B,): the label that was given
    log_probs: Tensor  # (B, S): of what was chosen; 0 where nothing was
    values: Tensor  # (B, S)
    rewards: Tensor  # (B, S)

    def take(self, index: Tensor) -> "Episodes":
        return Episodes(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass
class Losses:
    """Means over the updates of an epoch, for the log."""

    policy: float = 0.0
    value: float = 0.0
    entropy: float = 0.0
    kl: float = 0.0
    clip_fraction: float = 0.0


def log_probs_of(output: PolicyOutput, episodes: Episodes, sample_labels: bool) -> Tensor:
    """(B, S): log-probability of each action taken: READ, or to answer (and, where it is sampled, the label)."""
    sign = torch.where(episodes.answered, -1.0, 1.0)
    chosen = torch.where(episodes.free, F.logsigmoid(sign * output.read_logits), 0.0)
    if sample_labels:
        labels = output.label_logits.log_softmax(-1)
        index = episodes.answers[:, None, None].expand(-1, labels.shape[1], 1)
        chosen = chosen + torch.where(episodes.answered, labels.gather(-1, index).squeeze(-1), 0.0)
    return chosen


def roll_out(forward: Forward, rows: Tensor, texts: Texts, random: torch.Generator, sample_labels: bool) -> Episodes:
    """One episode of each row; rewards are 1 for the right label, minus the cost of each READ."""
    with torch.no_grad():
        output = forward(rows)
        b, s = output.read_logits.shape
        step = torch.arange(s, device=rows.device)
        last = texts.n_segments[rows] - 1  # (B,)
        uniform = torch.rand((b, s), generator=random, device=rows.device)
        stops = uniform >= torch.sigmoid(output.read_logits)
        stop = (stops | (step >= last[:, None])).int().argmax(1)  # (B,): the first of them
        answered = step == stop[:, None]
        taken = step <= stop[:, None]
        at_stop = output.label_logits[torch.arange(b, device=rows.device), stop]  # (B, K)
        if sample_labels:
            answers = torch.multinomial(at_stop.softmax(-1), 1, generator=random).squeeze(1)
        else:
            answers = at_stop.argmax(-1)
        right = (answers == texts.labels[rows]).float()
        rewards = torch.where(answered, right[:, None], torch.where(taken, -texts.cost, 0.0))
        episodes = Episodes(
            rows, taken, taken & (step < last[:, None]), answered, answers, rewards, output.values, rewards
        )
        return Episodes(**{**episodes.__dict__, "log_probs": log_probs_of(output, episodes, sample_labels)})


def ppo_losses(
    output: PolicyOutput, episodes: Episodes, advantages: Tensor, targets: Tensor, settings: PPO, sample_labels: bool
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The loss, the probability ratios (B, S), and what to log. Decisions in which there is nothing to choose do not
    count for the policy."""
    chosen = episodes.free | (episodes.answered if sample_labels else torch.zeros_like(episodes.free))
    count = chosen.sum().clamp(min=1)
    log_ratio = torch.where(chosen, log_probs_of(output, episodes, sample_labels) - episodes.log_probs, 0.0)
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - settings.clip, 1 + settings.clip)
    policy = -(torch.minimum(ratio * advantages, clipped * advantages) * chosen).sum() / count
    value = ((output.values - targets).square() * episodes.taken).sum() / episodes.taken.sum()
    read = output.read_logits
    entropy = F.softplus(read) - read * torch.sigmoid(read)  # of the choice between READ and an answer
    entropy = (entropy * episodes.free).sum() / episodes.free.sum().clamp(min=1)
    if sample_labels:
        labels = output.label_logits.log_softmax(-1)
        of_labels = -(labels.exp() * labels).sum(-1)
        entropy = entropy + (of_labels * episodes.answered).sum() / len(episodes.rows)
    loss = policy + settings.value_coef * value - settings.entropy * entropy
    with torch.no_grad():
        kl = ((ratio - 1 - log_ratio) * chosen).sum() / count
        outside = (((ratio - 1).abs() > settings.clip) & chosen).sum() / count
    return loss, ratio, {"policy": policy, "value": value, "entropy": entropy, "kl": kl, "clip_fraction": outside}


def ppo_epoch(
    forward: Forward,
    parameters: list[torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    texts: Texts,
    settings: PPO,
    *,
    batch_size: int,
    gamma: float,
    gae_lambda: float,
    random: torch.Generator,
    lr: Iterator[float],
    sample_labels: bool,
) -> dict[str, float]:
    """One pass over the policy part: rollouts of ``batch_size`` episodes, each learned from before the next.

    ``lr`` gives the learning rate of each optimiser step. Returns the mean losses.
    """
    device = texts.labels.device
    order = torch.randperm(len(texts.labels), generator=random, device=device)
    sums: dict[str, Tensor] = {}
    updates = 0
    for rows in order.split(batch_size):
        episodes = roll_out(forward, rows, texts, random, sample_labels)
        advantages = gae(episodes.rewards, episodes.values, episodes.taken, gamma, gae_lambda)
        targets = advantages + episodes.values
        counted = episodes.free | episodes.answered if sample_labels else episodes.free
        advantages = normalised(advantages, counted)
        for _ in range(settings.epochs):
            for index in torch.randperm(len(rows), generator=random, device=device).split(settings.minibatch):
                part = episodes.take(index)
                loss, _, logged = ppo_losses(
                    forward(part.rows), part, advantages[index], targets[index], settings, sample_labels
                )
                for group in optimizer.param_groups:
                    group["lr"] = next(lr)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, MAX_NORM)
                optimizer.step()
                updates += 1
                for name, value in logged.items():
                    sums[name] = sums.get(name, torch.zeros((), device=device)) + value.detach()
    return {name: float(value) / updates for name, value in sums.items()}


def optimiser_steps(rows: int, batch_size: int, settings: PPO) -> int:
    """How many optimiser steps one epoch over ``rows`` takes."""
    full, rest = divmod(rows, batch_size)
    steps = full * -(-batch_size // settings.minibatch) + (-(-rest // settings.minibatch) if rest else 0)
    return steps * settings.epochs
