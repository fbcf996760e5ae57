"""The majority vote: each member's likeliest label counts once, however sure the member is."""

from dataclasses import dataclass
from typing import ClassVar

from sweepstack.ensembles.builder import Builder, candidates, finished
from sweepstack.ensembles.combination import Combination
from sweepstack.ensembles.objective import Objective
from sweepstack.ensembles.pools import VOTE
from sweepstack.ensembles.store import Stack
from sweepstack.models.predictions import Ints


@dataclass(frozen=True)
class Vote(Builder):
    """Of the ``top`` members that differ; a tie goes to the label that they hold likelier on average."""

    name: ClassVar[str] = "vote"
    counts: ClassVar[tuple[str, ...]] = ("top",)
    top: int = 8

    def fit(self, stack: Stack, labels: Ints, objective: Objective) -> Combination:
        return finished(sorted(candidates(stack, labels, objective, self.top)), stack, labels, objective, pool=VOTE)
