import numpy as np
import pytest
from scipy import stats

from sweepstack.ensembles.comparison import RESAMPLES, Gain, Sample, chance_better, gain, half_width, resampled_means

mean_of = Sample.mean_of


def test_a_half_width_by_hand() -> None:
    # Four values of mean .5 and sample variance 1/3: 1.96·√(1/12)
    assert half_width(np.array([0.0, 1.0, 0.0, 1.0])) == pytest.approx(1.959964 * np.sqrt(1 / 12))
    assert half_width(np.array([0.3])) == 0


def test_a_gain_is_paired() -> None:
    rival = np.random.default_rng(0).normal(size=500)
    assert gain(mean_of(rival + 0.1), mean_of(rival)) == Gain(
        *(pytest.approx(0.1),) * 3
    )  # rows vary, differences do not
    assert str(Gain(0.023, 0.009, 0.0371)) == "+0.023 [+0.009, +0.037]"


def test_the_chance_agrees_with_the_t_distribution() -> None:
    random = np.random.default_rng(3)
    rival = random.normal(size=400)
    values = rival + 0.05 + random.normal(size=400)
    difference = values - rival
    t = difference.mean() / (difference.std(ddof=1) / 20)
    assert chance_better(mean_of(values), mean_of(rival), 0) == pytest.approx(stats.t.cdf(t, 399), abs=0.03)


def test_equals_have_an_even_chance_and_seeds_repeat() -> None:
    values = mean_of(np.random.default_rng(0).normal(size=50))
    assert chance_better(values, values, 0) == 0.5
    rival = Sample(values.features[::-1])
    assert chance_better(values, rival, 4) == chance_better(values, rival, 4)
    assert chance_better(values, rival, 4) + chance_better(rival, values, 4) == pytest.approx(1)


def f1(means: np.ndarray) -> np.ndarray:
    """Of one class; means of (right, answered + labelled)."""
    return 2 * means[..., 0] / means[..., 1]


def made(seed: int, rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Labels and answers of two classes, of which four in five are right."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, rows)
    return labels, np.where(random.random(rows) < 0.8, labels, 1 - labels)


def sample_of(labels: np.ndarray, answers: np.ndarray) -> Sample:
    return Sample(np.stack([labels * answers, labels + answers], axis=1).astype(float), f1)


def test_a_metric_that_is_no_mean_is_worked_out_for_each_resample() -> None:
    """Against a loop over the same resamples with scikit-learn's F1."""
    from sklearn.metrics import f1_score

    labels, answers = made(0, rows=60)
    sample = sample_of(labels, answers)
    assert sample.score == pytest.approx(f1_score(labels, answers))
    got = sample.resampled(7)
    assert got.shape == (RESAMPLES,)
    drawn = resampled_means(np.eye(60), 7) * 60  # how often each row was drawn
    assert np.array_equal(drawn.sum(axis=1), np.full(RESAMPLES, 60))
    for i in range(0, RESAMPLES, 400):
        assert got[i] == pytest.approx(f1_score(labels, answers, sample_weight=drawn[i]))


def test_its_gain_is_paired_and_its_interval_that_of_the_delta_method() -> None:
    labels, answers = made(1)
    sample = sample_of(labels, answers)
    assert gain(sample, sample) == Gain(0, 0, 0)
    worse = answers.copy()
    worse[:40] = 1 - labels[:40]
    found = gain(sample, sample_of(labels, worse))
    assert found.mean == pytest.approx(sample.score - sample_of(labels, worse).score)
    right, all_of = sample.features.T  # F1 = 2a/b, so dF = (2da − F db)/b
    first = (2 * right - sample.score * all_of) / all_of.mean()
    other = sample_of(labels, worse)
    second = (2 * other.features[:, 0] - other.score * other.features[:, 1]) / other.features[:, 1].mean()
    assert found.high - found.mean == pytest.approx(half_width(first - second), rel=0.08)
    assert chance_better(sample, other, 0) > 0.99
    assert chance_better(other, sample, 0) < 0.01


def test_resamples_are_the_same_whatever_fits_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(30, 2))
    whole = resampled_means(values, 3)
    monkeypatch.setattr("sweepstack.ensembles.comparison.BLOCK", 100)
    np.testing.assert_allclose(resampled_means(values, 3), whole, atol=1e-12)


def test_rows_of_a_group_are_drawn_together() -> None:
    """A mean over groups of 1, 2 and 3 rows: every resample is a mean of whole groups by their sizes."""
    groups = np.array([7, 3, 3, 5, 5, 5])
    drawn = resampled_means(np.eye(6), 1, groups)  # (RESAMPLES, 6): each row's share
    assert drawn.sum(axis=1) == pytest.approx(np.ones(RESAMPLES))
    np.testing.assert_allclose(drawn[:, 1], drawn[:, 2])
    np.testing.assert_allclose(drawn[:, 3:5], drawn[:, 4:6])
    of_groups = {tuple(np.bincount(each, minlength=3)) for each in np.ndindex(3, 3, 3)}  # how often each was drawn
    shares = {tuple(np.array(count) / (count @ np.array([1, 2, 3]))) for count in map(np.array, of_groups)}
    found = {tuple(row) for row in drawn[:, [0, 1, 3]].round(12)}
    assert found == {tuple(np.round(share, 12)) for share in shares}


def test_groups_of_one_row_are_rows() -> None:
    values = np.random.default_rng(0).normal(size=(30, 2))
    ids = np.random.default_rng(1).permutation(1000)[:30]
    np.testing.assert_allclose(resampled_means(values, 3, ids), resampled_means(values, 3), atol=1e-12)
