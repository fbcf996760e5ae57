"""L-BFGS in float32 for smooth convex functions (Nocedal & Wright 2006, algorithms 7.4 and 7.5).

SciPy's works in float64, keeps ten pairs of steps and copies its vectors: on millions of weights it spends most of its
time on memory, and a step takes three times as long.
"""

from collections.abc import Callable

import numpy as np

from sweepstack.models.predictions.probabilities import Floats

MEMORY = 6  # pairs of steps that the curvature is estimated from
TOLERANCE = 1e-7  # of the loss, absolute below 1: a step that gains less is the last one
SUFFICIENT = 1e-4  # share of the decrease that the slope promises which a step must bring
HALVINGS = 20  # of a step that does not

Objective = Callable[[Floats], tuple[float, Floats]]  # weights of any shape to the loss and a gradient of its own


def minimized(objective: Objective, weights: Floats, steps: int) -> Floats:
    """The weights after at most ``steps`` steps from ``weights``, which never raise the loss."""
    loss, gradient = objective(weights)
    pairs: list[tuple[Floats, Floats, float]] = []  # the last steps s, changes of the gradient y, and 1 / s·y
    for _ in range(steps):
        direction = _direction(gradient, pairs)
        slope = float(np.vdot(gradient, direction))
        if slope >= 0:  # nothing left but rounding
            break
        step = 1.0
        for _ in range(HALVINGS):
            there = weights + np.float32(step) * direction
            new_loss, new_gradient = objective(there)
            if new_loss <= loss + SUFFICIENT * step * slope:
                break
            step /= 2
        else:
            break
        moved, change = there - weights, new_gradient - gradient
        curvature = float(np.vdot(moved, change))
        if curvature > 1e-12 * float(np.vdot(change, change)):
            pairs = [*pairs, (moved, change, 1 / curvature)][-MEMORY:]
        gained = loss - new_loss
        weights, loss, gradient = there, new_loss, new_gradient
        if gained <= TOLERANCE * max(1.0, abs(loss)):
            break
    return weights


def _direction(gradient: Floats, pairs: list[tuple[Floats, Floats, float]]) -> Floats:
    """−H·gradient, H being the inverse Hessian as the pairs tell it; at first a step of length 1 at most."""
    direction = -gradient
    taken = []
    for moved, change, inverse in reversed(pairs):
        taken.append(inverse * float(np.vdot(moved, direction)))
        direction -= np.float32(taken[-1]) * change
    if pairs:
        _, change, inverse = pairs[-1]
        direction *= np.float32(1 / (inverse * float(np.vdot(change, change))))
    else:
        direction *= np.float32(min(1.0, 1 / max(1e-30, float(np.vdot(gradient, gradient))) ** 0.5))
    for (moved, change, inverse), alpha in zip(pairs, reversed(taken), strict=True):
        direction += np.float32(alpha - inverse * float(np.vdot(change, direction))) * moved
    return direction
