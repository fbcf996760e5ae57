import json

import numpy as np
import pytest

from sweepstack.ensembles.combinations.read_head import FEATURES, HIDDEN, SHAPES, ReadHead, features, read_logits
from sweepstack.ensembles.combinations.stop import AVERAGED, Stop
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions

NOTHING = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}


def made(rows: int = 40, segments: int = 4, classes: int = 3, seed: int = 0) -> Predictions:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(classes), (rows, segments)).astype(np.float32)
    n_segments = random.integers(1, segments + 1, rows)
    answer = random.random((rows, segments)).astype(np.float32)
    return Predictions(
        probabilities,
        np.where(np.arange(segments) >= n_segments[:, None] - 1, 1, answer).astype(np.float32),
        n_segments,
    )


@pytest.mark.parametrize("stop", [AVERAGED, Stop(0.7)], ids=str)
def test_an_untrained_head_answers_where_the_stop_that_it_corrects_does(stop: Stop) -> None:
    said = made()
    before = stop.apply(said.probabilities, said.answer, said.n_segments)
    after = ReadHead.of(NOTHING, 4).correct(before, said.answer, Costs())
    np.testing.assert_array_equal(after.stops(), before.stops())
    assert after.probabilities is said.probabilities


@pytest.mark.parametrize(("bias", "expected"), [(100.0, 3), (-100.0, 0)], ids=["reads everything", "answers at once"])
def test_a_large_bias_decides_alone(bias: float, expected: int) -> None:
    said = made()
    head = ReadHead.of(NOTHING | {"out_bias": np.float32([bias])}, 4)
    stops = head.correct(said, said.answer, Costs()).stops()
    np.testing.assert_array_equal(stops, np.minimum(said.n_segments - 1, expected))


def test_features_by_hand() -> None:
    probabilities = np.float32([[[0.5, 0.3, 0.2], [0.8, 0.1, 0.1]]])
    seen = features(
        Predictions(probabilities, np.ones((1, 2), np.float32), np.array([2])), np.float32([[0.1, 1]]), Costs(), 4
    )
    assert seen.shape == (1, 2, FEATURES)
    entropy = -(0.5 * np.log(0.5) + 0.3 * np.log(0.3) + 0.2 * np.log(0.2)), -(0.8 * np.log(0.8) + 0.2 * np.log(0.1))
    np.testing.assert_allclose(
        seen[0],
        [[0, 0, 0.2, entropy[0], 0, 0.1], [np.log(4) / 4, np.log(4) / 4, 0.7, entropy[1], 0.25, 1]],
        atol=1e-6,
    )


def test_read_logits_by_hand() -> None:
    said = Predictions(np.float32([[[0.8, 0.2]] * 3]), np.float32([[0.4], [0.01], [1]]), np.array([1, 1, 1]))
    np.testing.assert_allclose(read_logits(said)[:, 0], [2 * np.log(0.6 / 0.4), 2, -2], rtol=1e-5)


def test_how_a_chunk_is_padded_changes_nothing() -> None:
    """Texts that are read alone have fewer segments than the longest that it was learned on."""
    random = np.random.default_rng(1)
    head = ReadHead.of({name: random.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}, 4)
    said = made()
    whole = head.correct(said, said.answer, Costs())
    short = said.n_segments <= 2
    cut = Predictions(said.probabilities[short, :2], said.answer[short, :2], said.n_segments[short])
    np.testing.assert_array_equal(head.correct(cut, cut.answer, Costs()).answer, whole.answer[short, :2])


def test_it_comes_back_from_json_and_arrays() -> None:
    random = np.random.default_rng(0)
    arrays = {name: random.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    stop = Stop(0.8, head=ReadHead.of(arrays, 12))
    state, stored = stop.state()
    again = Stop.from_state(json.loads(json.dumps(state)), stored)
    assert again == stop
    assert again != Stop(0.8)
    assert again != Stop(0.8, head=ReadHead.of(arrays, 11))


@pytest.mark.parametrize(
    ("change", "segments", "message"),
    [
        ({"hidden_bias": np.zeros(3, np.float32)}, 4, rf"hidden_bias must be \({HIDDEN},\) numbers, but got \(3,\)"),
        ({"out_bias": np.float32([np.nan])}, 4, "out_bias must be"),
        ({}, 0, "segments must be at least 1, but got 0"),
    ],
)
def test_what_is_no_head_is_refused(change: dict[str, np.ndarray], segments: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReadHead.of(NOTHING | change, segments)
