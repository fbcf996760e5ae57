"""The uniform average: the plainest ensemble, and a hard one to beat."""

from dataclasses import dataclass
from typing import ClassVar

from sweepstack.ensembles.builders.base import Builder, candidates, finished
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.combinations.pools import LINEAR, Pool
from sweepstack.ensembles.members.library import Stack
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.predictions.probabilities import Ints


@dataclass(frozen=True)
class Average(Builder):
    """Equal weights on the ``top`` members that differ: a sweep always has trials that came to nothing."""

    name: ClassVar[str] = "average"
    counts: ClassVar[tuple[str, ...]] = ("top",)
    pool: ClassVar[Pool] = LINEAR
    top: int = 8

    def fit(self, stack: Stack, labels: Ints, objective: Objective) -> Combination:
        members = sorted(candidates(stack, labels, objective, self.top))
        return finished(members, stack, labels, objective, pool=self.pool)
