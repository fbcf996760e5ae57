"""Plain pools, by hand; and what holds for every pool."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.combinations.pools import LINEAR, LOGARITHMIC, VOTE, Pool
from sweepstack.models.predictions.probabilities import Floats


def of(*members: list[float]) -> Floats:
    """Members of one row and one segment."""
    return np.array(members, np.float32)[:, None, None, :]


def alike(count: int) -> Floats:
    return np.full(count, 1 / count, np.float32)


def test_a_logarithmic_pool_by_hand() -> None:
    # √(.8·.2) = .4 and √(.2·.8) = .4; with three quarters on the first 4^¾ : 1 over 1 : 4^¼, so odds of 2.
    probabilities = np.array([[[[0.8, 0.2]]], [[[0.2, 0.8]]]], np.float32)
    answer = np.ones((2, 1, 1), np.float32)
    even = Combination((0, 1), np.array([0.5, 0.5], np.float32), LOGARITHMIC)
    np.testing.assert_allclose(even.mix(probabilities, answer)[0], [[[0.5, 0.5]]], rtol=1e-6)
    uneven = Combination((0, 1), np.array([0.75, 0.25], np.float32), LOGARITHMIC)
    np.testing.assert_allclose(uneven.mix(probabilities, answer)[0], [[[2 / 3, 1 / 3]]], rtol=1e-6)


def test_a_zero_probability_does_not_decide_alone() -> None:
    probabilities = np.array([[[[1.0, 0.0]]], [[[0.001, 0.999]]], [[[0.001, 0.999]]]], np.float32)
    pooled = Combination((0, 1, 2), np.full(3, 1 / 3, np.float32), LOGARITHMIC)
    mixed = pooled.mix(probabilities, np.ones((3, 1, 1), np.float32))[0]
    # 10⁶ : 1 once against 999 : 1 twice.
    np.testing.assert_allclose(mixed[0, 0, 1] / mixed[0, 0, 0], (999**2 / 1e6) ** (1 / 3), rtol=1e-4)


def test_the_majority_wins_though_one_member_is_surer_by_hand() -> None:
    members = of([0.05, 0.95, 0.0], [0.6, 0.4, 0.0], [0.55, 0.45, 0.0])
    mixed = VOTE.mix(members, alike(3))[0, 0]
    # Two votes and .4 on average of four voters; one and .6.
    np.testing.assert_allclose(mixed, [2.4 / 4, 1.6 / 4, 0], rtol=1e-6)
    assert LINEAR.mix(members, alike(3))[0, 0].argmax() == 1


def test_a_tie_of_votes_goes_to_the_likelier_label() -> None:
    mixed = VOTE.mix(of([0.6, 0.4], [0.1, 0.9]), alike(2))[0, 0]
    np.testing.assert_allclose(mixed, [1.35 / 3, 1.65 / 3], rtol=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(2, 6))
def test_the_winner_of_a_vote_has_the_most_votes(seed: int, members: int, classes: int) -> None:
    said = np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), (members, 7, 2)).astype(np.float32)
    mixed = VOTE.mix(said, alike(members))
    votes = (said.argmax(axis=-1)[..., None] == np.arange(classes)).sum(axis=0)
    mean = said.mean(axis=0)
    expected = np.where(votes == votes.max(axis=-1, keepdims=True), mean, -1).max(axis=-1)
    given_ = mixed.argmax(axis=-1)[..., None]
    np.testing.assert_allclose(np.take_along_axis(mean, given_, axis=-1)[..., 0], expected, atol=1e-6)
    np.testing.assert_array_equal(np.take_along_axis(votes, given_, axis=-1)[..., 0], votes.max(axis=-1))
    np.testing.assert_allclose(mixed.sum(axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("pool", [LINEAR, LOGARITHMIC, VOTE])
def test_a_plain_pool_is_its_name(pool: Pool) -> None:
    state, arrays = pool.state()
    assert (json.loads(json.dumps(state)), arrays) == ({}, {})
    assert type(pool).from_state(state, arrays) == pool
    pool.check(3, 2)
