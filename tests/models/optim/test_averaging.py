"""Averages of weights by hand, and that training does not notice them."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import Parameter

from sweepstack.models.optim.averaging import Average
from sweepstack.models.optim.optimizers import average_of, end_epoch, evaluating, make_optimizer, to_evaluation
from sweepstack.models.settings.trial import Descent

WALK = np.random.default_rng(0).standard_normal(30).cumsum()


def walked(descent: Descent, walk: np.ndarray = WALK, steps_an_epoch: int = 3) -> tuple[Average, Parameter]:
    """An average of a weight that takes these values, one after the other."""
    weight = Parameter(torch.full((2,), 100.0, dtype=torch.float64))
    average = Average(descent, {"w": weight})
    for i, value in enumerate(walk):
        with torch.no_grad():
            weight.fill_(float(value))
        average.after_step()
        if i % steps_an_epoch == steps_an_epoch - 1:
            average.after_epoch()
    return average, weight


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("steps", [1, 2, 30])
def test_ema_is_the_weighted_mean_of_the_steps_alone(decay: float, steps: int) -> None:
    """Σ d^(n−i) wᵢ / Σ d^(n−i): what training began with, 100, is not in it."""
    average, weight = walked(Descent(average="ema", average_decay=decay), WALK[:steps])
    weights = decay ** np.arange(steps)[::-1]
    average.put()
    assert weight.tolist() == pytest.approx([float(WALK[:steps] @ weights / weights.sum())] * 2)


def test_last_is_the_mean_over_the_ends_of_the_last_epochs() -> None:
    average, weight = walked(Descent(average="last", average_last=3))
    average.put()
    assert weight[0].item() == pytest.approx(WALK[[23, 26, 29]].mean())
    short, weight = walked(Descent(average="last", average_last=3), WALK[:6])
    short.put()
    assert weight[0].item() == pytest.approx(WALK[[2, 5]].mean()), "of as many as there are"


@pytest.mark.parametrize("descent", [Descent(average="ema"), Descent(average="last")])
def test_nothing_is_put_before_there_is_an_average_and_the_weights_come_back_to_the_bit(descent: Descent) -> None:
    fresh, weight = walked(descent, WALK[:0])
    fresh.put()
    assert weight.tolist() == [100.0, 100.0]
    average, weight = walked(descent)
    before = weight.detach().clone()
    average.put()
    average.put()  # once is enough
    assert average.is_put
    assert not torch.equal(weight, before)
    assert torch.equal(average.weights()["w"], before)
    average.take_back()
    assert torch.equal(weight, before)


@pytest.mark.parametrize("kind", ["ema", "last"])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "lbfgs"])
def test_an_optimizer_trains_on_as_without_an_average(name: Any, kind: Any) -> None:
    """Towards 1 on a slope; evaluated after every epoch of two steps."""
    ends = []
    for average in ("none", kind):
        x = Parameter(torch.zeros(3))
        optimizer = make_optimizer(Descent(optimizer=name, average=average, lr=0.01), {"x": x}, supervised=True)

        def evaluate(x: Parameter = x, optimizer: torch.optim.Optimizer = optimizer) -> torch.Tensor:
            optimizer.zero_grad()
            loss = (x - 1).pow(4).sum()
            loss.backward()
            return loss.detach()

        closure: Any = evaluate
        for _ in range(3):
            for _ in range(2):
                optimizer.step(closure)
            end_epoch(optimizer)
            with evaluating(optimizer), evaluating(optimizer):
                seen = x.detach().clone()
        ends.append(x.detach().clone())
        assert (average_of(optimizer) is None) == (average == "none")
    assert torch.equal(*ends)
    assert bool((seen < ends[1]).all()), "the average is behind"
    to_evaluation(optimizer)
    assert torch.equal(x, seen)
