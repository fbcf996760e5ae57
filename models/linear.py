"""The linear baseline: TF-IDF and logistic regression, an honest competitor that many a network does not beat.

Words and word pairs, or characters in ones to threes; fitted on every prefix of the warm and policy rows, so that it has
learned to judge a text that it has only begun to read. It answers when its top probability passes a threshold fitted on
valid. All that it has learned are arrays, kept without pickle.
"""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from sweepstack.models.data import Dataset
from sweepstack.models.errors import BundleError
from sweepstack.models.files import read_json, write_atomic, write_json
from sweepstack.models.predictions import Floats, Ints, Predictions, answer_above, fit_threshold
from sweepstack.models.settings import Reading
from sweepstack.models.text import WHOLE, TextReader

FORMAT = 1
FITTED = ("warm", "policy")
STRENGTHS = (3.0, 10.0, 30.0, 100.0)  # of LogisticRegression's C; the best by log loss on valid is kept
ANALYZERS: dict[str, dict[str, Any]] = {
    "words": {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"\w+"},
    "characters": {"analyzer": "char", "ngram_range": (1, 3)},
}


class LinearBaseline:
    """Fitted by :meth:`fit`; ``coef`` (features, classes) and ``intercept`` (classes,) give the logits of a prefix."""

    def __init__(
        self,
        classes: tuple[str, ...],
        reader: TextReader,
        reading: Reading,
        vocabulary: Sequence[str],
        arrays: dict[str, NDArray[np.float32]],
        threshold: float,
    ) -> None:
        self.classes, self.reading, self.threshold = classes, reading, threshold
        self._reader, self._arrays, self._vocabulary = reader, arrays, list(vocabulary)
        self._vectorizer = _vectorizer(reading, vocabulary=self._vocabulary)
        self._vectorizer.idf_ = arrays["idf"]

    @classmethod
    def fit(cls, dataset: Dataset, reading: Reading | Literal["off"]) -> "LinearBaseline":
        how = WHOLE if reading == "off" else reading
        texts = [text for part in FITTED for text in dataset.parts[part].inputs]
        labels = np.concatenate([dataset.parts[part].labels for part in FITTED])
        reader = TextReader.fit(texts, reading)
        vectorizer = _vectorizer(how, min_df=2).fit(texts)
        prefixes, n_segments = _prefixes(reader, texts)
        features = vectorizer.transform(prefixes)
        targets = np.repeat(labels, n_segments)
        valid = dataset.parts["valid"]
        candidates = []
        for strength in STRENGTHS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # valid judges what was reached
                model = LogisticRegression(C=strength, tol=1e-3, max_iter=100).fit(features, targets)
            arrays = {"idf": vectorizer.idf_.astype(np.float32), **_weights(model, len(dataset.classes))}
            fitted = cls(dataset.classes, reader, how, vectorizer.get_feature_names_out().tolist(), arrays, 0.5)
            probabilities, segments = fitted._judge(valid.inputs)
            full = probabilities[np.arange(len(segments)), segments - 1, valid.labels]
            candidates.append((float(-np.log(full.clip(1e-12)).mean()), fitted, probabilities, segments))
        _, best, probabilities, segments = min(candidates, key=lambda candidate: candidate[0])
        best.threshold = fit_threshold(probabilities, segments, valid.labels, how.cost)
        return best

    def read(self, texts: Sequence[str]) -> Predictions:
        probabilities, n_segments = self._judge(texts)
        return answer_above(probabilities, n_segments, self.threshold)

    def _judge(self, texts: Sequence[str]) -> tuple[Floats, Ints]:
        """(rows, segments, classes) and (rows,)"""
        prefixes, n_segments = _prefixes(self._reader, texts)
        features: csr_matrix = self._vectorizer.transform(prefixes)
        logits = np.asarray(features @ self._arrays["coef"]) + self._arrays["intercept"]
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        flat = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
        first = np.cumsum(n_segments) - n_segments
        steps = np.minimum(np.arange(int(n_segments.max(initial=1)))[None, :], n_segments[:, None] - 1)
        return flat[first[:, None] + steps], n_segments

    def save(self, folder: Path) -> None:
        """``config.json`` and ``weights.safetensors``; the weights last, so that a folder with both is whole."""
        write_json(
            folder / "config.json",
            {
                "format": FORMAT,
                "kind": "linear",
                "classes": list(self.classes),
                "reading": self.reading.model_dump(),
                "threshold": self.threshold,
                "reader": json.loads(self._reader.to_json()),
                "vocabulary": self._vocabulary,
            },
        )
        write_atomic(folder / "weights.safetensors", save(self._arrays))

    @classmethod
    def load(cls, folder: Path) -> "LinearBaseline":
        """Raises BundleError where a file is missing or is not what :meth:`save` wrote."""
        try:
            config = read_json(folder / "config.json")
            if config["format"] != FORMAT or config["kind"] != "linear":
                raise ValueError(f"format {config['format']!r} of kind {config['kind']!r} is not known")
            return cls(
                tuple(config["classes"]),
                TextReader.from_json(json.dumps(config["reader"])),
                Reading.model_validate(config["reading"]),
                config["vocabulary"],
                load_file(folder / "weights.safetensors"),
                float(config["threshold"]),
            )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise BundleError(f"{folder} holds no linear baseline ({error}); copy or export it again") from error


def _vectorizer(reading: Reading, **options: Any) -> TfidfVectorizer:
    return TfidfVectorizer(**ANALYZERS[reading.unit], sublinear_tf=True, dtype=np.float32, **options)


def _prefixes(reader: TextReader, texts: Sequence[str]) -> tuple[list[str], Ints]:
    """Every prefix of every text, row after row, and how many each text has (rows,)."""
    prefixes: list[str] = []
    counts = []
    for text in texts:
        segments = reader.segments(text)
        counts.append(len(segments))
        read = ""
        for segment in segments:
            read += segment
            prefixes.append(read)
    return prefixes, np.array(counts, dtype=np.int64)


def _weights(model: LogisticRegression, classes: int) -> dict[str, NDArray[np.float32]]:
    """Logits for every class: with two, scikit-learn keeps only those of the second against the first."""
    coef, intercept = model.coef_.T, model.intercept_
    if classes == 2:
        coef, intercept = np.hstack([np.zeros_like(coef), coef]), np.array([0.0, intercept[0]])
    return {
        "coef": np.ascontiguousarray(coef, dtype=np.float32),
        "intercept": np.asarray(intercept, dtype=np.float32),
    }
