"""Several trials of one shape as one batched program: small policies cost dispatch, which K of them then share.

The weights of K policies lie in one table, a trial's own parameters being views of its row, and a layer multiplies K
batches by K matrices. Every trial draws from its own generator, plays its own episodes and has its own learning rate,
γ, λ, clipping and optimiser state: their losses are added up, and no weight is in two of them. So each comes to what it
comes to alone, but for rounding. A trial that cannot go on is played no further, and the others do not notice.
"""

import json
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.utils.rnn import pad_sequence

from sweepstack.models.rl.algorithms import averaged
from sweepstack.models.rl.episodes import Evaluation, Player, Rollout
from sweepstack.models.rl.policy_gradient import Learned, Passes, PolicyGradient
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.training.second_stage import Optimisation, Reports
from sweepstack.models.training.stacked import StackedAdam, stacked

ALGORITHMS = ("reinforce", "rloo", "a2c", "ppo")
OPTIMIZERS = ("adam", "adamw")
FREE = {  # what trials of one shape may differ in, under train: and in the sections of the algorithms
    *("lr", "lr_schedule", "lr_warmup", "lr_min_ratio", "step_every", "step_factor", "power", "cycles", "cycle_growth"),
    *("decay", "lr_scaling", "lr_reference", "weight_decay", "momentum", "nesterov", "average_decay", "average_last"),
    *("max_grad_norm", "label_smoothing", "class_weights", "warm_start", "epochs", "reward", "seed"),
    *("gamma", "gae_lambda", "value_lambda", "lambda_alpha"),
}
FREE_OF_ALGORITHMS = {"whiten", "entropy", "entropy_schedule", "value_coef", "clip", "clip_schedule"}
OF_DECISIONS, OF_SUMS = ("clip", "value_clip"), ("value_coef", "entropy")  # Passes that trials may differ in


def is_free(path: str) -> bool:
    """Whether trials of one shape may differ in the setting ``path``."""
    names = path.split(".")
    if names[0] != "train":
        return path == "reading.cost"
    return names[1] in FREE or (len(names) == 3 and names[2] in FREE_OF_ALGORITHMS)


def shape_of(settings: TrialSettings) -> Hashable:
    """What trials that are trained together must agree in; None where a trial can only be trained alone."""
    train, ppo = settings.train, settings.train.ppo
    if train.algorithm not in ALGORITHMS or train.optimizer not in OPTIMIZERS or isinstance(train.batch_size, str):
        return None
    if train.average == "ema":  # of every optimiser step of its own
        return None
    if train.algorithm == "ppo" and (ppo.kl or ppo.kl_target or ppo.target_kl or ppo.value_warmup or ppo.cross_entropy):
        return None
    tree = settings.model_dump(exclude={"train": FREE})
    if settings.environment is None:
        if train.freeze == "none" or settings.reading == "off" or settings.reading.max_segments == 1:
            return None
        tree["reading"]["cost"] = settings.reading.interval is not None
    own = {name: value for name, value in tree["train"].pop(train.algorithm).items() if name not in FREE_OF_ALGORITHMS}
    if "value_clip" in own:
        own["value_clip"] = own["value_clip"] is not None
    for name in ("trpo", *ALGORITHMS):
        tree["train"].pop(name, None)
    return json.dumps([tree, own], sort_keys=True)


class Packable(Player, Protocol):
    """A player whose policy can be one of several that are asked as one."""

    @property
    def policy(self) -> nn.Module: ...

    def inputs(self, rollout: Rollout) -> tuple[Tensor, ...]:
        """What ``judged`` needs of all N decisions, (N, …) each."""
        ...

    def judged(self, policy: Any, *inputs: Tensor) -> Evaluation: ...


@dataclass(frozen=True)
class PackedRollout(Rollout):
    """What K rollouts teach, their decisions one after the other and a last one that counts for nothing."""

    each: tuple[Rollout, ...]
    offsets: tuple[int, ...]  # where the decisions of each begin
    inputs: tuple[Tensor, ...]  # (N + 1, …)


