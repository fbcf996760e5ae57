"""Hyperband with asynchronous brackets."""

from dataclasses import dataclass
from functools import lru_cache

from sweepstack.search.stoppers.asha import ASHA
from sweepstack.search.stoppers.curves import Curves


@dataclass(frozen=True)
class Hyperband:
    """Hyperband (Li et al. 2018, arXiv 1603.06560) with asynchronous brackets: ASHA from several first rungs on.

    Bracket b of B + 1 begins at ASHA's rung b + 1, so that the last one, b = B, stops nobody; B is the number of rungs
    in a trial of ``epochs`` epochs. A trial is compared within its bracket alone. As in the paper, where all brackets
    have about the same budget, bracket b has the share ⌈(B + 1) / (s + 1) · reduction^s⌉ of the trials, s = B − b.
    """

    epochs: int
    min_epochs: int = 1
    reduction: int = 3

    def bracket(self, number: int) -> int:
        order = _order(self.epochs, self.min_epochs, self.reduction)
        return order[number % len(order)]

    def rung(self, number: int, epoch: int, epochs: int) -> int | None:
        rung = self._halving.rung(number, epoch, epochs)
        return None if rung is None or rung <= self.bracket(number) else rung

    def promotes(self, number: int, epoch: int, curves: Curves) -> bool:
        bracket = self.bracket(number)
        own = {n: curve for n, curve in curves.items() if len(curve) >= epoch and self.bracket(n) == bracket}
        return self._halving.promotes(number, epoch, own)

    @property
    def _halving(self) -> ASHA:
        return ASHA(self.min_epochs, self.reduction)


@lru_cache
def _order(epochs: int, min_epochs: int, reduction: int) -> tuple[int, ...]:
    """The brackets of one round of trials, so that every beginning of it is shared out as the whole, nearly: the next
    trial is always of the bracket that is furthest behind its share."""
    rungs = 0
    while min_epochs * reduction**rungs < epochs:
        rungs += 1
    shares = [-(-(rungs + 1) * reduction**s // (s + 1)) for s in range(rungs, -1, -1)]
    total, given = sum(shares), [0] * len(shares)
    order = []
    for n in range(1, total + 1):
        behind = [share * n - total * had for share, had in zip(shares, given, strict=True)]
        order.append(behind.index(max(behind)))
        given[order[-1]] += 1
    return tuple(order)
