"""What a builder returns: which members, how their probabilities are combined, and when the ensemble answers.

A combination is plain numbers: JSON and arrays, never code. It works on its own members' predictions, in its order.
Probabilities are averaged (the linear opinion pool) or their logarithms are (the logarithmic one; Genest & Zidek 1986),
and a temperature says how sure the result may be.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.stop import AVERAGED, Stop
from sweepstack.ensembles.store import Stack
from sweepstack.ensembles.temperature import logs, normalised, tempered
from sweepstack.models.predictions import Floats, Ints, Predictions

Arrays = dict[str, NDArray[Any]]
Pool = Literal["linear", "logarithmic"]


@dataclass(frozen=True)
class Combination:
    members: tuple[int, ...]  # places in the stack that it was fitted on
    weights: Floats  # (members,), sums to 1: of the label and of the answering probabilities
    pool: Pool = "linear"  # of the label probabilities; the answering ones are always averaged
    stop: Stop = AVERAGED
    temperature: float = 1.0  # above 0; of the pooled probabilities

    def mix(self, probabilities: Floats, answer: Floats) -> tuple[Floats, Floats]:
        """(members, rows, segments, classes), (members, rows, segments) → the same without members."""
        pooled = np.zeros_like(probabilities[0])
        answered = np.zeros_like(answer[0])
        for i, weight in enumerate(self.weights):
            pooled += weight * (probabilities[i] if self.pool == "linear" else logs(probabilities[i]))
            answered += weight * answer[i]
        if self.pool == "logarithmic":
            pooled = normalised(pooled)
        return tempered(pooled, answered.clip(0, 1), self.temperature)

    def combine(self, probabilities: Floats, answer: Floats, n_segments: Ints) -> Predictions:
        """The ensemble's own Predictions from those of its members, in the order of ``members``."""
        return self.stop.apply(*self.mix(probabilities, answer), n_segments)

    def predict(self, stack: Stack) -> Predictions:
        """The same from the stack of the whole library."""
        own = stack.take(self.members)
        return self.combine(own.probabilities, own.answer, own.n_segments)

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Everything but ``members``' names, as JSON values and arrays."""
        return {
            "pool": self.pool,
            "members": list(self.members),
            "temperature": self.temperature,
            "stop": self.stop.state(),
        }, {"weights": self.weights}

    @staticmethod
    def from_state(state: dict[str, Any], arrays: Arrays) -> "Combination":
        """The inverse of :meth:`state`; raises ValueError or KeyError where it is not one."""
        pool, temperature = state["pool"], float(state["temperature"])
        if pool not in get_args(Pool):
            raise ValueError(f"pool must be {' or '.join(get_args(Pool))}, but got {pool!r}")
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature must be a number above 0, but got {temperature}")
        members = tuple(map(int, state["members"]))
        if len(arrays["weights"]) != len(members):
            raise ValueError(f"{len(members)} members need as many weights, but got {len(arrays['weights'])}")
        return Combination(members, arrays["weights"], pool, Stop.from_state(state["stop"]), temperature)
