"""Policy optimisation epoch by epoch, whatever is played: what the second stages of all tasks share.

An epoch is a function of the weights, the optimiser and the reports of the epochs before it; its random numbers come
from a seed of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import Parameter

from sweepstack.models.optim.batching import next_batch_size
from sweepstack.models.optim.schedules import lr_factors, scaled_lr
from sweepstack.models.optim.steps import Steps
from sweepstack.models.predictions.metrics import direction
from sweepstack.models.rl.algorithms import Algorithm, make_algorithm, planned_units, train_epoch
from sweepstack.models.rl.episodes import Player
from sweepstack.models.rl.policy_gradient import PolicyGradient
from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings.trial import Train
from sweepstack.models.training.supervised import seeded

PLAYED = "policy"
PREDICTED = ("valid", "blend", "test")
Reports = Sequence[Mapping[str, float]]


def batch_size_of(train: Train, reports: Reports, metric: str) -> int:
    """Of the epoch after ``reports``."""
    if isinstance(train.batch_size, int):
        return train.batch_size
    values = [direction(metric) * report[metric] for report in reports]
    whole = train.rloo.samples if train.algorithm == "rloo" else 1  # episodes of a text
    return next_batch_size(train.batch_size, reports, values, *train.batch_range, multiple=whole)


def rates(train: Train, epoch: int, steps: int, batch_size: int) -> Iterator[float]:
    """The learning rates of an epoch of so many optimiser steps, were all epochs of that size."""
    factors = lr_factors(train, train.epochs * steps, train.epochs)
    minibatches = {"ppo": train.ppo.minibatch, "trpo": train.trpo.minibatch}
    peak = scaled_lr(train, min(batch_size, minibatches.get(train.algorithm, batch_size)))
    return iter((peak * factors[epoch * steps : (epoch + 1) * steps]).tolist())


def remaining(train: Train, epoch: int, rollouts: int) -> tuple[float, ...]:
    """The share of training that is to come before each of so many rollouts of an epoch: 1 before the very first."""
    return tuple(1 - (epoch + i / rollouts) / train.epochs for i in range(rollouts))


def so_far(reports: Reports, **more: float) -> dict[str, float]:
    """Counts over all epochs."""
    before = reports[-1] if reports else {}
    return {name: before.get(name, 0.0) + count for name, count in more.items()}


@dataclass(frozen=True)
class Plan:
    """What an epoch is made of before it begins."""

    algorithm: Algorithm
    size: int  # of a batch
    lr: Iterator[float]  # of each step
    seed: int

    def random(self, device: torch.device) -> torch.Generator:
        generator = torch.Generator(device=device)
        generator.manual_seed(self.seed)
        return generator


@dataclass(frozen=True)
class Optimisation:
    """A policy at play and what moves it. ``reference``: the policy as it was before the first epoch, where the
    algorithm needs one."""

    train: Train
    player: Player
    parameters: Sequence[Parameter]  # that the optimiser was made of
    optimizer: torch.optim.Optimizer
    reference: Player | None = None

    @property
    def samples(self) -> int:
        """How often each episode of an epoch is played."""
        return make_algorithm(self.train, reference=self.reference).samples

    def plan(self, number: int, reports: Reports, metric: str) -> Plan:
        """Of the epoch after those of ``reports``."""
        train = self.train
        before = reports[-1] if reports else {}
        rollouts = int(before.get("rollouts", 0))
        kl = before.get("kl_weight") if train.ppo.kl_target is not None else None  # as it has adapted, if it does
        size = batch_size_of(train, reports, metric)
        algorithm = make_algorithm(train, reference=self.reference, rollouts=rollouts, kl=kl)
        units = planned_units(algorithm, self.player, size)
        if isinstance(algorithm, PolicyGradient):
            algorithm.remaining = remaining(train, number, len(units))
        lr = rates(train, number, sum(map(algorithm.steps, units)), size)
        return Plan(algorithm, size, lr, derive_seed(train.seed, train.algorithm, number))

    def epoch(self, number: int, reports: Reports, metric: str) -> dict[str, float]:
        """Trains one, after those of ``reports``; returns what to log."""
        plan, device = self.plan(number, reports, metric), self.parameters[0].device
        steps = Steps(self.optimizer, self.parameters, plan.lr, self.train.max_grad_norm)
        with seeded(plan.seed, device):
            logs = train_epoch(plan.algorithm, self.player, plan.size, steps, plan.random(device))
        return self.logged(plan, logs, reports)

    def logged(self, plan: Plan, logs: dict[str, float], reports: Reports) -> dict[str, float]:
        """What to log of an epoch: means, and counts over all epochs."""
        counts = so_far(reports, rollouts=logs.pop("rollouts"), updates=logs.pop("updates"))
        if isinstance(plan.algorithm, PolicyGradient) and self.reference is not None:
            logs["kl_weight"] = plan.algorithm.kl
        return {**logs, **counts, "batch_size": float(plan.size), "lr": self.optimizer.param_groups[0]["lr"]}
