"""The average of the weights over training: it is scored, kept and predicted with; training goes on from the weights.

ema    a_t = a_{t−1} + (1 − d) / (1 − d^t) · (w_t − a_{t−1}) after every optimiser step t = 1, 2, …, so a_1 = w_1:
       the weights of step i count as d^(t−i), and those before the first step not at all (Polyak & Juditsky 1992,
       with the correction of its bias that Adam has)
last   the mean of w at the ends of the last k epochs, or of all where they are fewer (Vaswani et al. 2017,
       arXiv 1706.03762)
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import Parameter

from sweepstack.models.settings.trial import Descent


class Average:
    """Of the ``trained`` parameters, by name. ``kept`` and ``steps`` are what an interrupted training goes on with."""

    def __init__(self, descent: Descent, trained: Mapping[str, Parameter]) -> None:
        self.kind, self._decay, self._last = descent.average, descent.average_decay, descent.average_last
        self._trained = dict(trained)
        self._aside: dict[str, Tensor] | None = None  # the weights, while the average stands in their place
        self.kept: list[dict[str, Tensor]] = []  # ema: the average; last: the weights after each of the epochs
        self.steps = 0

    @torch.no_grad()
    def after_step(self) -> None:
        if self.kind != "ema":
            return
        self.steps += 1
        if not self.kept:
            self.kept = [self._copied()]
        share = (1 - self._decay) / (1 - self._decay**self.steps)
        for name, p in self._trained.items():
            self.kept[0][name].lerp_(p, share)

    def after_epoch(self) -> None:
        if self.kind == "last":
            self.kept = [*self.kept, self._copied()][-self._last :]

    @property
    def is_put(self) -> bool:
        return self._aside is not None

    @torch.no_grad()
    def put(self) -> None:
        """The average takes the place of the weights, if there is one yet."""
        if self.is_put or not self.kept:
            return
        self._aside = self._copied()
        for name, p in self._trained.items():
            p.copy_(torch.stack([each[name] for each in self.kept]).mean(0))

    @torch.no_grad()
    def take_back(self) -> None:
        """The weights are what they were, to the bit."""
        if self._aside is not None:
            for name, p in self._trained.items():
                p.copy_(self._aside[name])
            self._aside = None

    def weights(self) -> Mapping[str, Tensor]:
        """Those that training goes on from, wherever they are."""
        return self._trained if self._aside is None else self._aside

    def tensors(self) -> dict[str, Tensor]:
        """All that is kept, by name."""
        return {f"{i}/{name}": t for i, each in enumerate(self.kept) for name, t in each.items()}

    def restore(self, steps: int, tensors: Mapping[str, Tensor]) -> None:
        """What :meth:`tensors` has given after so many ``steps``; the weights stay as they are."""
        self._aside, self.steps = None, steps
        places = {int(name.split("/", 1)[0]) for name in tensors}
        self.kept = [
            {name: tensors[f"{i}/{name}"].to(p, copy=True) for name, p in self._trained.items()} for i in sorted(places)
        ]

    def _copied(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self._trained.items()}
