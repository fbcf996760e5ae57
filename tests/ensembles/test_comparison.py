import numpy as np
import pytest
from scipy import stats

from sweepstack.ensembles.comparison import Gain, chance_better, gain, half_width


def test_a_half_width_by_hand() -> None:
    # Four values of mean .5 and sample variance 1/3: 1.96·√(1/12)
    assert half_width(np.array([0.0, 1.0, 0.0, 1.0])) == pytest.approx(1.959964 * np.sqrt(1 / 12))
    assert half_width(np.array([0.3])) == 0


def test_a_gain_is_paired() -> None:
    rival = np.random.default_rng(0).normal(size=500)
    assert gain(rival + 0.1, rival) == Gain(*(pytest.approx(0.1),) * 3)  # rows vary, differences do not
    assert str(Gain(0.023, 0.009, 0.0371)) == "+0.023 [+0.009, +0.037]"


def test_the_chance_agrees_with_the_t_distribution() -> None:
    random = np.random.default_rng(3)
    rival = random.normal(size=400)
    values = rival + 0.05 + random.normal(size=400)
    difference = values - rival
    t = difference.mean() / (difference.std(ddof=1) / 20)
    assert chance_better(values, rival, 0) == pytest.approx(stats.t.cdf(t, 399), abs=0.03)


def test_equals_have_an_even_chance_and_seeds_repeat() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert chance_better(values, values, 0) == 0.5
    rival = values[::-1]
    assert chance_better(values, rival, 4) == chance_better(values, rival, 4)
    assert chance_better(values, rival, 4) + chance_better(rival, values, 4) == pytest.approx(1)
