import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.ensembles.scoring.bootstrap import Sample
from sweepstack.ensembles.scoring.optimism import Optimism, optimism

EXPECTED_MAXIMUM = {2: 0.5642, 3: 0.8463, 5: 1.1630, 10: 1.5388}  # of K standard normal numbers (Teichroew 1956)


def equals(count: int, rows: int, seed: int, quality: float = 0.0, shared: float = 0.0) -> list[Sample]:
    """Candidates of equal worth, but the first, better by ``quality``; ``shared`` of their variance is the same."""
    random = np.random.default_rng(seed)
    common = random.normal(size=rows) * math.sqrt(shared)
    own = random.normal(size=(count, rows)) * math.sqrt(1 - shared)
    return [Sample.mean_of(common + values + quality * (place == 0)) for place, values in enumerate(own)]


@pytest.mark.parametrize("count", EXPECTED_MAXIMUM)
@pytest.mark.parametrize("shared", [0.0, 0.75])
def test_of_equal_candidates_it_is_the_expected_maximum_of_their_luck(count: int, shared: float) -> None:
    rows, repeats = 100, 40
    wanted = EXPECTED_MAXIMUM[count] * math.sqrt((1 - shared) / rows)
    studies = [equals(count, rows, seed, shared=shared) for seed in range(repeats)]
    found = [optimism(samples, 0).flattered for samples in studies]
    standard_error = np.std(found) / math.sqrt(repeats)
    assert np.mean(found) == pytest.approx(wanted, abs=0.06 * wanted + 2 * standard_error)


def test_it_is_what_the_winner_loses_on_new_rows() -> None:
    """Simulated: the score that won, less what the winner is worth, which is known."""
    lost, said = [], []
    for seed in range(300):
        samples = equals(6, 80, seed)
        lost.append(max(sample.score for sample in samples))  # all are worth nothing
        if seed < 40:
            said.append(optimism(samples, 0).flattered)
    assert np.mean(said) == pytest.approx(np.mean(lost), rel=0.12)


def test_one_that_is_plainly_the_best_owes_nothing_to_the_choice() -> None:
    plain = optimism(equals(8, 400, 0, quality=1.0), 0)
    assert plain.flattered < 0.1 * plain.at_most


def test_the_bound_is_that_of_equal_candidates() -> None:
    found = [optimism(equals(5, 100, seed), 0).at_most for seed in range(20)]
    assert np.mean(found) == pytest.approx(0.1 * math.sqrt(2 * math.log(5)), rel=0.05)


def test_alone_or_twice_the_same_nothing_is_chosen() -> None:
    sample = equals(1, 50, 0)[0]
    assert optimism([sample], 0) == Optimism(1, 0.0, 0.0)
    twice = optimism([sample, sample], 0)
    assert twice.flattered == pytest.approx(0, abs=1e-12)
    assert twice.at_most == pytest.approx(0, abs=1e-12)


def test_it_holds_for_a_metric_that_is_no_mean_over_rows() -> None:
    random = np.random.default_rng(3)
    ratios = [Sample(random.random((60, 2)) + 1, lambda means: means[..., 0] / means[..., 1]) for _ in range(4)]
    assert 0 < optimism(ratios, 0).flattered < optimism(ratios, 0).at_most


@given(st.integers(2, 5), st.integers(0, 1000), st.floats(0.1, 10))
def test_it_is_never_negative_and_has_the_unit_of_the_score(count: int, seed: int, unit: float) -> None:
    samples = equals(count, 12, seed)
    plain = optimism(samples, 0)
    scaled = optimism([Sample.mean_of(unit * sample.features[:, 0]) for sample in samples], 0)
    assert plain.flattered >= 0
    assert scaled.flattered == pytest.approx(unit * plain.flattered, rel=1e-6, abs=1e-12)


def test_it_says_so_in_a_line() -> None:
    said = Optimism(7, 0.0031, 0.008)
    assert said.words("reward") == "the best of 7 looks too good on blend by about .003"
    assert Optimism(7, 0.31, 0.8).words("chrf") == "the best of 7 looks too good on blend by about 0.3", "in points"


def test_what_is_shown_as_nought_is_not_said() -> None:
    assert Optimism(7, 0.0006, 0.008).told("reward")
    assert not Optimism(7, 0.0004, 0.008).told("reward")
    assert not Optimism(7, 0.04, 0.8).told("chrf")
    assert not Optimism(1, 0.0, 0.0).told("reward")
