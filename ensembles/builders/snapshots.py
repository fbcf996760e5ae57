"""Snapshots of one training: the learning rate falls to 0 and starts again, and each time a member is kept.

The best trial's settings are trained again from a start of its own, its epochs divided into cycles, in each of which
the rate follows a cosine from its full value to 0 (Huang et al. 2017, "Snapshot Ensembles", arXiv 1704.00109): members
for the price of one. A cycle has a share of both stages, the supervised one first: where policy optimisation leaves the
Transformer as it is, members of it alone would differ in nothing but when they answer. So each cycle is a job that
begins at the last one's checkpoint. What it comes to at its end is kept, without a choice by valid. A stage with fewer
epochs than there are cycles has one epoch in each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sweepstack.ensembles.builders.base import finished
from sweepstack.ensembles.builders.retrained import Origin, RefitBuilder, TrainedOn, TrainsMembers
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.members.library import Stack
from sweepstack.ensembles.refits.jobs import Chain, RefitJob, RefitResult
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.predictions.probabilities import Ints
from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings.trial import TrialSettings


@dataclass(frozen=True)
class Cycles(TrainsMembers):
    """How snapshots are trained, whatever they answer with."""

    name: ClassVar[str] = "snapshots"
    each: ClassVar[str] = "cycles"
    cycles: int = 4

    @property
    def trainings(self) -> tuple[int, int]:
        return self.top, 1

    def chains(self, origins: Sequence[Origin], grounds: TrainedOn) -> list[Chain]:
        return [self._chain(origin, place, grounds) for place, origin in enumerate(origins[: self.top])]

    def _chain(self, origin: Origin, place: int, grounds: TrainedOn) -> Chain:
        def following(results: Sequence[RefitResult]) -> RefitJob | None:
            if len(results) == self.cycles:
                return None
            seed = derive_seed(grounds.seed, "snapshots", place, len(results))
            settings = cycle(origin.settings, len(results), self.cycles, seed)
            initial = results[-1].job.member.checkpoint if results else None
            return RefitJob.of(grounds.folder, grounds.data.hashes, settings, initial=initial, chosen=False)

        return following


@dataclass(frozen=True)
class Snapshots(Cycles, RefitBuilder):
    """Of a classifier."""

    def fit(self, stack: Stack, labels: Ints, objective: Objective) -> Combination:
        return finished(range(len(stack)), stack, labels, objective)


def cycle(settings: TrialSettings, place: int, cycles: int, seed: int) -> TrialSettings:
    """The settings of one cycle, ``place`` counted from 0; only the first keeps its warm-up."""
    values: dict[str, Any] = {"train.warm_start.seed": seed, "train.seed": derive_seed(seed, "second stage")}
    for path, stage in (("train.warm_start", settings.train.warm_start), ("train", settings.train)):
        values[f"{path}.epochs"] = max(1, stage.epochs // cycles + (place < stage.epochs % cycles))
        values |= {f"{path}.lr_schedule": "cosine", f"{path}.lr_min_ratio": None}
        values[f"{path}.lr_warmup"] = stage.lr_warmup if place == 0 else 0.0
    return settings.with_values(values)
