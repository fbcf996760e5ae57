import numpy as np
import pytest

from sweepstack.ensembles.evaluation.diversity import disagreement, error_correlation, missed_by_all

LABELS = np.array([0, 0, 1, 1, 2])
ANSWERS = np.array([[0, 1, 1, 1, 0], [0, 1, 1, 0, 1], [0, 0, 1, 1, 2]])


def test_disagreement_by_hand() -> None:
    expected = np.array([[0, 2, 2], [2, 0, 3], [2, 3, 0]]) / 5  # in rows 3 and 4; 1 and 4; 1, 3 and 4
    np.testing.assert_allclose(disagreement(ANSWERS), expected)


def test_error_correlation_is_numpys_and_unknown_of_who_never_errs() -> None:
    found = error_correlation(ANSWERS, LABELS)
    assert found[0, 1] == pytest.approx(np.corrcoef(ANSWERS[0] != LABELS, ANSWERS[1] != LABELS)[0, 1])
    assert found[0, 0] == pytest.approx(1)
    assert np.isnan(found[2]).all()
    assert np.isnan(found[:, 2]).all()


def test_members_that_err_on_other_rows_are_correlated_negatively() -> None:
    answers = np.array([[1, 0, 0, 0], [0, 1, 0, 0]])
    assert error_correlation(answers, np.zeros(4, np.int64))[0, 1] == pytest.approx(-1 / 3)


def test_rows_that_none_gets_right() -> None:
    assert missed_by_all(ANSWERS, LABELS).tolist() == []
    assert missed_by_all(ANSWERS[:2], LABELS).tolist() == [1, 4]
