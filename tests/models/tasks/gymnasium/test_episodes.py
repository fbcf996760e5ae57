"""Rollouts of copies are laid out as GAE needs them: where episodes end, and what a state is worth that was cut off."""

from typing import Any

import numpy as np
import pytest
import torch
from counting import Counting
from gymnasium.spaces import Box
from torch import Tensor

from sweepstack.models.errors import TrainingError
from sweepstack.models.networks.mlp import ActorCritic, Interface
from sweepstack.models.rl.advantages import estimated
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.tasks.gymnasium.environment import Copies, Spaces
from sweepstack.models.tasks.gymnasium.episodes import EnvironmentPlayer, EnvironmentRollout
from sweepstack.models.tasks.gymnasium.reward_scale import RewardScale

SETTINGS = TrialSettings(task="gym:Counting", train={"batch_size": 16, "env": {"copies": 2}})


class Telling(ActorCritic):
    """A policy whose value of a state is what the environment counts to."""

    def values(self, observations: Tensor) -> Tensor:
        return observations[..., 1]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def player(
    steps: int = 16,
    copies: int = 2,
    policy: type[ActorCritic] = Telling,
    scale: RewardScale | None = None,
    **changes: Any,
) -> EnvironmentPlayer:
    made = [Counting(**changes) for _ in range(copies)]
    spaces = Spaces("Counting", made[0].observation_space, made[0].action_space)
    torch.manual_seed(0)
    return EnvironmentPlayer(policy(spaces.interface, SETTINGS.model), Copies(made, spaces), steps, scale)


def rollouts(of: EnvironmentPlayer, size: int, seed: int = 0) -> list[EnvironmentRollout]:
    random = seeded(seed)
    return [of.roll_out(batch, 1, random) for batch in of.batches(size, random)]


def test_a_rollout_is_laid_out_by_copies_and_steps() -> None:
    """Episodes of three steps end by termination, truncation, and the end of the rollout."""
    first, second = rollouts(player(), 8)
    for rollout in (first, second):
        assert rollout.rewards.shape == rollout.values.shape == (2, 4)
        assert rollout.taken.all()
        assert rollout.counted.all()
        assert rollout.row.tolist() == [0] * 4 + [1] * 4
        assert rollout.step.tolist() == [0, 1, 2, 3] * 2
        assert rollout.group.tolist() == [0, 1]
        assert torch.equal(rollout.rewards.flatten(), 1.0 + rollout.actions)
        assert torch.equal(rollout.at(rollout.values), rollout.observations[:, 1])
    assert first.values.tolist() == [[0, 1, 2, 10]] * 2
    assert first.ends is not None
    assert first.ends.tolist() == [[False, False, True, True]] * 2
    assert first.bootstrap is not None
    assert first.bootstrap.tolist() == [[0, 0, 0, 11]] * 2, "terminated: 0; cut off by the rollout: the state it is in"
    assert second.values.tolist() == [[11, 12, 20, 21]] * 2, "the next rollout goes on"
    assert second.ends is not None
    assert second.ends.tolist() == [[False, True, False, True]] * 2
    assert second.bootstrap is not None
    assert second.bootstrap.tolist() == [[0, 13, 0, 22]] * 2, "truncated: its own last state, not the next one's first"


def test_advantages_follow_from_it() -> None:
    """δ = r + γ V' − V with λ = 0, where V' is 0 after a termination and that of the last state after a truncation."""
    of = player(steps=12)
    (rollout,) = rollouts(of, 12)
    train = SETTINGS.with_values({"train.gamma": 0.5, "train.gae_lambda": 0.0, "train.value_lambda": 0.0}).train
    found = estimated(rollout, train, whiten=False)
    after = torch.tensor([1.0, 2.0, 0.0, 11.0, 12.0, 13.0]).repeat(2)
    assert torch.allclose(found.advantages, rollout.rewards.flatten() + 0.5 * after - rollout.observations[:, 1])
    assert torch.allclose(found.targets, rollout.rewards.flatten() + 0.5 * after)


def test_an_epoch_begins_anew_and_repeats_itself_from_its_seed() -> None:
    of = player(policy=ActorCritic)
    expected = rollouts(of, 8, seed=1)
    other = rollouts(of, 8, seed=2)
    again = rollouts(of, 8, seed=1)
    for one, two in zip(expected, again, strict=True):
        for name in ("observations", "actions", "log_probs", "values", "bootstrap"):
            assert torch.equal(getattr(one, name), getattr(two, name)), name
    assert expected[0].observations[0, 0] != other[0].observations[0, 0], "another epoch has other seeds"
    assert expected[0].observations[0, 0] != expected[0].observations[4, 0], "and so has every copy"
    assert len(of.returns) == 4, "two episodes of each copy have ended in an epoch"


def test_returns_are_those_of_whole_episodes() -> None:
    of = player(steps=14)
    first, second = rollouts(of, 8)
    rewards = torch.cat([first.rewards, second.rewards], dim=1)
    each = [float(rewards[copy, begin : begin + 3].sum()) for begin in (0, 3) for copy in (0, 1)]
    assert of.returns == each


@pytest.mark.parametrize(
    ("steps", "copies", "size", "sizes"),
    [
        (16, 2, 8, [8, 8]),
        (20, 2, 8, [8, 8, 4]),
        (21, 2, 9, [8, 8, 4]),
        (12_500, 8, 2048, [2048] * 6 + [208]),
        (5, 2, 100, [4]),
        (1, 4, 1, [4]),
    ],
)
def test_sizes_are_multiples_of_the_copies_and_sum_up_to_the_steps(
    steps: int, copies: int, size: int, sizes: list[int]
) -> None:
    of = player(steps=steps, copies=copies)
    assert of.sizes(size) == sizes
    if steps < 100:
        assert [len(batch) for batch in of.batches(size, seeded())] == sizes


