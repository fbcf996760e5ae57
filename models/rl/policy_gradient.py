"""Policy gradient over sampled decisions: one loss for REINFORCE, RLOO, A2C and PPO, which differ in their
advantages and in how often they look at a rollout.

    L = −mean min(ρ A, clip(ρ, 1 ± ε) A) + c_v (V − target)² − c_e H + β KL(π ‖ reference)       ρ = π(a|s) / π_old(a|s)

(Schulman et al. 2017, arXiv 1707.06347). With one pass over all decisions at once ρ is 1, and the gradient of the first
term is that of −mean A log π: REINFORCE's and A2C's. Means run over the decisions where there was something to choose.

A minibatch is a table of decisions, (M,), or of K trials that are trained together, (K, M), padded with decisions that
count for nothing; coefficients are then (K,), and so is everything that is logged (training/packing.py).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import kl_divergence
from torch.nn import Parameter

from sweepstack.models.optim.gradient_noise import PIECES, noise_of, summed
from sweepstack.models.optim.steps import Descending
from sweepstack.models.rl.advantages import Advantages, diagnosed
from sweepstack.models.rl.episodes import Evaluation, Learning, Player, Rollout, policy_parameters
from sweepstack.models.rl.gae import normalised

WALL = 8  # the adaptive weight of the divergence grows with this power of it: a weight 100 times too low is 1.8 targets
STEEPEST = 1000.0  # times what it is at the target
KL_GAIN = 0.1  # how much of its logarithmic error, at most 1, the weight at the target learns from an update
NEAR = 0.5  # of the target: below it nothing is learned, for there it is not the weight that holds the policy back


@dataclass(frozen=True)
class Passes:
    """How a rollout is learned from."""

    epochs: int = 1
    minibatch: int | None = None  # units; None: all of them
    clip: float | Tensor | None = None  # ε; of several trials (K, 1)
    value_clip: float | Tensor | None = None
    value_coef: float | Tensor = 0.0  # of several trials (K,)
    value_loss: str = "mse"
    whiten: bool | tuple[bool, ...] = False  # advantages, minibatch by minibatch; of several trials one each
    entropy: float | Tensor = 0.0
    entropy_schedule: str = "constant"
    clip_schedule: str = "constant"
    kl: float = 0.0
    kl_target: float | None = None
    target_kl: float | None = None
    value_warmup: int = 0
    cross_entropy: float = 0.0


@dataclass(frozen=True)
class Learned:
    """What a rollout teaches: all (N,)."""

    rollout: Rollout
    advantages: Tensor
    targets: Tensor
    values: Tensor  # as they were in the rollout


class PolicyGradient:
    """``reference``: the policy as it was before the first epoch, needed where ``passes.kl`` is above 0.

    ``gamma`` is what the advantages are discounted by. ``rollouts`` learned from so far, and ``kl`` (the weight as it
    has adapted), are what an interrupted trial goes on with. ``remaining``: for each rollout of the epoch, how much of
    training there is from it on, a share, which the schedules of entropy and clip go by.
    """

    def __init__(
        self,
        passes: Passes,
        estimate: Callable[[Rollout], Advantages],
        *,
        gamma: float = 1.0,
        samples: int = 1,
        reference: Player | None = None,
        rollouts: int = 0,
        kl: float | None = None,
    ) -> None:
        self.samples, self.rollouts = samples, rollouts
        self.remaining: Sequence[float] = (1.0,)
        self._played = 0  # rollouts of this epoch
        self.kl = passes.kl if kl is None else kl
        self._wall = 1.0  # that the weight is multiplied by
        self.given = self.passes = passes  # and as the schedules have them
        self.estimate, self._gamma, self._reference = estimate, gamma, reference

    def steps(self, units: int) -> int:
        size = self.passes.minibatch or units
        return self.passes.epochs * -(-units // size)

    def learn(
        self, player: Player, batch: Tensor, steps: Descending, random: torch.Generator, *, measure: bool
    ) -> dict[str, Tensor]:
        learned = self.estimated(player.roll_out(batch, self.samples, random))
        measured: dict[str, Tensor] = {}
        if measure:
            measured = self.measured(player, learned, len(batch), steps.parameters, random)
        return {**self.descend(player, learned, len(batch), steps, random), **measured}

    def estimated(self, rollout: Rollout) -> Learned:
        estimate = self.estimate(rollout)
        return Learned(rollout, estimate.advantages, estimate.targets, rollout.at(rollout.values))

    def measured(
        self, player: Player, learned: Learned, units: int, parameters: Sequence[Parameter], random: torch.Generator
    ) -> dict[str, Tensor]:
        """How noisy the gradient is before it moves anything, and what the value is good for."""
        everything = torch.arange(len(learned.advantages), device=learned.advantages.device)
        learned = _whitened(learned, everything, self.passes.whiten)
        measured = self._noise(player, learned, units, parameters, random)
        return measured | diagnosed(learned.rollout, self._gamma) if self.passes.value_coef else measured

    def passes_of(self, rollout: int) -> Passes:
        """How the rollout of that number in this epoch is learned from: coefficients as their schedules have them."""
        passes = self.given
        left = self.remaining[min(rollout, len(self.remaining) - 1)]
        if passes.entropy_schedule == "linear":
            passes = replace(passes, entropy=passes.entropy * left, entropy_schedule="constant")
        if passes.clip_schedule == "linear" and passes.clip is not None:
            passes = replace(passes, clip=passes.clip * left, clip_schedule="constant")
        return passes

    def descend(
        self, player: Learning, learned: Learned, units: int, steps: Descending, random: torch.Generator
    ) -> dict[str, Tensor]:
        """Moves the policy by what a rollout of ``units`` teaches; returns the means of what is logged."""
        self.passes = self.passes_of(self._played)
        passes, rollout = self.passes, learned.rollout
        self._played += 1
        self.rollouts += 1
        warming = self.rollouts <= passes.value_warmup
        moved = list(player.value_parameters()) if warming else None
        planned, until = self.steps(units), steps.taken
        logged: list[dict[str, Tensor]] = []
        for _ in range(passes.epochs):
            for index in player.minibatches(rollout, passes.minibatch or units, random):
                counts = rollout.counted[index].sum(-1).clamp(min=1), player.decisions(rollout, index)
                of_minibatch: list[dict[str, Tensor]] = []
                whitened = _whitened(learned, index, passes.whiten)
                for piece in player.pieces(rollout, index):
                    loss, logs = self._loss(player, whitened, piece, counts, warming)
                    torch.autograd.backward(loss.sum(), inputs=moved)
                    of_minibatch.append(logs)
                total = {name: torch.stack([each[name] for each in of_minibatch]).sum(0) for name in of_minibatch[0]}
                if passes.target_kl is not None and float(total["kl"]) > passes.target_kl:
                    steps.drop()
                    steps.skip(planned - (steps.taken - until))
                    return _means([*logged, total])
                steps.take()
                logged.append(total)
                if passes.kl_target is not None:
                    self._adapt(float(total["reference_kl"]) / passes.kl_target)
        return _means(logged)

    def _adapt(self, share: float) -> None:
        """Has the next update weigh the divergence by what it is now, as a ``share`` of its target.

        An adaptive weight alone (Ziegler et al. 2019, arXiv 1909.08593) is late by as long as the policy takes to
        follow: it falls while the divergence is still growing, and then is too low for as long. So the weight is a
        wall, kl·share^WALL, and only kl, its height at the target, follows.
        """
        if share > NEAR:
            self.kl *= math.exp(KL_GAIN * max(-1.0, min(1.0, math.log(share))))
        self._wall = min(share**WALL, STEEPEST)

    def _loss(
        self, player: Learning, learned: Learned, piece: Tensor, counts: tuple[Tensor, int | Tensor], warming: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Of the decisions ``piece``, as their share of a minibatch that has ``counts`` (to choose, in all)."""
        passes, rollout = self.passes, learned.rollout
        to_choose, decisions = counts
        counted = rollout.counted[piece]
        evaluation = player.evaluate(rollout, piece)
        surrogate, ratio, log_ratio = surrogate_of(evaluation, learned, piece, passes.clip)
        policy = -(surrogate * counted).sum(-1) / to_choose
        value = self._value_loss(evaluation.values, learned, piece).sum(-1) / decisions
        entropy = (evaluation.distribution.entropy() * counted).sum(-1) / to_choose
        loss = policy + passes.value_coef * value - passes.entropy * entropy
        logs = {"policy_loss": policy, "value_loss": value, "entropy": entropy}
        if self._reference is not None:
            with torch.no_grad():
                before = self._reference.evaluate(rollout, piece).distribution
            divergence = (kl_divergence(evaluation.distribution, before) * counted).sum() / to_choose
            loss, logs["reference_kl"] = loss + self.kl * self._wall * divergence, divergence
        if passes.cross_entropy and evaluation.cross_entropy is not None:
            supervised = evaluation.cross_entropy.sum() / decisions
            loss = (1 - passes.cross_entropy) * loss + passes.cross_entropy * supervised
            logs["cross_entropy"] = supervised
        with torch.no_grad():
            logs["kl"] = ((ratio - 1 - log_ratio) * counted).sum(-1) / to_choose
            if passes.clip is not None:
                logs["clip_fraction"] = (((ratio - 1).abs() > passes.clip) & counted).sum(-1) / to_choose
        return value if warming else loss, {name: each.detach() for name, each in logs.items()}

    def _value_loss(self, values: Tensor, learned: Learned, piece: Tensor) -> Tensor:
        """(…, M): squared error or Huber's, or with ``value_clip`` of a value moved no further, if it is larger."""
        of = F.huber_loss if self.passes.value_loss == "huber" else F.mse_loss
        targets, before = learned.targets[piece], learned.values[piece]
        loss = of(values, targets, reduction="none")
        if self.passes.value_clip is None:
            return loss
        near = before + _within(values - before, -self.passes.value_clip, self.passes.value_clip)
        return torch.maximum(loss, of(near, targets, reduction="none"))

    def _noise(
        self, player: Player, learned: Learned, units: int, parameters: Sequence[Parameter], random: torch.Generator
    ) -> dict[str, Tensor]:
        """How much the gradient of the policy's loss varies between parts of this rollout, before it moves; counted in
        episodes, as batch sizes are, however many of them begin alike."""
        size = -(-units // PIECES)
        policy = policy_parameters(player, parameters)
        gradients, sizes = [], []
        for i, index in enumerate(player.minibatches(learned.rollout, size, random)):
            count = int(learned.rollout.counted[index].sum())
            if count == 0:
                continue
            losses = (
                -surrogate_of(player.evaluate(learned.rollout, piece), learned, piece, None)[0].sum() / count
                for piece in player.pieces(learned.rollout, index)
            )
            gradients.append(summed(torch.autograd.grad(loss, policy, allow_unused=True) for loss in losses))
            sizes.append(min(size, units - i * size) * self.samples)
        return noise_of(gradients, sizes, units * self.samples)


def _whitened(learned: Learned, index: Tensor, whiten: bool | tuple[bool, ...]) -> Learned:
    """With the advantages of a minibatch, (M,) or (K, M), to mean 0 and deviation 1 over what counts in it."""
    if not (whiten if isinstance(whiten, bool) else any(whiten)):
        return learned
    advantages, counted = learned.advantages.clone(), learned.rollout.counted
    worked_out_from = torch.stack([advantages, learned.targets, learned.values]).abs()
    rows, wanted = (index[None], (whiten,)) if isinstance(whiten, bool) else (index, whiten)
    for row, own in zip(rows, wanted, strict=True):
        if own:
            advantages[row] = normalised(advantages[row], counted[row], worked_out_from[:, row].amax())
    return replace(learned, advantages=advantages)


def surrogate_of(
    evaluation: Evaluation, learned: Learned, piece: Tensor, clip: float | Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """What is to be maximised, the ratio ρ and its logarithm, each (…, M); 1 and 0 where nothing was to choose.

    What was chosen and is not possible any more has no ratio that says anything, and no gradient: it is left out.
    """
    rollout, advantages, counted = learned.rollout, learned.advantages[piece], learned.rollout.counted[piece]
    if evaluation.possible is not None:
        counted = counted & evaluation.possible
        advantages = advantages * evaluation.possible
    log_probs = evaluation.distribution.log_prob(rollout.actions[piece])
    log_ratio = torch.where(counted, log_probs - rollout.log_probs[piece], 0.0)
    ratio = log_ratio.exp()
    surrogate = ratio * advantages
    if clip is not None:
        surrogate = torch.minimum(surrogate, _within(ratio, 1 - clip, 1 + clip) * advantages)
    return surrogate, ratio, log_ratio


def _means(logged: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([each[name] for each in logged]).mean(0) for name in logged[0]}


def _within(x: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    return x.clamp(low, high)  # type: ignore[arg-type]  # both are numbers, or both are tensors
