"""Both kernels give the same products, and gradients are torch's."""

import pytest
import torch
import torch.nn.functional as F

from sweepstack.models.networks.products import LEAST, linear


@pytest.mark.parametrize("rows", [1, 700])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_products_are_those_of_torch(rows: int, mode: type) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, rows, 40), torch.randn(50, 40), torch.randn(50)
    assert (x.numel() * 50 >= LEAST) == (rows == 700)
    with mode():
        torch.testing.assert_close(linear(x, weight, bias), F.linear(x, weight, bias), atol=1e-4, rtol=0)
        # As rows of a larger table, which are not next to each other in memory.
        joint = torch.randn(2 * rows, 3 * 40)[:, 40:80]
        torch.testing.assert_close(linear(joint, weight, bias), F.linear(joint, weight, bias), atol=1e-4, rtol=0)


def test_gradients_are_kept_where_they_are_on() -> None:
    weight = torch.randn(50, 40, requires_grad=True)
    linear(torch.ones(700, 40), weight, torch.zeros(50)).sum().backward()
    assert torch.equal(weight.grad, torch.full((50, 40), 700.0))
