"""The contract of a builder of texts: what members wrote in, one TextCombination out.

A builder is a frozen dataclass whose fields are its options in a study file. It chooses its members by what they wrote
for valid; what it fits, if anything, it fits on the rows of blend that it is given, and is then called once for each
fold and once on all of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from sweepstack.ensembles.combinations.text_combination import TextCombination
from sweepstack.ensembles.members.library import Kind
from sweepstack.ensembles.members.texts import CandidateLibrary
from sweepstack.ensembles.scoring.text_objective import TextObjective

SAME = 0.9  # the share of rows with the same best text from which on two members count as one


@dataclass(frozen=True)
class TextBuilder(ABC):
    name: ClassVar[str]
    kinds: ClassVar[frozenset[Kind]] = frozenset({"trial", "baseline", "control"})  # the members that it may use
    fits: ClassVar[bool] = False  # whether it learns from references of blend
    least: ClassVar[int] = 2  # members that make it an ensemble
    counts: ClassVar[tuple[str, ...]] = ("top",)  # the options that say how many members it may choose

    def choose(self, valid: CandidateLibrary, ranked: Sequence[int]) -> tuple[int, ...]:
        """The places of its members, out of ``ranked``, which it may use, best on valid first."""
        return tuple(ranked)

    @abstractmethod
    def fit(
        self, blend: CandidateLibrary, members: Sequence[int], references: Sequence[str], objective: TextObjective
    ) -> TextCombination:
        """Combines these members."""

    def within(self, members: int | None) -> Self:
        """The same, with at most so many members, but for the fewest that make it an ensemble; None: as it is."""
        if members is None:
            return self
        most = max(members, self.least)
        return replace(self, **{name: min(getattr(self, name), most) for name in self.counts})


def differing(library: CandidateLibrary, ranked: Sequence[int], top: int) -> tuple[int, ...]:
    """The first ``top`` of ``ranked``, where of members whose best texts are the same only the first counts.

    Trials that a low learning rate took nowhere from one supervised start would outvote the others, and add nothing.
    """
    found: list[int] = []
    for place in ranked:
        best = library.candidates[place].best
        alike = (sum(map(str.__eq__, best, library.candidates[other].best)) / max(len(best), 1) for other in found)
        if len(found) < top and all(share < SAME for share in alike):
            found.append(place)
    return tuple(found)


def with_memory(library: CandidateLibrary, ranked: Sequence[int], top: int) -> tuple[int, ...]:
    """At most ``top`` members that differ, of which the translation memory is one wherever there is one: it errs unlike
    any writer, however it ranks."""
    memory = [place for place in ranked if library.members[place].kind == "baseline"][:1]
    others = differing(library, [place for place in ranked if place not in memory], top - len(memory))
    return tuple(sorted([*others, *memory], key=list(ranked).index))
