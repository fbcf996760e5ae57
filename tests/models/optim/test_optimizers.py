"""One contract over all optimisers, and what their first step is by hand."""

from typing import Any, get_args

import pytest
import torch
from torch.nn import Parameter

from sweepstack.models.networks.mlp import ActorCritic, Interface
from sweepstack.models.networks.policy import ReadingPolicy
from sweepstack.models.networks.policy import Shape as PolicyShape
from sweepstack.models.networks.writer import Shape, Writer
from sweepstack.models.optim.optimizers import (
    WEIGHT_DECAY,
    decays,
    evaluating,
    make_optimizer,
    make_policy_optimizer,
    set_lr,
    to_evaluation,
    to_training,
)
from sweepstack.models.settings.trial import Descent, Model, Optimizer, Reading, Train, WarmStart
from sweepstack.models.tasks.writing.simultaneous import SimultaneousWriter

NAMES: tuple[Optimizer, ...] = get_args(Optimizer)
COUPLED: tuple[Optimizer, ...] = ("sgd", "adam", "rmsprop", "lbfgs")  # decay is a part of their gradient
TARGET = torch.tensor([1.0, -2.0, 3.0])
CURVATURE = torch.tensor([1.0, 2.0, 0.5])


def make(name: Optimizer, parameters: list[Parameter], lr: float, decay: float = 0.0) -> torch.optim.Optimizer:
    trained = {str(i): p for i, p in enumerate(parameters)}
    return make_optimizer(Descent(optimizer=name, lr=lr, weight_decay=decay), trained, supervised=True)


def descend(name: Optimizer, lr: float, steps: int, weight_decay: float = 0.0) -> tuple[torch.Tensor, list[float]]:
    """Towards TARGET on the bowl Σ cᵢ (xᵢ − targetᵢ)², from 0; the losses are those before each step."""
    x = Parameter(torch.zeros(3))
    optimizer = make(name, [x], lr, weight_decay)

    def evaluate() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (CURVATURE * (x - TARGET).square()).sum()
        loss.backward()
        return loss.detach()

    closure: Any = evaluate
    losses = [float(optimizer.step(closure)) for _ in range(steps)]
    with evaluating(optimizer):
        return x.detach().clone(), losses


@pytest.mark.parametrize("name", NAMES)
def test_each_lowers_a_quadratic_to_its_minimum(name: Optimizer) -> None:
    x, losses = descend(name, 0.1 if name == "schedule_free" else 0.02, 600)
    assert losses[0] == 13.5  # 1·1 + 2·4 + .5·9
    assert losses[50] < losses[0]
    assert x.tolist() == pytest.approx(TARGET.tolist(), abs=0.03)


def test_lbfgs_solves_a_quadratic_in_a_step() -> None:
    assert descend("lbfgs", 1.0, 1)[0].tolist() == pytest.approx(TARGET.tolist(), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sgd", [0.02, -0.08, 0.03]),  # −lr · gradient, the gradient being −2c·target = (−2, 8, −3)
        ("adam", [0.01, -0.01, 0.01]),  # the first step is lr, against the sign
        ("adamw", [0.01, -0.01, 0.01]),
        ("rmsprop", [0.1, -0.1, 0.1]),  # gradient / √(.01 · gradient²) is 10
        ("schedule_free", [0.01, -0.01, 0.01]),  # the average of one step
    ],
)
def test_the_first_step(name: Optimizer, expected: list[float]) -> None:
    assert descend(name, 0.01, 1)[0].tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_pulls_towards_zero(name: Optimizer) -> None:
    free, _ = descend(name, 0.02, 600)
    held, _ = descend(name, 0.02, 600, weight_decay=0.5)
    assert bool((held.abs() < free.abs() - 0.01).all())


@pytest.mark.parametrize("name", ["sgd", "lbfgs"])
def test_a_decay_within_the_gradient_moves_the_minimum_to_where_both_balance(name: Optimizer) -> None:
    """2c(x − target) + decay·x = 0: x = 2c·target / (2c + decay)."""
    x, losses = descend(name, 0.05, 300, weight_decay=0.5)
    assert x.tolist() == pytest.approx([2 / 2.5, -8 / 4.5, 3 / 1.5], abs=1e-3)
    assert losses[-1] == pytest.approx(float((CURVATURE * (x - TARGET).square()).sum()), abs=1e-3)  # of the bowl alone


@pytest.mark.parametrize("name", [name for name in NAMES if name not in COUPLED])
def test_others_decay_apart_from_the_gradient(name: Optimizer) -> None:
    """Without a gradient a weight is multiplied by 1 − lr·decay: .5·(1 − .1·.2) = .49."""
    x = Parameter(torch.tensor([0.5]))
    optimizer = make(name, [x], 0.1, 0.2)
    x.grad = torch.zeros(1)
    optimizer.step()
    to_evaluation(optimizer)
    assert x.item() == pytest.approx(0.49)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "lbfgs"])
