"""The expected reward against all episodes counted out, and its gradient against what sampling comes to."""

import dataclasses
import itertools

import pytest
import torch
from players import Learner, player_of, seeded, texts_of
from torch import Tensor

from sweepstack.models.optim.steps import Steps
from sweepstack.models.rl.advantages import estimated, returns
from sweepstack.models.rl.exact import Exact
from sweepstack.models.rl.policy_gradient import Learned, surrogate_of
from sweepstack.models.settings.trial import Train
from sweepstack.models.tasks.classification.episodes import ReadingPlayer, Texts


@torch.no_grad()
def counted_out(learner: Learner, label: int, cost: float, gamma: float, worth: Tensor) -> float:
    """Σ over every stop and label of probability × discounted reward, written without tensors of steps."""
    total, reached, paid = 0.0, 1.0, 0.0
    last = len(learner.read) - 1
    for s in range(last + 1):
        read = float(torch.sigmoid(learner.read[s])) if s < last else 0.0
        probabilities = learner.labels[s].softmax(-1).tolist()
        if not learner.samples_labels:
            best = max(range(len(probabilities)), key=probabilities.__getitem__)
            probabilities = [float(k == best) for k in range(len(probabilities))]
        for k, probability in enumerate(probabilities):
            total += reached * (1 - read) * probability * (gamma**s * float(worth[label, k]) - paid)
        reached *= read
        paid += gamma**s * cost
    return total


@pytest.mark.parametrize("samples_labels", [False, True])
@pytest.mark.parametrize("gamma", [1.0, 0.8])
def test_it_is_the_sum_over_all_episodes(samples_labels: bool, gamma: float) -> None:
    learner = Learner(samples_labels, seed=2)
    plain = texts_of(6, 0.07)
    got = player_of(learner, plain, gamma).expected_rewards(torch.arange(6))
    for row, label in enumerate(plain.labels.tolist()):
        assert got[row].item() == pytest.approx(counted_out(learner, label, 0.07, gamma, torch.eye(3)), abs=1e-6)
    worth = torch.tensor([[1.0, -2.0, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
    if samples_labels:  # the best label is then another one, too, which counted_out does not know
        priced = dataclasses.replace(plain, worth=worth)
        got = player_of(learner, priced, gamma).expected_rewards(torch.arange(6))
        for row, label in enumerate(plain.labels.tolist()):
            assert got[row].item() == pytest.approx(counted_out(learner, label, 0.07, gamma, worth), abs=1e-6)


def test_texts_end_where_they_end() -> None:
    learner = Learner(seed=1)
    texts = dataclasses.replace(texts_of(3, 0.1), n_segments=torch.tensor([1, 2, 4]))
    got = player_of(learner, texts).expected_rewards(torch.arange(3))
    right = [float(learner.labels[s].argmax() == texts.labels[i]) for i, s in ((0, 0), (1, 0), (1, 1))]
    read = torch.sigmoid(learner.read[0]).item()
    assert got[0].item() == pytest.approx(right[0])
    assert got[1].item() == pytest.approx((1 - read) * right[1] + read * (right[2] - 0.1), abs=1e-6)


def test_a_constant_reward_is_one_whatever_is_done() -> None:
    texts = texts_of(5, 0.3, constant=True)
    got = player_of(Learner(True, seed=0), texts).expected_rewards(torch.arange(5))
    assert got.tolist() == pytest.approx([1.0] * 5)


@pytest.mark.parametrize("samples_labels", [False, True])
@pytest.mark.parametrize("estimator", ["returns", "gae"])
def test_sampled_gradients_come_to_the_exact_one(samples_labels: bool, estimator: str) -> None:
    """40,000 episodes: the score-function gradient of their mean reward is the exact one but for noise."""

    n = 40_000
    learner = Learner(samples_labels, seed=3)
    texts = texts_of(n, 0.1)
    player = player_of(learner, texts)
    rows = torch.arange(n)
    policy = [learner.read, learner.labels] if samples_labels else [learner.read]
    exact = torch.autograd.grad(player.expected_rewards(rows).mean(), policy)
    rollout = player.roll_out(rows, 1, seeded())
    train = Train(gae_lambda=1.0)
    estimate = returns(rollout, train, "mean", whiten=False)
    if estimator == "gae":
        estimate = estimated(rollout, train, whiten=False)
    learned = Learned(rollout, estimate.advantages, estimate.targets, rollout.at(rollout.values))
    index = torch.arange(len(rollout.row))
    total = surrogate_of(player.evaluate(rollout, index), learned, index, None)[0].sum() / n
    for got, want in zip(torch.autograd.grad(total, policy), exact, strict=True):
        torch.testing.assert_close(got, want, atol=0.01, rtol=0)


def test_pieces_of_a_batch_add_up() -> None:
    """A forward pass of at most 24 tokens at a time moves the weights as one of all 64 texts does."""

    def moved(texts: Texts) -> Learner:
        learner = Learner(True, seed=0)
        optimizer = torch.optim.SGD(learner.parameters(), lr=1.0)
        steps = Steps(optimizer, list(learner.parameters()), itertools.repeat(1.0), None)
        logs = Exact().learn(ReadingPlayer(learner, texts, 1.0), torch.arange(64), steps, seeded(), measure=True)
        noise.append(float(logs["grad_noise"]))
        return learner

    noise: list[float] = []

    whole = texts_of(64, 0.05, width=2)
    cut = dataclasses.replace(whole, token_budget=24)
    assert len(ReadingPlayer(Learner(), cut, 1.0).batch_pieces(torch.arange(64))) == 64 * 4 * 2 / 24 // 1 + 1
    for a, b in zip(moved(whole).parameters(), moved(cut).parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)
    assert noise[0] == pytest.approx(noise[1], rel=1e-4)


def test_one_pass_is_the_plain_policy_gradient() -> None:
    """With one pass over all decisions the clipped loss has the gradient of −mean A log π."""
    learner, texts = Learner(True, seed=1), texts_of(200, 0.05)
    player = player_of(learner, texts)
    rollout = player.roll_out(torch.arange(200), 1, seeded())

    estimate = returns(rollout, Train(), "mean", whiten=False)
    learned = Learned(rollout, estimate.advantages, estimate.targets, rollout.at(rollout.values))
    index = torch.arange(len(rollout.row))
    clipped = surrogate_of(player.evaluate(rollout, index), learned, index, 0.2)[0].mean()
    plain = (player.evaluate(rollout, index).distribution.log_prob(rollout.actions) * estimate.advantages).mean()
    for a, b in zip(
        torch.autograd.grad(clipped, [learner.read, learner.labels]),
        torch.autograd.grad(plain, [learner.read, learner.labels]),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
