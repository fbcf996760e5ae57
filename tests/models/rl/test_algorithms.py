"""One contract over all algorithms: they learn what is known to be best, count their steps, and repeat themselves."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from players import STEPS, Learner, player_of, seeded, texts_of

from sweepstack.models.optim.steps import Steps
from sweepstack.models.rl.algorithms import Algorithm, make_algorithm, needs_reference, planned_steps, train_epoch
from sweepstack.models.settings.trial import Train
from sweepstack.models.tasks.classification.episodes import Texts

ALGORITHMS: dict[str, dict[str, Any]] = {
    "exact": {"algorithm": "exact"},
    "reinforce": {"algorithm": "reinforce", "reinforce": {"baseline": "none"}},
    "reinforce, mean": {"algorithm": "reinforce"},
    "reinforce, value": {"algorithm": "reinforce", "reinforce": {"baseline": "value"}},
    "rloo": {"algorithm": "rloo"},
    "a2c": {"algorithm": "a2c"},
    "ppo": {"algorithm": "ppo", "ppo": {"minibatch": 32}},
    "ppo with everything": {
        "algorithm": "ppo",
        "value_loss": "huber",
        "lambda_alpha": 1.0,
        "ppo": {
            "minibatch": 32,
            "value_clip": 0.5,
            "entropy": 0.001,
            "kl": 0.001,
            "kl_target": 5.0,
            "target_kl": 0.5,
            "value_warmup": 2,
            "cross_entropy": 0.01,
        },
    },
    "trpo": {"algorithm": "trpo"},
}
SAMPLED = [name for name in ALGORITHMS if name != "exact"]


def trained_by(name: str, **more: Any) -> Train:
    return Train.model_validate({**ALGORITHMS[name], **more})


def made(train: Train, texts: Texts) -> Algorithm:
    reference = player_of(Learner(samples_labels=True), texts) if needs_reference(train) else None
    return make_algorithm(train, reference=reference)


def learned(
    learner: Learner, texts: Texts, train: Train, epochs: int = 10, lr: float = 0.05, batch: int = 64
) -> list[dict[str, float]]:
    parameters = [p for p in learner.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=lr)
    algorithm, player, random = made(train, texts), player_of(learner, texts, train.gamma), seeded()
    return [
        train_epoch(algorithm, player, batch, Steps(optimizer, parameters, itertools.repeat(lr), 1.0), random)
        for _ in range(epochs)
    ]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_it_learns_which_label_is_right_and_that_reading_for_nothing_costs(name: str) -> None:
    """Label 2 is always right: the best policy answers 2 at once, for a reward of 1."""
    learner = Learner(samples_labels=True)
    learned(learner, texts_of(128, 0.1, label=2), trained_by(name), lr=0.3, batch=32)
    assert learner.labels[0].softmax(-1)[2].item() > 0.9
    assert torch.sigmoid(learner.read[0]).item() < 0.1


@pytest.mark.parametrize("name", [n for n in ALGORITHMS if n != "ppo with everything"])  # that wants labels that learn
@pytest.mark.parametrize(("cost", "reads"), [(0.05, True), (0.5, False)])
def test_it_reads_on_exactly_where_that_pays(name: str, cost: float, reads: bool) -> None:
    """The best label is 0 at first and 2 from the second segment on. With three of four texts labelled 2 a READ gains
    .5 − cost; with half of them labelled 0 it gains nothing and costs."""
    learner = Learner(samples_labels=False)
    with torch.no_grad():
        learner.labels[0, 0], learner.labels[1:, 2] = 1.0, 1.0
    learner.labels.requires_grad_(False)
    labels = torch.tensor([2, 2, 2, 0] if reads else [2, 0, 2, 0]).repeat(32)
    texts = texts_of(128, cost, labels=labels)
    learned(learner, texts, trained_by(name), lr=0.3, batch=32)
    assert (torch.sigmoid(learner.read[0]).item() > 0.8) == reads
    assert torch.sigmoid(learner.read[1]).item() < 0.5  # from there on reading gains nothing


@pytest.mark.parametrize("name", SAMPLED)
def test_a_constant_reward_teaches_no_label(name: str) -> None:
    """Whatever is answered is worth 1: over all labels the policy gains nothing, and drifts no further than noise."""
    learner = Learner(samples_labels=True)
    learned(learner, texts_of(256, 0.1, label=2, constant=True), trained_by(name, reward="constant"), epochs=4, lr=0.02)
    assert learner.labels[0].softmax(-1)[2].item() < 0.75


WHITENED: dict[str, dict[str, Any]] = {
    "reinforce, mean": {"algorithm": "reinforce", "reinforce": {"whiten": True}},
    "reinforce, value": {"algorithm": "reinforce", "reinforce": {"whiten": True, "baseline": "value"}},
    "rloo": {"algorithm": "rloo", "rloo": {"whiten": True}},
    "a2c": {"algorithm": "a2c"},
    "ppo": {"algorithm": "ppo", "ppo": {"minibatch": 32}},
    "trpo": {"algorithm": "trpo"},
}


@pytest.mark.parametrize("name", WHITENED)
@pytest.mark.parametrize("segments", [1, STEPS])
@pytest.mark.parametrize("value", [1.0, 1 - 1e-6])  # of a perfect critic, and of one as near as float32 comes
def test_a_constant_reward_moves_no_policy_whose_value_knows_it(name: str, segments: int, value: float) -> None:
    """Whitening must not make advantages out of nothing: Adam would take a whole step in their direction."""
    learner = Learner(samples_labels=True, seed=0)
    torch.nn.init.constant_(learner.values, value)
    learner.values.data[::2] = 1.0
    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    texts = texts_of(65, 0.1, constant=True, n_segments=torch.full((65,), segments))
    logs = learned(learner, texts, Train.model_validate(WHITENED[name]), epochs=1, batch=65)[0]
    assert torch.equal(learner.labels, before["labels"])
    assert torch.equal(learner.read, before["read"])
    assert "grad_noise" not in logs  # of no gradient nothing is noise


@pytest.mark.parametrize(
    "train",
    [
        {"algorithm": "reinforce", "reinforce": {"baseline": "value", "value_coef": 0.0}},
        {"algorithm": "a2c", "a2c": {"value_coef": 0.0}},
        {"algorithm": "ppo", "ppo": {"value_coef": 0.0, "value_clip": 0.1, "minibatch": 32}},
        {"algorithm": "ppo", "ppo": {"value_coef": 0.0, "whiten": "minibatch", "minibatch": 32}},
    ],
)
def test_a_value_that_never_learns_is_not_asked(train: dict[str, Any]) -> None:
    """It would be noise for good: two policies that differ in it alone learn the same."""
    policies = []
    for wrong in (0.0, 7.0):
        learner = Learner(samples_labels=True, seed=0)
        torch.nn.init.constant_(learner.values, wrong)
        logs = learned(learner, texts_of(64, 0.1, label=2), Train.model_validate(train), epochs=2, batch=64)[0]
        policies.append(torch.cat([learner.labels.flatten(), learner.read.flatten()]))
        assert "gae/explained_variance" not in logs
    assert torch.equal(*policies)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    weights = []
    for drawn in (3, 11):
        torch.rand(drawn)
        learner = Learner(samples_labels=True)
        learned(learner, texts_of(100, 0.05), trained_by(name), epochs=2)
        weights.append([p.detach().clone() for p in learner.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.parametrize("name", [n for n in ALGORITHMS if n != "trpo"])
def test_at_a_rate_of_zero_nothing_moves_and_every_planned_rate_is_used(name: str) -> None:
    learner, texts, train = Learner(samples_labels=True, seed=0), texts_of(50, 0.01), trained_by(name)
    before = [p.detach().clone() for p in learner.parameters()]
    algorithm, player = made(train, texts), player_of(learner, texts)
    planned = planned_steps(algorithm, player, 40)
    lr: Iterator[float] = iter([0.0] * planned)
    optimizer = torch.optim.SGD(learner.parameters(), lr=1.0)
    logs = train_epoch(algorithm, player, 40, Steps(optimizer, list(learner.parameters()), lr, None), seeded())
    assert next(lr, None) is None
    assert logs["updates"] == planned
    assert all(torch.equal(a, b) for a, b in zip(before, learner.parameters(), strict=True))


@given(rows=st.integers(1, 60), batch=st.integers(1, 70), minibatch=st.integers(1, 80), epochs=st.integers(1, 3))
@settings(max_examples=25)
def test_steps_are_counted_as_they_are_taken(rows: int, batch: int, minibatch: int, epochs: int) -> None:
    """The learning-rate schedule spans exactly these: a rate too few would end an epoch early."""
    train = Train.model_validate({"ppo": {"epochs": epochs, "minibatch": minibatch}})
    taken = sum(epochs * -(-min(batch, rows - begin) // minibatch) for begin in range(0, rows, batch))
    player = player_of(Learner(), texts_of(rows, 0.0))
    assert planned_steps(make_algorithm(train), player, batch) == taken


@pytest.mark.parametrize("name", ALGORITHMS)
def test_logs_are_numbers_and_the_noise_of_the_gradient_is_among_them(name: str) -> None:
    logs = learned(Learner(samples_labels=True, seed=0), texts_of(64, 0.05), trained_by(name), epochs=1)[0]
    assert all(isinstance(value, float) and value == value for value in logs.values()), logs
    if name != "trpo":
        assert logs["grad_variance"] >= 0
        assert logs["noise_scale"] >= 0


def test_samples_of_one_text_count_as_episodes() -> None:
    """Sixteen episodes a batch are four texts, each played four times."""
    train, texts = trained_by("rloo"), texts_of(64, 0.05)
    algorithm, player = made(train, texts), player_of(Learner(samples_labels=True), texts)
    assert planned_steps(algorithm, player, 16) == 64 / 4
    rollout = player.roll_out(torch.arange(4), algorithm.samples, seeded())
    assert rollout.group.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4


def test_supervised_is_no_policy_optimisation() -> None:
    with pytest.raises(ValueError, match="no policy optimisation"):
        make_algorithm(Train.model_validate({"algorithm": "supervised"}))
