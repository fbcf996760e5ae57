"""The honest baseline of a reading classifier: TF-IDF and logistic regression, answering when sure enough.

It is fitted on every prefix of the warm and policy rows, so that it knows what little text looks like. The strength of
its regularisation is chosen by the log loss on valid, and so is, by reward, the threshold above which it answers. It is
as strong as we could make it within seconds: a policy that does not beat it is not worth its training.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from scipy.optimize import minimize
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from sweepstack.models.costs import Costs, read_matrix
from sweepstack.models.data import Dataset
from sweepstack.models.errors import BundleError
from sweepstack.models.files import read_json, write_atomic
from sweepstack.models.predictions import (
    Floats,
    Ints,
    Predictions,
    Thresholds,
    answer_above,
    fit_threshold,
    read_thresholds,
    threshold_at,
    thresholds_over,
)
from sweepstack.models.settings import Reading
from sweepstack.models.text import TextReader
from sweepstack.models.tfidf import PrefixTfidf

FORMAT = 1
STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # C of logistic regression, from smooth to sharp
STEPS = 30  # of L-BFGS for each C, begun where the last one ended; more moved nothing
BATCH = 2048  # texts whose prefixes are in memory at a time


class LinearBaseline:
    """A member like a policy: ``classes`` and :meth:`read`."""

    def __init__(
        self,
        classes: tuple[str, ...],
        features: PrefixTfidf,
        coef: NDArray[np.float32],  # (terms, classes)
        intercept: NDArray[np.float32],  # (classes,)
        threshold: float,
        costs: Costs,  # of wrong answers; READ has done its part in the threshold
        thresholds: Thresholds | None = None,  # for other costs of a READ
    ):
        self.classes, self.features, self.threshold, self.costs = classes, features, threshold, costs
        self.thresholds = thresholds
        self.coef, self.intercept = coef, intercept

    @classmethod
    def fit(cls, dataset: Dataset, reading: Reading | Literal["off"]) -> "LinearBaseline":
        """Fits on warm and policy, chooses on valid; the same data give the same bytes."""
        fitted = [dataset.parts["warm"], dataset.parts["policy"]]
        texts = [text for part in fitted for text in part.inputs]
        cut_by_vocabulary = reading != "off" and reading.unit == "tokens"
        reader = TextReader.fit(texts if cut_by_vocabulary else (), reading, dataset.text)
        features = PrefixTfidf.fit(texts, reader)
        matrix, n_segments = features.transform(texts)
        labels = np.repeat(np.concatenate([part.labels for part in fitted]), n_segments)
        valid = dataset.parts["valid"]
        valid_matrix, valid_segments = features.transform(valid.inputs)
        valid_labels = np.repeat(valid.labels, valid_segments)
        with threadpool_limits(limits=1, user_api="blas"):  # L-BFGS's short vectors: threads that wait cost far more
            coef, intercept = _fit_path(matrix, labels, valid_matrix, valid_labels, len(dataset.classes))
        probabilities = _spread(_softmax(valid_matrix, coef, intercept), valid_segments)
        costs = Costs(0.0 if reading == "off" else reading.score_cost, dataset.costs)
        interval = None if reading == "off" else reading.interval
        threshold = fit_threshold(probabilities, valid_segments, valid.labels, costs)
        thresholds = thresholds_over(interval, probabilities, valid_segments, valid.labels, costs)
        return cls(dataset.classes, features, coef, intercept, threshold, Costs(matrix=dataset.costs), thresholds)

    @property
    def conditioned(self) -> bool:
        return self.thresholds is not None

    def read(self, texts: Sequence[str], cost: float | None = None) -> Predictions:
        """What it says of each text after each segment, answering as suits that ``cost`` of a READ, if it knows."""
        batches = []
        for begin in range(0, len(texts), BATCH):
            matrix, n_segments = self.features.transform(texts[begin : begin + BATCH])
            batches.append((_spread(_softmax(matrix, self.coef, self.intercept), n_segments), n_segments))
        segments = max((each.shape[1] for each, _ in batches), default=1)
        padded = [each[:, np.minimum(np.arange(segments), each.shape[1] - 1)] for each, _ in batches]
        empty = np.zeros((0, segments, len(self.classes)), dtype=np.float32)
        counts = np.concatenate([np.zeros(0, dtype=np.int64), *(n_segments for _, n_segments in batches)])
        threshold = threshold_at(cost, self.threshold, self.thresholds)
        assert threshold is not None
        return answer_above(np.concatenate([empty, *padded]), counts, threshold, self.costs)

    def save(self, folder: Path) -> None:
        """Writes weights.safetensors and config.json; plain arrays and text, nothing that runs when it is read."""
        weights = {"idf": self.features.idf, "coef": self.coef, "intercept": self.intercept}
        write_atomic(folder / "weights.safetensors", save(weights))
        config = {
            "format": FORMAT,
            "kind": "linear",
            "classes": self.classes,
            "reading": json.loads(self.features.reader.to_json()),
            "threshold": self.threshold,
            "thresholds": None if self.thresholds is None else [list(pair) for pair in self.thresholds],
            "costs": None if self.costs.matrix is None else self.costs.matrix.tolist(),
            "vocabulary": self.features.terms,
        }
        write_atomic(folder / "config.json", json.dumps(config, ensure_ascii=False))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What :meth:`save` wrote, number for number; raises BundleError where it is not there or not whole."""
        try:
            config = read_json(folder / "config.json")
            weights = load_file(folder / "weights.safetensors")
            if config["format"] != FORMAT or config["kind"] != "linear":
                raise ValueError(f"it has format {config['format']!r} and kind {config['kind']!r}")
            reader = TextReader.from_json(json.dumps(config["reading"]))
            features = PrefixTfidf(reader, tuple(config["vocabulary"]), weights["idf"])
            classes, coef, intercept = tuple(config["classes"]), weights["coef"], weights["intercept"]
            if coef.shape != (len(features.terms), len(classes)) or features.idf.shape != (len(features.terms),):
                raise ValueError(f"its weights of shape {coef.shape} do not fit its vocabulary and classes")
            costs = Costs(matrix=read_matrix(config["costs"], len(classes)))
            thresholds = read_thresholds(config["thresholds"])
            return cls(classes, features, coef, intercept, float(config["threshold"]), costs, thresholds)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise BundleError(
                f"{folder} is not a linear baseline of format {FORMAT} ({error}); copy the whole folder again"
            ) from error


