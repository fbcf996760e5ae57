"""The contract of an ensemble builder: predictions of several members in, one Combination out.

A builder is a frozen dataclass whose fields are its options in a study file. ``fit`` sees only the rows it is given and
is called once for each fold and once on all of blend, so whatever it chooses or fits is cross-fitted with it. It must
not depend on the members' order but to break ties.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.combinations.pools import LINEAR, Pool, weighted
from sweepstack.ensembles.combinations.stop import fit_stop
from sweepstack.ensembles.members.library import Kind, Member, Stack
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.ensembles.scoring.temperature import fit_temperature, tempered
from sweepstack.models.predictions.probabilities import Floats, Ints, Predictions

SAME = 0.01  # mean total variation distance of two members' labels up to which they count as one


@dataclass(frozen=True)
class Builder(ABC):
    name: ClassVar[str]
    kinds: ClassVar[frozenset[Kind]] = frozenset({"trial", "baseline", "control", "pipeline"})  # the members it may use
    counts: ClassVar[tuple[str, ...]] = ()  # the options that say how many members it may choose

    @abstractmethod
    def fit(self, stack: Stack, labels: Ints, objective: Objective) -> Combination:
        """Combines the members of ``stack``; labels: (rows,)."""

    def uses(self, member: Member) -> bool:
        """Whether it may use this member of the library."""
        return member.kind in self.kinds

    def within(self, members: int | None) -> "Builder":
        """The same, with at most so many members; None leaves it as it is."""
        if members is None:
            return self
        return replace(self, **{name: min(getattr(self, name), members) for name in self.counts})


def ranking(stack: Stack, labels: Ints, objective: Objective) -> list[int]:
    """The members' places, best first by the objective; ties to the lower log loss, then to the lower place."""
    rows, last = np.arange(len(labels)), stack.n_segments - 1
    right = objective.counts_right_answers(stack.answer.shape[2])
    keys = []
    for place in range(len(stack)):
        predictions = stack.member(place)
        of_label = predictions.probabilities[rows, last, labels].astype(np.float64)
        log_loss = float(-np.log(np.clip(of_label, 1e-12, 1.0)).mean())
        if objective.metric == "log_loss":
            score = -log_loss
        elif right:  # stops and costs need not be worked out
            score = float((predictions.at(last).argmax(axis=1) == labels).mean())
        else:
            score = objective.score(predictions, labels)
        keys.append((-round(score, 10), log_loss, place))
    return [place for *_, place in sorted(keys)]


def candidates(stack: Stack, labels: Ints, objective: Objective, top: int) -> list[int]:
    """The places of at most ``top`` members that differ, best first, see :func:`differing`."""
    return differing(stack, ranking(stack, labels, objective), top)


def differing(stack: Stack, ranked: Sequence[int], top: int) -> list[int]:
    """The first ``top`` of ``ranked``, where of members that say the same labels only the first counts.

    Trials from one supervised start with a frozen encoder differ only in when they answer: several of them would
    outvote the others, and add nothing.
    """
    rows = np.arange(len(stack.n_segments))
    found: list[int] = []
    kept: list[Floats] = []  # (rows, classes)
    for place in ranked:
        full = stack.probabilities[place][rows, stack.n_segments - 1]
        if all(np.abs(full - other).sum(axis=1).mean() / 2 > SAME for other in kept):
            found.append(place)
            kept.append(full)
            if len(found) == top:
                break
    return found


def finished(
    members: Sequence[int],
    stack: Stack,
    labels: Ints,
    objective: Objective,
    weights: Floats | None = None,
    pool: Pool = LINEAR,
    out_of_fold: Floats | None = None,
) -> Combination:
    """The combination of these members (equal weights unless given) with the temperature and the stop that suit it.

    The temperature is fitted where the objective looks. One member alone is left as it is: its stop was trained, or
    fitted on valid, with more care than a threshold here. ``out_of_fold`` (rows, segments, classes): what a pool that
    was fitted on these very rows says of each without having seen it; both are then fitted on that.
    """
    if weights is None:
        weights = np.full(len(members), 1 / len(members), dtype=np.float32)
    if len(members) == 1:
        return Combination((int(members[0]),), weights)
    combination = Combination(tuple(int(m) for m in members), weights, pool)
    own = stack.take(combination.members)
    said = pool.mix(own.probabilities, weights) if out_of_fold is None else out_of_fold
    answered = weighted(own.answer, weights).clip(0, 1)
    pooled = Predictions(said, answered, stack.n_segments)
    at = stack.n_segments - 1 if objective.reads_all else pooled.stops()
    temperature = fit_temperature(pooled, labels, at, stack.groups)
    pooled = Predictions(tempered(said, temperature), answered, stack.n_segments)
    return replace(combination, temperature=temperature, stop=fit_stop(pooled, labels, objective, stack.groups))
