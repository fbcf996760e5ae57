"""The median stopping rule."""

import statistics
from dataclasses import dataclass

from sweepstack.search.stoppers.curves import Curves


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
