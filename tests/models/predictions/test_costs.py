"""Answers by least expected cost, worked out by hand, and what a wrong table is told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.models.errors import DataError
from sweepstack.models.predictions.costs import Costs, cost_matrix, read_matrix

# A disease that is overlooked costs 4, a false alarm .2; "ask" is nearly free wherever it is wrong.
CLASSES = ("ask", "ill", "well")
MATRIX = np.float32([[0, 1, 1], [0.5, 0, 4], [0.1, 0.2, 0]])


def test_the_least_expected_cost_is_not_the_likeliest_label() -> None:
    """p = (0, .2, .8): "ask" costs .2·.5 + .8·.1 = .18, "ill" .8·.2 = .16, "well" .2·4 = .8."""
    probabilities = np.float32([0.0, 0.2, 0.8])
    assert Costs().answers(probabilities) == 2
    costs = Costs(matrix=MATRIX)
    assert costs.worth(probabilities).tolist() == pytest.approx([1 - 0.18, 1 - 0.16, 1 - 0.8], abs=1e-6)
    assert costs.answers(probabilities) == 1
    # Less often ill: "ask" .1·.5 + .9·.1 = .14, "ill" .9·.2 = .18; hardly ever: "well" .01·4 = .04, "ask" .104.
    assert costs.answers(np.float32([[0, 0.1, 0.9], [0, 0.01, 0.99]])).tolist() == [0, 2]


def test_confidence_is_what_the_best_answer_leaves_of_the_largest_cost() -> None:
    costs = Costs(matrix=MATRIX)
    assert costs.confidence(np.float32([0, 0.2, 0.8])) == pytest.approx(1 - 0.16 / 4)
    assert Costs().confidence(np.float32([0, 0.2, 0.8])) == pytest.approx(0.8)
    cheap = Costs(matrix=np.float32([[0, 0.5], [0.5, 0]]))
    assert cheap.confidence(np.float32([0.4, 0.6])) == pytest.approx(0.6)  # as if every error cost 1
    assert Costs(matrix=np.zeros((2, 2), np.float32)).confidence(np.float32([0.4, 0.6])) == 1


def test_rewards_by_hand() -> None:
    labels, answers = np.array([1, 1, 2, 0]), np.array([1, 2, 1, 0])
    assert Costs().rewards(labels, answers).tolist() == [1, 0, 0, 1]
    assert Costs(matrix=MATRIX).rewards(labels, answers).tolist() == pytest.approx([1, -3, 0.8, 1])
    grid = Costs(matrix=MATRIX).rewards(labels[:, None], np.array([[0, 1, 2]] * 4))
    assert grid[0].tolist() == [0.5, 1, -3]


@given(st.integers(0, 1000), st.integers(2, 5))
def test_where_every_error_costs_1_it_is_as_without_a_matrix(seed: int, classes: int) -> None:
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(classes), (6, 3)).astype(np.float32)
    plain, same = Costs(), Costs(matrix=1 - np.eye(classes, dtype=np.float32))
    np.testing.assert_array_equal(plain.answers(probabilities), same.answers(probabilities))
    np.testing.assert_allclose(plain.confidence(probabilities), same.confidence(probabilities), atol=1e-6)


@given(st.integers(0, 1000))
def test_no_answer_costs_less_in_expectation_and_confidence_is_a_share(seed: int) -> None:
    random = np.random.default_rng(seed)
    matrix = (random.random((4, 4)) * 3 * (1 - np.eye(4))).astype(np.float32)
    costs, probabilities = Costs(matrix=matrix), random.dirichlet(np.ones(4), 20).astype(np.float32)
    expected = np.array([[sum(p[k] * matrix[k, a] for k in range(4)) for a in range(4)] for p in probabilities])
    chosen = expected[np.arange(20), costs.answers(probabilities)]
    assert (chosen <= expected.min(axis=1) + 1e-6).all()
    confidence = costs.confidence(probabilities)
    assert ((confidence >= 0) & (confidence <= 1)).all()
    np.testing.assert_array_equal(costs.answers(probabilities * np.float32(4)), costs.answers(probabilities))


def test_costs_are_equal_where_their_numbers_are() -> None:
    assert Costs(0.1) == Costs(0.1) != Costs(0.2)
    assert Costs(matrix=MATRIX) == Costs(matrix=MATRIX.copy()) != Costs()
    assert Costs(matrix=MATRIX) != Costs(matrix=MATRIX * 2)
    assert hash(Costs(matrix=MATRIX)) == hash(Costs(matrix=MATRIX.copy()))
    assert Costs() != "costs"


def test_a_table_becomes_a_matrix_with_1_where_nothing_is_named() -> None:
    table = {"ill": {"well": 4.0, "ask": 0.5}, "well": {"ill": 0.2, "ask": 0.1, "well": 0}}
    matrix = cost_matrix(table, CLASSES, "rows.jsonl")
    assert matrix is not None
    np.testing.assert_array_equal(matrix, MATRIX)
    assert matrix.dtype == np.float32
    assert cost_matrix(None, CLASSES, "rows.jsonl") is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"il": {"well": 4}}, "data.costs: the label 'il' never stands in rows.jsonl; nearest: 'ill'"),
        ({"ill": {"wel": 4}}, "data.costs.ill: the label 'wel' never stands in rows.jsonl; nearest: 'well'"),
        ({"ill": {"ill": 2}}, "data.costs.ill.ill is 2, but the right answer costs 0; leave it out"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(table: dict[str, dict[str, float]], message: str) -> None:
    with pytest.raises(DataError) as caught:
        cost_matrix(table, CLASSES, "rows.jsonl")
    assert str(caught.value) == message


def test_a_matrix_comes_back_from_json_and_others_do_not() -> None:
    again = read_matrix(MATRIX.tolist(), 3)
    assert again is not None
    np.testing.assert_array_equal(again, MATRIX)
    assert read_matrix(None, 3) is None
    for wrong in (MATRIX.tolist()[:2], [[0, -1], [1, 0]], [[0, float("nan")], [1, 0]], "x"):
        with pytest.raises((ValueError, TypeError)):
            read_matrix(wrong, 3 if len(wrong) == 3 else 2)
