"""What is logged of a batch whose parts have gradients that are known."""

import pytest
import torch

from sweepstack.models.optim.gradient_noise import noise_of


def test_by_hand() -> None:
    """Two parts of 4 units with gradients (3, 0) and (1, 0): mean 2, variance for one unit 4·1 + 4·1 = 8, of a batch of
    8 it is 1; the true gradient's squared norm is 4 − 1 = 3."""
    gradients = [(torch.tensor([3.0]), torch.tensor([[0.0]])), (torch.tensor([1.0]), torch.tensor([[0.0]]))]
    found = {name: value.item() for name, value in noise_of(gradients, [4, 4], 8).items()}
    assert found == pytest.approx({"grad_variance": 1.0, "grad_noise": 1 / 3, "noise_scale": 8 / 3})


def test_parameters_without_a_gradient_are_left_out() -> None:
    with_gap = [(torch.tensor([3.0]), None), (torch.tensor([1.0]), None)]
    assert noise_of(with_gap, [4, 4], 8)["grad_variance"].item() == pytest.approx(1.0)


def test_one_part_says_nothing_of_noise() -> None:
    assert noise_of([(torch.ones(2),)], [8], 8) == {}


def test_where_nothing_has_a_gradient_nothing_is_said_of_noise() -> None:
    """Equal advantages, say: a noise scale of 0 would have the batch shrink."""
    assert noise_of([[torch.zeros(3), None]] * 4, [1] * 4, 4) == {}
