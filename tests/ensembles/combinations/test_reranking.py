import math

import numpy as np
import pytest

from sweepstack.ensembles.combinations.reranking import PLAIN, features, log_ratio
from sweepstack.ensembles.members.texts import Pool

NAN = np.nan
POOL = Pool(
    ("abcd", "ab", "abcdefgh"),
    np.array([[-0.2, -0.5, NAN], [NAN, -0.1, NAN], [NAN, 0.5, 0.8]]),  # two writers and a memory
    np.array([[1.0, 0.4, 0.5], [0.4, 1.0, 0.2], [0.5, 0.2, 1.0]]),
)
MEMORIES = (False, False, True)


def test_what_is_known_of_a_candidate_by_hand() -> None:
    found = features(POOL, "abcd", math.log(2), MEMORIES)
    assert found.shape == (3, len(PLAIN) + 3)
    sure = 1 / (1 + math.exp(-3))  # of a vote, where scores differ by .3
    weights = np.array([sure, 1 - sure + 1 + 1 - sure, sure]) / 3
    np.testing.assert_allclose(POOL.weights, weights)
    half, two = math.log(2), 2 * math.log(2)
    expected = {
        "expected utility": POOL.utility @ weights,
        "own score": [-0.2, -0.3, -0.25],  # of the memory's alone what the others have on average
        "length against the source's": [half, two, 0],
        "length against the pool's": [0, -half, half],
        "shorter or longer than the pool": [0, half, half],
        "proposed by": [1 / 3, 1, 1 / 3],
        "vote": weights,
        "likeness to the memory's answer": [0.8 * 0.5, 0.8 * 0.2, 0.8],
    }
    assert tuple(expected) == PLAIN
    for column, (name, values) in enumerate(expected.items()):
        np.testing.assert_allclose(found[:, column], np.array(values) - np.mean(values), atol=1e-12, err_msg=name)
    indicators = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 1]], dtype=float).T
    np.testing.assert_allclose(found[:, len(PLAIN) :], indicators - indicators.mean(axis=0))


def test_a_single_candidate_has_nothing_to_be_told_by() -> None:
    alone = Pool(("",), np.array([[0.3]]), np.zeros((1, 1)))
    np.testing.assert_array_equal(features(alone, "", 0.0, (True,)), np.zeros((1, len(PLAIN) + 1)))


def test_lengths_are_counted_in_characters() -> None:
    assert log_ratio("abcdef", "ab") == pytest.approx(math.log(3))
    assert log_ratio("", "") == 0
