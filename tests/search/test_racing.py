"""The race of repetitions: its test by numbers worked out by hand and by another library, and its limiting cases."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sweepstack.search.racing import LEVEL, may_be_best, residual

FULL = [[0.90, 0.92, 0.91], [0.86, 0.90, 0.88]]
"""By hand: setting means .91 and .88, seed means .88, .91, .895, all .895. Left of the first setting's scores is .005,
-.005, 0, and of the second's the same with other signs. The squares sum to 4 · .005² = .0001; 6 scores less 2 settings
less 2 further seeds leave 2 degrees of freedom: s² = .00005.
"""


def test_the_residual_by_hand() -> None:
    deviation, freedom = residual(FULL)
    assert freedom == 2
    assert deviation == pytest.approx(math.sqrt(0.00005))


def test_settings_with_one_seed_say_nothing_of_the_spread() -> None:
    assert residual([*FULL, [0.1], [0.7]]) == residual(FULL)
    assert residual([[0.9], [0.8]]) == (0.0, 0)
    assert residual([[0.9, 0.8, 0.7]]) == (0.0, 0), "one setting cannot tell seeds from noise"
    assert residual([]) == (0.0, 0)


def test_the_residual_of_a_whole_table_is_that_of_a_two_way_analysis_of_variance() -> None:
    table = np.random.default_rng(0).normal(size=(5, 4))
    left = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    deviation, freedom = residual(table.tolist())
    assert freedom == 4 * 3
    assert deviation == pytest.approx(math.sqrt((left**2).sum() / 12))


def test_two_settings_are_compared_as_in_a_paired_t_test() -> None:
    """Of two settings with the same seeds the statistic is that of the paired t-test, and so is the verdict."""
    for behind in (0.006, 0.008, 0.010, 0.012, 0.014):
        worse = [score - behind + noise for score, noise in zip([0.9, 0.93, 0.92], [0.002, -0.003, 0.001], strict=True)]
        found = stats.ttest_rel([0.9, 0.93, 0.92], worse, alternative="greater")
        assert may_be_best(worse, [[0.9, 0.93, 0.92]]) == (found.pvalue >= LEVEL)


def test_a_setting_can_be_out_after_one_seed_where_others_have_shown_the_spread() -> None:
    """s = .00707 with 2 degrees of freedom, t = 2.920: behind by more than 2.920 · .00707 · √2 = .0292 it is out.

    The rival is the best with the most seeds, 0.90 in the first of them.
    """
    assert may_be_best([0.90 - 0.0291], FULL)
    assert not may_be_best([0.90 - 0.0293], FULL)
    assert may_be_best([0.99], FULL)


def test_a_lucky_first_seed_of_an_unfinished_rival_ends_nobody() -> None:
    assert may_be_best([0.89], [*FULL, [0.99]])
    assert not may_be_best([0.85], [*FULL, [0.99]])


def test_seeds_that_are_hard_for_all_cancel() -> None:
    """Seed 2 costs everybody .3; without blocks no difference could be seen."""
    rivals = [[0.90, 0.60, 0.90], [0.88, 0.581, 0.879]]
    assert not may_be_best([0.85, 0.55], rivals)
    assert may_be_best([0.90, 0.60], rivals)


def test_without_a_rival_or_a_spread_it_goes_on() -> None:
    assert may_be_best([0.1], [])
    assert may_be_best([0.1], [[0.9], [0.8]])
    assert may_be_best([0.1, 0.2], [[0.9], [0.8]]), "nobody else has two seeds"


def test_where_nothing_is_left_to_chance_the_worse_is_out_and_an_equal_stays() -> None:
    rivals = [[0.5, 0.75], [0.25, 0.5]]
    assert residual(rivals)[1] == 1
    assert not may_be_best([0.125], rivals)
    assert may_be_best([0.5], rivals)


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=4), min_size=1, max_size=5), st.floats(-5, 5))
def test_the_leader_never_drops_out_and_a_shift_of_all_changes_nothing(scores: list[list[float]], shift: float) -> None:
    most = max(map(len, scores))
    leader = max((each for each in scores if len(each) == most), key=np.mean)
    rest = list(scores)
    rest.remove(leader)
    if all(np.mean(each) <= np.mean(leader) for each in rest if len(each) == most):
        assert may_be_best(leader, rest)
    deviation, freedom = residual([[score + shift for score in each] for each in scores])
    assert freedom == residual(scores)[1]
    assert deviation == pytest.approx(residual(scores)[0], abs=1e-9)


def test_gaps_are_fitted_as_by_plain_least_squares() -> None:
    """Settings that dropped out: the same as one regression on all settings and seeds."""
    random = np.random.default_rng(1)
    scores = [random.normal(size=count).tolist() for count in (4, 2, 3, 4, 2)]
    rows = [(setting, seed) for setting, each in enumerate(scores) for seed in range(len(each))]
    design = np.zeros((len(rows), 9))
    for row, (setting, seed) in enumerate(rows):
        design[row, setting] = design[row, 5 + seed] = 1
    y = np.concatenate(scores)
    left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    deviation, freedom = residual(scores)
    assert freedom == len(y) - np.linalg.matrix_rank(design)
    assert deviation == pytest.approx(math.sqrt(left @ left / freedom))
