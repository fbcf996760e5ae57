"""The contract of a stopper: at which epochs a trial is judged, and whether its curve is good enough to go on."""

from dataclasses import dataclass
from typing import Protocol

from sweepstack.search.stoppers.curves import Curves


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
