"""The loss by hand, ratios of one before the first update, and what each option does and does not move."""

import dataclasses
import itertools
import math
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from players import Learner, player_of, seeded, texts_of
from torch import Tensor
from torch.distributions import Categorical

from sweepstack.models.optim.steps import Steps
from sweepstack.models.rl.advantages import Advantages, estimated
from sweepstack.models.rl.episodes import Evaluation, Rollout
from sweepstack.models.rl.policy_gradient import Learned, Passes, PolicyGradient, _whitened, surrogate_of
from sweepstack.models.settings.trial import Train

READ, ANSWER = 1, 0


class OneStep:
    """A player of N episodes of one decision, whose logits (N, 2) and values (N,) are weights."""

    def __init__(self, logits: Tensor, values: Tensor) -> None:
        self.logits, self.values = logits.requires_grad_(), values.requires_grad_()
        self.cross_entropy: Tensor | None = None

    def evaluate(self, rollout: Rollout, index: Tensor) -> Evaluation:
        said = None if self.cross_entropy is None else self.cross_entropy[index]
        return Evaluation(Categorical(logits=self.logits[index]), self.values[index], said)

    def value_parameters(self) -> list[Tensor]:
        return [self.values]


def learned_of(advantages: list[float], targets: list[float], old: list[float], values: list[float]) -> Learned:
    """READ in as many episodes, whose probability was ``old``."""
    n = len(advantages)
    column, places = torch.zeros(n, 1), torch.arange(n)
    rollout = Rollout(
        rewards=column,
        values=torch.tensor(values)[:, None],
        taken=column == 0,
        ends=None,
        bootstrap=None,
        group=places,
        row=places,
        step=places * 0,
        actions=torch.full((n,), READ),
        log_probs=torch.tensor(old).log(),
        counted=torch.ones(n, dtype=torch.bool),
    )
    return Learned(rollout, torch.tensor(advantages), torch.tensor(targets), torch.tensor(values))


def loss_of(player: Any, learned: Learned, passes: Passes, **more: Any) -> tuple[Tensor, dict[str, float]]:
    algorithm = PolicyGradient(passes, lambda rollout: Advantages(learned.advantages, learned.targets), **more)
    n = len(learned.advantages)
    counts = learned.rollout.counted.sum().clamp(min=1), n
    loss, logs = algorithm._loss(player, learned, torch.arange(n), counts, warming=False)
    return loss, {name: value.item() for name, value in logs.items()}


def test_the_clipped_loss_by_hand() -> None:
    """P(READ) was .5 and now is .75, so the ratio is 1.5, clipped at 1.2.

    Advantage 1: min(1.5, 1.2) = 1.2. Advantage −1: min(−1.5, −1.2) = −1.5. Mean −.15, and the loss is its negative.
    The value is .5 where 1 and 0 were the targets: .25. Entropy of (.75, .25) is .562335.
    """
    player = OneStep(torch.tensor([[0.0, math.log(3)]] * 2), torch.tensor([0.5, 0.5]))
    learned = learned_of([1.0, -1.0], [1.0, 0.0], [0.5, 0.5], [0.0, 0.0])
    loss, logs = loss_of(player, learned, Passes(clip=0.2, value_coef=0.5, entropy=0.1))
    assert logs["policy_loss"] == pytest.approx(0.15)
    assert logs["value_loss"] == pytest.approx(0.25)
    assert logs["entropy"] == pytest.approx(0.562335, abs=1e-5)
    assert logs["kl"] == pytest.approx(0.5 - math.log(1.5), abs=1e-6)
    assert logs["clip_fraction"] == 1.0
    assert loss.item() == pytest.approx(0.15 + 0.5 * 0.25 - 0.1 * 0.562335, abs=1e-5)


