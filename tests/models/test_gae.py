"""Advantages against an independent loop in float64, numbers worked out by hand, and the limiting cases."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sweepstack.models.gae import gae, normalised

FAR = 1e6  # stands where the mask is false: were it looked at, nothing would be right
Loop = list[float]


def by_the_sum(rewards: Loop, values: Loop, gamma: float, gae_lambda: float, bootstrap: float) -> Loop:
    """A_t = Σ_k (γλ)^k δ_{t+k}, the definition (not the recursion), of one episode without gaps."""
    after = [*values, bootstrap][1:]
    deltas = [r + gamma * v_next - v for r, v, v_next in zip(rewards, values, after, strict=True)]
    n = len(deltas)
    return [sum((gamma * gae_lambda) ** k * deltas[t + k] for k in range(n - t)) for t in range(n)]


def laid_out(episodes: list[Loop], places: list[list[int]], width: int, elsewhere: float) -> Tensor:
    table = torch.full((len(episodes), width), elsewhere, dtype=torch.float64)
    for row, (episode, columns) in enumerate(zip(episodes, places, strict=True)):
        for value, column in zip(episode, columns, strict=True):
            table[row, column] = value
    return table


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[Loop], list[Loop], list[list[int]], int, Loop]:
    """Episodes of unequal length (0 to all steps), whose decisions stand at any columns, in order."""
    width = draw(st.integers(1, 7))
    number = st.floats(-10, 10)
    rewards, values, places, bootstraps = [], [], [], []
    for _ in range(draw(st.integers(1, 4))):
        columns = sorted(draw(st.sets(st.integers(0, width - 1))))
        rewards.append([draw(number) for _ in columns])
        values.append([draw(number) for _ in columns])
        places.append(columns)
        bootstraps.append(draw(number))
    return rewards, values, places, width, bootstraps


@given(batch=batches(), gamma=st.floats(0, 1), gae_lambda=st.floats(0, 1), truncated=st.booleans())
def test_it_is_the_sum_of_discounted_td_errors(
    batch: tuple[list[Loop], list[Loop], list[list[int]], int, Loop], gamma: float, gae_lambda: float, truncated: bool
) -> None:
    rewards, values, places, width, bootstraps = batch
    if not truncated:
        bootstraps = [0.0] * len(rewards)
    expected = [by_the_sum(r, v, gamma, gae_lambda, b) for r, v, b in zip(rewards, values, bootstraps, strict=True)]
    mask = laid_out([[1.0] * len(columns) for columns in places], places, width, 0.0).bool()
    for elsewhere in (0.0, FAR):  # gaps and padding have no influence
        advantages = gae(
            laid_out(rewards, places, width, elsewhere),
            laid_out(values, places, width, elsewhere),
            mask,
            gamma,
            gae_lambda,
            torch.tensor(bootstraps, dtype=torch.float64) if truncated else None,
        )
        np.testing.assert_allclose(advantages, laid_out(expected, places, width, 0.0), atol=1e-9)


def test_by_hand() -> None:
    """γ = λ = .95, r = (−.01, −.01, 1), V = (.5, .6, .7), the episode ends: with γλ = .9025

    δ₂ = 1 − .7 = .3                        A₂ = .3
    δ₁ = −.01 + .95·.7 − .6 = .055          A₁ = .055 + .9025·.3 = .32575
    δ₀ = −.01 + .95·.6 − .5 = .06           A₀ = .06 + .9025·.32575 = .353989375
    """
    rewards, values = torch.tensor([[-0.01, -0.01, 1.0]]), torch.tensor([[0.5, 0.6, 0.7]])
    advantages = gae(rewards, values, torch.ones(1, 3, dtype=torch.bool), 0.95, 0.95)
    assert advantages[0].tolist() == pytest.approx([0.353989375, 0.32575, 0.3], abs=1e-6)


def test_an_episode_that_was_cut_off_is_worth_the_value_of_its_last_state() -> None:
    """As above with V₃ = .4: δ₂ rises by .95·.4 = .38, so A₂ = .68, A₁ = .055 + .9025·.68 = .6687."""
    rewards, values = torch.tensor([[-0.01, -0.01, 1.0]]), torch.tensor([[0.5, 0.6, 0.7]])
    advantages = gae(rewards, values, torch.ones(1, 3, dtype=torch.bool), 0.95, 0.95, torch.tensor([0.4]))
    assert advantages[0, 1:].tolist() == pytest.approx([0.6687, 0.68], abs=1e-6)


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.0])
def test_limits_of_lambda(gamma: float) -> None:
    """λ = 0 is the TD error, λ = 1 the Monte Carlo return minus the value."""
    random = torch.Generator().manual_seed(0)
    rewards, values = (torch.rand((5, 6), generator=random, dtype=torch.float64) for _ in range(2))
    mask = torch.arange(6) < torch.tensor([1, 2, 4, 6, 6])[:, None]
    td = gae(rewards, values, mask, gamma, 0.0)
    monte_carlo = gae(rewards, values, mask, gamma, 1.0)
    for row, n in enumerate(mask.sum(1).tolist()):
        for t in range(n):
            v_next = values[row, t + 1] if t + 1 < n else 0.0
            assert td[row, t] == pytest.approx(float(rewards[row, t] + gamma * v_next - values[row, t]))
            returned = sum(gamma**k * float(rewards[row, t + k]) for k in range(n - t))
            assert monte_carlo[row, t] == pytest.approx(returned - float(values[row, t]))


def test_advantages_that_are_learned_from_have_no_gradient_of_padding() -> None:
    values = torch.tensor([[0.5, FAR]], requires_grad=True)
    gae(torch.ones(1, 2), values, torch.tensor([[True, False]]), 1.0, 0.95).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[-1.0, 0.0]]


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="must have one shape"):
        gae(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 2, dtype=torch.bool), 1.0, 1.0)


def test_normalised_over_what_counts_alone() -> None:
    mask = torch.tensor([[True, True, False], [True, False, False]])
    got = normalised(torch.tensor([[1.0, 2.0, FAR], [3.0, -FAR, FAR]]), mask)
    # 1, 2, 3 have mean 2 and (sample) standard deviation 1.
    assert got.flatten().tolist() == pytest.approx([-1, 0, 0, 1, 0, 0], abs=1e-6)


def test_too_few_decisions_are_not_normalised() -> None:
    mask = torch.tensor([[True, False]])
    assert normalised(torch.tensor([[3.0, FAR]]), mask).tolist() == [[3.0, 0.0]]
    assert normalised(torch.tensor([[3.0, FAR]]), mask & False).tolist() == [[0.0, 0.0]]


def test_equal_advantages_become_zero_and_not_nan() -> None:
    assert normalised(torch.full((2, 2), 0.5), torch.ones(2, 2, dtype=torch.bool)).tolist() == [[0.0, 0.0]] * 2
