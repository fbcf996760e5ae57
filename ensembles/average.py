"""The uniform average: the plainest ensemble, and a hard one to beat."""

from dataclasses import dataclass
from typing import ClassVar

from sweepstack.ensembles.builder import Builder, candidates, finished
from sweepstack.ensembles.combination import Combination
from sweepstack.ensembles.objective import Objective
from sweepstack.ensembles.store import Stack
from sweepstack.models.predictions import Ints


@dataclass(frozen=True)
class Average(Builder):
    """Equal weights on the ``top`` members that differ: a sweep always has trials that came to nothing."""

    name: ClassVar[str] = "average"
    counts: ClassVar[tuple[str, ...]] = ("top",)
    top: int = 8

    def fit(self, stack: Stack, labels: Ints, objective: Objective) -> Combination:
        return finished(sorted(candidates(stack, labels, objective, self.top)), stack, labels, objective)
