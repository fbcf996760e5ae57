"""One contract over all optimisers, and what their first step is by hand."""

from typing import get_args

import pytest
import torch

from sweepstack.models.optimizers import make_optimizer
from sweepstack.models.settings import Optimizer

NAMES: tuple[Optimizer, ...] = get_args(Optimizer)
TARGET = torch.tensor([1.0, -2.0, 3.0])


def descend(name: Optimizer, lr: float, steps: int, weight_decay: float = 0.0) -> tuple[torch.Tensor, list[float]]:
    """Towards TARGET on the bowl Σ cᵢ (xᵢ − targetᵢ)², from 0."""
    x = torch.nn.Parameter(torch.zeros(3))
    optimizer = make_optimizer(name, [x], lr, weight_decay)
    losses = []
    for _ in range(steps):
        loss = (torch.tensor([1.0, 2.0, 0.5]) * (x - TARGET).square()).sum()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return x.detach(), losses


@pytest.mark.parametrize("name", NAMES)
def test_each_lowers_a_quadratic_to_its_minimum(name: Optimizer) -> None:
    x, losses = descend(name, 0.02, 600)
    assert losses[0] == 13.5  # 1·1 + 2·4 + .5·9
    assert losses[50] < losses[0]
    assert x.tolist() == pytest.approx(TARGET.tolist(), abs=0.03)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sgd", [0.02, -0.08, 0.03]),  # −lr · gradient, the gradient being −2c·target = (−2, 8, −3)
        ("adam", [0.01, -0.01, 0.01]),  # the first step is lr, against the sign
        ("adamw", [0.01, -0.01, 0.01]),
        ("rmsprop", [0.1, -0.1, 0.1]),  # gradient / √(.01 · gradient²) is 10
    ],
)
def test_the_first_step(name: Optimizer, expected: list[float]) -> None:
    assert descend(name, 0.01, 1)[0].tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_pulls_towards_zero(name: Optimizer) -> None:
    free, _ = descend(name, 0.02, 600)
    held, _ = descend(name, 0.02, 600, weight_decay=0.5)
    assert bool((held.abs() < free.abs() - 0.01).all())


def test_adamw_decays_apart_from_the_gradient() -> None:
    """Without a gradient a weight is multiplied by 1 − lr·decay: .5·(1 − .1·.2) = .49."""
    x = torch.nn.Parameter(torch.tensor([0.5]))
    x.grad = torch.zeros(1)
    make_optimizer("adamw", [x], 0.1, 0.2).step()
    assert x.item() == pytest.approx(0.49)


@pytest.mark.parametrize("name", NAMES)
def test_the_rate_of_a_group_can_be_set_before_every_step(name: Optimizer) -> None:
    x = torch.nn.Parameter(torch.ones(1))
    optimizer = make_optimizer(name, [x], 0.1, 0.0)
    optimizer.param_groups[0]["lr"] = 0.0
    x.grad = torch.ones(1)
    optimizer.step()
    assert x.item() == 1.0
