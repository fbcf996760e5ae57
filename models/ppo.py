"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347) of a reading policy."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from sweepstack.models.gae import gae, normalised
from sweepstack.models.policy import PolicyOutput
from sweepstack.models.reading import Actor, Episodes, Texts, log_probs_of, roll_out
from sweepstack.models.settings import PPO

MAX_NORM = 1.0  # of the gradient
LOGGED = ("policy_loss", "value_loss", "entropy", "kl", "clip_fraction")


@dataclass(frozen=True)
class Decisions:
    """N decisions and what is to be learned from each; every tensor is (N,)."""

    episode: Tensor
    step: Tensor
    answered: Tensor  # bool
    free: Tensor  # bool: READ could be chosen
    counted: Tensor  # bool: there was something to choose, so it counts for the policy
    answers: Tensor  # the label that the episode ended with
    log_probs: Tensor
    advantages: Tensor
    targets: Tensor  # of the value

    def take(self, index: Tensor) -> "Decisions":
        return Decisions(*(getattr(self, field.name)[index] for field in fields(self)))


def decisions_of(episodes: Episodes, samples_labels: bool, gamma: float, gae_lambda: float) -> Decisions:
    """Advantages by GAE, normalised over the decisions that count; a value's target is its advantage plus the value."""
    advantages = gae(episodes.rewards, episodes.values, episodes.taken, gamma, gae_lambda)
    targets = advantages + episodes.values
    counted = episodes.free | episodes.answered if samples_labels else episodes.free
    at = episodes.episode, episodes.step
    return Decisions(
        *at,
        episodes.answered,
        episodes.free,
        counted,
        episodes.answers[episodes.episode],
        episodes.log_probs,
        normalised(advantages[at], counted),
        targets[at],
    )


def ppo_losses(
    output: PolicyOutput, chosen: Decisions, settings: PPO, samples_labels: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, the probability ratios (N,), and what to log: the means in LOGGED, (5,). ``output`` is (N, …)."""
    count = chosen.counted.sum().clamp(min=1)
    log_probs = log_probs_of(output, chosen.answered, chosen.free, chosen.answers, samples_labels)
    log_ratio = log_probs - chosen.log_probs  # 0 where there was nothing to choose
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - settings.clip, 1 + settings.clip)
    policy = -torch.minimum(ratio * chosen.advantages, clipped * chosen.advantages).sum() / count
    value = (output.values - chosen.targets).square().mean()
    entropy = entropy_of(output, chosen, samples_labels)
    loss = policy + settings.value_coef * value - settings.entropy * entropy
    with torch.no_grad():
        kl = (ratio - 1 - log_ratio).sum() / count
        outside = ((ratio - 1).abs() > settings.clip).sum() / count
    return loss, ratio, torch.stack([policy.detach(), value.detach(), entropy.detach(), kl, outside])


def entropy_of(output: PolicyOutput, chosen: Decisions, samples_labels: bool) -> Tensor:
    """Mean entropy of the choice between READ and an answer where it was free, plus, where labels are sampled, the
    mean entropy of the label that was given."""
    read = output.read_logits
    of_read = F.softplus(read) - read * torch.sigmoid(read)
    entropy = (of_read * chosen.free).sum() / chosen.free.sum().clamp(min=1)
    if samples_labels:
        log_probs = output.label_logits.log_softmax(-1)
        of_labels = -(log_probs.exp() * log_probs).sum(-1)
        entropy = entropy + (of_labels * chosen.answered).sum() / chosen.answered.sum().clamp(min=1)
    return entropy


def minibatches(chosen: Decisions, episodes: int, size: int, random: torch.Generator) -> Iterator[Decisions]:
    """All decisions once, those of ``size`` episodes at a time, in random order."""
    rank = torch.randperm(episodes, generator=random, device=chosen.episode.device)
    group = rank[chosen.episode] // size
    order = torch.argsort(group, stable=True)
    for index in torch.split(order, torch.bincount(group, minlength=-(-episodes // size)).tolist()):
        yield chosen.take(index)


def ppo_epoch(
    actor: Actor,
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
) -> dict[str, float]:
    """One pass over the policy part: rollouts of ``batch_size`` episodes, each learned from before the next.

    ``lr`` gives the learning rate of each optimiser step. Returns the means over these steps of what LOGGED names.
    """
    device = texts.labels.device
    order = torch.randperm(len(texts.labels), generator=random, device=device)
    sums = torch.zeros(len(LOGGED), device=device)
    updates = 0
    for rows in torch.split(order, batch_size):
        episodes = roll_out(actor, rows, texts, random)
        chosen = decisions_of(episodes, actor.samples_labels, gamma, gae_lambda)
        for _ in range(settings.epochs):
            for part in minibatches(chosen, len(rows), settings.minibatch, random):
                output = actor.at(rows, part.episode, part.step)
                loss, _, logged = ppo_losses(output, part, settings, actor.samples_labels)
                for group in optimizer.param_groups:
                    group["lr"] = next(lr)
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                torch.nn.utils.clip_grad_norm_(parameters, MAX_NORM)
                optimizer.step()
                sums += logged
                updates += 1
    return dict(zip(LOGGED, (sums / updates).tolist(), strict=True))


def optimiser_steps(rows: int, batch_size: int, settings: PPO) -> int:
    """How many optimiser steps one epoch over ``rows`` takes."""
    full, rest = divmod(rows, batch_size)
    steps = full * -(-batch_size // settings.minibatch) + (-(-rest // settings.minibatch) if rest else 0)
    return steps * settings.epochs
