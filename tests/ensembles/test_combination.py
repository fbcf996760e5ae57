import json
from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.combination import Combination, LinearMeta, centred_logs
from sweepstack.ensembles.stop import Stop


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


def test_the_identity_as_meta_learner_is_the_member_itself(synthetic: SimpleNamespace) -> None:
    stack, _ = synthetic.stack([2.0], rows=10)
    meta = LinearMeta(np.eye(4, dtype=np.float32)[None], np.zeros(4, np.float32), np.ones(4, np.bool_), 1.0)
    mixed = meta.mix(stack.probabilities, stack.probabilities[0])
    np.testing.assert_allclose(mixed, stack.probabilities[0], atol=1e-6)


def test_a_class_that_the_meta_learner_never_saw_keeps_its_averaged_probability() -> None:
    averaged = np.array([[[0.5, 0.3, 0.2]]], np.float32)
    seen = np.array([True, True, False])
    meta = LinearMeta(np.zeros((1, 3, 3), np.float32), np.zeros(3, np.float32), seen, 1.0)
    np.testing.assert_allclose(meta.mix(averaged[None], averaged), [[[0.4, 0.4, 0.2]]], rtol=1e-6)


def test_a_zero_probability_does_not_decide_alone() -> None:
    logs = centred_logs(np.array([[1.0, 0.0]], np.float32))
    assert np.isfinite(logs).all()
    assert logs.sum() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("with_meta", [False, True])
def test_state_survives_json_exactly(with_meta: bool) -> None:
    random = np.random.default_rng(0)
    weights = np.array([1 / 3, 2 / 3], np.float32)
    coef, intercept = random.normal(size=(2, 3, 3)), random.normal(size=3)
    seen = np.array([True, False, True])
    meta = LinearMeta(coef.astype(np.float32), intercept.astype(np.float32), seen, 0.5) if with_meta else None
    combination = Combination((4, 7), weights, meta, Stop(0.1 + 0.2))
    state, arrays = combination.state()
    again = Combination.from_state(json.loads(json.dumps(state)), arrays)
    assert (again.members, again.stop) == (combination.members, combination.stop)
    probabilities = random.dirichlet(np.ones(3), (2, 5, 4)).astype(np.float32)
    for one, other in zip(
        combination.mix(probabilities, probabilities[..., 0]),
        again.mix(probabilities, probabilities[..., 0]),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_a_state_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="average or linear_meta, but got 'cascade'"):
        Combination.from_state({"kind": "cascade"}, {})
    state = {"kind": "average", "members": [0, 1], "stop": {"threshold": None}}
    with pytest.raises(ValueError, match="2 members need as many weights, but got 1"):
        Combination.from_state(state, {"weights": np.ones(1, np.float32)})
