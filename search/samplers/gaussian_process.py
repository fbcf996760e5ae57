"""A Gaussian process over points of a space: Matérn 5/2, with a length scale of its own for every axis.

    k(x, x') = (1 + √5 r + 5/3 r²) exp(−√5 r),   r² = Σ_j (x_j − x'_j)² / l_axis(j)²,   plus noise at each point

The columns of one choice share a length. Lengths and noise are where the posterior density is highest: an axis that
does not matter gets a long length. The prior of a length grows with the number of axes (Hvarfner et al. 2024, arXiv
2402.02229), so that the model does not take few points for unrelated ones. The search for the highest density begins
at fixed places, so a model is a function of its points.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

Vector = npt.NDArray[np.float64]
Groups = npt.NDArray[np.int64]

LENGTHS = (0.02, 10.0)  # bounds; with a longer one an axis is taken to be of no use at all, and never looked along
NOISES = (1e-6, 1.0)  # bounds, in variances of the values
LENGTH_SIGMA = 3**0.5  # of the logarithm
NOISE, NOISE_SIGMA = 1e-3, 1.5
STARTS = (1.0, 0.2, 0.05)  # of the usual lengths: where the search for the highest density begins
STEPS = 40  # of each search
LEAST = 1e-12  # of a variance


@dataclass(frozen=True)
class GaussianProcess:
    """Fitted; see :func:`fit`."""

    points: Vector  # (n, width)
    lengths: Vector  # (width,), of each column
    noise: float
    mean: float
    scale: float  # of the values
    factor: Vector  # (n, n): lower Cholesky factor
    weights: Vector  # (n,)

    def predict(self, points: Vector) -> tuple[Vector, Vector]:
        """Means and standard deviations at (m, width) points, noise not included: (m,) each."""
        covariance = _matern(cdist(points / self.lengths, self.points / self.lengths))
        spread = solve_triangular(self.factor, covariance.T, lower=True, check_finite=False)
        variance = np.maximum(1.0 - (spread**2).sum(0), LEAST)
        return self.mean + self.scale * (covariance @ self.weights), self.scale * np.sqrt(variance)


def fit(points: Vector, values: Vector, axes: Groups) -> GaussianProcess:
    """To ``values`` (n,) at ``points`` (n, width); ``axes`` (width,) says of which axis a column is, from 0."""
    n, count = len(values), int(axes.max()) + 1
    mean, scale = float(values.mean()), float(values.std())
    scale = scale if scale > 0 else 1.0
    y = (values - mean) / scale
    usual = 0.5 * np.log(count) + 2**0.5  # of the logarithm of a length
    centre = np.array([*[usual] * count, np.log(NOISE)])
    sigma = np.array([*[LENGTH_SIGMA] * count, NOISE_SIGMA])

    def objective(theta: Vector) -> tuple[float, Vector]:
        """Of the logarithms of lengths and noise: minus the logarithm of the density, and its gradient."""
        lengths, noise = np.exp(theta[:-1])[axes], float(np.exp(theta[-1]))
        scaled = points / lengths
        distance = cdist(scaled, scaled)
        decay = np.exp(-(5**0.5) * distance)
        covariance = (1 + 5**0.5 * distance + 5 / 3 * distance**2) * decay
        covariance[np.diag_indices(n)] += noise
        factor = cholesky(covariance, lower=True, check_finite=False)
        inverse = cho_solve((factor, True), np.eye(n), check_finite=False)
        weights = inverse @ y
        outer = np.outer(weights, weights) - inverse
        slope = outer * (5 / 3 * (1 + 5**0.5 * distance) * decay)  # times (x_j − x'_j)² / l_j²: by log l_j
        by_column = 2 * (scaled**2 * slope.sum(1)[:, None] - scaled * (slope @ scaled)).sum(0)
        gradient = -0.5 * np.append(np.bincount(axes, by_column, count), noise * np.trace(outer))
        away = (theta - centre) / sigma
        value = 0.5 * y @ weights + np.log(np.diag(factor)).sum() + 0.5 * away @ away
        return float(value), gradient + away / sigma

    bounds = [*[tuple(np.log(LENGTHS))] * count, tuple(np.log(NOISES))]
    found = []
    for share in STARTS:
        begin = np.array([*[usual + np.log(share)] * count, np.log(NOISE)])
        begin = np.clip(begin, *np.array(bounds).T)
        found.append(minimize(objective, begin, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS}))
    theta = min(found, key=lambda each: float(each.fun)).x
    lengths, noise = np.exp(theta[:-1])[axes], float(np.exp(theta[-1]))
    covariance = _matern(cdist(points / lengths, points / lengths)) + noise * np.eye(n)
    factor = cholesky(covariance, lower=True, check_finite=False)
    return GaussianProcess(
        points, lengths, noise, mean, scale, factor, cho_solve((factor, True), y, check_finite=False)
    )


def compressed(values: Vector) -> Vector:
    """``values`` (n,), more is better, with what lies below their median drawn together by a logarithm: a model has to
    tell the good ones apart, and a trial that diverged may be worse by any factor.

    m − s log(1 + (m − v) / s) with m the median and s what the best is above it.
    """
    median = float(np.median(values))
    spread = float(values.max()) - median
    if spread <= 0:
        return values
    below = np.maximum(median - values, 0.0)
    return np.where(values < median, median - spread * np.log1p(below / spread), values)


def _matern(distance: Vector) -> Vector:
    return np.asarray((1 + 5**0.5 * distance + 5 / 3 * distance**2) * np.exp(-(5**0.5) * distance))