@pytest.mark.parametrize(
    ("descent", "supervised", "decay"),
    [
        (Train(), True, WEIGHT_DECAY),
        (Train(), False, 0.0),
        (WarmStart(), True, 0.05),
        (Train(weight_decay=0.0), True, 0.0),
        (Train(weight_decay=0.3), False, 0.3),
    ],
)
def test_the_decay_that_is_meant(name: Optimizer, descent: Descent, supervised: bool, decay: float) -> None:
    chosen = descent.model_copy(update={"optimizer": name, "lr": 0.125})
    [group] = make_optimizer(chosen, {"w": Parameter(torch.ones(1))}, supervised=supervised).param_groups
    assert (group["weight_decay"], group["lr"]) == (decay, 0.125)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "lbfgs"])  # whose line search ends elsewhere
def test_the_rate_can_be_set_before_every_step(name: Optimizer) -> None:
    x = Parameter(torch.ones(1))
    optimizer = make(name, [x], 0.1)
    set_lr(optimizer, 0.0)
    x.grad = torch.ones(1)
    optimizer.step()
    assert x.item() == 1.0


@pytest.mark.parametrize("name", NAMES)
def test_evaluating_leaves_the_training_where_it_was(name: Optimizer) -> None:
    """Three schedule-free steps of .1 down a slope: z is at −.3, the average x at −.2, gradients are taken at −.21."""
    x = Parameter(torch.zeros(1))
    optimizer = make(name, [x], 0.1)

    def evaluate() -> torch.Tensor:
        x.grad = torch.ones(1)
        return x.detach().sum()

    closure: Any = evaluate
    for _ in range(3):
        optimizer.step(closure)
    trained = x.item()
    with evaluating(optimizer):
        assert x.item() == pytest.approx(-0.2 if name == "schedule_free" else trained)
        with evaluating(optimizer):  # inside of itself it changes nothing
            pass
        assert x.item() == pytest.approx(-0.2 if name == "schedule_free" else trained)
    assert x.item() == pytest.approx(-0.21 if name == "schedule_free" else trained)
    optimizer.step(closure)


def test_where_training_fails_while_evaluating_the_weights_are_put_back() -> None:
    optimizer = make("schedule_free", [Parameter(torch.zeros(1))], 0.1)
    with pytest.raises(KeyboardInterrupt), evaluating(optimizer):
        raise KeyboardInterrupt
    assert optimizer.param_groups[0]["train_mode"]


def test_what_has_ended_is_left_at_its_average() -> None:
    optimizer = make("schedule_free", [Parameter(torch.zeros(1))], 0.1)
    to_evaluation(optimizer)
    with evaluating(optimizer):
        pass
    assert not optimizer.param_groups[0]["train_mode"]
    to_training(optimizer)
    assert optimizer.param_groups[0]["train_mode"]


@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop", "schedule_free"])
def test_the_value_of_a_writer_has_a_rate_of_its_own(name: Any) -> None:
    trained = {"norm.weight": Parameter(torch.ones(1)), "value_head.0.weight": Parameter(torch.ones(1))}
    train = Train(optimizer=name, lr=1e-3, value_lr=2e-2, weight_decay=0.0)
    optimizer = make_policy_optimizer(train, trained)
    assert [group["params"] for group in optimizer.param_groups] == [[p] for p in trained.values()]
    set_lr(optimizer, 5e-4)  # half of it, by a schedule
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([5e-4, 1e-2])
    before = {key: p.detach().clone() for key, p in trained.items()}
    for p in trained.values():
        p.grad = torch.ones(1)
    optimizer.step()
    policy, value = (float((p.detach() - before[key]).abs()) for key, p in trained.items())
    assert value / policy == pytest.approx(20, rel=1e-3)
    [group] = make_policy_optimizer(train.model_copy(update={"value_lr": None}), trained).param_groups
    assert group["params"] == list(trained.values())


def after_two_steps(**settings: Any) -> float:
    """Of one weight at 1 whose gradients are 1 and 3, by a rate of .1."""
    x = Parameter(torch.ones(1, dtype=torch.float64))
    given = Descent.model_validate({"lr": 0.1, "weight_decay": 0.0, **settings})
    optimizer = make_optimizer(given, {"x": x}, supervised=True)
    for gradient in (1.0, 3.0):
        x.grad = torch.full((1,), gradient, dtype=torch.float64)
        optimizer.step()
    return x.item()


