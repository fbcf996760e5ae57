"""Generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438) over episodes of unequal length.

For the decisions t = 0 … n−1 of an episode (where the mask is true, in order; gaps and padding on either side skipped)

    δ_t = r_t + γ_t V_{t+1} − V_t        A_t = δ_t + γ_t λ_t A_{t+1}        V_n = bootstrap, A_n = 0

λ = 0 is the TD error, λ = 1 the Monte Carlo return minus the value. V_n is 0 where the episode terminated and the value
of the state that nobody acted in where it was truncated. `recursion` is this definition in torch, for any device;
gae_kernel.py is the same compiled, for long episodes on a CPU. They agree bit by bit.

The fast layout is time-major storage seen as (episodes, steps), which is what ``table.t()`` of a (steps, episodes)
table is: 2 to 3 times what a torch.add of that size costs. Contiguous (episodes, steps) takes 3 to 8 times that; any
other layout is copied first. The result lies as the values do, where these are one or the other.
"""

from collections.abc import Sequence
from math import isfinite

import torch
from torch import Tensor

VANISHING = 1e-5  # a share that float32 does not hold through the sums of a long episode
COMPILED_FROM = 64  # steps: below, all that a trial spends here is less than importing Numba takes


def gae(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    gamma: float | Tensor,
    gae_lambda: float | Tensor,
    bootstrap: Tensor | None = None,
    ends: Tensor | None = None,
) -> Tensor:
    """Advantages (episodes, steps); zero where ``mask`` is false; a constant, through which no gradient flows.

    rewards, values and mask are (episodes, steps); gamma and gae_lambda numbers or tensors that broadcast to that: a
    λ for each episode is (episodes, 1). What any of these tensors holds where the mask is false has no influence.

    A row is one episode, or several, each of which ends where ``ends`` (episodes, steps) is true; the last decision of
    a row always ends one. ``bootstrap`` says what the states are worth in which episodes were cut off: (episodes,) for
    the ends of rows, 0 for one that terminated (the ends inside a row are then terminations); or (episodes, steps),
    looked at only where an episode ends: 0 where it terminated, the value of its own cut-off state where not (never of
    the next episode's first). Without it all have terminated.

    Computed in the type of the values, at least float32. Raises ValueError where shapes do not fit.
    """
    return gae_pairs(rewards, values, mask, [gamma], [gae_lambda], bootstrap, ends)[0]


def gae_pairs(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    gammas: Sequence[float | Tensor] | Tensor,
    gae_lambdas: Sequence[float | Tensor] | Tensor,
    bootstrap: Tensor | None = None,
    ends: Tensor | None = None,
) -> Tensor:
    """Advantages (pairs, episodes, steps) for each γ with its λ, in one pass over the data; otherwise as `gae`."""
    if not rewards.shape == values.shape == mask.shape or values.dim() != 2:
        raise ValueError(
            "rewards, values and mask must have one shape (episodes, steps), "
            f"but got {tuple(rewards.shape)}, {tuple(values.shape)}, {tuple(mask.shape)}"
        )
    if mask.dtype != torch.bool or (ends is not None and (ends.dtype != torch.bool or ends.shape != mask.shape)):
        wrong = mask if mask.dtype != torch.bool or ends is None else ends
        raise ValueError(
            f"mask and ends must be bool (episodes, steps) {tuple(mask.shape)}, "
            f"but got {wrong.dtype} {tuple(wrong.shape)}"
        )
    if len(gammas) != len(gae_lambdas):
        raise ValueError(f"every γ needs a λ, but got {len(gammas)} γ and {len(gae_lambdas)} λ")
    dtype = torch.promote_types(values.dtype, torch.float32)
    values, rewards = (x.detach() if x.dtype == dtype else x.detach().to(dtype) for x in (values, rewards))
    discounts: float | Tensor
    decays: float | Tensor
    if len(gammas) == 1 and isinstance(gammas[0], float) and isinstance(gae_lambdas[0], float):
        discounts, decays = gammas[0], gammas[0] * gae_lambdas[0]  # a tensor of one number would cost microseconds
    else:
        discounts = _stacked("gamma", gammas, values)
        decays = discounts * _stacked("gae_lambda", gae_lambdas, values)
    tail = None
    if bootstrap is not None:
        if bootstrap.shape not in (values.shape[:1], values.shape):
            raise ValueError(
                f"bootstrap must be (episodes,) or (episodes, steps), the latter as {tuple(values.shape)}, "
                f"but got {tuple(bootstrap.shape)}"
            )
        bootstrap = bootstrap.detach().to(dtype)
        tail, bootstrap = (bootstrap, None) if bootstrap.dim() == 1 else (None, bootstrap)
    if values.device.type == "cpu" and values.shape[1] >= COMPILED_FROM and values.shape[0]:
        from sweepstack.models.rl import gae_kernel  # imports Numba

        return gae_kernel.advantages(rewards, values, mask, discounts, decays, tail, ends, bootstrap)
    return recursion(rewards, values, mask, discounts, decays, tail, ends, bootstrap)


