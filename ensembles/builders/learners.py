"""Meta-learners of stacking: a classifier of scikit-learn, fitted on the members' log-probabilities, kept as a pool.

Linear ones and naive Bayes become arrays. Any other classifier of scikit-learn becomes an ONNX graph, which must say
what the classifier says. What cannot be converted is refused when the study is read, by converting one that was fitted
on a few made-up rows; nothing is ever pickled.
"""

import importlib
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.combinations.fitted_pools import EXTRA, Fitted, Graph, LinearModel, NaiveBayes, features
from sweepstack.models.errors import TrainingError
from sweepstack.models.predictions.probabilities import Floats, Ints

Fit = Callable[[Floats, Ints, NDArray[np.float64]], Fitted]
"""(members, examples, classes), labels (examples,), weights (examples,) → the pool."""

CLASS = re.compile(r"sklearn(\.[a-z_]+)+:[A-Z][A-Za-z]*")
EXAMPLE = "sklearn.ensemble:RandomForestClassifier"
TOLERANCE = 1e-5  # of a probability: what a graph may differ from its classifier
SEED = 0


def check(learner: str) -> None:
    """Raises ValueError, in a line, where ``learner`` cannot be used here."""
    if learner in ARRAYS:
        return
    if not CLASS.fullmatch(learner):
        near = get_close_matches(learner, ARRAYS, n=1, cutoff=0.6)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"learner must be log_odds, {', '.join(ARRAYS)} or a classifier of scikit-learn such as {EXAMPLE}, "
            f"but got {learner!r}{meant}"
        )
    if missing := [name for name in ("skl2onnx", "onnxruntime") if find_spec(name) is None]:
        raise ValueError(
            f"{learner} can be kept in a bundle only as an ONNX graph, and {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not installed; {EXTRA}, or use {', '.join(ARRAYS)}"
        )
    _try(learner)


def fit(learner: str, c: float, convert: bool = True) -> Fit:
    """How ``learner`` is fitted. ``c``: inverse strength of the penalty, of those that have one. ``convert``: as a
    bundle can hold it; else as it is, which is faster and says the same.

    What it returns raises TrainingError where a graph would not say what its classifier says.
    """

    def fitted(probabilities: Floats, labels: Ints, weight: NDArray[np.float64]) -> Fitted:
        inputs = features(probabilities)
        estimator = _estimator(learner, c)
        _train(estimator, inputs, labels, weight)
        if learner in ARRAYS:
            return ARRAYS[learner][1](estimator)
        return _graph(learner, estimator, inputs) if convert else _AsItIs(estimator.classes_, estimator)

    return fitted


def _estimator(learner: str, c: float) -> Any:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import LogisticRegression, RidgeClassifier
    from sklearn.naive_bayes import GaussianNB

    match learner:
        case "logistic":
            return LogisticRegression(C=c, max_iter=1000)
        case "ridge":
            return RidgeClassifier(alpha=1 / c)
        case "lda":
            return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        case "naive_bayes":
            return GaussianNB(var_smoothing=1e-3)
    module, _, name = learner.partition(":")
    estimator = getattr(importlib.import_module(module), name)()
    return estimator.set_params(random_state=SEED) if "random_state" in estimator.get_params() else estimator


def _train(estimator: Any, inputs: Floats, labels: Ints, weight: NDArray[np.float64]) -> None:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils.validation import has_fit_parameter
    from threadpoolctl import threadpool_limits

    weighted = {"sample_weight": weight} if has_fit_parameter(estimator, "sample_weight") else {}
    with threadpool_limits(limits=1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # as good as it got; blend says how good that is
        estimator.fit(inputs, labels, **weighted)


def _linear(estimator: Any) -> Fitted:
    """softmax(x·W + b); of two classes scikit-learn keeps the one score s, and softmax(−s/2, s/2) is its sigmoid."""
    weight, bias = np.atleast_2d(estimator.coef_).T, np.atleast_1d(estimator.intercept_)
    if weight.shape[1] == 1:
        weight, bias = np.hstack([-weight, weight]) / 2, np.hstack([-bias, bias]) / 2
    return LinearModel(_classes(estimator), weight.astype(np.float32), bias.astype(np.float32))


def _bayes(estimator: Any) -> Fitted:
    return NaiveBayes(_classes(estimator), estimator.theta_, estimator.var_, estimator.class_prior_)


ARRAYS: dict[str, tuple[str, Callable[[Any], Fitted]]] = {
    "logistic": ("multinomial logistic regression", _linear),
    "naive_bayes": ("Gaussian naive Bayes", _bayes),
    "ridge": ("least squares on ±1, whose scores a temperature makes probabilities", _linear),
    "lda": ("linear discriminant analysis with shrinkage", _linear),
}
"""What needs no package more, and what it is."""


@dataclass(frozen=True, eq=False)
class _AsItIs(Fitted):
    """A classifier of scikit-learn in this process alone."""

    kind: ClassVar[str] = "scikit-learn"
    estimator: Any

    @property
    def width(self) -> int:
        return int(self.estimator.n_features_in_)

    def known(self, features: Floats) -> Floats:
        return np.asarray(self.estimator.predict_proba(features), dtype=np.float32)


def _classes(estimator: Any) -> Ints:
    return np.asarray(estimator.classes_, dtype=np.int64)


def _graph(learner: str, estimator: Any, inputs: Floats) -> Graph:
    """``inputs`` (rows, features): where the graph must agree with the classifier."""
    from skl2onnx import to_onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that will change, which is no concern of who runs a study
        model = to_onnx(estimator, inputs[:1], options={id(estimator): {"zipmap": False}})
    graph = np.frombuffer(model.SerializeToString(), dtype=np.uint8)
    pool = Graph(_classes(estimator), graph, np.array([inputs.shape[1]], dtype=np.int64))
    off = float(np.abs(pool.known(inputs) - estimator.predict_proba(inputs)).max())
    if not off <= TOLERANCE:
        raise TrainingError(
            f"stacking's learner {learner} and its ONNX graph differ in their probabilities by up to {off:.2g}, "
            f"more than {TOLERANCE:g}; use another learner"
        )
    return pool


@lru_cache
def _try(learner: str) -> None:
    from sklearn.base import is_classifier

    module, _, name = learner.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{learner} is not in the installed scikit-learn ({error}); name a class such as {EXAMPLE}"
        ) from error
    if not isinstance(found, type) or not hasattr(found, "fit") or not _is_classifier(found, is_classifier):
        raise ValueError(f"{learner} is no classifier that says probabilities; name one such as {EXAMPLE}")
    random = np.random.default_rng(SEED)
    labels = np.arange(60) % 3
    odds = np.exp(2 * np.eye(3)[labels] + random.normal(size=(2, 60, 3)))
    probabilities = (odds / odds.sum(axis=2, keepdims=True)).astype(np.float32)
    try:
        fit(learner, 1.0)(probabilities, labels, np.ones(60))
    except Exception as error:  # whatever scikit-learn, skl2onnx and onnxruntime raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{learner} cannot be a meta-learner: {reason[:300]}; name another, such as {EXAMPLE}"
        ) from error


def _is_classifier(found: type, is_classifier: Callable[[Any], bool]) -> bool:
    try:
        estimator = found()
        return is_classifier(estimator) and hasattr(estimator, "predict_proba")
    except TypeError as error:  # it needs arguments
        raise ValueError(
            f"{found.__name__} cannot be made without arguments; name another, such as {EXAMPLE}"
        ) from error
