"""Loaded members read texts together: the combination at work, in memory bounded by the chunk, not by the input."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from sweepstack.ensembles.combination import Combination
from sweepstack.ensembles.store import Stack
from sweepstack.models.predictions import Predictions

CHUNK = 256  # rows that all members hold predictions of at once


class TextMember(Protocol):
    """What models.checkpoints.load_member returns."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    def read(self, texts: Sequence[str]) -> Predictions: ...


@dataclass(frozen=True)
class Ensemble:
    members: tuple[TextMember, ...]  # in the combination's order
    combination: Combination

    def read(self, texts: Sequence[str]) -> Iterator[Predictions]:
        """The ensemble's Predictions, a chunk of at most CHUNK texts at a time, in order."""
        for begin in range(0, len(texts), CHUNK):
            chunk = texts[begin : begin + CHUNK]
            stack = Stack.of([member.read(chunk) for member in self.members])
            yield self.combination.combine(stack.probabilities, stack.answer, stack.n_segments)
