"""Steps at the rates of a schedule, with gradients clipped, by hand."""

import pytest
import torch

from sweepstack.models.optim.steps import Steps


def steps(weight: torch.nn.Parameter, lr: list[float], limit: float | None) -> Steps:
    return Steps(torch.optim.SGD([weight], lr=9.0), [weight], iter(lr), limit)


def test_each_step_has_its_own_rate_and_forgets_its_gradient() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    taking = steps(weight, [1.0, 0.1], None)
    for _ in range(2):
        (weight * torch.tensor([3.0, 4.0])).sum().backward()
        taking.take()
        assert weight.grad is None
    assert weight.tolist() == pytest.approx([-3.3, -4.4])
    assert taking.taken == 2
    assert [norm.item() for norm in taking.norms] == pytest.approx([5.0, 5.0])


def test_gradients_are_clipped_by_their_norm_which_is_reported_as_it_was() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    taking = steps(weight, [1.0], 1.0)
    (weight * torch.tensor([3.0, 4.0])).sum().backward()
    taking.take()
    assert weight.tolist() == pytest.approx([-0.6, -0.8], abs=1e-5)
    assert taking.norms[0].item() == pytest.approx(5.0)


def test_a_schedule_goes_on_over_steps_that_are_not_taken() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    taking = steps(weight, [1.0, 2.0, 4.0], None)
    taking.skip(2)
    weight.sum().backward()
    taking.take()
    assert weight.item() == -4.0
    assert taking.taken == 1
