"""Linear support vector machines with probabilities, for texts that are read whole: a path of strengths.

One machine a class against all others (liblinear's dual coordinate descent, Hsieh et al. 2008), as scikit-learn's
``LinearSVC``. On TF-IDF of whole texts with many classes they know rare classes better than logistic regression does,
and they are fitted in seconds. The softmax of their scores, times a factor from valid, gives probabilities; the answer
is that of the machines themselves.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_array, csr_matrix
from threadpoolctl import threadpool_limits

from sweepstack.models.baselines.logistic import log_loss, softmax
from sweepstack.models.predictions.probabilities import Floats, Ints

STRENGTHS = (1.0, 3.0, 10.0)  # C, from smooth to sharp; above it liblinear takes long and moves nothing
SMOOTHER = (0.3, 0.1)  # tried where the first is already the best
FACTORS = (-3.0, 5.0)  # ln of what scores are multiplied by
ABSENT = -30.0  # the score of a class that no row of the fit has


class Machine(NamedTuple):
    coef: Floats  # (terms, classes), with the factor in it
    intercept: Floats  # (classes,)
    strength: float
    factor: float
    loss: float  # on valid


def fit_machines(
    matrix: csr_array,
    labels: Ints,
    classes: int,
    valid: csr_array,
    valid_labels: Ints,
    found: tuple[float, float] | None = None,
) -> Machine:
    """The machines with the least log loss on valid; or those of the strength and the factor that were ``found``.

    matrix: (rows, terms); two classes at least must have rows.
    """
    narrow = _narrow(matrix)

    def fitted(strength: float) -> Machine:
        coef, intercept = _machines(narrow, labels, classes, strength)
        scores = np.asarray(valid @ coef) + intercept

        def loss(log_factor: float) -> float:
            return log_loss(softmax(np.exp(log_factor) * scores), valid_labels)

        log_factor = np.log(found[1]) if found else minimize_scalar(loss, bounds=FACTORS, method="bounded").x
        factor = np.float32(np.exp(log_factor))
        return Machine(coef * factor, intercept * factor, strength, float(factor), loss(float(np.log(factor))))

    best = fitted(STRENGTHS[0] if found is None else found[0])
    for path in () if found is not None else (STRENGTHS[1:], SMOOTHER):
        for strength in path:
            another = fitted(strength)
            if another.loss >= best.loss:
                break
            best = another
        if best.strength > STRENGTHS[0]:
            break
    return best


def _machines(matrix: Any, labels: Ints, classes: int, strength: float) -> tuple[Floats, Floats]:
    from sklearn.exceptions import ConvergenceWarning  # brings all of scikit-learn
    from sklearn.svm import LinearSVC

    with warnings.catch_warnings(), threadpool_limits(limits=1, user_api="blas"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # what it has found by then is measured on valid
        model = LinearSVC(C=strength, random_state=0).fit(matrix, labels)
    own, offset = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
    if len(model.classes_) == 2:  # one machine for both
        own, offset = np.concatenate([-own, own]), np.concatenate([-offset, offset])
    coef = np.zeros((matrix.shape[1], classes), dtype=np.float32)
    intercept = np.full(classes, ABSENT, dtype=np.float32)
    coef[:, model.classes_], intercept[model.classes_] = own.T, offset
    return coef, intercept


def _narrow(matrix: csr_array) -> csr_matrix:
    """The same with the 32-bit indices that liblinear wants."""
    arrays = matrix.data, matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    return csr_matrix(arrays, shape=matrix.shape)
