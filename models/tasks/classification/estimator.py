"""A policy as a scikit-learn classifier of texts: both stages of a trial, in this process, behind fit and predict.

It takes texts as (n,) or (n, 1) objects, so that scikit-learn's own ensembles, which refuse one-dimensional input, work
on policies. Example weights are met by resampling: rows are drawn by their weights (Freund & Schapire 1997), those
without weight never. A part of the rows is held out to choose the best epoch by, a part to play on.
"""

import hashlib
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import assert_all_finite, check_array, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from sweepstack.models.data.encoding import encode, resample
from sweepstack.models.data.labelled import Dataset, Part
from sweepstack.models.data.same_input import settled_by_reader
from sweepstack.models.data.segmenter import TextReader, bounded
from sweepstack.models.data.splits import split
from sweepstack.models.predictions.probabilities import Ints
from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings.data import Text
from sweepstack.models.settings.trial import Reading, TrialSettings

if TYPE_CHECKING:
    from sweepstack.models.tasks.classification.checkpoint import Member

BATCH = 512  # texts predicted at a time


class PolicyClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A reading policy, trained by the settings of one trial.

    ``reading``: off, or the ``reading:`` part of a study file; then it answers where it is sure, and ``predict_proba``
    is what it thinks there. ``epochs`` and ``lr`` are of the second stage; ``settings`` are any others of a trial by
    their dotted paths, as in ``space:``, and win over these. ``policy`` and ``valid`` are the shares of rows that
    policy optimisation plays on, and that the best epoch is chosen by. ``random_state`` seeds everything.

    Attributes: ``classes_``; ``n_features_in_`` after two-dimensional input.
    """

    def __init__(
        self,
        settings: Mapping[str, Any] | None = None,
        *,
        reading: Mapping[str, Any] | Literal["off"] = "off",
        epochs: int | None = None,
        lr: float | None = None,
        policy: float = 0.3,
        valid: float = 0.1,
        device: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.settings = settings
        self.reading = reading
        self.epochs = epochs
        self.lr = lr
        self.policy = policy
        self.valid = valid
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """``X`` (n,) or (n, 1): texts; ``y`` (n,): their classes; ``sample_weight`` (n,): none negative.

        Raises ValueError where they are not that, or a setting does not fit; TrainingError where training breaks down.
        """
        texts = self._texts(X, reset=True)
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        labels = column_or_1d(y, warn=True)
        assert_all_finite(labels, input_name="y")
        check_classification_targets(labels)
        check_consistent_length(texts, labels)
        self.classes_, encoded = np.unique(labels, return_inverse=True)
        weights = np.ones(len(texts))
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, texts, dtype=np.float64, ensure_non_negative=True)
        kept = np.flatnonzero(weights)
        if len(np.unique(encoded[kept])) < 2:
            raise ValueError(
                f"{type(self).__name__} needs rows of at least two classes, but got {len(np.unique(encoded[kept]))} "
                "class: no policy can be trained on that"
            )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._checkpoint = self._train([texts[row] for row in kept], encoded[kept], weights[kept], seed)
        self._member = _loaded(self._checkpoint)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """(n, classes): where it stops reading; columns as in ``classes_``, rows sum to 1."""
        check_is_fitted(self, "classes_")
        texts = self._texts(X, reset=False)
        found = []
        for begin in range(0, len(texts), BATCH):
            said = self._member.read(texts[begin : begin + BATCH])
            found.append(said.at(said.stops()).astype(np.float64))
        probabilities = np.concatenate(found)
        return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))

    def predict(self, X: Any) -> NDArray[Any]:
        """(n,): the likeliest class of each text."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """To go to another process: the files of the checkpoint, without what was loaded from them."""
        return {name: value for name, value in super().__getstate__().items() if name != "_member"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_checkpoint" in state:
            self._member = _loaded(self._checkpoint)

    def _texts(self, X: Any, *, reset: bool) -> list[str]:
        if isinstance(X, str):
            raise ValueError(f"X must be texts, but got one text; [{X[:40]!r}] may be meant")
        if isinstance(X, list | tuple):
            X = np.array(X, dtype=object)  # else numbers among texts would become texts
        if np.ndim(X) == 2 or getattr(X, "ndim", 1) == 2:  # sparse matrices have but the latter
            X = validate_data(self, X, reset=reset, dtype=None, ensure_all_finite=False)
        else:
            X = check_array(X, ensure_2d=False, dtype=None, ensure_all_finite=False, estimator=self)
        if X.ndim == 2 and X.shape[1] != 1:
            raise ValueError(f"X must hold texts in the shape (n,) or (n, 1), but got {X.shape}")
        texts: list[str] = X.reshape(-1).tolist()
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(f"X must hold texts, but row {row} is {text!r}; convert it, or leave it out")
        return texts

    def _train(self, texts: list[str], labels: Ints, weights: NDArray[np.float64], seed: int) -> dict[str, bytes]:
        """The files of the checkpoint."""
        from sweepstack.models.tasks.classification.stage import make_stage  # torch: a second to import
        from sweepstack.models.training.trainer import Trainer

        settings = self._trial_settings(seed)
        dataset, parts = self._dataset(texts, labels, settings.reading, seed)
        data = encode(dataset, settings.reading)
        if np.ptp(weights):
            fitted = np.concatenate([parts["warm"], parts["policy"]])
            data = resample(data, derive_seed(seed, "sample weights"), (weights[fitted],))
        with tempfile.TemporaryDirectory() as scratch:
            metric = "accuracy" if settings.reading == "off" else "reward"
            stage = partial(make_stage, settings, data, Path(scratch) / "starts", metric)
            trainer = Trainer(settings, stage, Path(scratch) / "trial", metric)
            while len(trainer.reports) < settings.train.epochs:
                trainer.step()
            trainer.close(True)
            return {path.name: path.read_bytes() for path in (Path(scratch) / "trial" / "checkpoint").iterdir()}

    def _trial_settings(self, seed: int) -> TrialSettings:
        values: dict[str, Any] = {
            "reading": self.reading if isinstance(self.reading, str) else dict(self.reading),
            "device": self.device,
            "train.seed": derive_seed(seed, "second stage"),
            "train.warm_start.seed": derive_seed(seed, "start"),
        }
        named = {"train.epochs": self.epochs, "train.lr": self.lr}
        values |= {path: value for path, value in named.items() if value is not None}
        return TrialSettings().with_values({**values, **(self.settings or {})})

    def _dataset(
        self, texts: list[str], labels: Ints, reading: Reading | Literal["off"], seed: int
    ) -> tuple[Dataset, dict[str, Ints]]:
        """The rows in their parts, and which they are. A part that rows as few or as equal do not fill has all rows."""
        for name in ("policy", "valid"):
            share = getattr(self, name)
            if not 0 < share < 1:
                raise ValueError(f"{name} must be a share of the rows between 0 and 1, but got {share!r}")
        if self.policy + self.valid > 0.9 + 1e-9:
            raise ValueError(
                f"policy + valid must leave at least 0.1 for the supervised start, but they sum to "
                f"{self.policy + self.valid:g}; lower one of them"
            )
        rows = len(texts)
        sizes = {"policy": round(rows * self.policy), "valid": round(rows * self.valid)}
        sizes = {"warm": rows - sum(sizes.values()), **sizes}

        def carve(units: Ints) -> list[dict[str, Ints]]:
            found = split(labels, units, sizes, derive_seed(seed, "split"))
            return [{name: found[name] if len(found[name]) else np.arange(rows) for name in sizes}]

        text = bounded(Text(), reading, texts)
        cutter = TextReader.cutter(reading, text)
        units, [places], _ = settled_by_reader(texts, None, cutter, text, carve)
        parts = {name: Part(tuple(texts[row] for row in own), labels[own], units[own]) for name, own in places.items()}
        hashes = {name: _hash(part) for name, part in parts.items()}
        return Dataset(tuple(map(str, range(len(self.classes_)))), parts, hashes, (), text), places


def _loaded(checkpoint: Mapping[str, bytes]) -> "Member":
    from sweepstack.models.tasks.classification.checkpoint import load_member

    with tempfile.TemporaryDirectory() as scratch:
        for name, content in checkpoint.items():
            (Path(scratch) / name).write_bytes(content)
        return load_member(Path(scratch))


def _hash(part: Part) -> str:
    rows = repr((part.inputs, part.labels.tolist()))
    return hashlib.sha256(rows.encode("utf-8", "surrogatepass")).hexdigest()[:16]
