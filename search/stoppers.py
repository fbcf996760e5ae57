"""Early stopping, decided from nothing but the values that stand in the ledger.

A stopper says at which epochs a trial is judged (its *rungs*, counted from 1) and whether its curve is good enough to
go on, given the curves of the other trials. It keeps no state, so a restart judges as an undisturbed run would; Ray's
schedulers draw and remember, and Optuna's pruners note a rung as passed before the trial is told.
"""

import statistics
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from sweepstack.search.curves import Curves, better
from sweepstack.search.search_settings import (
    ASHAStopper,
    HyperbandStopper,
    MedianStopper,
    PBTStopper,
    StopperSettings,
)


class Stopper(Protocol):
    def rung(self, number: int, epoch: int, epochs: int) -> int | None:
        """The rung that trial ``number``, of ``epochs`` epochs, stands on after ``epoch`` (both from 1), or None
        between rungs."""

    def promotes(self, number: int, epoch: int, curves: Curves) -> bool:
        """Whether trial ``number`` goes on from its rung after ``epoch``. ``curves``: its own, up to ``epoch`` at
        least, and those of the others as far as they have come, stopped ones among them."""


@dataclass(frozen=True)
class NoStopper:
    """Every trial runs to its end."""

    def rung(self, number: int, epoch: int, epochs: int) -> int | None:
        return None

    def promotes(self, number: int, epoch: int, curves: Curves) -> bool:
        return True


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


@dataclass(frozen=True)
class Median:
    """The median stopping rule of Vizier (Golovin et al. 2017): after each epoch from ``min_epochs`` on, a trial goes
    on if its best value so far is no worse than the median, over the others that have come as far, of the mean of
    their values up to the same epoch.

    Others count whether they run, are complete or were stopped: without the latter the rule would become stricter with
    every trial that it stops. Where fewer than ``min_trials`` have come as far, the trial goes on.
    """

    min_epochs: int = 1
    min_trials: int = 4

    def rung(self, number: int, epoch: int, epochs: int) -> int | None:
        return epoch if self.min_epochs <= epoch < epochs else None

    def promotes(self, number: int, epoch: int, curves: Curves) -> bool:
        others = [statistics.fmean(c[:epoch]) for n, c in curves.items() if n != number and len(c) >= epoch]
        return len(others) < self.min_trials or max(curves[number][:epoch]) >= statistics.median(others)


def make_stopper(settings: StopperSettings, epochs: int) -> Stopper:
    """The stopper that a study file names, for trials of ``epochs`` epochs where none are searched.

    Under population-based training, which copies what is better over what is worse, no trial is stopped.
    """
    match settings:
        case "none" | PBTStopper():
            return NoStopper()
        case ASHAStopper(asha=own):
            return ASHA(own.min_epochs, own.reduction)
        case HyperbandStopper(hyperband=own):
            return Hyperband(epochs, own.min_epochs, own.reduction)
        case MedianStopper(median=own):
            return Median(own.min_epochs, own.min_trials)