def recursion(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    gammas: float | Tensor,
    decays: float | Tensor,
    tail: Tensor | None,
    ends: Tensor | None,
    bootstrap: Tensor | None,
) -> Tensor:
    """The definition, from the last step to the first: (pairs, episodes, steps).

    gammas and decays (= γλ) are (pairs, 1 or episodes, 1 or steps), or numbers of one pair. V_n is ``bootstrap``
    (episodes, steps) wherever an episode ends, or else ``tail`` (episodes,) at the last decision of a row and 0 at the
    other ends.
    """
    gammas, decays = (x if isinstance(x, Tensor) else values.new_full((1, 1, 1), x) for x in (gammas, decays))
    shape = len(gammas), *values.shape
    gammas, decays = gammas.expand(shape), decays.expand(shape)
    advantages = values.new_zeros(shape)
    next_value = values.new_zeros(shape[1]) if tail is None else tail
    next_advantage = values.new_zeros(shape[:2])
    begun = torch.zeros_like(mask[:, :1]).squeeze(1)
    for t in range(shape[2] - 1, -1, -1):
        counts, v_after, a_after = mask[:, t], next_value, next_advantage
        if ends is not None:
            a_after = torch.where(ends[:, t], 0.0, a_after)
        if bootstrap is not None:
            ended = ~begun if ends is None else ends[:, t] | ~begun
            v_after = torch.where(ended, bootstrap[:, t], v_after)
        elif ends is not None:
            v_after = torch.where(ends[:, t] & begun, 0.0, v_after)
        advantage = rewards[:, t] + gammas[..., t] * v_after - values[:, t] + decays[..., t] * a_after
        advantages[..., t] = torch.where(counts, advantage, 0.0)
        next_advantage = torch.where(counts, advantage, next_advantage)
        next_value = torch.where(counts, values[:, t], next_value)
        begun = begun | counts
    return advantages


def _stacked(name: str, numbers: Sequence[float | Tensor] | Tensor, values: Tensor) -> Tensor:
    """(pairs, 1 or episodes, 1 or steps)"""
    if not any(isinstance(number, Tensor) for number in numbers):
        return values.new_tensor(numbers)[:, None, None]
    tables = [torch.as_tensor(number, dtype=values.dtype, device=values.device).detach() for number in numbers]
    for table in tables:
        if table.dim() > 2 or any(
            n not in (1, of) for n, of in zip(reversed(table.shape), reversed(values.shape), strict=False)
        ):
            raise ValueError(f"{name} must broadcast to {tuple(values.shape)}, but got {tuple(table.shape)}")
    tables = [table.reshape((1, 1, *table.shape)[-2:]) for table in tables]
    shape = [max(table.shape[i] for table in tables) for i in (0, 1)]
    return torch.stack([table.expand(shape) for table in tables]) if len(tables) > 1 else tables[0][None]


