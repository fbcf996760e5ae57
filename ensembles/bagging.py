"""Bagging: the average over members that were refitted on bootstrap samples of warm and policy (Breiman 1996).

The refitting is ``refits.py``'s; here the refitted members only have to be averaged. Which settings are refitted was
chosen on valid, so nothing but the temperature and the stop is fitted on blend.
"""

from dataclasses import dataclass
from typing import ClassVar

from sweepstack.ensembles.builder import Builder, finished
from sweepstack.ensembles.combination import Combination
from sweepstack.ensembles.objective import Objective
from sweepstack.ensembles.store import Kind, Stack
from sweepstack.models.predictions import Ints


@dataclass(frozen=True)
class Bagging(Builder):
    name: ClassVar[str] = "bagging"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"refit"})
    top: int = 1  # the best settings by valid are refitted
    members: int = 5  # times each

    def fit(self, stack: Stack, labels: Ints, objective: Objective) -> Combination:
        return finished(range(len(stack)), stack, labels, objective)
