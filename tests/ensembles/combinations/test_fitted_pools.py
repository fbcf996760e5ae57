"""Pools that were fitted: worked out by hand, stored and read again, and refused where they do not fit."""

import json
from typing import Any

import numpy as np
import pytest

from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.combinations.fitted_pools import GRID, Graph, LinearModel, NaiveBayes, Network, features
from sweepstack.ensembles.combinations.pools import LOGARITHMIC, Pool
from sweepstack.ensembles.combinations.registry import from_state as combination_from_state
from sweepstack.models.errors import BundleError
from sweepstack.models.predictions.probabilities import Floats

RANDOM = np.random.default_rng(0)
SAID: Floats = RANDOM.dirichlet(np.ones(3), (2, 5, 4)).astype(np.float32)
ALIKE: Floats = np.full(2, 0.5, np.float32)
ALL = np.arange(3)
LINEAR_MODEL = LinearModel(ALL, RANDOM.normal(size=(6, 3)).astype(np.float32), np.zeros(3, np.float32))
BAYES = NaiveBayes(ALL, RANDOM.normal(size=(3, 6)), np.ones((3, 6)), np.full(3, 1 / 3))
NETWORK = Network(
    RANDOM.normal(size=(2, 4)).astype(np.float32),
    np.ones(4, np.float32),
    RANDOM.normal(size=4).astype(np.float32),
    ALIKE,
)
every_pool = pytest.mark.parametrize("pool", [LINEAR_MODEL, BAYES, NETWORK], ids=lambda pool: pool.kind)


def test_features_are_a_members_classes_side_by_side_on_the_grid() -> None:
    found = features(SAID)
    assert found.shape == (20, 6)
    np.testing.assert_allclose(found[7, 3:], np.log(SAID[1, 1, 3]), atol=1 / GRID)
    np.testing.assert_array_equal(found * GRID, np.round(found * GRID))
    middles = (found[:, :1].astype(np.float64) + found[:, 1:].astype(np.float64)) / 2
    np.testing.assert_array_equal(middles.astype(np.float32).astype(np.float64), middles)


def test_a_linear_model_that_adds_the_members_up_is_the_logarithmic_pool() -> None:
    pool = LinearModel(ALL, np.vstack([np.eye(3), np.eye(3)]).astype(np.float32) / 2, np.zeros(3, np.float32))
    np.testing.assert_allclose(pool.mix(SAID, ALIKE), LOGARITHMIC.mix(SAID, ALIKE), atol=2e-4)


def test_a_network_whose_hidden_units_are_silent_is_the_logarithmic_pool() -> None:
    pool = Network(NETWORK.hidden_weight, NETWORK.hidden_bias, np.zeros(4, np.float32), ALIKE)
    np.testing.assert_allclose(pool.mix(SAID, ALIKE), LOGARITHMIC.mix(SAID, ALIKE), atol=1e-6)


def test_a_network_does_not_depend_on_the_order_of_the_classes() -> None:
    order = [2, 0, 1]
    np.testing.assert_allclose(NETWORK.mix(SAID[..., order], ALIKE), NETWORK.mix(SAID, ALIKE)[..., order], atol=1e-6)


def test_naive_bayes_by_hand() -> None:
    # One member, two classes, log-probabilities −1 of the first: densities e^0 and e^{−½}, priors 1 to 2.
    said: Floats = np.array([[[[np.exp(-1), 1 - np.exp(-1)]]]], np.float32)
    mean = np.array([[-1.0, 0.0], [-2.0, 0.0]])
    variance = np.array([[1.0, 1e9], [1.0, 1e9]])
    pool = NaiveBayes(np.arange(2), mean, variance, np.array([1 / 3, 2 / 3]))
    odds = np.exp(0.5) / 2
    np.testing.assert_allclose(
        pool.mix(said, np.ones(1, np.float32))[0, 0], [odds / (1 + odds), 1 / (1 + odds)], rtol=1e-3
    )


def test_classes_that_it_was_not_fitted_with_keep_what_the_members_give_them() -> None:
    weight = RANDOM.normal(size=(6, 2), scale=0.3).astype(np.float32)
    mixed = LinearModel(np.array([0, 2]), weight, np.zeros(2, np.float32)).mix(SAID, ALIKE)
    np.testing.assert_allclose(mixed[..., 1], SAID[..., 1].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(mixed.sum(axis=-1), 1, atol=1e-6)
    ratio = np.exp(features(SAID) @ (weight[:, 0] - weight[:, 1])).reshape(5, 4)
    np.testing.assert_allclose(mixed[..., 0] / mixed[..., 2], ratio, rtol=1e-3)


@every_pool
def test_it_survives_json_and_arrays_exactly(pool: Pool) -> None:
    pool.check(2, 3)
    state, arrays = Combination((3, 1), ALIKE, pool, temperature=0.7).state()
    again = combination_from_state(json.loads(json.dumps(state)), arrays)
    again.pool.check(2, 3)
    np.testing.assert_array_equal(again.pool.mix(SAID, ALIKE), pool.mix(SAID, ALIKE))
    assert pool.mix(SAID, ALIKE).dtype == np.float32


@every_pool
def test_it_is_refused_for_other_numbers(pool: Pool) -> None:
    with pytest.raises(ValueError, match="pool"):
        pool.check(3, 3)
    state, arrays = pool.state()
    name = "linear" if "linear" in arrays else list(arrays)[-1]
    broken: dict[str, Any] = {**arrays, name: arrays[name] * np.nan}
    with pytest.raises(ValueError, match="finite"):
        type(pool).from_state(state, broken).check(2, 3)
    with pytest.raises(KeyError):
        type(pool).from_state(state, {})


@pytest.mark.parametrize("classes", [[0, 1, 3], [0, 0, 1], [-1, 0, 1]])
def test_classes_that_there_are_not_are_refused(classes: list[int]) -> None:
    with pytest.raises(ValueError, match="places among 3"):
        LinearModel(np.array(classes), LINEAR_MODEL.weight, LINEAR_MODEL.bias).check(2, 3)


def test_bytes_that_are_no_graph_are_refused() -> None:
    pytest.importorskip("onnxruntime")
    pool = Graph(ALL, np.frombuffer(b"no graph at all", np.uint8), np.array([6]))
    with pytest.raises(ValueError, match="its ONNX graph cannot be opened"):
        pool.check(2, 3)


def test_a_graph_asks_for_the_package_that_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    pool = Graph(ALL, np.frombuffer(b"never opened", np.uint8), np.array([6]))
    with pytest.raises(BundleError, match=r"onnxruntime is not installed; pip install 'sweepstack\[onnx\]'"):
        pool.check(2, 3)
