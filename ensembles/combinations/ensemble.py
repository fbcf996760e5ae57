"""Loaded members read texts together: the combination at work, in memory bounded by the chunk, not by the input."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sweepstack.ensembles.combinations.combination import Combination, TextMember
from sweepstack.models.predictions.probabilities import Predictions

CHUNK = 256  # rows that all members hold predictions of at once


@dataclass(frozen=True)
class Ensemble:
    members: tuple[TextMember, ...]  # in the combination's order
    combination: Combination

    @property
    def conditioned(self) -> bool:
        """Whether all members can be asked for another cost of a READ."""
        return all(member.conditioned for member in self.members)

    def read(self, texts: Sequence[str], cost: float | None = None) -> Iterator[Predictions]:
        """The ensemble's Predictions, a chunk of at most CHUNK texts at a time, in order; a cascade's members run only
        for the texts that need them.

        At another ``cost`` of a READ it answers by its members' averaged probabilities: a threshold of its own was
        fitted at one cost.
        """
        combination = self.combination if cost is None else self.combination.at_any_cost()
        for begin in range(0, len(texts), CHUNK):
            chunk = texts[begin : begin + CHUNK]
            yield combination.run(self.members, chunk, cost)
