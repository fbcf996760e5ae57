"""Linear members: text features, a matrix of weights, and an answer when sure enough; and the honest baseline.

The baseline is TF-IDF and logistic regression. It is fitted on every prefix of the warm and policy rows, so that it
knows what little text looks like. The strength of its regularisation is chosen by the log loss on valid, and so is, by
reward, the threshold above which it answers. Under ``reading: off`` it reads each text to its end, however far policies
do, and is logistic regression or support vector machines, by the reward on valid. It is as strong as we could make it
within seconds: a policy that does not beat it is not worth its training.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from threadpoolctl import threadpool_limits

from sweepstack.models import checksums
from sweepstack.models.baselines.character_tfidf import CharacterTfidf
from sweepstack.models.baselines.logistic import STRENGTHS, SparseDesign, distinct, fit_path, log_loss, softmax
from sweepstack.models.baselines.support_vectors import fit_machines
from sweepstack.models.baselines.tfidf import PrefixTfidf
from sweepstack.models.data.labelled import Dataset
from sweepstack.models.data.segmenter import EVERYTHING, TextReader
from sweepstack.models.errors import BundleError
from sweepstack.models.files import as_tensors, read_json, reason_of
from sweepstack.models.predictions.costs import Costs, read_matrix
from sweepstack.models.predictions.probabilities import (
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
from sweepstack.models.settings.trial import Reading

FORMAT = 2
BATCH = 2048  # texts whose prefixes are in memory at a time
WHOLE_STRENGTHS = (10.0,)  # C of logistic regression on whole texts, on by decades: it takes much longer than machines
MANY_WEIGHTS = 1_000_000  # terms times classes

Found = Mapping[str, float]
Features = PrefixTfidf | CharacterTfidf
FEATURES: dict[str, Callable[..., Features]] = {  # by kind
    "units": PrefixTfidf,
    "counts": partial(PrefixTfidf, sublinear=False),
    "characters": CharacterTfidf,
}


class LinearMember:
    """A member like a policy: ``classes`` and :meth:`read`."""

    def __init__(
        self,
        classes: tuple[str, ...],
        features: Features,
        coef: NDArray[np.float32],  # (terms, classes)
        intercept: NDArray[np.float32],  # (classes,)
        threshold: float,
        costs: Costs,  # of wrong answers; READ has done its part in the threshold
        thresholds: Thresholds | None = None,  # for other costs of a READ
        found: Found | None = None,  # what was chosen on valid, by name
    ):
        self.found = dict(found or {})
        self.classes, self.features, self.threshold, self.costs = classes, features, threshold, costs
        self.thresholds = thresholds
        self.coef, self.intercept = coef, intercept

    @classmethod
    def answering(
        cls,
        dataset: Dataset,
        reading: Reading | Literal["off"],
        features: Features,
        coef: NDArray[np.float32],
        intercept: NDArray[np.float32],
        found: Found,
    ) -> Self:
        """With these weights, which ``found`` has led to, and the threshold that suits valid."""
        valid = dataset.parts["valid"]
        scores, n_segments = features.scores(valid.inputs, coef)
        probabilities = _spread(softmax(scores + intercept), n_segments)
        costs = Costs(0.0 if reading == "off" else reading.score_cost, dataset.costs)
        interval = None if reading == "off" else reading.interval
        threshold = fit_threshold(probabilities, n_segments, valid.labels, costs)
        thresholds = thresholds_over(interval, probabilities, n_segments, valid.labels, costs)
        matrix = Costs(matrix=dataset.costs)
        return cls(dataset.classes, features, coef, intercept, threshold, matrix, thresholds, found)

    @property
    def conditioned(self) -> bool:
        return self.thresholds is not None

    def read(self, texts: Sequence[str], cost: float | None = None) -> Predictions:
        """What it says of each text after each segment, answering as suits that ``cost`` of a READ, if it knows."""
        batches = []
        for begin in range(0, len(texts), BATCH):
            scores, n_segments = self.features.scores(texts[begin : begin + BATCH], self.coef)
            batches.append((_spread(softmax(scores + self.intercept), n_segments), n_segments))
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
        config = {
            "format": FORMAT,
            "kind": "linear",
            "features": self.features.kind,
            "classes": self.classes,
            "reading": json.loads(self.features.reader.to_json()),
            "threshold": self.threshold,
            "thresholds": None if self.thresholds is None else [list(pair) for pair in self.thresholds],
            "costs": None if self.costs.matrix is None else self.costs.matrix.tolist(),
            "found": self.found,
            "vocabulary": self.features.terms,
        }
        files: dict[str, str | bytes] = {
            "weights.safetensors": as_tensors(weights),
            "config.json": json.dumps(config, ensure_ascii=False),
        }
        checksums.put(folder, files)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load what :meth:`save` wrote, number for number; raises BundleError where it is not there or not whole.

        DamagedError where a file has changed.
        """
        checksums.check_below(folder)
        try:
            config = read_json(folder / "config.json")
            weights = load_file(folder / "weights.safetensors")
            if config["format"] != FORMAT or config["kind"] != "linear":
                raise ValueError(f"it has format {config['format']!r} and kind {config['kind']!r}")
            reader = TextReader.from_json(json.dumps(config["reading"]))
            features = FEATURES[config["features"]](reader, tuple(config["vocabulary"]), weights["idf"])
            classes, coef, intercept = tuple(config["classes"]), weights["coef"], weights["intercept"]
            if coef.shape != (len(features.terms), len(classes)) or features.idf.shape != (len(features.terms),):
                raise ValueError(f"its weights of shape {coef.shape} do not fit its vocabulary and classes")
            costs = Costs(matrix=read_matrix(config["costs"], len(classes)))
            thresholds = read_thresholds(config["thresholds"])
            threshold, found = float(config["threshold"]), config.get("found")
            return cls(classes, features, coef, intercept, threshold, costs, thresholds, found)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise BundleError(
                f"{folder} is not a linear member of format {FORMAT} ({reason_of(error)}); copy the whole folder again"
            ) from error


