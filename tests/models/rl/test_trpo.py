"""Conjugate gradient against a solver, and a step that keeps to its trust region."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from players import Learner, player_of, seeded, texts_of
from torch.distributions import kl_divergence

from sweepstack.models.optim.steps import Steps
from sweepstack.models.rl.algorithms import make_algorithm
from sweepstack.models.rl.trpo import TRPO, conjugate_gradient
from sweepstack.models.settings.trial import Train


@given(size=st.integers(1, 8), seed=st.integers(0, 50))
@settings(max_examples=30)
def test_conjugate_gradient_solves(size: int, seed: int) -> None:
    root = torch.randn((size, size), generator=seeded(seed), dtype=torch.float64)
    matrix = root @ root.T + 0.5 * torch.eye(size, dtype=torch.float64)
    target = torch.randn(size, generator=seeded(seed + 1), dtype=torch.float64)
    got = conjugate_gradient(lambda v: matrix @ v, target, steps=3 * size)
    torch.testing.assert_close(got, torch.linalg.solve(matrix, target), atol=1e-3, rtol=1e-3)


def test_nothing_to_do_is_nothing_done() -> None:
    zero = torch.zeros(3)
    assert torch.equal(conjugate_gradient(lambda v: v, zero, steps=5), zero)


@pytest.mark.parametrize("max_kl", [0.001, 0.02])
@pytest.mark.parametrize("samples_labels", [False, True])
def test_a_step_improves_within_the_trust_region(max_kl: float, samples_labels: bool) -> None:
    learner, texts = Learner(samples_labels, seed=0), texts_of(300, 0.05, label=2)
    player, rows = player_of(learner, texts), torch.arange(300)
    train = Train.model_validate({"algorithm": "trpo", "trpo": {"max_kl": max_kl}})
    steps = Steps(
        torch.optim.SGD(learner.parameters(), lr=1.0), list(learner.parameters()), itertools.repeat(0.0), None
    )
    rollout = player.roll_out(rows, 1, seeded(5))
    everything = torch.arange(len(rollout.row))
    with torch.no_grad():
        old = player.evaluate(rollout, everything).distribution
        before = player.expected_rewards(rows).mean()
    logs = TRPO(train).learn(player, rows, steps, seeded(), measure=False)
    with torch.no_grad():
        moved = kl_divergence(old, player.evaluate(rollout, everything).distribution)[rollout.counted].mean()
        after = player.expected_rewards(rows).mean()
    assert 0.2 * max_kl < moved.item() < 1.5 * max_kl  # on other episodes than it was measured on
    assert logs["kl"].item() <= max_kl
    assert after > before


def test_the_step_is_the_natural_gradient() -> None:
    """One Bernoulli choice: the Fisher information of a logit is p(1 − p), so a step x diverges by ½ p(1 − p) x² a
    decision, and x is as long as the divergence that is asked for allows."""
    learner, texts = Learner(False, seed=0), texts_of(2000, 0.3)
    with torch.no_grad():
        learner.read[1:] = -50.0  # after the first segment, or the second, it always answers
    player = player_of(learner, texts)
    start = learner.read.detach().clone()
    train = Train.model_validate({"algorithm": "trpo", "trpo": {"max_kl": 1e-4, "damping": 1e-6}})
    steps = Steps(
        torch.optim.SGD(learner.parameters(), lr=1.0), list(learner.parameters()), itertools.repeat(0.0), None
    )
    TRPO(train).learn(player, torch.arange(2000), steps, seeded(), measure=False)
    p = torch.sigmoid(start[0]).item()
    rollout = player.roll_out(torch.arange(2000), 1, seeded())
    share = (rollout.step[rollout.counted] == 0).float().mean().item()  # of the decisions that the divergence averages
    expected = (2 * 1e-4 / (share * p * (1 - p))) ** 0.5
    ratio = abs(learner.read[0].item() - start[0].item()) / expected
    assert ratio == pytest.approx(1, rel=0.05) or ratio == pytest.approx(0.8, rel=0.05)  # as it is, or shrunk once


def test_a_step_that_cannot_improve_is_not_taken() -> None:
    """Every reward is the same: no direction is better, and the policy stays as it is, bit for bit."""
    learner, texts = Learner(True, seed=0), texts_of(50, 0.0, constant=True)
    before = learner.labels.detach().clone()
    train = Train.model_validate({"algorithm": "trpo", "trpo": {"whiten": False}, "gae_lambda": 1.0})
    with torch.no_grad():
        learner.values.fill_(1.0)
    steps = Steps(
        torch.optim.SGD(learner.parameters(), lr=1.0), list(learner.parameters()), itertools.repeat(0.1), None
    )
    logs = TRPO(train).learn(player_of(learner, texts), torch.arange(50), steps, seeded(), measure=False)
    assert torch.equal(learner.labels, before)
    assert logs["kl"].item() == 0


def test_the_noise_that_sizes_a_batch_is_measured_where_it_is_asked_for() -> None:
    """The same as A2C measures of the same rollout: the gradient of the same surrogate."""
    learner, rows = Learner(False, seed=0), torch.arange(300)
    player = player_of(learner, texts_of(300, 0.05, label=2))
    found = {}
    for batch_size in (64, "noise_scale"):
        train = Train.model_validate({"algorithm": "trpo", "batch_size": batch_size})
        steps = Steps(torch.optim.SGD(learner.parameters()), list(learner.parameters()), itertools.repeat(0.0), None)
        start = {name: p.detach().clone() for name, p in learner.named_parameters()}
        found[batch_size] = TRPO(train).learn(player, rows, steps, seeded(), measure=True)
        learner.load_state_dict(start, strict=False)
    assert "noise_scale" not in found[64]
    train = Train.model_validate({"algorithm": "a2c"})
    expected = make_algorithm(train).learn(player, rows, steps, seeded(), measure=True)
    assert found["noise_scale"]["noise_scale"] == expected["noise_scale"]
