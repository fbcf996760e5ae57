"""How much better a decision turned out than expected, and what the value should have said: (N,) over decisions.

returns          G_t − b            REINFORCE (Williams 1992); b is nothing, or the batch's mean return
leave_one_out    R − mean of the others' R, of episodes that began alike     RLOO (Ahmadian et al. 2024, 2402.14740)
estimated        GAE                 A2C, PPO, TRPO, and REINFORCE with a learned baseline (λ = 1)
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sweepstack.models.rl.episodes import Rollout
from sweepstack.models.rl.gae import diagnostics, gae, length_adaptive_lambda, normalised, value_targets
from sweepstack.models.settings.trial import Train


@dataclass(frozen=True)
class Advantages:
    """Of N decisions; both (N,)."""

    advantages: Tensor  # 0 where there was nothing to choose
    targets: Tensor  # of the value


def returns(rollout: Rollout, train: Train, baseline: str, *, whiten: bool) -> Advantages:
    """Discounted rewards from the decision on, less a baseline: "none" or the "mean" over the decisions that count.

    No value is learned here, so nothing says what comes after a cut: rewards are those up to there.
    """
    zero = torch.zeros_like(rollout.values)
    to_go = rollout.at(gae(rollout.rewards, zero, rollout.taken, train.gamma, 1.0, None, rollout.ends))
    if baseline == "mean":
        mean = to_go[rollout.counted].mean() if rollout.counted.any() else 0.0
        return _advantages(to_go - mean, rollout, train, whiten)
    return _advantages(to_go, rollout, train, whiten)


def leave_one_out(rollout: Rollout, train: Train, *, whiten: bool) -> Advantages:
    """Whole returns of episodes, each less the mean of the others in its group, which must have at least two."""
    steps = torch.arange(rollout.rewards.shape[1], device=rollout.rewards.device)
    total = (torch.where(rollout.taken, rollout.rewards, 0.0) * train.gamma**steps).sum(1)  # (B,)
    groups = int(rollout.group.max()) + 1
    sums = total.new_zeros(groups).index_add(0, rollout.group, total)
    counts = torch.bincount(rollout.group, minlength=groups)
    others = (sums[rollout.group] - total) / (counts[rollout.group] - 1)
    return _advantages((total - others)[rollout.row], rollout, train, whiten)


def estimated(
    rollout: Rollout, train: Train, *, whiten: bool, gae_lambda: float | None = None, by_value: bool = True
) -> Advantages:
    """GAE by the settings' γ and λ (or ``gae_lambda``, or a λ for each episode's length by ``lambda_alpha``).

    ``by_value`` is False where no value is learned: then it is 0 everywhere, after a cut, too.
    """
    if not by_value:
        rollout = replace(rollout, values=torch.zeros_like(rollout.values), bootstrap=None)
    by_episode: float | Tensor = train.gae_lambda if gae_lambda is None else gae_lambda
    if gae_lambda is None and train.lambda_alpha is not None:
        by_episode = length_adaptive_lambda(_lengths(rollout), train.lambda_alpha)
    played = rollout.rewards, rollout.values, rollout.taken, train.gamma
    return _advantages(rollout.at(gae(*played, by_episode, rollout.bootstrap, rollout.ends)), rollout, train, whiten)


def diagnosed(rollout: Rollout, gamma: float) -> dict[str, Tensor]:
    """What the value is good for, and what other λ would have made of the same episodes: gae.diagnostics, to log."""
    figures = diagnostics(
        rollout.rewards, rollout.values, rollout.taken, gamma, bootstrap=rollout.bootstrap, ends=rollout.ends
    )
    return {name: torch.tensor(value) for name, value in figures.items()}


def _advantages(advantages: Tensor, rollout: Rollout, train: Train, whiten: bool) -> Advantages:
    played = rollout.rewards, rollout.values, rollout.taken, train.gamma
    targets = rollout.at(value_targets(*played, train.value_lambda, rollout.bootstrap, rollout.ends))
    if whiten:
        worked_out_from = torch.cat([advantages, targets, rollout.at(rollout.values)])
        return Advantages(normalised(advantages, rollout.counted, worked_out_from.abs().amax()), targets)
    return Advantages(torch.where(rollout.counted, advantages, 0.0), targets)


def _lengths(rollout: Rollout) -> Tensor:
    """(B, S): how many decisions the episode has that a decision belongs to."""
    taken = rollout.taken.long()
    if rollout.ends is None:
        return taken.sum(1, keepdim=True).expand_as(taken)
    ended = rollout.ends & rollout.taken
    episode = ended.long().cumsum(1) - ended.long()  # (B, S): its place within the row
    episode = episode + torch.arange(len(taken), device=taken.device)[:, None] * (taken.shape[1] + 1)
    counts = torch.bincount(episode.flatten(), weights=taken.flatten().double())
    return counts[episode].to(rollout.values.dtype)