class LinearBaseline(LinearMember):
    @classmethod
    def fit(cls, dataset: Dataset, reading: Reading | Literal["off"], found: Found | None = None) -> "LinearBaseline":
        """Fits on warm and policy, chooses on valid; the same data give the same bytes. With what was ``found`` before
        only the threshold is chosen on valid."""
        if reading == "off":
            return cls._fit_whole(dataset, found)
        texts, labels = fitted_rows(dataset)
        features, matrix, n_segments = PrefixTfidf.fit_transform(texts, cutter(dataset, reading))
        rows, targets = distinct(matrix, np.repeat(labels, n_segments), len(dataset.classes))
        valid = dataset.parts["valid"]
        valid_matrix, valid_segments = features.transform(valid.inputs)
        with threadpool_limits(limits=1, user_api="blas"):  # L-BFGS's short vectors: threads that wait cost far more
            coef, intercept, strength = fit_path(
                SparseDesign(rows),
                targets,
                int(n_segments.sum()),
                SparseDesign(valid_matrix),
                np.repeat(valid.labels, valid_segments),
                len(features.terms),
                path_of(len(features.terms), len(dataset.classes)),
                found=None if found is None else found["strength"],
            )
        return cls.answering(dataset, reading, features, coef, intercept, {"strength": strength})

    @classmethod
    def _fit_whole(cls, dataset: Dataset, found: Found | None) -> "LinearBaseline":
        """Machines or logistic regression on whole texts, by the reward on valid; of equals the one with the smaller
        log loss. Machines count terms as they are or sublinearly, by the log loss, as their strength is chosen.
        ``found["machines"]`` and ``found["sublinear"]``: 1 or 0."""
        texts, labels = fitted_rows(dataset)
        features, counts, _ = PrefixTfidf.fit_counts(texts, cutter(dataset, "off"))
        valid, classes = dataset.parts["valid"], len(dataset.classes)
        valid_counts, _ = features.counts(valid.inputs)
        several = len(np.unique(labels)) > 1
        weighings = {sublinear: replace(features, sublinear=sublinear) for sublinear in (True, False)}
        fitted = {sublinear: weighing.weighted(counts) for sublinear, weighing in weighings.items()}
        held = {sublinear: weighing.weighted(valid_counts) for sublinear, weighing in weighings.items()}
        candidates: list[tuple[bool, Floats, Floats, Found]] = []
        if several and (found is None or found["machines"]):
            earlier = None if found is None else (found["strength"], found["factor"])
            machines = {
                sublinear: fit_machines(fitted[sublinear], labels, classes, held[sublinear], valid.labels, earlier)
                for sublinear in ((True, False) if found is None else (bool(found.get("sublinear", 1.0)),))
            }
            sublinear, machine = min(machines.items(), key=lambda each: each[1].loss)
            chosen = {"machines": 1.0, "strength": machine.strength, "factor": machine.factor}
            candidates.append((sublinear, machine.coef, machine.intercept, chosen))
        if not candidates or found is None:
            with threadpool_limits(limits=1, user_api="blas"):
                coef, intercept, strength = fit_path(
                    SparseDesign(fitted[True]),
                    np.eye(classes, dtype=np.float32)[labels] / np.float32(len(labels)),
                    len(labels),
                    SparseDesign(held[True]),
                    valid.labels,
                    len(features.terms),
                    WHOLE_STRENGTHS,
                    found=None if found is None else found["strength"],
                )
            candidates.append((True, coef, intercept, {"machines": 0.0, "strength": strength, "factor": 1.0}))
        costs = Costs(matrix=dataset.costs)

        def merit(candidate: tuple[bool, Floats, Floats, Found]) -> tuple[float, float]:
            sublinear, coef, intercept, _ = candidate
            probabilities = softmax(np.asarray(held[sublinear] @ coef) + intercept)
            reward = float(costs.rewards(valid.labels, costs.answers(probabilities)).mean())
            return reward, -log_loss(probabilities, valid.labels)

        sublinear, coef, intercept, best = max(candidates, key=merit)
        best = {**best, "sublinear": float(sublinear)}
        return cls.answering(dataset, "off", weighings[sublinear], coef, intercept, best)


