"""The algorithms of policy optimisation by name, behind one interface; each trial may choose another.

An epoch rolls out one batch after the other, and the algorithm learns from each before the next. What it needs of the
task it asks a Player for, so that it knows neither texts nor environments.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from sweepstack.models.optim.steps import Steps
from sweepstack.models.rl.advantages import estimated, leave_one_out, returns
from sweepstack.models.rl.episodes import Player
from sweepstack.models.rl.exact import Exact
from sweepstack.models.rl.policy_gradient import Passes, PolicyGradient
from sweepstack.models.rl.trpo import TRPO
from sweepstack.models.settings.trial import Train


class Algorithm(Protocol):
    samples: int
    """How often each episode of a batch is played."""

    def steps(self, units: int) -> int:
        """How many optimiser steps a batch of so many units takes, at most; it uses as many learning rates."""
        ...

    def learn(
        self, player: Any, batch: Tensor, steps: Steps, random: torch.Generator, *, measure: bool
    ) -> dict[str, Tensor]:
        """Moves the policy; returns what is to be logged of this batch, scalars by name. ``measure``: with the noise of
        its gradient."""
        ...


def make_algorithm(
    train: Train, *, reference: Player | None = None, rollouts: int = 0, kl: float | None = None
) -> Algorithm:
    """The algorithm of ``train``; ``reference``, ``rollouts`` and ``kl`` as in policy_gradient.PolicyGradient."""
    value_loss = train.value_loss
    match train.algorithm:
        case "exact":
            return Exact()
        case "reinforce":
            own = train.reinforce
            learns_value = own.baseline == "value" and own.value_coef > 0
            passes = Passes(
                entropy=own.entropy,
                entropy_schedule=own.entropy_schedule,
                value_coef=own.value_coef if learns_value else 0.0,
                value_loss=value_loss,
            )
            if learns_value:
                return PolicyGradient(
                    passes,
                    lambda rollout: estimated(rollout, train, whiten=own.whiten, gae_lambda=1),
                    gamma=train.gamma,
                )
            return PolicyGradient(passes, lambda rollout: returns(rollout, train, own.baseline, whiten=own.whiten))
        case "rloo":
            return PolicyGradient(
                Passes(entropy=train.rloo.entropy, entropy_schedule=train.rloo.entropy_schedule),
                lambda rollout: leave_one_out(rollout, train, whiten=train.rloo.whiten),
                samples=train.rloo.samples,
            )
        case "a2c":
            passes = Passes(value_loss=value_loss, **train.a2c.model_dump(exclude={"whiten"}))
            learns_value = train.a2c.value_coef > 0
            return PolicyGradient(
                passes,
                lambda rollout: estimated(rollout, train, whiten=train.a2c.whiten, by_value=learns_value),
                gamma=train.gamma,
            )
        case "ppo":
            whiten, by_minibatch = train.ppo.whiten in (True, "batch"), train.ppo.whiten == "minibatch"
            passes = Passes(value_loss=value_loss, whiten=by_minibatch, **train.ppo.model_dump(exclude={"whiten"}))
            learns_value = train.ppo.value_coef > 0 or train.ppo.value_warmup > 0
            return PolicyGradient(
                passes,
                lambda rollout: estimated(rollout, train, whiten=whiten, by_value=learns_value),
                gamma=train.gamma,
                reference=reference,
                rollouts=rollouts,
                kl=kl,
            )
        case "trpo":
            return TRPO(train)
        case "supervised":
            raise ValueError("supervised training is no policy optimisation")


def needs_reference(train: Train) -> bool:
    return train.algorithm == "ppo" and train.ppo.kl > 0


def train_epoch(
    algorithm: Algorithm, player: Player, batch_size: int, steps: Steps, random: torch.Generator
) -> dict[str, float]:
    """One pass over all that the player has; ``batch_size`` counts episodes (or decisions). Returns the means."""
    logged: list[dict[str, Tensor]] = []
    for i, batch in enumerate(player.batches(max(1, batch_size // algorithm.samples), random)):
        logged.append(algorithm.learn(player, batch, steps, random, measure=i == 0))
    return averaged(logged, steps.norms, steps.taken)


def averaged(logged: Sequence[Mapping[str, Tensor]], norms: Sequence[Tensor], updates: int) -> dict[str, float]:
    """The means over an epoch's rollouts and optimiser steps."""
    names = {name: None for logs in logged for name in logs}
    means = {
        name: float(torch.stack([logs[name].float().cpu() for logs in logged if name in logs]).mean()) for name in names
    }
    means["grad_norm"] = float(torch.stack(list(norms)).mean()) if norms else 0.0
    return {**means, "rollouts": float(len(logged)), "updates": float(updates)}


def planned_steps(algorithm: Algorithm, player: Player, batch_size: int) -> int:
    """How many optimiser steps an epoch takes, at most."""
    return sum(map(algorithm.steps, planned_units(algorithm, player, batch_size)))


def planned_units(algorithm: Algorithm, player: Player, batch_size: int) -> list[int]:
    """How many units each rollout of an epoch has; ``batch_size`` counts episodes, which a unit has ``samples`` of."""
    return player.sizes(max(1, batch_size // algorithm.samples))
