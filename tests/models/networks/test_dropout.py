"""Dropout from a pool is dropout: the right share, the right scale, and a seed that decides."""

import torch

from sweepstack.models.networks import dropout
from sweepstack.models.networks.dropout import dropped


def test_nothing_is_dropped_at_rate_zero() -> None:
    x = torch.ones(3)
    assert dropped(x, 0.0) is x


def test_a_quarter_is_zeroed_and_the_rest_keeps_the_mean() -> None:
    torch.manual_seed(1)
    out = dropped(torch.full((500, 400), 3.0), 0.25)
    assert set(out.unique().tolist()) == {0.0, 4.0}
    assert abs(float((out == 0).float().mean()) - 0.25) < 0.005  # five standard deviations


def test_masks_of_rows_and_of_draws_differ_and_a_seed_gives_them_again() -> None:
    x = torch.ones(2, 1000)
    torch.manual_seed(5)
    first, second = dropped(x, 0.5), dropped(x, 0.5)
    torch.manual_seed(5)
    assert torch.equal(dropped(x, 0.5), first)
    for other in (second[0], first[1]):  # as independent draws do, they agree in a half
        assert 0.4 < float((first[0] == other).float().mean()) < 0.6


def test_what_the_pool_is_too_small_for_is_drawn_anew(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(dropout, "POOL", 100)
    torch.manual_seed(0)
    out = dropped(torch.ones(10_000), 0.25)
    assert abs(float((out == 0).float().mean()) - 0.25) < 0.03


def test_gradients_pass_where_values_do() -> None:
    x = torch.ones(1000, requires_grad=True)
    out = dropped(x, 0.5)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())  # the mask over one half


def test_pools_of_rates_that_a_search_has_left_go() -> None:
    for rate in range(1, 21):
        dropped(torch.ones(10), rate / 100)
    assert dropout._pool.cache_info().currsize <= dropout.POOLS