def path_of(terms: int, classes: int) -> tuple[float, ...]:
    """A decade of strengths: only one where a fit takes seconds."""
    return STRENGTHS if terms * classes <= MANY_WEIGHTS else STRENGTHS[:1]


def fitted_rows(dataset: Dataset) -> tuple[list[str], Ints]:
    """The texts and labels that linear members are fitted on: warm and policy."""
    fitted = [dataset.parts["warm"], dataset.parts["policy"]]
    return [text for part in fitted for text in part.inputs], np.concatenate([part.labels for part in fitted])


def cutter(dataset: Dataset, reading: Reading | Literal["off"]) -> TextReader:
    """A reader that cuts texts as a policy of the same study does, or not at all where that reads at once; its ids are
    of no use."""
    if reading == "off":
        return TextReader.cutter("off", dataset.text.model_copy(update={"max_words": EVERYTHING}))
    cut_by_vocabulary = reading.unit == "tokens"
    return TextReader.fit(fitted_rows(dataset)[0] if cut_by_vocabulary else (), reading, dataset.text)


def _spread(probabilities: Floats, n_segments: Ints) -> Floats:
    """(sum of n_segments, classes) to (rows, segments, classes), the last one of each text repeated."""
    first = np.cumsum(n_segments) - n_segments
    segments = np.arange(n_segments.max(initial=1))[None, :]
    return np.asarray(probabilities[first[:, None] + np.minimum(segments, n_segments[:, None] - 1)])
