"""Cheap text classifiers that err differently from policies and from the linear baseline: members of their own kind.

naive_bayes  multinomial naive Bayes on the baseline's TF-IDF (McCallum & Nigam 1998; Rennie et al. 2003)
char_linear  logistic regression on two to five neighbouring characters: stems, endings and misspellings; support
             vector machines where texts are read whole, in a tenth of the time

Both are linear in their features, so each is a LinearMember, fitted on every prefix of the warm and policy rows like
the baseline. Naive Bayes takes words for independent and is far too sure, all the more the longer a text is. Rows of
unit length help against the length; how much its scores count beside the classes' shares is fitted on valid.
``found`` is what an earlier fit has chosen there; with it only the threshold is.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.optimize import minimize_scalar
from threadpoolctl import threadpool_limits

from sweepstack.models.baselines.character_tfidf import CharacterTfidf
from sweepstack.models.baselines.linear import Found, LinearMember, cutter, fitted_rows
from sweepstack.models.baselines.logistic import fit_path, log_loss, sharper, smoother, softmax
from sweepstack.models.baselines.support_vectors import fit_machines
from sweepstack.models.baselines.tfidf import PrefixTfidf
from sweepstack.models.data.labelled import Dataset
from sweepstack.models.settings.trial import Reading

SMOOTHING = (0.1, 0.3)  # added to every term's weight in every class; on by decades to the best on valid
SCALES = (-6.0, 3.0)  # ln of the scores' scale, from nothing to 20: a loss that still falls there has no optimum
CHARACTER_STRENGTHS = (10.0,)  # C, on by decades
CHARACTER_STEPS = 40


def fit_naive_bayes(dataset: Dataset, reading: Reading | Literal["off"], found: Found | None = None) -> LinearMember:
    from sklearn.naive_bayes import MultinomialNB  # brings all of scikit-learn

    texts, labels = fitted_rows(dataset)
    features, matrix, n_segments = PrefixTfidf.fit_transform(texts, cutter(dataset, reading))
    valid = dataset.parts["valid"]
    valid_matrix, valid_segments = features.transform(valid.inputs)
    valid_labels = np.repeat(valid.labels, valid_segments)

    def fitted(alpha: float) -> tuple[float, float, float, np.ndarray, np.ndarray]:
        model = MultinomialNB(alpha=alpha)
        model.partial_fit(matrix, np.repeat(labels, n_segments), classes=np.arange(len(dataset.classes)))
        coef, prior = model.feature_log_prob_.T, model.class_log_prior_
        scores = valid_matrix @ coef

        def loss(log_scale: float) -> float:
            return log_loss(softmax(np.exp(log_scale) * scores + prior), valid_labels)

        log_scale = float(minimize_scalar(loss, bounds=SCALES, method="bounded").x)
        if found is not None:
            log_scale = found["log_scale"]
        return loss(log_scale), alpha, log_scale, np.exp(log_scale) * coef, prior

    best = fitted(SMOOTHING[0] if found is None else found["smoothing"])
    for path in () if found is not None else (sharper(SMOOTHING), smoother(SMOOTHING)):
        for alpha in path:
            another = fitted(alpha)
            if another[0] >= best[0]:
                break
            best = another
        if best[1] > SMOOTHING[0]:
            break
    _, alpha, log_scale, coef, prior = best
    chosen = {"smoothing": alpha, "log_scale": log_scale}
    return LinearMember.answering(dataset, reading, features, coef.astype(np.float32), prior.astype(np.float32), chosen)


def fit_char_linear(dataset: Dataset, reading: Reading | Literal["off"], found: Found | None = None) -> LinearMember:
    texts, labels = fitted_rows(dataset)
    features = CharacterTfidf.fit(texts, cutter(dataset, reading))
    design = features.design(texts)
    valid = features.design(dataset.parts["valid"].inputs)
    if reading == "off" and len(np.unique(labels)) > 1:
        machine = fit_machines(
            design.rows(),
            labels,
            len(dataset.classes),
            valid.rows(),
            dataset.parts["valid"].labels,
            None if found is None else (found["strength"], found["factor"]),
        )
        chosen = {"strength": machine.strength, "factor": machine.factor}
        return LinearMember.answering(dataset, reading, features, machine.coef, machine.intercept, chosen)
    prefixes = int(design.n_segments.sum())
    targets = np.eye(len(dataset.classes), dtype=np.float32)[np.repeat(labels, design.n_segments)] / prefixes
    with threadpool_limits(limits=1, user_api="blas"):
        coef, intercept, strength = fit_path(
            design,
            targets.astype(np.float32),
            prefixes,
            valid,
            np.repeat(dataset.parts["valid"].labels, valid.n_segments),
            len(features.terms),
            CHARACTER_STRENGTHS,
            CHARACTER_STEPS,
            found=None if found is None else found["strength"],
        )
    return LinearMember.answering(dataset, reading, features, coef, intercept, {"strength": strength})


PIPELINES: dict[str, Callable[[Dataset, Reading | Literal["off"], Found | None], LinearMember]] = {
    "naive_bayes": fit_naive_bayes,
    "char_linear": fit_char_linear,
}
