"""What a builder returns: which members, how their probabilities are combined, and when the ensemble answers.

A combination is plain numbers: JSON and arrays, never code. It works on its own members' predictions, in its order.
Its pool makes one probability of a label of its members', and a temperature says how sure the result may be.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sweepstack.ensembles.combinations.fitted_pools import POOLS
from sweepstack.ensembles.combinations.pools import LINEAR, Arrays, Pool, weighted
from sweepstack.ensembles.combinations.stop import AVERAGED, Stop
from sweepstack.ensembles.members.library import Stack
from sweepstack.ensembles.scoring.temperature import tempered
from sweepstack.models.predictions.probabilities import Floats, Ints, Predictions

OF_POOL, OF_STOP = "pool.", "stop."  # begin the names of their arrays


class TextMember(Protocol):
    """A loaded member, as the load_member of a classifier's checkpoint returns it."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def conditioned(self) -> bool: ...

    def read(self, texts: Sequence[str], cost: float | None = None) -> Predictions: ...


@dataclass(frozen=True)
class Combination:
    members: tuple[int, ...]  # places in the stack that it was fitted on
    weights: Floats  # (members,), sums to 1: of the answering probabilities, and of the labels' where the pool has none
    pool: Pool = LINEAR  # of the label probabilities; the answering ones are always averaged
    stop: Stop = AVERAGED
    temperature: float = 1.0  # above 0; of the pooled probabilities

    def mix(self, probabilities: Floats, answer: Floats) -> tuple[Floats, Floats]:
        """(members, rows, segments, classes), (members, rows, segments) → the same without members."""
        pooled = self.pool.mix(probabilities, self.weights)
        return tempered(pooled, self.temperature), weighted(answer, self.weights).clip(0, 1)

    def combine(self, probabilities: Floats, answer: Floats, n_segments: Ints) -> Predictions:
        """The ensemble's own Predictions from those of its members, in the order of ``members``."""
        return self.stop.apply(*self.mix(probabilities, answer), n_segments)

    def predict(self, stack: Stack) -> Predictions:
        """The same from the stack of the whole library."""
        own = stack.take(self.members)
        return self.combine(own.probabilities, own.answer, own.n_segments)

    def run(self, members: Sequence[TextMember], texts: Sequence[str], cost: float | None) -> Predictions:
        """The ensemble's Predictions of ``texts``; ``members`` are loaded, in the order of its own."""
        stack = Stack.of([member.read(texts, cost) for member in members])
        return self.combine(stack.probabilities, stack.answer, stack.n_segments)

    def at_any_cost(self) -> "Combination":
        """The same where a READ costs something else: a stop of its own was fitted at one cost."""
        return replace(self, stop=AVERAGED)

    def answering_as(self, other: "Combination") -> "Combination":
        """The same members, weighed as they are, with the temperature and the stop of ``other``."""
        return replace(self, temperature=other.temperature, stop=other.stop)

    def stops_by(self) -> str:
        """When it answers, in words."""
        return str(self.stop)

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Everything but ``members``' names, as JSON values and arrays."""
        fitted, arrays = self.pool.state()
        stop, of_stop = self.stop.state()
        named = {OF_POOL + name: array for name, array in arrays.items()}
        named |= {OF_STOP + name: array for name, array in of_stop.items()}
        return {
            "pool": self.pool.kind,
            "fitted": fitted,
            "members": list(self.members),
            "temperature": self.temperature,
            "stop": stop,
        }, {"weights": self.weights, **named}

    @staticmethod
    def from_state(state: dict[str, Any], arrays: Arrays) -> "Combination":
        """The inverse of :meth:`state` for a plain combination; raises ValueError or KeyError where it is not one.

        A state of any kind is restored by registry.from_state.
        """
        kind, temperature = state["pool"], float(state["temperature"])
        if kind not in POOLS:
            raise ValueError(f"pool must be one of {', '.join(POOLS)}, but got {kind!r}")
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature must be a number above 0, but got {temperature}")
        members = tuple(map(int, state["members"]))
        if len(arrays["weights"]) != len(members):
            raise ValueError(f"{len(members)} members need as many weights, but got {len(arrays['weights'])}")
        pool = POOLS[kind].from_state(state.get("fitted", {}), _of(OF_POOL, arrays))
        stop = Stop.from_state(state["stop"], _of(OF_STOP, arrays))
        return Combination(members, arrays["weights"], pool, stop, temperature)


def _of(prefix: str, arrays: Arrays) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