def test_a_clipped_value_by_hand() -> None:
    """It was 0 and is .5; clipped at .1 it is .1, and against the target 1 that loses .81 instead of .25. Against the
    target 0 the value as it is loses more, .25. Huber's loss halves squares below 1."""
    learned = learned_of([0.0, 0.0], [1.0, 0.0], [0.5, 0.5], [0.0, 0.0])
    player = OneStep(torch.zeros(2, 2), torch.tensor([0.5, 0.5]))
    assert loss_of(player, learned, Passes(value_clip=0.1))[1]["value_loss"] == pytest.approx((0.81 + 0.25) / 2)
    huber = loss_of(player, learned, Passes(value_clip=0.1, value_loss="huber"))[1]["value_loss"]
    assert huber == pytest.approx((0.81 + 0.25) / 4)
    far = learned_of([0.0, 0.0], [3.5, 0.5], [0.5, 0.5], [0.0, 0.0])
    assert loss_of(player, far, Passes(value_loss="huber"))[1]["value_loss"] == pytest.approx((3 - 0.5) / 2)


def test_divergence_from_the_reference_by_hand() -> None:
    """KL((.25, .75) ‖ (.5, .5)) = .25 ln .5 + .75 ln 1.5 = .130812, weighed 2."""
    player = OneStep(torch.tensor([[0.0, math.log(3)]]), torch.zeros(1))
    learned = learned_of([0.0], [0.0], [0.75], [0.0])
    loss, logs = loss_of(player, learned, Passes(kl=2.0), reference=OneStep(torch.zeros(1, 2), torch.zeros(1)))
    assert logs["reference_kl"] == pytest.approx(0.130812, abs=1e-5)
    assert loss.item() == pytest.approx(2 * 0.130812, abs=1e-5)


def test_a_share_of_cross_entropy_by_hand() -> None:
    player = OneStep(torch.zeros(2, 2), torch.zeros(2))
    player.cross_entropy = torch.tensor([1.0, 2.0])
    learned = learned_of([1.0, 1.0], [0.0, 0.0], [0.5, 0.5], [0.0, 0.0])
    loss, logs = loss_of(player, learned, Passes(cross_entropy=0.3))
    assert logs["cross_entropy"] == pytest.approx(1.5)
    assert loss.item() == pytest.approx(0.7 * -1.0 + 0.3 * 1.5)


def test_a_decision_without_a_choice_moves_no_logit() -> None:
    learned = learned_of([1.0, 1.0], [1.0, 1.0], [0.5, 0.5], [0.0, 0.0])
    learned = dataclasses.replace(
        learned, rollout=dataclasses.replace(learned.rollout, counted=torch.tensor([True, False]))
    )
    player = OneStep(torch.zeros(2, 2), torch.zeros(2))
    torch.autograd.backward(loss_of(player, learned, Passes(clip=0.2, value_coef=0.5, entropy=0.1))[0])
    assert player.logits.grad is not None
    assert player.values.grad is not None
    assert player.logits.grad[1].tolist() == [0.0, 0.0]
    assert player.logits.grad[0, READ].item() == pytest.approx(-0.5)  # −A (1 − π), the mean over one decision
    assert player.values.grad.tolist() == pytest.approx([-0.5, -0.5])  # .5 · 2 · (0 − 1) / 2


@pytest.mark.parametrize("samples_labels", [False, True])
@pytest.mark.parametrize("samples", [1, 3])
def test_before_the_first_update_every_ratio_is_one(samples_labels: bool, samples: int) -> None:
    learner = Learner(samples_labels, seed=0)
    player = player_of(learner, texts_of(50, 0.02))
    rollout = player.roll_out(torch.randperm(50, generator=seeded()), samples, seeded())
    estimate = estimated(rollout, Train(), whiten=True)
    learned = Learned(rollout, estimate.advantages, estimate.targets, rollout.at(rollout.values))
    for index in player.minibatches(rollout, 16, seeded()):
        _, ratio, _ = surrogate_of(player.evaluate(rollout, index), learned, index, 0.2)
        torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-5, rtol=0)


