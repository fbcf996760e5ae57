"""Builders whose members are trained for them: what bagging, boosting and snapshots have in common.

Such a builder says which refits it wants, as chains of jobs; whoever has workers runs them, and hands the builder back
with the names of those that came to something. Then it is a builder like the others, over its own members alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from sweepstack.ensembles.builders.base import Builder
from sweepstack.ensembles.members.library import Kind, Member
from sweepstack.ensembles.refits.jobs import Chain, RefitResult
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.data.encoding import TaskData
from sweepstack.models.data.pairs import WritingData
from sweepstack.models.settings.trial import TrialSettings


def not_an_option(default: Any) -> Any:
    """A field that comes of training and stands in no study file."""
    return field(default=default, kw_only=True, metadata={"option": False})


@dataclass(frozen=True)
class Origin:
    """A trial whose settings are trained again."""

    settings: TrialSettings
    checkpoint: Path


@dataclass(frozen=True)
class TrainedOn:
    """What all refits of a run have in common."""

    folder: Path  # that holds theirs
    data: TaskData | WritingData
    seed: int


@dataclass(frozen=True)
class Grounds(TrainedOn):
    """Of classifiers."""

    data: TaskData
    objective: Objective


@dataclass(frozen=True)
class TrainsMembers(ABC):
    """Of builders of either kind: beside it stands what a builder is otherwise, Builder or TextBuilder."""

    name: ClassVar[str]
    kinds: ClassVar[frozenset[Kind]] = frozenset({"refit"})
    warm: ClassVar[bool] = False  # whether its refits begin at a trial's checkpoint
    each: ClassVar[str] = "members"  # the option that says how many members one trial is trained to
    top: int = 1  # the best trials by valid that are trained again
    refits: tuple[str, ...] | None = not_an_option(None)  # its members' names, in their order; None: any refit

    def owns(self, member: Member) -> bool:
        """Whether it was trained for this builder."""
        return self.refits is None or member.name in self.refits

    def within(self, members: int | None) -> Self:
        if members is None:
            return self
        top = min(self.top, members)
        return replace(self, top=top, **{self.each: min(getattr(self, self.each), members // top)})

    @property
    @abstractmethod
    def trainings(self) -> tuple[int, int]:
        """How many whole trainings it takes, and how many of these follow one another whatever the workers."""

    @abstractmethod
    def chains(self, origins: Sequence[Origin], grounds: Any) -> list[Chain]:
        """What is to be trained for the ``top`` best trials, best first. ``grounds``: a TrainedOn, or what of it the
        builder takes."""

    def trained(self, results: Sequence[Sequence[RefitResult]], grounds: Any) -> Self:
        """The builder of the members that its chains came to, in their order."""
        return replace(self, refits=tuple(r.job.name for chain in results for r in chain if r.error is None))


@dataclass(frozen=True)
class RefitBuilder(TrainsMembers, Builder):
    """Of classifiers."""

    def uses(self, member: Member) -> bool:
        return super().uses(member) and self.owns(member)
