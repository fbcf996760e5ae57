"""The model of bayes and of cost-aware search: a length for every axis, and a function of its points alone."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel

from sweepstack.search.samplers.gaussian_process import LENGTHS, compressed, fit


def wave(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fast along the first axis, slow along the second, and of the third nothing."""
    return np.sin(7 * points[:, 0]) + 0.5 * points[:, 1]


@pytest.fixture
def points() -> NDArray[np.float64]:
    return np.random.default_rng(0).random((60, 3))


def test_every_axis_has_its_length(points: NDArray[np.float64]) -> None:
    model = fit(points, wave(points), np.arange(3))
    first, second, third = model.lengths
    assert first < 1 < second < third
    assert third == pytest.approx(LENGTHS[1], rel=0.2)
    elsewhere = np.random.default_rng(1).random((200, 3))
    mean, deviation = model.predict(elsewhere)
    assert np.sqrt(((mean - wave(elsewhere)) ** 2).mean()) < 0.03
    assert np.corrcoef(abs(mean - wave(elsewhere)), deviation)[0, 1] > 0.2


def test_it_predicts_as_another_library_with_the_same_lengths(points: NDArray[np.float64]) -> None:
    values = wave(points)
    ours = fit(points, values, np.arange(3))
    kernel = Matern(ours.lengths, nu=2.5) + WhiteKernel(ours.noise)
    theirs = GaussianProcessRegressor(kernel, optimizer=None, normalize_y=True).fit(points, values)
    elsewhere = np.random.default_rng(1).random((50, 3))
    mean, deviation = theirs.predict(elsewhere, return_std=True)
    got, spread = ours.predict(elsewhere)
    np.testing.assert_allclose(got, mean, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(spread**2 + ours.noise * values.var(), deviation**2, rtol=1e-4, atol=1e-8)


def test_the_columns_of_a_choice_share_a_length(points: NDArray[np.float64]) -> None:
    chosen = np.eye(3)[np.random.default_rng(2).integers(3, size=60)]
    both = np.hstack([points[:, :1], chosen])
    model = fit(both, wave(points) + chosen @ [0.0, 1.0, 2.0], np.array([0, 1, 1, 1]))
    assert len(set(model.lengths[1:])) == 1
    assert model.lengths[0] != model.lengths[1]


@pytest.mark.parametrize("values", [[1.0] * 5, [1.0, 2.0, 1.0, 2.0, 1.5]])
def test_equal_values_and_points_that_are_there_twice_are_no_trouble(values: list[float]) -> None:
    model = fit(np.array([[0.5], [0.5], [0.5], [0.5], [0.1]]), np.array(values), np.zeros(1, dtype=np.int64))
    mean, deviation = model.predict(np.array([[0.5], [0.9]]))
    assert np.isfinite([*mean, *deviation]).all()
    assert mean[0] == pytest.approx(np.mean(values[:4]), abs=0.1)


def test_bad_values_are_drawn_together_and_good_ones_stay() -> None:
    """Median 0 and best 2: −2 comes to −2 log 2, and a thousand times as far to not seven times that."""
    got = compressed(np.array([-2.0, 0.0, 2.0, 1.0, -2000.0]))
    np.testing.assert_allclose(got, [-2 * math.log(2), 0.0, 2.0, 1.0, -2 * math.log(1001)])
    assert compressed(np.array([1.0, 1.0, 0.0])).tolist() == [1.0, 1.0, 0.0]
