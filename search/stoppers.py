"""Early stopping, decided from nothing but the values that stand in the ledger.

A stopper says at which epochs a trial is judged (its *rungs*, counted from 1) and whether a value is good enough to go
on, given the values that other trials had at the same rung. It keeps no state, so a restart judges as an undisturbed
run would; Ray's schedulers draw and remember, and Optuna's pruners note a rung as passed before the trial is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sweepstack.search.search_settings import ASHAStopper, StopperSettings


class Stopper(Protocol):
    def rung(self, epoch: int, epochs: int) -> int | None:
        """The rung that a trial of ``epochs`` epochs stands on after ``epoch`` (both from 1), or None between rungs."""

    def promotes(self, value: float, others: Sequence[float]) -> bool:
        """Whether a trial with ``value`` goes on; ``others`` stood on the same rung before, and more is better."""


@dataclass(frozen=True)
class NoStopper:
    """Every trial runs to its end."""

    def rung(self, epoch: int, epochs: int) -> int | None:
        return None

    def promotes(self, value: float, others: Sequence[float]) -> bool:
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

    def rung(self, epoch: int, epochs: int) -> int | None:
        rung, at = 1, self.min_epochs
        while at < epoch:
            rung, at = rung + 1, at * self.reduction
        return rung if at == epoch < epochs else None

    def promotes(self, value: float, others: Sequence[float]) -> bool:
        places = max(1, (len(others) + 1) // self.reduction)
        return sum(other > value for other in others) < places


def make_stopper(settings: StopperSettings) -> Stopper:
    """The stopper that a study file names."""
    if settings == "none":
        return NoStopper()
    if isinstance(settings, ASHAStopper):
        return ASHA(settings.asha.min_epochs, settings.asha.reduction)
    raise ValueError(f"there is no stopper {settings!r}")
