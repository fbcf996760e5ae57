"""Asynchronous successive halving."""

from dataclasses import dataclass

from sweepstack.search.stoppers.curves import Curves, better


@dataclass(frozen=True)
class ASHA:
    """Asynchronous successive halving (Li et al. 2020, arXiv 1810.05934), in the form that stops and never pauses.

    Rung k is after ``min_epochs · reduction^(k−1)`` epochs, as long as that is before the last one. Of the n trials
    that have come to a rung so far, this one among them, the best ⌊n / reduction⌋ go on, and at least the best one;
    equals go on together.
    """

    min_epochs: int = 1
    reduction: int = 2

    def rung(self, number: int, epoch: int, epochs: int) -> int | None:
        rung, at = 1, self.min_epochs
        while at < epoch:
            rung, at = rung + 1, at * self.reduction
        return rung if at == epoch < epochs else None

    def promotes(self, number: int, epoch: int, curves: Curves) -> bool:
        above, there = better(curves, number, epoch)
        return above < max(1, there // self.reduction)
