"""The loss by hand, ratios of one before the first update, and policies that improve where the answer is known."""

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sweepstack.models.policy import PolicyOutput
from sweepstack.models.ppo import LOGGED, Decisions, decisions_of, minibatches, optimiser_steps, ppo_epoch, ppo_losses
from sweepstack.models.reading import Texts, roll_out
from sweepstack.models.settings import PPO

STEPS = 4


class Learner(torch.nn.Module):
    """A policy that knows nothing of a text but how much of it was read; every logit is a weight."""

    def __init__(self, samples_labels: bool, classes: int = 3) -> None:
        super().__init__()
        self.samples_labels = samples_labels
        self.labels = torch.nn.Parameter(torch.zeros(STEPS, classes))
        self.read = torch.nn.Parameter(torch.zeros(STEPS))
        self.values = torch.nn.Parameter(torch.zeros(STEPS))

    def everywhere(self, rows: Tensor) -> PolicyOutput:
        b = len(rows)
        return PolicyOutput(self.labels.repeat(b, 1, 1), self.read.repeat(b, 1), self.values.repeat(b, 1))

    def at(self, rows: Tensor, episode: Tensor, step: Tensor) -> PolicyOutput:
        return PolicyOutput(self.labels[step], self.read[step], self.values[step])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def texts_of(rows: int, cost: float, label: int | None = None) -> Texts:
    labels = torch.randint(3, (rows,), generator=seeded(1)) if label is None else torch.full((rows,), label)
    return Texts(labels, torch.full((rows,), STEPS), cost)


def decisions(count: int, **given_tensors: Tensor) -> Decisions:
    """READ at the first segment of as many episodes, unless something else is given."""
    yes, no, zeros = torch.ones(count, dtype=torch.bool), torch.zeros(count, dtype=torch.bool), torch.zeros(count)
    places = torch.arange(count)
    plain = Decisions(places, places * 0, no, yes, yes, places * 0, zeros, zeros, zeros)
    return dataclasses.replace(plain, **given_tensors)


def test_the_clipped_loss_by_hand() -> None:
    """P(READ) was .5 and now is .75, so the ratio is 1.5, clipped at 1.2.

    Advantage 1: min(1.5, 1.2) = 1.2. Advantage −1: min(−1.5, −1.2) = −1.5. Mean −.15, and the loss is its negative.
    The value is .5 where 1 and 0 were the targets: .25. Entropy of (.75, .25) is .562335.
    """
    output = PolicyOutput(torch.zeros(2, 3), torch.full((2,), math.log(3)), torch.full((2,), 0.5))
    chosen = decisions(
        2,
        log_probs=torch.full((2,), math.log(0.5)),
        advantages=torch.tensor([1.0, -1.0]),
        targets=torch.tensor([1.0, 0.0]),
    )
    loss, ratio, logged = ppo_losses(output, chosen, PPO(clip=0.2, value_coef=0.5, entropy=0.1), False)
    got = dict(zip(LOGGED, logged.tolist(), strict=True))
    assert ratio.tolist() == pytest.approx([1.5, 1.5])
    assert got["policy_loss"] == pytest.approx(0.15)
    assert got["value_loss"] == pytest.approx(0.25)
    assert got["entropy"] == pytest.approx(0.562335, abs=1e-5)
    assert got["kl"] == pytest.approx(0.5 - math.log(1.5), abs=1e-6)
    assert got["clip_fraction"] == 1.0
    assert loss.item() == pytest.approx(0.15 + 0.5 * 0.25 - 0.1 * 0.562335, abs=1e-5)


def test_entropy_of_sampled_labels_counts_where_a_label_was_given() -> None:
    """Two decisions: READ, then an answer, forced, among three equal labels: ln 2 and ln 3."""
    output = PolicyOutput(torch.zeros(2, 3), torch.zeros(2), torch.zeros(2))
    chosen = decisions(2, answered=torch.tensor([False, True]), free=torch.tensor([True, False]))
    logged = ppo_losses(output, chosen, PPO(), True)[2]
    assert logged[LOGGED.index("entropy")].item() == pytest.approx(math.log(2) + math.log(3), abs=1e-6)


def test_a_decision_without_a_choice_moves_no_logit() -> None:
    """A forced answer whose label is not sampled has a value to learn and nothing else."""
    read = torch.zeros(1, requires_grad=True)
    labels, values = torch.zeros(1, 3, requires_grad=True), torch.zeros(1, requires_grad=True)
    none = torch.zeros(1, dtype=torch.bool)
    chosen = decisions(1, answered=~none, free=none, counted=none, targets=torch.ones(1))
    torch.autograd.backward(ppo_losses(PolicyOutput(labels, read, values), chosen, PPO(entropy=0.1), False)[0])
    assert read.grad is None or read.grad.item() == 0
    assert labels.grad is None
    assert values.grad is not None
    assert values.grad.item() == pytest.approx(-1.0)  # .5 · 2 · (0 − 1)


@pytest.mark.parametrize("samples_labels", [False, True])
def test_before_the_first_update_every_ratio_is_one(samples_labels: bool) -> None:
    learner = Learner(samples_labels)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.normal_(generator=seeded())
    rows = torch.randperm(50, generator=seeded())
    episodes = roll_out(learner, rows, texts_of(50, 0.02), seeded())
    chosen = decisions_of(episodes, samples_labels, 1.0, 0.95)
    for part in minibatches(chosen, 50, 16, seeded()):
        _, ratio, logged = ppo_losses(learner.at(rows, part.episode, part.step), part, PPO(), samples_labels)
        torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-5, rtol=0)
        assert logged[LOGGED.index("kl")].item() == pytest.approx(0, abs=1e-6)
        assert logged[LOGGED.index("clip_fraction")].item() == 0


