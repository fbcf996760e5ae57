from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from sweepstack.ensembles.scoring.bootstrap import (
    RESAMPLES,
    Gain,
    Sample,
    gain,
    half_width,
    resampled_means,
    standard_error,
)
from sweepstack.models.predictions.classification_metrics import class_features, class_scores

mean_of = Sample.mean_of


SHARE = (0.0, 1.0)


def test_a_half_width_by_hand() -> None:
    # Four values of mean .5 and sample variance 1/3, and the .975 quantile of Student's t with 3 degrees of freedom
    assert half_width(np.array([0.0, 1.0, 0.0, 1.0])) == pytest.approx(3.182446 * np.sqrt(1 / 12))
    assert half_width(np.array([0.3])) == np.inf
    # 60 of 60 right, with two right and two wrong ones made up: 62/64 · 2/64 over 59, and t with 59 degrees
    assert half_width(np.ones(60), bounds=SHARE) == pytest.approx(2.000995 * np.sqrt(62 * 2 / 64**2 / 59), rel=1e-6)
    assert half_width(np.ones(1), bounds=SHARE) == 1
    assert half_width(np.full(60, -0.3), bounds=(-0.3, 1.0)) == pytest.approx(
        1.3 * half_width(np.ones(60), bounds=SHARE)
    )


def covered(counts: np.ndarray, likely: np.ndarray, centre: np.ndarray, half: np.ndarray, truth: float) -> float:
    assert likely.sum() == pytest.approx(1, abs=1e-6)
    return float(likely[np.abs(centre - truth) <= half + 1e-12].sum())


@pytest.mark.parametrize(("rows", "least"), [(20, 0.92), (60, 0.93), (300, 0.93), (1500, 0.93)])
def test_the_interval_of_a_share_holds_the_share(rows: int, least: float) -> None:
    """By all outcomes of the binomial distribution; at 60 rows and .98 the normal interval held it in 70%."""
    counts = np.arange(rows + 1)
    halves = np.array([half_width((np.arange(rows) < count).astype(float), bounds=SHARE) for count in counts])
    for share in np.r_[np.linspace(0.5, 0.9, 9), 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999]:
        assert covered(counts, stats.binom.pmf(counts, rows, share), counts / rows, halves, share) >= least


@pytest.mark.parametrize("rows", [60, 300, 1500])
def test_the_interval_of_a_gain_holds_it_where_few_rows_are_answered_differently(rows: int) -> None:
    """By all outcomes of the trinomial distribution: won, lost and answered alike."""
    won, lost = (each.ravel() for each in np.indices((min(rows, 230), min(rows, 230))))
    there = won + lost <= rows
    won, lost = won[there], lost[there]
    rival = Sample.mean_of(np.zeros(rows), bounds=SHARE)
    few = np.arange(rows)

    def half(w: int, d: int) -> float:
        found = gain(Sample.mean_of((few < w) - 1.0 * ((few >= w) & (few < w + d)), bounds=SHARE), rival)
        return found.high - found.mean

    n, mean = rows, (won - lost) / rows  # by the formula, which the function gives, too
    centre = n * mean / (n + 2)
    squares = (won + lost) - n * mean**2 + n * (mean - centre) ** 2 + (1 - centre) ** 2 + (1 + centre) ** 2
    halves = stats.t.ppf(0.975, n - 1) * np.sqrt(squares / (n + 2) / (n - 1))
    for w, d in ((0, 0), (1, 0), (3, 2), (0, 6)):
        at = np.flatnonzero((won == w) & (lost == d))[0]
        assert half(w, d) == pytest.approx(halves[at])
    for differ in (0.0005, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1):
        for share in (1.0, 0.75, 0.5):
            likely = stats.multinomial.pmf(
                np.stack([won, lost, rows - won - lost], axis=1),
                rows,
                [differ * share, differ * (1 - share), 1 - differ],
            )
            assert covered(won, likely, mean, halves, differ * (2 * share - 1)) >= 0.93


def test_predictors_that_agree_on_all_rows_may_still_differ() -> None:
    """On 60 rows by 4.6%, on 1,500 by .2%, much as the rule of three has it (3 of n)."""
    for rows, wide in ((60, 0.046), (1500, 0.0018)):
        same = Sample.mean_of(np.ones(rows), bounds=SHARE)
        found = gain(same, same)
        assert found.mean == 0
        assert found.high == pytest.approx(wide, rel=0.05)
        assert found.low == -found.high


def test_many_rows_have_the_normal_interval() -> None:
    values = (np.arange(1500) < 1350).astype(float)
    assert half_width(values, bounds=SHARE) == pytest.approx(1.96 * np.sqrt(0.09 / 1500), abs=5e-4)
    assert half_width(values) == pytest.approx(1.96 * np.sqrt(0.09 / 1500), rel=2e-3)


def test_graded_values_need_no_rows_at_the_bounds_but_where_all_are_equal() -> None:
    values = np.random.default_rng(0).normal(40, 10, 60)
    assert half_width(values, bounds=(0.0, 100.0), graded=True) == half_width(values)
    assert half_width(values, bounds=(0.0, 100.0)) > 1.1 * half_width(values)
    assert half_width(np.full(60, 100.0), bounds=(0.0, 100.0), graded=True) > 4


def test_a_gain_is_paired() -> None:
    rival = np.random.default_rng(0).normal(size=500)
    assert gain(mean_of(rival + 0.1), mean_of(rival)) == Gain(
        *(pytest.approx(0.1),) * 3
    )  # rows vary, differences do not
    assert str(Gain(0.023, -0.0004, 0.0371)) == "+.023 [.000, .037]"


