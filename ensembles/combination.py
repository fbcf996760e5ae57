"""What a builder returns: which members, how their probabilities are combined, and when the ensemble answers.

A combination is plain numbers: JSON and arrays, never code. It works on its own members' predictions, in its order.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.stop import AVERAGED, Stop
from sweepstack.ensembles.store import Stack
from sweepstack.models.predictions import Floats, Ints, Predictions

Arrays = dict[str, NDArray[Any]]
FLOOR = 1e-6  # a probability below it says nothing more, and the logarithm of zero would decide alone


def centred_logs(probabilities: Floats) -> Floats:
    """Log-probabilities minus their mean over classes, in the shape given: what a linear meta-learner reads."""
    logs = np.log(np.maximum(probabilities, np.float32(FLOOR)))
    return np.asarray(logs - logs.mean(axis=-1, keepdims=True), dtype=np.float32)


@dataclass(frozen=True)
class LinearMeta:
    """Multinomial logistic regression on the members' centred log-probabilities.

    Logits are Σ_m coef[m] · logs[m] + intercept. A class that it was never shown keeps the members' averaged
    probability: no row could teach it one. The result counts ``share``, the members' average the rest.
    """

    coef: Floats  # (members, classes in, classes out)
    intercept: Floats  # (classes,)
    seen: NDArray[np.bool_]  # (classes,)
    share: float  # in (0, 1]

    def mix(self, probabilities: Floats, averaged: Floats) -> Floats:
        """(members, rows, segments, classes) and their average (rows, segments, classes) → (rows, segments, classes)"""
        logits = self.intercept + np.zeros_like(averaged)
        for member, coef in zip(probabilities, self.coef, strict=True):
            logits += centred_logs(member) @ coef
        logits = np.where(self.seen, logits, -np.inf)
        odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
        unseen = np.where(self.seen, np.float32(0), averaged)
        mixed = odds / odds.sum(axis=-1, keepdims=True) * (1 - unseen.sum(axis=-1, keepdims=True)) + unseen
        return np.asarray(self.share * mixed + (1 - self.share) * averaged, dtype=np.float32)


@dataclass(frozen=True)
class Combination:
    members: tuple[int, ...]  # places in the stack that it was fitted on
    weights: Floats  # (members,), sums to 1: of the answering probabilities and, without meta, of the label ones
    meta: LinearMeta | None = None
    stop: Stop = AVERAGED

    def mix(self, probabilities: Floats, answer: Floats) -> tuple[Floats, Floats]:
        """(members, rows, segments, classes), (members, rows, segments) → the same without members."""
        averaged = np.zeros_like(probabilities[0])
        answered = np.zeros_like(answer[0])
        for i, weight in enumerate(self.weights):
            averaged += weight * probabilities[i]
            answered += weight * answer[i]
        mixed = averaged if self.meta is None else self.meta.mix(probabilities, averaged)
        return mixed, answered.clip(0, 1)

    def combine(self, probabilities: Floats, answer: Floats, n_segments: Ints) -> Predictions:
        """The ensemble's own Predictions from those of its members, in the order of ``members``."""
        return self.stop.apply(*self.mix(probabilities, answer), n_segments)

    def predict(self, stack: Stack) -> Predictions:
        """The same from the stack of the whole library."""
        own = stack.take(self.members)
        return self.combine(own.probabilities, own.answer, own.n_segments)

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Everything but ``members``' names, as JSON values and arrays."""
        arrays: Arrays = {"weights": self.weights}
        if self.meta is not None:
            arrays |= {
                "meta.coef": self.meta.coef,
                "meta.intercept": self.meta.intercept,
                "meta.seen": self.meta.seen.astype(np.uint8),
            }
        return {
            "kind": "average" if self.meta is None else "linear_meta",
            "members": list(self.members),
            "share": None if self.meta is None else self.meta.share,
            "stop": self.stop.state(),
        }, arrays

    @staticmethod
    def from_state(state: dict[str, Any], arrays: Arrays) -> "Combination":
        """The inverse of :meth:`state`; raises ValueError or KeyError where it is not one."""
        if state["kind"] not in ("average", "linear_meta"):
            raise ValueError(f"kind must be average or linear_meta, but got {state['kind']!r}")
        members = tuple(map(int, state["members"]))
        meta = None
        if state["kind"] == "linear_meta":
            seen = arrays["meta.seen"].astype(np.bool_)
            meta = LinearMeta(arrays["meta.coef"], arrays["meta.intercept"], seen, float(state["share"]))
        if len(arrays["weights"]) != len(members) or (meta is not None and len(meta.coef) != len(members)):
            raise ValueError(f"{len(members)} members need as many weights, but got {len(arrays['weights'])}")
        return Combination(members, arrays["weights"], meta, Stop.from_state(state["stop"]))