def test_value_targets_are_returns_where_lambda_is_one() -> None:
    """γ = λ = 1: what is still to come, whatever the values were: rewards summed from the decision on."""
    learner = Learner(True)
    with torch.no_grad():
        learner.values.normal_(generator=seeded())
    episodes = roll_out(learner, torch.arange(30), texts_of(30, 0.02), seeded())
    chosen = decisions_of(episodes, True, 1.0, 1.0)
    returns = episodes.rewards.flip(1).cumsum(1).flip(1)[episodes.episode, episodes.step]
    torch.testing.assert_close(chosen.targets, returns)
    assert chosen.advantages[chosen.counted].mean().item() == pytest.approx(0, abs=1e-6)
    assert chosen.advantages[chosen.counted].std().item() == pytest.approx(1, abs=1e-4)


@given(rows=st.integers(1, 40), size=st.integers(1, 50), seed=st.integers(0, 20))
def test_minibatches_hold_every_decision_once_and_episodes_whole(rows: int, size: int, seed: int) -> None:
    episodes = roll_out(Learner(False), torch.arange(rows), texts_of(rows, 0.0), seeded(seed))
    chosen = decisions_of(episodes, False, 1.0, 0.95)
    parts = list(minibatches(chosen, rows, size, seeded(seed)))
    assert len(parts) == -(-rows // size)
    held = [set(part.episode.tolist()) for part in parts]
    assert max(map(len, held)) <= size
    assert sorted(itertools.chain.from_iterable(held)) == list(range(rows))  # no episode stands in two
    both = [pair for part in parts for pair in zip(part.episode.tolist(), part.step.tolist(), strict=True)]
    assert sorted(both) == list(zip(chosen.episode.tolist(), chosen.step.tolist(), strict=True))


def train(learner: Learner, texts: Texts, epochs: int = 12, **settings: float) -> dict[str, float]:
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.05)
    random = seeded()
    for _ in range(epochs):
        logged = ppo_epoch(
            learner,
            list(learner.parameters()),
            optimizer,
            texts,
            PPO(minibatch=32),
            batch_size=64,
            gamma=settings.get("gamma", 1.0),
            gae_lambda=0.95,
            random=random,
            lr=itertools.repeat(0.05),
        )
    return logged


def test_it_learns_which_label_is_right_and_that_reading_for_nothing_costs() -> None:
    """Label 2 is always right: the best policy answers 2 at once, for a reward of 1, and the value knows."""
    learner = Learner(samples_labels=True)
    logged = train(learner, texts_of(256, 0.1, label=2))
    assert learner.labels[0].softmax(-1)[2].item() > 0.95
    assert torch.sigmoid(learner.read[0]).item() < 0.1
    assert learner.values[0].item() == pytest.approx(1.0, abs=0.1)
    assert logged["value_loss"] < 0.05


@pytest.mark.parametrize(("cost", "reads"), [(0.05, True), (0.5, False)])
def test_it_reads_on_exactly_where_that_pays(cost: float, reads: bool) -> None:
    """The likeliest label is wrong at first and right from the second segment on: one READ is worth 1 and costs so."""
    learner = Learner(samples_labels=False)
    with torch.no_grad():
        learner.labels[0, 0], learner.labels[1:, 2] = 1.0, 1.0
        learner.labels.requires_grad_(False)
    half = Texts(torch.tensor([2, 0]).repeat(128), torch.full((256,), STEPS), cost)
    # Label 0 in half of the texts: there reading on loses 1. With three of four texts labelled 2 it gains .5 − cost.
    mostly = dataclasses.replace(half, labels=torch.tensor([2, 2, 2, 0]).repeat(64))
    learner_of = [p for p in learner.parameters() if p.requires_grad]
    optimizer, random = torch.optim.Adam(learner_of, lr=0.05), seeded()
    texts = mostly if reads else half
    for _ in range(12):
        ppo_epoch(
            learner,
            learner_of,
            optimizer,
            texts,
            PPO(minibatch=32),
            batch_size=64,
            gamma=1.0,
            gae_lambda=0.95,
            random=random,
            lr=itertools.repeat(0.05),
        )
    assert (torch.sigmoid(learner.read[0]).item() > 0.9) == reads
    assert torch.sigmoid(learner.read[1]).item() < 0.5  # from there on reading gains nothing


@given(rows=st.integers(1, 60), batch=st.integers(1, 70), minibatch=st.integers(1, 80), epochs=st.integers(1, 3))
def test_steps_are_counted_as_they_are_taken(rows: int, batch: int, minibatch: int, epochs: int) -> None:
    """The learning-rate schedule spans exactly these: a rate too few would end an epoch early."""
    settings = PPO(epochs=epochs, minibatch=minibatch)
    taken = sum(epochs * -(-min(batch, rows - begin) // minibatch) for begin in range(0, rows, batch))
    assert optimiser_steps(rows, batch, settings) == taken


def test_an_epoch_takes_that_many_steps_and_uses_their_rates() -> None:
    learner, settings = Learner(True), PPO(epochs=2, minibatch=16)
    steps = optimiser_steps(50, 40, settings)
    assert steps == 2 * (3 + 1)  # 40 episodes in three minibatches, ten in one
    rates = iter([0.0] * steps)
    before = {name: p.clone() for name, p in learner.named_parameters()}
    ppo_epoch(
        learner,
        list(learner.parameters()),
        torch.optim.SGD(learner.parameters(), lr=1.0),
        texts_of(50, 0.01),
        settings,
        batch_size=40,
        gamma=1.0,
        gae_lambda=0.95,
        random=seeded(),
        lr=rates,
    )
    assert next(rates, None) is None
    assert all(torch.equal(p, before[name]) for name, p in learner.named_parameters())  # at a rate of 0 nothing moves
