"""The perceptrons begin as they should, sample what they say, and normalise by what they have seen."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import kl_divergence

from sweepstack.models.networks.mlp import FARTHEST, ActorCritic, Interface, Moments, new_actor_critic
from sweepstack.models.settings.trial import Model, TrialSettings

ONE_OF = Interface(4, 3, continuous=False)
NUMBERS = Interface(4, 2, continuous=True)
MODEL = TrialSettings(task="gym:CartPole-v1").model


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_orthogonal_weights_have_the_gains_of_the_literature() -> None:
    policy = new_actor_critic(ONE_OF, MODEL, 0)
    for trunk in (policy.policy, policy.value):
        first, second = (layer.weight for layer in trunk.hidden)
        assert torch.allclose(second @ second.T, 2 * torch.eye(64), atol=1e-5)
        assert torch.allclose(first.T @ first, 2 * torch.eye(4), atol=1e-5)
        assert all(not layer.bias.any() for layer in [*trunk.hidden, trunk.out])
    out = policy.policy.out.weight
    assert torch.allclose(out @ out.T, 1e-4 * torch.eye(3), atol=1e-8)
    assert torch.allclose(policy.value.out.weight.norm(), torch.tensor(1.0))


@pytest.mark.parametrize("init", get_args(Model.model_fields["init"].annotation))
@pytest.mark.parametrize("activation", get_args(Model.model_fields["activation"].annotation))
def test_every_action_is_about_as_likely_at_first(init: str, activation: str) -> None:
    policy = new_actor_critic(ONE_OF, MODEL.model_copy(update={"init": init, "activation": activation}), 1)
    probabilities = policy.distribution(torch.randn(50, 4, generator=seeded())).probs  # type: ignore[attr-defined]
    assert (probabilities - 1 / 3).abs().max() < 0.02


def test_initial_weights_are_those_of_their_seed_and_disturb_no_other_random_number() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    one, same, other = (new_actor_critic(ONE_OF, MODEL, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(2), expected)
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, same.state_dict()[name])
    assert not torch.equal(one.policy.out.weight, other.policy.out.weight)


def test_layers_and_widths_are_those_of_the_settings() -> None:
    policy = ActorCritic(ONE_OF, MODEL.model_copy(update={"layers": 3, "d_model": 8}))
    assert [tuple(layer.weight.shape) for layer in policy.policy.hidden] == [(8, 4), (8, 8), (8, 8)]
    assert policy.values(torch.zeros(5, 7, 4)).shape == (5, 7)
    assert policy.log_std is None


def test_actions_are_sampled_as_often_as_they_are_likely() -> None:
    policy = new_actor_critic(ONE_OF, MODEL, 0)
    with torch.no_grad():
        policy.policy.out.weight.mul_(300)
        state = torch.tensor([0.5, -1.0, 2.0, 0.3])
        chosen = policy.choose(state, policy.noise(40_000, random=seeded()))
        probabilities = policy.distribution(state).probs  # type: ignore[attr-defined]
    assert probabilities.max() - probabilities.min() > 0.2, "or this says little"
    frequencies = torch.bincount(chosen, minlength=3) / len(chosen)
    assert torch.allclose(frequencies, probabilities, atol=0.01)
    assert policy.choose(state, None) == probabilities.argmax()


def test_numbers_are_sampled_around_their_mean() -> None:
    policy = new_actor_critic(NUMBERS, MODEL, 0)
    with torch.no_grad():
        assert policy.log_std is not None
        policy.log_std.copy_(torch.tensor([0.5, 2.0]).log())
        state = torch.randn(4, generator=seeded())
        chosen = policy.choose(state, policy.noise(40_000, random=seeded(1)))
        distribution = policy.distribution(state)
    assert torch.allclose(chosen.std(0), torch.tensor([0.5, 2.0]), rtol=0.02)
    assert torch.allclose(chosen.mean(0), policy.choose(state, None), atol=0.03)
    assert distribution.batch_shape == ()
    expected = torch.distributions.Normal(distribution.mean, torch.tensor([0.5, 2.0])).log_prob(chosen[0]).sum()
    assert torch.allclose(distribution.log_prob(chosen[0]), expected)
    assert kl_divergence(distribution, distribution) == 0


def test_the_value_does_not_depend_on_the_policys_weights() -> None:
    policy = new_actor_critic(NUMBERS, MODEL, 0)
    policy.values(torch.ones(3, 4)).sum().backward()
    assert {name.split(".")[0] for name, p in policy.named_parameters() if p.grad is not None} == {"value"}


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 99))
def test_moments_of_batches_are_those_of_all_that_was_seen(sizes: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    batches = [random.normal(3, 5, (size, 2)).astype(np.float32) for size in sizes]
    moments = Moments(2)
    for batch in batches:
        moments.update(torch.from_numpy(batch))
    seen = np.concatenate(batches).astype(np.float64)
    assert int(moments.count) == len(seen)
    np.testing.assert_allclose(moments.mean.numpy(), seen.mean(0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(moments.variance.numpy(), seen.var(0), rtol=1e-9, atol=1e-9)


def test_moments_show_states_at_mean_0_and_deviation_1_and_nothing_farther_than_the_limit() -> None:
    moments = Moments(1)
    states = torch.tensor([[-1.0], [3.0], [4.0]])
    assert torch.allclose(moments(states), states), "before anything was seen"
    moments.update(torch.tensor([[2.0], [4.0], [6.0], [8.0]]))
    assert torch.allclose(moments(torch.tensor([5.0, 5 + 5**0.5])[:, None]), torch.tensor([[0.0], [1.0]]))
    assert moments(torch.tensor([[1e9], [-1e9]])).tolist() == [[FARTHEST], [-FARTHEST]]
    assert moments(states).dtype == torch.float32


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_moments_divide_by_no_rounding_and_by_every_real_deviation(scale: float) -> None:
    """A state that is always the same is 0, however many have been seen; a small one has deviation 1 like any other."""
    moments = Moments(2)
    for batch in torch.randn((5, 333, 1), generator=torch.Generator().manual_seed(0)):
        moments.update(scale * torch.cat([torch.full_like(batch, 0.7), 3 + batch], dim=1))
    seen = scale * torch.tensor([[0.7, 3.0], [0.7, 4.0]])
    shown = moments(seen)
    assert shown[:, 0].abs().max() <= 1e-7 * scale
    assert float(shown[1, 1] - shown[0, 1]) == pytest.approx(1, rel=0.1)