@pytest.mark.parametrize("actions", [None, Box(-1, 1, (2, 1))])
def test_before_the_first_step_the_policy_is_the_one_that_played(actions: Any) -> None:
    of = player(policy=ActorCritic, actions=actions)
    rollout = rollouts(of, 16)[0]
    for index in of.minibatches(rollout, 5, seeded()):
        for piece in of.pieces(rollout, index):
            now = of.evaluate(rollout, piece)
            ratio = (now.distribution.log_prob(rollout.actions[piece]) - rollout.log_probs[piece]).exp()
            assert (ratio - 1).abs().max() < 1e-5
            assert torch.allclose(now.values, rollout.at(rollout.values)[piece], atol=1e-6)
            assert now.cross_entropy is None


def test_minibatches_hold_every_decision_once_in_random_order() -> None:
    of = player()
    rollout = rollouts(of, 16)[0]
    random = seeded()
    parts = list(of.minibatches(rollout, 5, random))
    assert [len(part) for part in parts] == [5, 5, 5, 1]
    order = torch.cat(parts).tolist()
    assert sorted(order) == list(range(16))
    assert order != sorted(order)
    assert torch.cat(list(of.minibatches(rollout, 5, random))).tolist() != order


def test_numbers_are_learned_as_sampled_and_played_within_their_bounds() -> None:
    of = player(policy=ActorCritic, actions=Box(-0.5, 0.5, (2, 1)))
    rollout = rollouts(of, 16)[0]
    assert rollout.actions.shape == (16, 2)
    assert rollout.actions.abs().max() > 0.5
    assert torch.allclose(rollout.rewards.flatten(), 1 + rollout.actions.clamp(-0.5, 0.5).sum(1), atol=1e-6)


def test_states_are_learned_from_as_they_were_shown() -> None:
    made = Copies([Counting(), Counting()], Spaces("X", Counting().observation_space, Counting().action_space))
    policy = ActorCritic(Interface(2, 3, continuous=False), SETTINGS.model, normalize=True)
    of = EnvironmentPlayer(policy, made, 16)
    first, second = rollouts(of, 8)
    assert first.observations[:4, 1].tolist() == [0, 1, 2, 10], "before anything was seen"
    counted = np.array([[0, 1, 2, 10]] * 2)
    expected = (np.array([11, 12, 20, 21]) - counted.mean()) / counted.std()
    np.testing.assert_allclose(second.observations[:4, 1], expected.clip(-10, 10), rtol=1e-5)
    assert policy.moments is not None
    assert int(policy.moments.count) == 16


def test_every_policy_is_scored_on_the_same_episodes() -> None:
    made = [[Counting() for _ in range(copies)] for copies in (2, 3)]
    for copies in made:
        spaces = Spaces("X", copies[0].observation_space, copies[0].action_space)
        EnvironmentPlayer(Telling(spaces.interface, SETTINGS.model), Copies(copies, spaces), 16).score(4)
    one, other = (sorted(seed for each in copies for seed in each.seeds) for copies in made)
    assert one == other
    assert len(set(one)) == 4


def test_the_score_is_that_of_the_likeliest_actions() -> None:
    of = player()
    with torch.no_grad():
        of._policy.policy.out.bias.copy_(torch.tensor([0.0, 0.0, 5.0]))
    assert of.score(5) == {"reward": 9.0, "reward_std": 0.0, "length": 3.0}
    with pytest.raises(ValueError, match="begins with batches"):
        of.roll_out(torch.arange(4), 1, seeded())


def test_what_is_no_number_ends_the_trial() -> None:
    of = player(policy=ActorCritic)
    with torch.no_grad():
        of._policy.policy.out.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"lower train\.lr"):
        rollouts(of, 16)


def test_nothing_is_played_twice_from_the_same_beginning() -> None:
    of, random = player(), seeded()
    batch = next(of.batches(8, random))
    with pytest.raises(ValueError, match="samples=2"):
        of.roll_out(batch, 2, random)


def test_values_depend_on_their_own_parameters_alone() -> None:
    of = player(policy=ActorCritic)
    rollout = rollouts(of, 16)[0]
    loss = of.evaluate(rollout, torch.arange(16)).values.sum()
    loss.backward()
    own = {id(p) for p in of.value_parameters()}
    assert {id(p) for p in of._policy.parameters() if p.grad is not None} == own


def test_rewards_that_are_learned_from_are_scaled_and_those_that_are_scored_are_not() -> None:
    """The same actions with and without; episodes of three steps, over two rollouts and again in the next epoch."""
    plain, scaled = player(policy=ActorCritic), player(policy=ActorCritic, scale=RewardScale(2, 0.9))
    by_hand = RewardScale(2, 0.9)
    for epoch in range(2):
        by_hand.begin()
        pairs = zip(rollouts(plain, 8, seed=epoch), rollouts(scaled, 8, seed=epoch), strict=True)
        for place, (raw, found) in enumerate(pairs):
            assert torch.equal(raw.actions, found.actions)
            for t in range(4):
                ended = np.full(2, (4 * place + t) % 3 == 2)
                expected = by_hand.scaled(raw.rewards[:, t].numpy(), ended)
                assert found.rewards[:, t].tolist() == expected.tolist()
            assert not torch.equal(raw.rewards, found.rewards)
        assert plain.returns == scaled.returns, "what is told of episodes is what they brought"
    assert plain.score(3) == scaled.score(3)
