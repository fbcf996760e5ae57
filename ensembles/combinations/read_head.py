"""What a learned stop adds to another one: a small network that judges what the members say together.

Where the other stop's logit of READ against its answer is z, the corrected one is f(features) + SHARP·z within
±SOFT, and it answers where that is 0 or less. So with f = 0 both answer at the same places. (learned_stop.py fits f.)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Floats, Predictions

FEATURES = 6
HIDDEN = 8
SHAPES = {"hidden_weight": (HIDDEN, FEATURES), "hidden_bias": (HIDDEN,), "out_weight": (HIDDEN,), "out_bias": (1,)}
SHARP = 2.0  # played by chance, it mostly does what it would do by rule
SOFT = 2.0  # and yet tries everything: what is never tried teaches nothing
MOST = 8.0  # of log-odds: surer than this is all one
ODDS_SCALE = 0.25  # brings log-odds to the order of one


@dataclass(frozen=True, eq=False)
class ReadHead:
    """f, of SHAPES, and the number of segments that a step is divided by."""

    hidden_weight: Floats
    hidden_bias: Floats
    out_weight: Floats
    out_bias: Floats
    segments: int

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ReadHead):
            return NotImplemented
        own, theirs = self.arrays(), other.arrays()
        return self.segments == other.segments and all(np.array_equal(own[name], theirs[name]) for name in SHAPES)

    def __hash__(self) -> int:
        return hash((self.segments, self.out_bias.tobytes()))

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in SHAPES}

    @staticmethod
    def of(arrays: dict[str, NDArray[Any]], segments: int) -> "ReadHead":
        """Raises ValueError or KeyError where these are not what :meth:`arrays` gave."""
        for name, shape in SHAPES.items():
            if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
                raise ValueError(f"a stop's {name} must be {shape} numbers, but got {arrays[name].shape}")
        if segments < 1:
            raise ValueError(f"a stop's segments must be at least 1, but got {segments}")
        return ReadHead(**{name: np.asarray(arrays[name], dtype=np.float32) for name in SHAPES}, segments=segments)

    def correct(self, stopped: Predictions, averaged: Floats, costs: Costs) -> Predictions:
        """Another stop's Predictions, corrected; averaged: (rows, segments), the members' answering probability."""
        hidden = np.tanh(features(stopped, averaged, costs, self.segments) @ self.hidden_weight.T + self.hidden_bias)
        logits = (read_logits(stopped) + hidden @ self.out_weight + self.out_bias).clip(-30, 30)
        answer = 1 / (1 + np.exp(logits))
        last = np.arange(answer.shape[1])[None, :] >= stopped.n_segments[:, None] - 1
        return Predictions(stopped.probabilities, np.where(last, 1, answer).astype(np.float32), stopped.n_segments)


def read_logits(stopped: Predictions) -> Floats:
    """(rows, segments): SHARP times the logarithm of READ's odds against the answer, within ±SOFT."""
    answer = stopped.answer.astype(np.float64)
    logits = np.log(np.maximum(1 - answer, 1e-9)) - np.log(np.maximum(answer, 1e-9))
    return np.asarray((SHARP * logits).clip(-SOFT, SOFT), dtype=np.float32)


def features(stopped: Predictions, averaged: Floats, costs: Costs, segments: int) -> Floats:
    """(rows, segments, FEATURES): the log-odds of the confidence and how they changed with the last segment, the gap
    between the two likeliest labels, the entropy, the share of ``segments`` read, and the averaged answering
    probability."""
    probabilities = stopped.probabilities
    sure = costs.confidence(probabilities).astype(np.float64).clip(1e-9, 1 - 1e-9)
    odds = (np.log(sure) - np.log1p(-sure)).clip(-MOST, MOST) * ODDS_SCALE
    change = np.diff(odds, axis=1, prepend=odds[:, :1])
    largest = np.partition(probabilities, -2, axis=2)[..., -2:]  # of at least two classes
    gap = largest[..., 1] - largest[..., 0]
    entropy = -(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(axis=2)
    step = np.broadcast_to(np.arange(odds.shape[1]) / segments, odds.shape)
    return np.stack([odds, change, gap, entropy, step, averaged], axis=2).astype(np.float32)