class PackedPlayer:
    """K players as one. A batch is theirs, (K, units); a minibatch their decisions in a PackedRollout, (K, M)."""

    def __init__(self, players: Sequence[Packable], randoms: Sequence[torch.Generator]) -> None:
        self.players, self._randoms = players, randoms
        self.policy = stacked([player.policy for player in players])
        self.failures: dict[int, Exception] = {}  # of trials that cannot go on, by their place

    def batches(self, size: int) -> Iterator[Tensor]:
        together = zip(*(p.batches(size, own) for p, own in zip(self.players, self._randoms, strict=True)), strict=True)
        for each in together:
            yield torch.stack(each)

    def play(self, batch: Tensor, samples: int) -> list[Rollout]:
        """Of each player. What one that cannot go on plays is another's, and no matter; nothing where none goes on."""
        rollouts: dict[int, Rollout] = {}
        for k, (player, own) in enumerate(zip(self.players, self._randoms, strict=True)):
            if k not in self.failures:
                try:
                    rollouts[k] = player.roll_out(batch[k], samples, own)
                except Exception as error:
                    self.failures[k] = error
        going_on = list(rollouts.values())
        return [rollouts.get(k, going_on[0]) for k in range(len(self.players))] if going_on else []

    def laid_out(self, each: Sequence[Learned]) -> Learned:
        rollouts = tuple(learned.rollout for learned in each)
        inputs = zip(*(p.inputs(r) for p, r in zip(self.players, rollouts, strict=True)), strict=True)
        sizes = [len(rollout.row) for rollout in rollouts]
        none = rollouts[0].values.new_empty(0)
        rollout = PackedRollout(
            **dict.fromkeys(("rewards", "values", "taken", "group", "row", "step"), none),
            ends=None,
            bootstrap=None,
            actions=_end_to_end([r.actions for r in rollouts]),
            log_probs=_end_to_end([r.log_probs for r in rollouts]),
            counted=_end_to_end([r.counted for r in rollouts]),
            each=rollouts,
            offsets=tuple(sum(sizes[:k]) for k in range(len(sizes) + 1)),
            inputs=tuple(_end_to_end(tables) for tables in inputs),
        )
        of = [_end_to_end([getattr(own, name) for own in each]) for name in ("advantages", "targets", "values")]
        return Learned(rollout, *of)

    def minibatches(self, rollout: Rollout, size: int, random: torch.Generator) -> Iterator[Tensor]:
        assert isinstance(rollout, PackedRollout)
        apart = zip(self.players, rollout.each, self._randoms, strict=True)
        for each in zip(*(player.minibatches(own, size, draws) for player, own, draws in apart), strict=True):
            moved = [index + offset for index, offset in zip(each, rollout.offsets, strict=False)]
            yield pad_sequence(moved, batch_first=True, padding_value=rollout.offsets[-1])

    def pieces(self, rollout: Rollout, index: Tensor) -> Sequence[Tensor]:
        return [index]

    def evaluate(self, rollout: Rollout, index: Tensor) -> Evaluation:
        assert isinstance(rollout, PackedRollout)
        said = self.players[0].judged(self.policy, *(table[index] for table in rollout.inputs))
        return said._replace(values=torch.where(index < rollout.offsets[-1], said.values, 0.0))

    def decisions(self, rollout: Rollout, index: Tensor) -> Tensor:
        assert isinstance(rollout, PackedRollout)
        return (index < rollout.offsets[-1]).sum(-1)

    def value_parameters(self) -> Sequence[Parameter]:
        return list(chain.from_iterable(player.value_parameters() for player in self.players))


def _end_to_end(tables: Sequence[Tensor]) -> Tensor:
    """(N_1, …), …, (N_K, …) → (N + 1, …), zeros or False in the last row."""
    return torch.cat([*tables, torch.zeros_like(tables[0][:1])])


def train_together(
    trials: Sequence[Optimisation], histories: Sequence[Reports], metric: str, most: int | None = None
) -> list[dict[str, float] | Exception]:
    """An epoch of each, after those of its history, or the first ``most`` rollouts of it; returns what to log, or why a
    trial cannot go on."""
    plans = [trial.plan(len(history), history, metric) for trial, history in zip(trials, histories, strict=True)]
    algorithms = [plan.algorithm for plan in plans if isinstance(plan.algorithm, PolicyGradient)]
    randoms = [plan.random(trials[0].parameters[0].device) for plan in plans]
    player = PackedPlayer([trial.player for trial in trials], randoms)  # type: ignore[misc]  # by their shape
    steps = StackedAdam([p for p in player.policy.parameters() if p.requires_grad], trials, plans)
    samples = algorithms[0].samples
    packed = PolicyGradient(Passes(), algorithms[0].estimate)
    logged: list[dict[str, Tensor]] = []  # of each rollout, (K,) by name
    measured: list[dict[str, Tensor]] = [{} for _ in trials]
    try:
        for i, batch in enumerate(islice(player.batches(max(1, plans[0].size // samples)), most)):
            rollouts = player.play(batch, samples)
            if not rollouts:
                break
            each = [algorithm.estimated(rollout) for algorithm, rollout in zip(algorithms, rollouts, strict=True)]
            units = batch.shape[1]
            if i == 0:
                for k, trial in enumerate(trials):
                    measured[k] = algorithms[k].measured(trial.player, each[k], units, trial.parameters, randoms[k])
            packed.given = _passes_of([own.passes_of(i) for own in algorithms], steps.parameters[0])
            logged.append(packed.descend(player, player.laid_out(each), units, steps, randoms[0]))
    finally:
        steps.close()
    outcomes: list[dict[str, float] | Exception] = []
    for k, (trial, plan, history) in enumerate(zip(trials, plans, histories, strict=True)):
        if k in player.failures:
            outcomes.append(player.failures[k])
            continue
        own = [{name: values[k] for name, values in logs.items()} for logs in logged]
        own[0] |= measured[k]
        norms = [norm[k] for norm in steps.norms]
        outcomes.append(trial.logged(plan, averaged(own, norms, steps.taken), history))
    return outcomes


def _passes_of(each: Sequence[Passes], like: Tensor) -> Passes:
    """One of K: (K, 1) where every decision is compared with it, (K,) where a sum over them is weighed."""
    values = {name: [getattr(passes, name) for passes in each] for name in (*OF_DECISIONS, *OF_SUMS)}
    tensors: dict[str, Any] = {name: torch.tensor(own).to(like) for name, own in values.items() if own[0] is not None}
    tensors = {name: t[:, None] if name in OF_DECISIONS else t for name, t in tensors.items()}
    return replace(each[0], whiten=tuple(bool(passes.whiten) for passes in each), **tensors)