@pytest.mark.parametrize(
    ("settings", "moved"),
    [
        ({"optimizer": "sgd"}, 1 + (0.9 + 3)),
        ({"optimizer": "sgd", "momentum": 0.5}, 1 + (0.5 + 3)),
        ({"optimizer": "sgd", "momentum": 0}, 1 + 3),
        ({"optimizer": "sgd", "momentum": 0, "nesterov": True}, 1 + 3),
        ({"optimizer": "sgd", "momentum": 0.5, "nesterov": True}, (1 + 0.5) + (3 + 0.5 * (0.5 + 3))),
        ({"optimizer": "rmsprop"}, 1 / 0.1 + 3 / (0.0099 + 0.09) ** 0.5),  # of squares .01 of the new one
        ({"optimizer": "rmsprop", "momentum": 0.5}, 1.5 * 1 / 0.1 + 3 / (0.0099 + 0.09) ** 0.5),
        ({"optimizer": "rmsprop", "eps": 1.0}, 1 / 1.1 + 3 / (1 + 0.0999**0.5)),
        # m = (1, (β₁ + 3) / (1 + β₁)), v = (1, (β₂ + 9) / (1 + β₂)), both without their bias
        ({"optimizer": "adam", "beta1": 0.5, "beta2": 0.8}, 1 + (3.5 / 1.5) / (9.8 / 1.8) ** 0.5),
        ({"optimizer": "adamw", "beta1": 0.0, "beta2": 0.0}, 1 + 1),
        (
            {"optimizer": "adamw", "beta1": 0.5, "beta2": 0.8, "eps": 1.0},
            1 / 2 + (3.5 / 1.5) / ((9.8 / 1.8) ** 0.5 + 1),
        ),
    ],
)
def test_two_steps_by_hand(settings: dict[str, Any], moved: float) -> None:
    assert after_two_steps(**settings) == pytest.approx(1 - 0.1 * moved, rel=1e-6)


@pytest.mark.parametrize("path", ["beta1", "beta2", "eps"])
def test_schedule_free_has_them_too(path: str) -> None:
    [group] = make_optimizer(
        Descent.model_validate({"optimizer": "schedule_free", path: 0.5}),
        {"x": Parameter(torch.ones(1))},
        supervised=True,
    ).param_groups
    assert dict(zip(("beta1", "beta2"), group["betas"], strict=True), eps=group["eps"])[path] == 0.5


def modules() -> list[torch.nn.Module]:
    model = Model(d_model=8, heads=2)
    reading = Reading(unit="characters", segment=2, max_segments=3)
    return [
        ReadingPolicy(PolicyShape(vocab_size=11, classes=3), reading, model),
        Writer(Shape(11, 12, False, 5, 6), model),
        SimultaneousWriter(Shape(11, 12, False, 5, 6), model, Reading(segment=1, max_segments=4)),
        ActorCritic(Interface(3, 2, continuous=True), model),
    ]


@pytest.mark.parametrize("module", modules(), ids=lambda module: type(module).__name__)
def test_only_the_weights_of_linear_layers_decay(module: torch.nn.Module) -> None:
    linear = {id(each.weight) for each in module.modules() if isinstance(each, torch.nn.Linear)}
    found = {name for name, p in module.named_parameters() if decays(name, p)} - {"wide.table.weight"}
    assert found == {name for name, p in module.named_parameters() if id(p) in linear}
    assert 0 < len(found) < len(dict(module.named_parameters()))


@pytest.mark.parametrize("name", NAMES)
def test_without_decay_all_biases_and_embeddings_keep_their_size(name: Optimizer) -> None:
    trained = {
        "tokens.weight": Parameter(torch.ones(2, 2)),
        "out.weight": Parameter(torch.ones(2, 2)),
        "out.bias": Parameter(torch.ones(2)),
    }
    descent = Descent(optimizer=name, lr=0.1, weight_decay=0.5, decay_all=False)
    optimizer = make_optimizer(descent, trained, supervised=True)

    def evaluate() -> torch.Tensor:
        for p in trained.values():
            p.grad = torch.zeros_like(p)
        return torch.zeros(())

    closure: Any = evaluate
    for _ in range(3):
        optimizer.step(closure)
    to_evaluation(optimizer)
    sizes = {key: float(p.detach().mean()) for key, p in trained.items()}
    assert sizes["tokens.weight"] == sizes["out.bias"] == 1.0
    assert sizes["out.weight"] < 1


def test_the_value_has_its_rate_also_where_not_everything_decays() -> None:
    trained = {
        "out.weight": Parameter(torch.ones(1, 1)),
        "value_head.0.weight": Parameter(torch.ones(1, 1)),
        "value_head.0.bias": Parameter(torch.ones(1)),
    }
    train = Train(lr=1e-3, value_lr=2e-2, weight_decay=0.5, decay_all=False)
    groups = make_policy_optimizer(train, trained).param_groups
    rates = [(group.get("lr_ratio", 1.0), group["weight_decay"]) for group in groups]
    assert rates == [(1.0, 0.5), (20.0, 0.5), (20.0, 0.0)]
    assert [group["params"] for group in groups] == [[p] for p in trained.values()]
