"""Snapshots of one writer's training, which write together, by the average of what each says of the next token.

They are trained as those of a classifier are, see snapshots.py, and averaged as trials are, see
combinations/token_average.py. All are of one tokeniser and have equal votes: the first ones, which know least, are what
makes them differ. A single one that came to something writes alone.

They do not pay where a start is short, since a cycle has but a part of it. Measured once, English to Chinese with half
the usual width and 12 epochs of the start: on valid the best trial has a chrF of 9.3, two cycles 5.6, four 4.0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from sweepstack.ensembles.builders.averaged_text import averaged_by
from sweepstack.ensembles.builders.snapshots import Cycles
from sweepstack.ensembles.builders.text_builder import TextBuilder
from sweepstack.ensembles.combinations.text_combination import TextCombination, single
from sweepstack.ensembles.members.texts import CandidateLibrary
from sweepstack.ensembles.scoring.text_objective import TextObjective


@dataclass(frozen=True)
class WriterSnapshots(Cycles, TextBuilder):
    least: ClassVar[int] = 1

    def choose(self, valid: CandidateLibrary, ranked: Sequence[int]) -> tuple[int, ...]:
        own = [place for place in ranked if self.owns(valid.members[place])]
        return tuple(own[: self.top * self.cycles])

    def fit(
        self, blend: CandidateLibrary, members: Sequence[int], references: Sequence[str], objective: TextObjective
    ) -> TextCombination:
        return single(blend, members[0]) if len(members) == 1 else averaged_by("probabilities", blend, members)
