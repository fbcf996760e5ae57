"""Pools that were fitted on blend, as arrays: a linear model, naive Bayes, an ONNX graph and a small neural combiner.

All but the last see the members' log-probabilities side by side. They know only the classes that blend had: what the
members' average leaves to the others stays with those.
"""

from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.combinations.pools import Linear, Logarithmic, Pool, Vote, weighted
from sweepstack.ensembles.scoring.temperature import FLOOR, logs, normalised
from sweepstack.models.errors import BundleError
from sweepstack.models.predictions.probabilities import Floats, Ints

Values = NDArray[np.float64]
GRID = np.float32(2**12)
"""Features are rounded to 1/GRID: every midpoint of two is then a float32, so that a tree's thresholds, which
scikit-learn holds in 64 bits and ONNX in 32, decide alike."""
EXTRA = "pip install 'sweepstack[onnx]'"


def features(probabilities: Floats) -> Floats:
    """(members, …, classes) → (rows, members × classes): log-probabilities, a member's classes side by side."""
    rounded = np.round(logs(np.moveaxis(probabilities, 0, -2)) * GRID) / GRID
    return np.ascontiguousarray(rounded.reshape(-1, probabilities.shape[0] * probabilities.shape[-1]))


@dataclass(frozen=True, eq=False)
class Fitted(Pool):
    classes: Ints  # (K,): the classes that it was fitted with, ascending

    @abstractmethod
    def known(self, features: Floats) -> Floats:
        """(rows, members × classes) → (rows, K): probabilities among ``classes``."""

    @property
    @abstractmethod
    def width(self) -> int:
        """The number of features that it was fitted with."""

    def mix(self, probabilities: Floats, weights: Floats) -> Floats:
        known = self.known(features(probabilities)).reshape(*probabilities.shape[1:-1], len(self.classes))
        known = np.maximum(known, np.float32(FLOOR))
        known /= known.sum(axis=-1, keepdims=True)
        if len(self.classes) == probabilities.shape[-1]:
            return known
        pooled = weighted(probabilities, weights)
        pooled[..., self.classes] = known * pooled[..., self.classes].sum(axis=-1, keepdims=True)
        return pooled

    def check(self, members: int, classes: int) -> None:
        if self.width != members * classes:
            raise ValueError(f"{members} members and {classes} classes are no {self.width} features of its pool")
        if not (np.diff(self.classes) > 0).all() or self.classes.min() < 0 or self.classes.max() >= classes:
            raise ValueError(f"a pool's classes must be places among {classes}, but got {self.classes.tolist()}")


@dataclass(frozen=True, eq=False)
class LinearModel(Fitted):
    kind: ClassVar[str] = "linear_model"
    weight: Floats  # (members × classes, K)
    bias: Floats  # (K,)

    @property
    def width(self) -> int:
        return len(self.weight)

    def known(self, features: Floats) -> Floats:
        return normalised(features @ self.weight + self.bias)

    def check(self, members: int, classes: int) -> None:
        super().check(members, classes)
        _shaped(self, weight=(self.width, len(self.classes)), bias=(len(self.classes),))


@dataclass(frozen=True, eq=False)
class NaiveBayes(Fitted):
    """Each feature is normal within each class, and independent of the others."""

    kind: ClassVar[str] = "naive_bayes"
    mean: Values  # (K, members × classes)
    variance: Values  # (K, members × classes)
    prior: Values  # (K,)

    @property
    def width(self) -> int:
        return int(self.mean.shape[1])

    def known(self, features: Floats) -> Floats:
        likely = np.empty((len(features), len(self.classes)), dtype=np.float64)
        for k, (mean, variance) in enumerate(zip(self.mean, self.variance, strict=True)):
            likely[:, k] = -0.5 * (np.log(variance).sum() + ((features - mean) ** 2 / variance).sum(axis=1))
        likely += np.log(self.prior)
        likely -= likely.max(axis=1, keepdims=True)
        return normalised(likely.astype(np.float32))

    def check(self, members: int, classes: int) -> None:
        super().check(members, classes)
        shape = (len(self.classes), self.width)
        _shaped(self, mean=shape, variance=shape, prior=shape[:1])


@dataclass(frozen=True, eq=False)
class Graph(Fitted):
    """Any classifier of scikit-learn, as an ONNX graph that ONNX Runtime runs."""

    kind: ClassVar[str] = "onnx"
    packages: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    graph: NDArray[np.uint8]  # (bytes,)
    inputs: Ints  # (1,): members × classes

    @property
    def width(self) -> int:
        return int(self.inputs[0])

    def known(self, features: Floats) -> Floats:
        session = _session(self.graph.tobytes())
        found = session.run([session.get_outputs()[-1].name], {session.get_inputs()[0].name: features})[0]
        return np.asarray(found, dtype=np.float32)

    def check(self, members: int, classes: int) -> None:
        super().check(members, classes)
        probe = self.known(np.zeros((1, self.width), dtype=np.float32))
        if probe.shape != (1, len(self.classes)):
            raise ValueError(f"its graph gives {probe.shape[1:]} probabilities, not {len(self.classes)}")


@lru_cache(maxsize=8)
def _session(graph: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise BundleError(f"this ensemble holds an ONNX graph, and onnxruntime is not installed; {EXTRA}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # the same sums in the same order everywhere
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common base class of its errors
        raise ValueError(f"its ONNX graph cannot be opened ({error})") from error


@dataclass(frozen=True, eq=False)
class Network(Pool):
    """log p = a weighted sum of the members' log p + a small perceptron of them, the same for every class, normalised.

    So it can be applied to any number of classes and to those that blend lacked. See builders/neural.py.
    """

    kind: ClassVar[str] = "neural"
    hidden_weight: Floats  # (members, hidden): of the members' centred log-probabilities of one class
    hidden_bias: Floats  # (hidden,)
    out_weight: Floats  # (hidden,)
    linear: Floats  # (members,)

    def mix(self, probabilities: Floats, weights: Floats) -> Floats:
        logits = logs(np.moveaxis(probabilities, 0, -1))  # (rows, segments, classes, members)
        logits = logits - logits.mean(axis=-2, keepdims=True)
        hidden = np.tanh(logits @ self.hidden_weight + self.hidden_bias)
        return normalised(logits @ self.linear + hidden @ self.out_weight)

    def check(self, members: int, classes: int) -> None:
        hidden = len(self.hidden_bias)
        _shaped(self, hidden_weight=(members, hidden), hidden_bias=(hidden,), out_weight=(hidden,), linear=(members,))


def _shaped(pool: Pool, **shapes: tuple[int, ...]) -> None:
    for name, shape in shapes.items():
        found = getattr(pool, name)
        if found.shape != shape or not np.isfinite(found).all():
            raise ValueError(f"{name} of its pool must be {shape} finite numbers, but got {found.shape}")


POOLS: dict[str, type[Pool]] = {
    pool.kind: pool for pool in (Linear, Logarithmic, Vote, LinearModel, NaiveBayes, Graph, Network)
}
"""Every kind that a bundle may hold; a new one is one class and one entry here."""
