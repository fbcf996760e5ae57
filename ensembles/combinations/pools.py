"""How members' label probabilities become the ensemble's: one small class a kind of pool.

A pool is what a bundle can hold, JSON values and arrays, never code. The plain ones are here: probabilities are
averaged (the linear opinion pool) or their logarithms are (the logarithmic one; Genest & Zidek 1986), or members vote.
Those that were fitted stand in fitted_pools.py.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.scoring.temperature import logs, normalised
from sweepstack.models.predictions.probabilities import Floats

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Pool(ABC):
    kind: ClassVar[str]  # its name in a bundle
    packages: ClassVar[tuple[str, ...]] = ()  # that it needs beside those of every bundle

    @abstractmethod
    def mix(self, probabilities: Floats, weights: Floats) -> Floats:
        """(members, rows, segments, classes), (members,) → (rows, segments, classes), which sum to 1."""

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Everything that was fitted, as JSON values and arrays: here its fields, which are arrays."""
        return {}, {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_state(cls, state: dict[str, Any], arrays: Arrays) -> Self:
        """The inverse of :meth:`state`; raises ValueError, TypeError or KeyError where it is not one."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    def check(self, members: int, classes: int) -> None:  # noqa: B027  # nothing to check is the usual case
        """Raises ValueError where it was fitted for other numbers, BundleError where a package that it needs lacks."""


@dataclass(frozen=True)
class Linear(Pool):
    kind: ClassVar[str] = "linear"

    def mix(self, probabilities: Floats, weights: Floats) -> Floats:
        return weighted(probabilities, weights)


@dataclass(frozen=True)
class Logarithmic(Pool):
    kind: ClassVar[str] = "logarithmic"

    def mix(self, probabilities: Floats, weights: Floats) -> Floats:
        pooled = np.zeros_like(probabilities[0])
        for each, weight in zip(probabilities, weights, strict=True):
            pooled += weight * logs(each)
        return normalised(pooled)


@dataclass(frozen=True)
class Vote(Pool):
    """Each member gives its whole vote to its likeliest label.

    The members' average is one voter more, who splits its vote. It can only decide between labels that are one
    member's vote apart or less, so the majority wins and a tie goes to the likelier label; and no label that a member
    holds possible has a probability of zero.
    """

    kind: ClassVar[str] = "vote"

    def mix(self, probabilities: Floats, weights: Floats) -> Floats:
        pooled = weighted(probabilities, weights)
        for each, weight in zip(probabilities, weights, strict=True):
            label = each.argmax(axis=-1)[..., None]
            votes = np.take_along_axis(pooled, label, axis=-1) + np.float32(len(weights)) * weight
            np.put_along_axis(pooled, label, votes, axis=-1)
        return np.asarray(pooled / (len(weights) + 1), dtype=np.float32)


LINEAR, LOGARITHMIC, VOTE = Linear(), Logarithmic(), Vote()


def weighted(values: Floats, weights: Floats) -> Floats:
    """(members, …), (members,) → (…): the sum over members."""
    total: Floats = np.zeros_like(values[0])
    for each, weight in zip(values, weights, strict=True):
        total += weight * each
    return total
