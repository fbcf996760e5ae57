"""What a classifier says of a text after each segment, and how it is scored.

A policy reads segment after segment. After each it holds a distribution over the labels and a probability of giving its
answer now instead of reading on: it answers where that is at least 1/2. At a text's last segment it must answer. Arrays
are padded along segments by repeating the last one, so that members which read differently long can be combined
position by position.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from sweepstack.models import checksums
from sweepstack.models.files import as_tensors
from sweepstack.models.predictions.classification_metrics import (
    CLASS_METRICS,
    calibration_error,
    calibration_means,
    class_means,
    class_scores,
)
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.metrics import direction

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Thresholds = Sequence[tuple[float, float]]
"""(cost of a READ, the threshold that suits it), costs ascending: of a member without a learned stop."""

ROW_METRICS = ("reward", "accuracy", "accuracy_full", "segments", "log_loss")
"""The metrics of a classifier that are means over rows."""

DIRECTION = {name: direction(name) for name in (*ROW_METRICS, *CLASS_METRICS, "calibration_error")}
"""All metrics of a classifier; +1 where more is better."""

FORMAT = 2  # of a file: in format 1 a text was answered where answer·(top probability) reached 1 − answer

COSTS_TRIED = 6  # over an interval of costs of a READ
EVEN = np.float32(0.5)
"""The probability of its answer, against READ, from which a text is answered."""
JUST_BELOW = np.nextafter(EVEN, np.float32(0))

THRESHOLDS = np.concatenate(
    [
        [1e-6],
        np.geomspace(0.001, 0.05, 6)[:-1],
        np.linspace(0.05, 0.9, 35),
        1 - np.geomspace(0.1, 1e-4, 50)[1:],
        [1 - 1e-7],
    ]
)
"""Of the confidence to answer at: what is tried where one is fitted. By the first every text is answered at once, by
the last none before its end: nothing lies beyond."""


@dataclass(frozen=True)
class Predictions:
    probabilities: Floats  # (rows, segments, classes): sums to 1 over classes
    answer: Floats  # (rows, segments): probability of its answer against READ; 1 at a text's last segment and beyond
    n_segments: Ints  # (rows,): how many segments a text has, at most `segments`

    def __len__(self) -> int:
        return len(self.n_segments)

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.probabilities).all() and np.isfinite(self.answer).all())

    def rows(self, index: NDArray[Any]) -> "Predictions":
        return Predictions(self.probabilities[index], self.answer[index], self.n_segments[index])

    def stops(self) -> Ints:
        """(rows,): the 0-based segment at which each text is answered: the first where it would be."""
        return np.asarray(self.would_answer().argmax(axis=1), dtype=np.int64)

    def would_answer(self) -> NDArray[np.bool_]:
        """(rows, segments): where the answer is as likely as READ, or has to be given."""
        last = np.arange(self.answer.shape[1])[None, :] >= self.n_segments[:, None] - 1
        return np.asarray((self.answer >= EVEN) | last)

    def at(self, stops: Ints) -> Floats:
        """(rows, classes): the label distribution at the given segments."""
        return self.probabilities[np.arange(len(self)), stops]

    def answers(self, costs: Costs) -> Ints:
        """(rows,): the label that each text is given where it is answered."""
        return costs.answers(self.at(self.stops()))

    def save(self, path: Path, rows_hash: str) -> None:
        """Writes the arrays as safetensors; ``rows_hash`` says which rows of which data they belong to."""
        tensors = {"probabilities": self.probabilities, "answer": self.answer, "n_segments": self.n_segments}
        about = {"about": json.dumps([FORMAT, rows_hash])}  # of several keys safetensors shuffles the order
        checksums.put(path.parent, {path.name: as_tensors(tensors, about)})

    @staticmethod
    def load(path: Path) -> "tuple[Predictions, str]":
        """The arrays and the hash of the rows that they belong to; raises OSError where the file is of another format,
        whose numbers mean something else, DamagedError where it has changed."""
        checksums.check(path)
        with safe_open(path, framework="numpy") as file:
            written, rows_hash = json.loads(file.metadata().get("about", '[1, ""]'))
            if written != FORMAT:
                raise OSError(f"predictions of format {written}, but this version reads {FORMAT}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Predictions(**tensors), rows_hash


def mean_of(predictions: Sequence[Predictions]) -> Predictions:
    """What several policies say of the same rows together: the mean of their probabilities, and of answering.

    A text that they cut into different numbers of segments (their tokenisers may differ) has the most of them.
    """
    segments = max(each.answer.shape[1] for each in predictions)
    probabilities = np.stack([_padded(each.probabilities, segments) for each in predictions])
    answer = np.stack([_padded(each.answer, segments) for each in predictions])
    n_segments = np.stack([each.n_segments for each in predictions])
    return Predictions(
        np.asarray(probabilities.mean(axis=0, dtype=np.float64), dtype=np.float32),
        np.asarray(answer.mean(axis=0, dtype=np.float64), dtype=np.float32),
        np.asarray(n_segments.max(axis=0)),
    )


def one_after_another(predictions: Sequence[Predictions]) -> Predictions:
    """What was said of the rows of several parts, in their order."""
    segments = max(each.answer.shape[1] for each in predictions)
    return Predictions(
        np.concatenate([_padded(each.probabilities, segments) for each in predictions]),
        np.concatenate([_padded(each.answer, segments) for each in predictions]),
        np.concatenate([each.n_segments for each in predictions]),
    )


def _padded(array: Floats, segments: int) -> Floats:
    """(rows, segments, …), the last segment repeated."""
    return array[:, np.minimum(np.arange(segments), array.shape[1] - 1)]


def scores(predictions: Predictions, labels: Ints, costs: Costs) -> dict[str, NDArray[np.float64]]:
    """Per-row values, each (rows,), whose means are the metrics of a classifier.

    reward: what the answer is worth (1 if it is right), less the cost of each segment read after the first. accuracy:
    at its own answer. segments: how many were read. accuracy_full and log_loss (natural log): after reading everything.
    """
    stops = predictions.stops()
    return _scores(predictions, labels, costs, stops, costs.answers(predictions.at(stops)))


def metrics(predictions: Predictions, labels: Ints, costs: Costs) -> dict[str, float]:
    """All of DIRECTION: the means of :func:`scores`; precision, recall and F1 of its own answers; and, after reading
    everything, the expected calibration error of its top probability."""
    stops = predictions.stops()
    answers = costs.answers(predictions.at(stops))
    full, classes = predictions.at(predictions.n_segments - 1), predictions.probabilities.shape[2]
    found = {name: float(v.mean()) for name, v in _scores(predictions, labels, costs, stops, answers).items()}
    found |= {name: float(value) for name, value in class_scores(class_means(labels, answers, classes)).items()}
    return found | {"calibration_error": float(calibration_error(calibration_means(full, labels)))}


def _scores(
    predictions: Predictions, labels: Ints, costs: Costs, stops: Ints, answers: Ints
) -> dict[str, NDArray[np.float64]]:
    full = predictions.at(predictions.n_segments - 1)
    of_label = full[np.arange(len(predictions)), labels].astype(np.float64)
    return {
        "reward": costs.rewards(labels, answers) - costs.read * stops,
        "accuracy": (answers == labels).astype(np.float64),
        "segments": stops + 1.0,
        "accuracy_full": (costs.answers(full) == labels).astype(np.float64),
        "log_loss": -np.log(np.clip(of_label, 1e-12, 1.0)),
    }


def answer_above(probabilities: Floats, n_segments: Ints, threshold: float, costs: Costs | None = None) -> Predictions:
    """A classifier without a learned stop: it answers as soon as its confidence reaches ``threshold`` in (0, 1).

    Confidence is the top probability, or, where wrong answers differ in their costs, see Costs.confidence. Its odds
    over those of the threshold are the odds of answering against READ, which are even exactly at the threshold. So
    such members average with learned ones.
    """
    sure = (Costs() if costs is None else costs).confidence(probabilities).clip(1e-6, 1 - 1e-6).astype(np.float64)
    odds = sure / (1 - sure) * (1 - threshold) / threshold
    answer = (odds / (odds + 1)).astype(np.float32)
    answer = np.where(sure >= threshold, answer.clip(min=EVEN), answer.clip(max=JUST_BELOW))  # rounding decides nothing
    last = np.arange(answer.shape[1])[None, :] >= n_segments[:, None] - 1
    return Predictions(probabilities, np.where(last, np.float32(1), answer), n_segments)


def fit_threshold(probabilities: Floats, n_segments: Ints, labels: Ints, costs: Costs) -> float:
    """The threshold of :func:`answer_above` with the highest mean reward; among equals the middle one."""
    tried = [answer_above(probabilities, n_segments, float(threshold), costs) for threshold in THRESHOLDS]
    rewards = np.array([scores(each, labels, costs)["reward"].mean() for each in tried])
    best = np.flatnonzero(rewards >= rewards.max() - 1e-12)
    return float(THRESHOLDS[best[len(best) // 2]])


def thresholds_over(
    interval: tuple[float, float] | None, probabilities: Floats, n_segments: Ints, labels: Ints, costs: Costs
) -> Thresholds | None:
    """The best threshold at each of a few costs of a READ, evenly over ``interval``; None where there is none."""
    if interval is None:
        return None
    tried = np.linspace(*interval, COSTS_TRIED).tolist()
    fitted = [fit_threshold(probabilities, n_segments, labels, replace(costs, read=cost)) for cost in tried]
    return list(zip(tried, fitted, strict=True))


def threshold_at(cost: float | None, threshold: float | None, thresholds: Thresholds | None) -> float | None:
    """Interpolated between the costs of the table, its ends beyond them; ``threshold`` where no cost is asked for."""
    if cost is None or thresholds is None:
        return threshold
    costs, values = np.array(thresholds, dtype=np.float64).T
    return float(np.interp(cost, costs, values))


def read_thresholds(table: object) -> Thresholds | None:
    """Of a config.json; raises ValueError or TypeError where ``table`` is none."""
    if table is None:
        return None
    pairs = np.array(table, dtype=np.float64)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.isfinite(pairs).all() or (np.diff(pairs[:, 0]) <= 0).any():
        raise ValueError(f"thresholds must be pairs of a cost and a threshold, costs ascending, but got {table!r}")
    return [(float(cost), float(threshold)) for cost, threshold in pairs]