@given(rows=st.integers(1, 40), size=st.integers(1, 50), seed=st.integers(0, 20), samples=st.integers(1, 3))
@settings(max_examples=30)
def test_minibatches_hold_every_decision_once_and_texts_whole(rows: int, size: int, seed: int, samples: int) -> None:
    player = player_of(Learner(), texts_of(rows, 0.0))
    rollout = player.roll_out(torch.arange(rows), samples, seeded(seed))
    parts = list(player.minibatches(rollout, size, seeded(seed)))
    assert len(parts) == -(-rows // size)
    held = [set(rollout.group[rollout.row[part]].tolist()) for part in parts]
    assert max(map(len, held)) <= size
    assert sorted(itertools.chain.from_iterable(held)) == list(range(rows))  # no text stands in two
    assert sorted(itertools.chain.from_iterable(part.tolist() for part in parts)) == list(range(len(rollout.row)))


def descended(learner: Learner, passes: Passes, *, batches: int = 1, lr: float = 0.1, **more: Any) -> PolicyGradient:
    texts = texts_of(64, 0.05)
    player = player_of(learner, texts)
    algorithm = PolicyGradient(passes, lambda rollout: estimated(rollout, Train(), whiten=True), **more)
    parameters = list(learner.parameters())
    planned = batches * algorithm.steps(64)
    lrs = iter([lr] * planned)
    steps = Steps(torch.optim.SGD(parameters, lr=1.0), parameters, lrs, None)
    for _ in range(batches):
        algorithm.learn(player, torch.arange(64), steps, seeded(), measure=False)
    assert next(lrs, None) is None, "every planned rate is used"
    algorithm.taken = steps.taken  # type: ignore[attr-defined]
    return algorithm


def test_in_its_warm_up_only_the_value_moves() -> None:
    learner = Learner(True, seed=0)
    policy, value = learner.read.detach().clone(), learner.values.detach().clone()
    passes = Passes(epochs=2, minibatch=16, clip=0.2, value_coef=0.5, value_warmup=3)
    descended(learner, passes, batches=3)
    assert torch.equal(learner.read, policy)
    assert not torch.equal(learner.values, value)
    descended(learner, passes, rollouts=3)  # as an interrupted trial would go on
    assert not torch.equal(learner.read, policy)


def test_passes_end_when_the_policy_has_gone_far_enough() -> None:
    passes = Passes(epochs=10, minibatch=64, clip=0.2)
    free = descended(Learner(True, seed=0), passes, lr=1.0)
    held = descended(Learner(True, seed=0), dataclasses.replace(passes, target_kl=1e-4), lr=1.0)
    assert free.taken == 10  # type: ignore[attr-defined]
    assert 1 <= held.taken < 10  # type: ignore[attr-defined]


@pytest.mark.parametrize("lr", [0.01, 0.03, 0.1])
@pytest.mark.parametrize("target", [0.02, 0.1])
def test_the_divergence_reaches_its_target_within_an_epoch_from_weights_a_hundred_times_off(
    lr: float, target: float
) -> None:
    """A weight near 1.5 holds it there. After 16 rollouts of 8 updates it is near, also from 150 and from .015."""
    reached = {}
    for kl in (150.0, 1.5, 0.015):
        learner, texts = Learner(True, seed=0), texts_of(1024, 0.05, label=2)
        parameters = list(learner.parameters())
        passes = Passes(epochs=4, minibatch=32, clip=0.2, value_coef=0.5, kl=kl, kl_target=target)
        estimate = partial(estimated, train=Train(), whiten=True)
        algorithm = PolicyGradient(passes, estimate, reference=player_of(Learner(True, seed=0), texts))
        steps = Steps(torch.optim.Adam(parameters, lr=lr), parameters, itertools.repeat(lr), 1.0)
        player, random = player_of(learner, texts), seeded()
        logs = [algorithm.learn(player, b, steps, random, measure=False) for b in player.batches(64, random)]
        reached[kl] = sum(float(each["reference_kl"]) for each in logs[-4:]) / 4
        assert algorithm.kl < kl if kl > 1.5 else algorithm.kl > kl or kl == 1.5
    assert reached[1.5] == pytest.approx(target, rel=0.2)
    for each in reached.values():
        assert target / 2 < each < target * 1.6


def test_the_weight_follows_near_the_target_and_above_it_and_the_wall_stands_at_once() -> None:
    """At half the target nothing is learned; at e times the target, and farther, a tenth more by an update."""
    algorithm = PolicyGradient(Passes(kl=2.0, kl_target=0.1), lambda rollout: estimated(rollout, Train(), whiten=True))
    for share, kl, wall in [(0.5, 2.0, 2**-8), (1.0, 2.0, 1.0), (math.e, 2 * math.exp(0.1), 1000.0)]:
        algorithm._adapt(share)
        assert (algorithm.kl, algorithm._wall) == (pytest.approx(kl), pytest.approx(wall))
    algorithm._adapt(0.75)
    assert algorithm.kl == pytest.approx(2 * math.exp(0.1 + 0.1 * math.log(0.75)))


def test_what_cannot_be_chosen_any_more_is_left_out() -> None:
    """The second of three decisions has left a cut: its log-probability of −10,000 would make the divergence 3,333."""

    logits, possible = torch.tensor([[0.1, 0.0], [-1e4, 0.0], [0.0, 0.0]]), torch.tensor([True, False, True])
    evaluation = Evaluation(Categorical(logits=logits, validate_args=False), torch.zeros(3), None, possible)
    half, n = math.log(0.5), 3
    rollout = Rollout(
        rewards=torch.zeros(1, n),
        values=torch.zeros(1, n),
        taken=torch.ones(1, n, dtype=torch.bool),
        ends=None,
        bootstrap=None,
        group=torch.zeros(1, dtype=torch.long),
        row=torch.zeros(n, dtype=torch.long),
        step=torch.arange(n),
        actions=torch.zeros(n, dtype=torch.long),
        log_probs=torch.full((n,), half),
        counted=torch.ones(n, dtype=torch.bool),
    )
    learned = Learned(rollout, torch.tensor([1.0, -1.0, 2.0]), torch.zeros(n), torch.zeros(n))
    surrogate, ratio, log_ratio = surrogate_of(evaluation, learned, torch.arange(n), 0.2)
    first = 1 / (1 + math.exp(-0.1)) / 0.5
    assert ratio.tolist() == pytest.approx([first, 1, 1])
    assert log_ratio.tolist() == pytest.approx([math.log(first), 0, 0])
    assert surrogate.tolist() == pytest.approx([first, 0, 2])


def test_a_strong_divergence_keeps_the_policy_at_its_reference() -> None:
    def moved(kl: float) -> float:
        learner = Learner(True, seed=0)
        before = learner.labels.detach().clone()
        reference = player_of(Learner(True, seed=0), texts_of(64, 0.05))
        descended(learner, Passes(epochs=5, kl=kl), batches=6, lr=0.2, reference=reference)
        return (learner.labels - before).norm().item()

    assert moved(10.0) < 0.5 * moved(0.0)


def test_a_token_budget_changes_no_step() -> None:
    """Gradients of pieces add up to that of the minibatch."""

    def after(budget: int | None) -> Learner:
        learner, texts = Learner(True, seed=0), texts_of(64, 0.05, token_budget=budget, width=2)
        parameters = list(learner.parameters())
        steps = Steps(torch.optim.SGD(parameters, lr=0.1), parameters, itertools.repeat(0.1), 1.0)
        algorithm = PolicyGradient(
            Passes(epochs=2, minibatch=32, clip=0.2, value_coef=0.5, entropy=0.01),
            lambda rollout: estimated(rollout, Train(), whiten=True),
        )
        algorithm.learn(player_of(learner, texts), torch.arange(64), steps, seeded(), measure=True)
        return learner

    for a, b in zip(after(None).parameters(), after(40).parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_entropy_and_clip_fall_with_what_is_left_of_training() -> None:
    passes = Passes(entropy=0.4, entropy_schedule="linear", clip=0.2, clip_schedule="linear")
    algorithm = PolicyGradient(passes, lambda rollout: estimated(rollout, Train(), whiten=True))
    algorithm.remaining = (1.0, 0.75, 0.5)
    found = [(now.entropy, now.clip) for now in map(algorithm.passes_of, range(3))]
    assert found == [(0.4, 0.2), (pytest.approx(0.3), pytest.approx(0.15)), (0.2, 0.1)]
    kept = PolicyGradient(dataclasses.replace(passes, clip_schedule="constant"), algorithm.estimate)
    kept.remaining = algorithm.remaining
    assert [kept.passes_of(i).clip for i in range(3)] == [0.2] * 3
    assert PolicyGradient(passes, algorithm.estimate).passes_of(0).entropy == 0.4


def test_each_rollout_of_an_epoch_is_learned_from_by_its_own_coefficients() -> None:
    """With nothing but entropy to learn from, and none left at the second rollout, that one moves nothing."""
    learner = Learner(True, seed=0)
    parameters = list(learner.parameters())
    steps = Steps(torch.optim.SGD(parameters, lr=1.0), parameters, itertools.repeat(1.0), None)
    algorithm = PolicyGradient(
        Passes(entropy=1.0, entropy_schedule="linear"),
        lambda rollout: Advantages(torch.zeros(len(rollout.row)), torch.zeros(len(rollout.row))),
    )
    algorithm.remaining = (1.0, 0.0)
    player, moved = player_of(learner, texts_of(64, 0.05)), []
    for _ in range(2):
        before = [p.detach().clone() for p in parameters]
        algorithm.learn(player, torch.arange(64), steps, seeded(), measure=False)
        moved.append(max(float((p.detach() - q).abs().max()) for p, q in zip(parameters, before, strict=True)))
    assert moved[0] > 0
    assert moved[1] == 0


def test_advantages_are_whitened_minibatch_by_minibatch() -> None:
    """1, 3 and 100, 300 come each to −1/√2, 1/√2 (the deviation of two numbers is |a − b| / √2); the rest stays, and so
    does all of it where nothing is asked for. What was not to choose is 0 and does not count."""
    learned = learned_of([1.0, 3.0, 100.0, 300.0, 7.0], [0.0] * 5, [0.5] * 5, [0.0] * 5)
    counted = torch.tensor([True, True, True, True, False])
    learned = dataclasses.replace(learned, rollout=dataclasses.replace(learned.rollout, counted=counted))
    half = 1 / math.sqrt(2)
    first = _whitened(learned, torch.tensor([0, 1, 4]), True).advantages
    assert first.tolist() == pytest.approx([-half, half, 100, 300, 0], abs=1e-5)
    packed = torch.tensor([[0, 1], [2, 3]])
    both = _whitened(learned, packed, (True, True)).advantages
    assert both.tolist() == pytest.approx([-half, half, -half, half, 7], abs=1e-5)
    one = _whitened(learned, packed, (False, True)).advantages
    assert one.tolist() == pytest.approx([1, 3, -half, half, 7], abs=1e-5)
    assert _whitened(learned, packed, (False, False)) is learned
    assert learned.advantages.tolist() == [1, 3, 100, 300, 7]


def test_noise_is_counted_in_episodes_as_batches_are() -> None:
    """grad_noise is the noise scale over the batch: over 32 episodes, be they 32 texts or 8 texts four times."""
    for samples in (1, 4):
        learner = Learner(True, seed=0)
        algorithm = PolicyGradient(Passes(), lambda rollout: estimated(rollout, Train(), whiten=True), samples=samples)
        player = player_of(learner, texts_of(64, 0.05))
        learned = algorithm.estimated(player.roll_out(torch.arange(32 // samples), samples, seeded()))
        assert learned.rollout.rewards.shape[0] == 32
        noise = algorithm.measured(player, learned, 32 // samples, list(learner.parameters()), seeded())
        assert noise["noise_scale"].item() == pytest.approx(32 * noise["grad_noise"].item(), rel=1e-5)
