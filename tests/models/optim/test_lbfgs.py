import numpy as np
import pytest

from sweepstack.models.optim.lbfgs import minimized
from sweepstack.models.predictions.probabilities import Floats


def test_it_finds_the_minimum_of_a_quadratic() -> None:
    """½ xᵀAx − bᵀx has its minimum at A⁻¹b, here (1, 2, −1) with condition number 100."""
    a = np.diag([100.0, 10.0, 1.0]).astype(np.float32)
    b = (a @ np.array([1.0, 2.0, -1.0], dtype=np.float32)).astype(np.float32)

    def objective(x: Floats) -> tuple[float, Floats]:
        return float(0.5 * x @ a @ x - b @ x), (a @ x - b).astype(np.float32)

    got = minimized(objective, np.zeros(3, dtype=np.float32), 100)
    assert got.dtype == np.float32
    assert got == pytest.approx([1, 2, -1], abs=5e-3)


def test_no_step_raises_the_loss() -> None:
    """Also where the first step would go far beyond the minimum: Σ cosh(20 x)."""
    losses: list[float] = []

    def objective(x: Floats) -> tuple[float, Floats]:
        return float(np.cosh(20 * x).sum()), (20 * np.sinh(20 * x)).astype(np.float32)

    start = np.array([0.5, -0.3, 0.1], dtype=np.float32)
    for steps in range(25):
        losses.append(objective(minimized(objective, start, steps))[0])
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 1e4
    assert losses[-1] == pytest.approx(3, abs=1e-2)  # cosh(0), three times


def test_it_stays_at_a_minimum() -> None:
    at = np.ones((2, 2), dtype=np.float32)
    assert minimized(lambda x: (float(((x - 1) ** 2).sum()), 2 * (x - 1)), at, 5) is at
