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

from sweepstack.ensembles.combination import Combination, LinearMeta
from sweepstack.ensembles.objective import Objective
from sweepstack.ensembles.stop import fit_stop
from sweepstack.ensembles.store import Kind, Stack
from sweepstack.models.predictions import Floats, Ints, scores


@dataclass(frozen=True)
class Builder(ABC):
    name: ClassVar[str]
    kinds: ClassVar[frozenset[Kind]] = frozenset({"trial", "baseline", "control"})  # the members it may use

    @abstractmethod
    def fit(self, stack: Stack, labels: Ints, objective: Objective) -> Combination:
        """Combines the members of ``stack``; labels: (rows,)."""


def ranking(stack: Stack, labels: Ints, objective: Objective) -> list[int]:
    """The members' places, best first by the objective; ties to the lower log loss, then to the lower place."""
    keys = []
    for place in range(len(stack)):
        predictions = stack.member(place)
        log_loss = scores(predictions, labels, objective.costs)["log_loss"].mean()
        keys.append((-round(objective.score(predictions, labels), 10), log_loss, place))
    return [place for *_, place in sorted(keys)]


def stopped(
    members: Sequence[int],
    stack: Stack,
    labels: Ints,
    objective: Objective,
    weights: Floats | None = None,
    meta: LinearMeta | None = None,
) -> Combination:
    """The combination of these members (equal weights unless given) with the stop that suits it.

    One member alone keeps its own stop: it was trained, or fitted on valid, with more care than a threshold here.
    """
    if weights is None:
        weights = np.full(len(members), 1 / len(members), dtype=np.float32)
    combination = Combination(tuple(int(m) for m in members), weights, meta)
    if len(members) == 1:
        return combination
    return replace(combination, stop=fit_stop(combination.predict(stack), labels, objective))