def _fit_path(
    matrix: csr_array, labels: Ints, valid_matrix: csr_array, valid_labels: Ints, classes: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Multinomial logistic regression, with C growing until the log loss on valid no longer falls.

    For each C it lowers mean cross-entropy + ‖coef‖² / (2·C·rows) by L-BFGS, started at the last one's solution, in
    coordinates scaled by the diagonal of the Hessian's upper bound: rare terms then learn as fast as common ones.
    """
    rows, targets = _distinct(matrix, labels, classes)  # targets (rows, classes): weights, which sum to 1
    weights = targets.sum(axis=1, keepdims=True)
    transposed = rows.T.tocsr()
    squares = (rows * rows).T @ weights  # (terms, 1)
    theta = np.zeros((rows.shape[1] + 1, classes))  # the last row is the intercept

    def objective(
        flat: NDArray[np.float64], l2: float, scale: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64]]:
        now = flat.reshape(-1, classes) / scale
        logits = rows @ now[:-1].astype(np.float32) + now[-1].astype(np.float32)
        logits -= logits.max(axis=1, keepdims=True)
        exponentials = np.exp(logits)
        sums = exponentials.sum(axis=1, keepdims=True)
        loss = float((weights * np.log(sums)).sum(dtype=np.float64) - (targets * logits).sum(dtype=np.float64))
        residuals = exponentials * (weights / sums) - targets
        gradient = np.concatenate([transposed @ residuals + l2 * now[:-1], residuals.sum(axis=0, keepdims=True)])
        return loss + 0.5 * l2 * float((now[:-1] ** 2).sum()), (gradient / scale).ravel()

    best, best_loss = theta, np.inf
    for strength in STRENGTHS:
        l2 = 1 / (strength * len(labels))
        scale = np.sqrt(np.concatenate([squares / 4 + l2, [[0.25]]]))

        options = {"maxiter": STEPS, "ftol": 1e-7, "gtol": 1e-9}
        found = minimize(objective, (theta * scale).ravel(), (l2, scale), jac=True, method="L-BFGS-B", options=options)
        theta = found.x.reshape(theta.shape) / scale
        probabilities = _softmax(valid_matrix, theta[:-1].astype(np.float32), theta[-1].astype(np.float32))
        loss = -float(np.log(np.maximum(probabilities[np.arange(len(valid_labels)), valid_labels], 1e-9)).mean())
        if loss >= best_loss:
            break
        best, best_loss = theta, loss
    return best[:-1].astype(np.float32), best[-1].astype(np.float32)


def _distinct(matrix: csr_array, labels: Ints, classes: int) -> tuple[csr_array, NDArray[np.float32]]:
    """Equal rows once, with the share of all rows that they are by label: short prefixes are often the same."""
    places: dict[tuple[bytes, bytes], int] = {}
    firsts: list[int] = []
    inverse = np.empty(len(labels), dtype=np.int64)
    for row, (begin, end) in enumerate(zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)):
        key = (matrix.indices[begin:end].tobytes(), matrix.data[begin:end].tobytes())
        inverse[row] = places.setdefault(key, len(firsts))
        if inverse[row] == len(firsts):
            firsts.append(row)
    counts = np.bincount(inverse * classes + labels, minlength=len(firsts) * classes).reshape(len(firsts), classes)
    return matrix[firsts], (counts / len(labels)).astype(np.float32)


def _softmax(matrix: csr_array, coef: NDArray[np.float32], intercept: NDArray[np.float32]) -> Floats:
    logits = (matrix @ coef + intercept).astype(np.float64)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), dtype=np.float32)


def _spread(probabilities: Floats, n_segments: Ints) -> Floats:
    """(sum of n_segments, classes) to (rows, segments, classes), the last one of each text repeated."""
    first = np.cumsum(n_segments) - n_segments
    segments = np.arange(n_segments.max(initial=1))[None, :]
    return np.asarray(probabilities[first[:, None] + np.minimum(segments, n_segments[:, None] - 1)])