@pytest.mark.parametrize("size", [1, 5, 10])
def test_intervals_hold_where_rows_of_a_group_are_alike(size: int) -> None:
    """Rows share half of the variance of their difference with their group. By rows, the interval of a gain held it in
    73% at 5 rows a group, and in 58% at 10."""
    random = np.random.default_rng(size)
    groups = np.repeat(np.arange(400 // size), size)
    rival, held, by_rows, times = mean_of(np.zeros(400), groups), 0, 0, 1500
    for _ in range(times):
        shared = random.normal(size=400 // size)[groups] + random.normal(size=400)
        found = gain(mean_of(0.02 + 0.1 * shared, groups), rival)
        held += found.low <= 0.02 <= found.high
        found = gain(mean_of(0.02 + 0.1 * shared), mean_of(np.zeros(400)))
        by_rows += found.low <= 0.02 <= found.high
    assert 0.93 <= held / times <= 0.97
    if size > 1:
        assert by_rows / times < 0.8


@pytest.mark.parametrize("size", [5, 10])
def test_the_same_of_a_metric_that_is_no_mean(size: int) -> None:
    """Macro-averaged F1 of three classes, of two classifiers whose errors come in groups."""
    random = np.random.default_rng(0)

    def drawn(count: int) -> tuple[Sample, Sample]:
        groups = np.repeat(np.arange(count), size)
        labels, (luck, own) = random.integers(0, 3, len(groups)), alike(groups, 2)
        wrong = (labels + 1) % 3
        answers = np.where(luck > -1, labels, wrong), np.where(0.6 * luck + 0.8 * own > -0.8, labels, wrong)
        one, other = (Sample(class_features(labels, each, 3), f1_macro, groups, SHARE) for each in answers)
        return one, other

    def alike(groups: np.ndarray, count: int) -> np.ndarray:
        of_group = random.normal(size=(count, groups[-1] + 1))[:, groups]
        return (of_group + random.normal(size=(count, len(groups)))) / np.sqrt(2)

    one, other = drawn(200_000)
    truth, times = one.score - other.score, 400
    held = by_rows = 0
    for _ in range(times):
        one, other = drawn(400 // size)
        found = gain(one, other)
        held += found.low <= truth <= found.high
        found = gain(replace(one, groups=None), replace(other, groups=None))
        by_rows += found.low <= truth <= found.high
    assert 0.93 <= held / times <= 0.97
    assert by_rows < held


def f1_macro(means: np.ndarray) -> np.ndarray:
    return class_scores(means)["f1_macro"]


def test_rows_that_are_copies_are_one_row() -> None:
    values = (np.random.default_rng(0).random(80) < 0.9).astype(float)
    groups = np.repeat(np.arange(80), 7)
    assert half_width(np.repeat(values, 7), groups, SHARE) == pytest.approx(half_width(values, None, SHARE))
    assert half_width(np.repeat(values, 7), groups) == pytest.approx(half_width(values))
    assert half_width(np.ones(560), groups, SHARE) == pytest.approx(half_width(np.ones(80), None, SHARE))
    assert standard_error(np.repeat(values, 7), groups) == pytest.approx(values.std(ddof=1) / np.sqrt(80))


def test_groups_whose_rows_are_independent_cost_little() -> None:
    values = (np.random.default_rng(0).random(1000) < 0.9).astype(float)
    groups = np.repeat(np.arange(200), 5)
    assert half_width(values, groups, SHARE) == pytest.approx(half_width(values, None, SHARE), rel=0.15)


def test_of_one_group_nothing_is_known() -> None:
    values, one = np.random.default_rng(0).random(50), np.zeros(50, dtype=np.int64)
    assert half_width(values, one, SHARE) == 1
    assert half_width(values, one) == np.inf
    assert standard_error(values, one) == np.inf
    found = gain(mean_of(values, one, SHARE), mean_of(np.zeros(50), one, SHARE))
    assert (found.low, found.high) == (found.mean - 2, found.mean + 2)
    assert found.known
    assert not gain(mean_of(values, one), mean_of(np.zeros(50), one)).known
    assert half_width(values, one, SHARE, graded=True) == 1


def test_resamples_agree_with_the_t_distribution_and_seeds_repeat() -> None:
    random = np.random.default_rng(3)
    rival = random.normal(size=400)
    values = rival + 0.05 + random.normal(size=400)
    difference = values - rival
    t = difference.mean() / (difference.std(ddof=1) / 20)
    ahead = mean_of(values).resampled(0) > mean_of(rival).resampled(0)
    assert ahead.mean() == pytest.approx(stats.t.cdf(t, 399), abs=0.03)
    np.testing.assert_array_equal(mean_of(values).resampled(4), mean_of(values).resampled(4))


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
    assert gain(sample, sample) == Gain(0, 0, 0)  # it has no bounds here
    worse = answers.copy()
    worse[:40] = 1 - labels[:40]
    found = gain(sample, sample_of(labels, worse))
    assert found.mean == pytest.approx(sample.score - sample_of(labels, worse).score)
    right, all_of = sample.features.T  # F1 = 2a/b, so dF = (2da − F db)/b
    first = (2 * right - sample.score * all_of) / all_of.mean()
    other = sample_of(labels, worse)
    second = (2 * other.features[:, 0] - other.score * other.features[:, 1]) / other.features[:, 1].mean()
    assert found.high - found.mean == pytest.approx(half_width(first - second), rel=0.01)
    resampled = sample.resampled(0) - sample_of(labels, worse).resampled(0)
    assert found.high - found.mean == pytest.approx(1.96 * resampled.std(), rel=0.08)
    assert (resampled > 0).mean() > 0.99


def test_resamples_are_the_same_whatever_fits_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(30, 2))
    whole = resampled_means(values, 3)
    monkeypatch.setattr("sweepstack.ensembles.scoring.bootstrap.BLOCK", 100)
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