def value_targets(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    gamma: float | Tensor,
    value_lambda: float | Tensor,
    bootstrap: Tensor | None = None,
    ends: Tensor | None = None,
) -> Tensor:
    """What the values learn, (episodes, steps): λ-returns with a λ of their own, 1 being Monte Carlo; as `gae`.

    Advantages at the policy's λ plus the values would be biased by the values themselves (VC-PPO, arXiv 2503.01491).
    """
    advantages = gae(rewards, values, mask, gamma, value_lambda, bootstrap, ends)
    return torch.where(mask, advantages + values.detach(), 0.0)


def length_adaptive_lambda(lengths: Tensor, alpha: float) -> Tensor:
    """λ = 1 − 1/(α·length) of each episode, clipped to [0, 1] (VAPO, arXiv 2504.05118); (episodes,), as ``lengths``.

    α says over what share of an episode credit reaches back: the sum of λ's weights is α·length. Below a length of 1/α
    it is 0. Raises ValueError where α is not positive.
    """
    if not alpha > 0:
        raise ValueError(f"alpha must be above 0, but got {alpha}")
    return (1 - 1 / (alpha * lengths)).clamp(0, 1)


def normalised(advantages: Tensor, mask: Tensor, scale: Tensor | None = None) -> Tensor:
    """Mean 0 and standard deviation 1 over where ``mask`` is true; 0 elsewhere. A single decision stays as it is.

    All are 0 where they are equal up to rounding: where they deviate by no more than VANISHING of ``scale``, a scalar,
    the largest of the numbers whose differences they are. By default that is the largest of the advantages.
    """
    chosen = advantages[mask].double()
    if chosen.numel() < 2:
        return torch.where(mask, advantages, 0.0)
    centred = chosen - chosen.mean()
    deviation = (centred.square().sum() / (len(chosen) - 1)).sqrt()
    least = VANISHING * (chosen.abs().max() if scale is None else scale.double())
    whitened = torch.zeros_like(advantages)
    whitened[mask] = torch.where(deviation > least, centred / deviation, 0.0).to(advantages.dtype)
    return whitened


def diagnostics(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    gamma: float | Tensor,
    gae_lambdas: Sequence[float] = (0.0, 0.5, 0.8, 0.95, 1.0),
    bootstrap: Tensor | None = None,
    ends: Tensor | None = None,
) -> dict[str, float]:
    """What other λ would have made of this rollout, over the decisions where ``mask`` is true; always finite.

    gae/explained_variance   1 − Var(G − V) / Var(G), G the Monte Carlo return: 1 is a perfect value, 0 a constant
    gae/std_λ                standard deviation of the advantages, which λ < 1 is there to lower
    gae/bias_λ               root mean square of A(λ) − A(1): what it costs
    gae/correlation_λ        of A(λ) with A(1)

    The last two for λ < 1. Where nothing varies, and of an empty batch, they are 0.
    """
    lambdas = [*gae_lambdas, 1.0]
    each = gae_pairs(rewards, values, mask, [gamma] * len(lambdas), lambdas, bootstrap, ends)[:, mask].double()
    unbiased = each[-1]
    returns = unbiased + values.detach()[mask].double()
    variance, of_returns = _variance(unbiased), _variance(returns)
    figures = {"gae/explained_variance": 1 - variance / of_returns if of_returns else 0.0}
    for gae_lambda, advantages in zip(gae_lambdas, each, strict=False):
        own = _variance(advantages)
        figures[f"gae/std_{gae_lambda:g}"] = own**0.5
        if gae_lambda < 1:
            together = float(((advantages - advantages.mean()) * (unbiased - unbiased.mean())).mean())
            figures[f"gae/bias_{gae_lambda:g}"] = float((advantages - unbiased).square().mean().sqrt())
            figures[f"gae/correlation_{gae_lambda:g}"] = together / (own * variance) ** 0.5 if own * variance else 0.0
    return {name: number if isfinite(number) else 0.0 for name, number in figures.items()}


def _variance(numbers: Tensor) -> float:
    """0 also where float32 cannot tell the numbers apart."""
    variance = float(numbers.var(correction=0)) if len(numbers) else 0.0
    return variance if variance > 1e-12 * float(numbers.square().mean()) else 0.0
