import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.combinations.pools import LINEAR, LOGARITHMIC, VOTE, Pool
from sweepstack.ensembles.combinations.stop import Stop


def test_weights_average_probabilities_and_answers_by_hand() -> None:
    probabilities = np.array([[[[0.8, 0.2]]], [[[0.4, 0.6]]]], np.float32)  # two members, one row, one segment
    answer = np.array([[[1.0]], [[0.2]]], np.float32)
    mixed, answered = Combination((0, 1), np.array([0.75, 0.25], np.float32)).mix(probabilities, answer)
    np.testing.assert_allclose(mixed, [[[0.7, 0.3]]], rtol=1e-6)
    np.testing.assert_allclose(answered, [[0.8]], rtol=1e-6)


def test_predict_takes_its_members_out_of_the_library(synthetic: SimpleNamespace) -> None:
    stack, _ = synthetic.stack([1.0, 2.0, 3.0], rows=10)
    predicted = Combination((2, 0), np.array([0.5, 0.5], np.float32)).predict(stack)
    np.testing.assert_allclose(
        predicted.probabilities, (stack.probabilities[2] + stack.probabilities[0]) / 2, rtol=1e-6
    )


def test_the_temperature_comes_after_the_pool_by_hand() -> None:
    probabilities = np.array([[[[0.8, 0.2]]], [[[0.6, 0.4]]]], np.float32)  # .7 and .3 on average
    combination = Combination((0, 1), np.array([0.5, 0.5], np.float32), temperature=0.5)
    mixed, _ = combination.mix(probabilities, np.ones((2, 1, 1), np.float32))
    np.testing.assert_allclose(mixed, [[[0.49 / 0.58, 0.09 / 0.58]]], rtol=1e-5)


@pytest.mark.parametrize("pool", [LINEAR, LOGARITHMIC, VOTE])
def test_state_survives_json_exactly(pool: Pool) -> None:
    random = np.random.default_rng(0)
    combination = Combination((4, 7), np.array([1 / 3, 2 / 3], np.float32), pool, Stop(0.1 + 0.2), 0.7 + 0.1)
    state, arrays = combination.state()
    again = Combination.from_state(json.loads(json.dumps(state)), arrays)
    assert (again.members, again.pool) == (combination.members, combination.pool)
    assert (again.stop, again.temperature) == (combination.stop, combination.temperature)
    probabilities = random.dirichlet(np.ones(3), (2, 5, 4)).astype(np.float32)
    for one, other in zip(
        combination.mix(probabilities, probabilities[..., 0]),
        again.mix(probabilities, probabilities[..., 0]),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_a_state_of_before_the_fitted_pools_still_loads() -> None:
    state, arrays = Combination((0,), np.ones(1, np.float32), LOGARITHMIC).state()
    del state["fitted"]
    assert Combination.from_state(state, arrays).pool == LOGARITHMIC


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pool": "cascade"}, "pool must be one of linear, logarithmic, vote, .*, but got 'cascade'"),
        ({"temperature": -1242}, "temperature must be a number above 0, but got -1242"),
        ({"temperature": float("nan")}, "temperature must be a number above 0, but got nan"),
        ({"members": [0, 1]}, "2 members need as many weights, but got 1"),
    ],
)
def test_a_state_that_is_none_is_refused(change: dict[str, Any], message: str) -> None:
    state, arrays = Combination((0,), np.ones(1, np.float32)).state()
    with pytest.raises(ValueError, match=message):
        Combination.from_state(state | change, arrays)


def test_answering_as_another_keeps_the_members_and_takes_its_temperature_and_stop() -> None:
    one = Combination((0, 2), np.float32([0.25, 0.75]), LOGARITHMIC, Stop(0.9), 0.7)
    other = Combination((1,), np.float32([1]), VOTE, Stop(0.8), 1.3)
    found = one.answering_as(other)
    assert (found.members, found.pool, found.stop, found.temperature) == ((0, 2), LOGARITHMIC, Stop(0.8), 1.3)
    assert found.weights.tolist() == [0.25, 0.75]
