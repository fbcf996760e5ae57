"""Simulated studies: what is stated as a probability happens so often."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import norm

from sweepstack.ensembles.scoring.bootstrap import Sample, Values
from sweepstack.ensembles.scoring.chance import EFFECTS, PRIOR, chance_of_best, paired_resamples, units
from sweepstack.models.seeds import derive_seed

SPREADS = (0.0, 0.003, 0.005, 0.01)  # of true accuracies over candidates; at 0 the best is neither right nor wrong
LIKELY = 0.8


def study(
    random: np.random.Generator, candidates: int, rows: int, spread: float, equal: Sequence[int] = ()
) -> tuple[Values, Values]:
    """True accuracies near .9, (candidates,), and rewards, (candidates, rows), which correlate at .7 to .97.

    A row is as hard for all, and a candidate is right where it is not too hard for it. A READ costs .01, and all read
    as much on average. ``equal``: the places of candidates that are truly equal.
    """
    true = 0.9 + random.normal(size=candidates) * spread
    true[list(equal)] = 0.9
    alike = random.uniform(0.95, 0.996)
    hard = math.sqrt(alike) * random.normal(size=rows) + math.sqrt(1 - alike) * random.normal(size=(candidates, rows))
    reads = random.poisson(2, rows) + random.poisson(0.3, (candidates, rows))
    return true, (hard < norm.ppf(true)[:, None]) - 0.01 * reads


def stated(rewards: Values, builders: int, lots: Values) -> tuple[float, int]:
    """The chance of the builder that looks best, and its place; resamples are normal, with the rows' covariance."""
    scores, rows = rewards.mean(axis=1), rewards.shape[1]
    values, vectors = np.linalg.eigh(np.cov(rewards) / rows)
    best = int(scores[:builders].argmax())
    resampled = scores + (lots * np.sqrt(values.clip(0))) @ vectors.T
    return chance_of_best(scores, resampled, rows, best, range(builders, len(scores))), best


def simulated(
    builders: int, rivals: int, rows: int, spread: float, studies: int, *, equal_rivals: bool = False
) -> tuple[Values, Values]:
    """(studies,): what is stated, and whether it is right; a half where all are equal."""
    count = builders + rivals
    random = np.random.default_rng(derive_seed(rows, f"{builders} {rivals} {spread}"))
    lots = random.normal(size=(200, count))
    said, right = np.empty(studies), np.empty(studies)
    for place in range(studies):
        equal = range(builders, count) if equal_rivals else ()
        true, rewards = study(random, count, rows, spread, equal)
        said[place], best = stated(rewards, builders, lots)
        right[place] = 0.5 if spread == 0 else true[best] > true[builders:].max()
    return said, right


def pooled(parts: Sequence[tuple[Values, Values]], low: float, high: float) -> tuple[float, float, int]:
    """The share of right ones among those stated between, its standard error and their number."""
    said, right = (np.concatenate(each) for each in zip(*parts, strict=True))
    there = (said >= low) & (said < high)
    count = int(there.sum())
    return float(right[there].mean()), float(right[there].std() / math.sqrt(max(count, 1))), count


def test_a_stated_chance_happens_so_often() -> None:
    parts = [
        simulated(builders, rivals, rows, spread, 200)
        for builders, rivals in ((1, 1), (3, 2), (6, 3), (10, 3))
        for rows in (300, 750)
        for spread in SPREADS
    ]
    for low, high in ((0.55, 0.65), (0.65, 0.75), (0.75, 0.85), (0.85, 0.95)):
        share, error, count = pooled(parts, low, high)
        assert count > 200
        assert share == pytest.approx((low + high) / 2, abs=0.05 + 2 * error), (low, high)


@pytest.mark.slow
@pytest.mark.parametrize("rivals", [1, 3])
@pytest.mark.parametrize("builders", [1, 3, 6, 10])
@pytest.mark.parametrize("rows", [300, 750, 3000])
def test_eighty_per_cent_are_right_in_75_to_85(builders: int, rivals: int, rows: int) -> None:
    """Over the four spreads together, each as likely: of one study nobody knows which it is."""
    parts = [simulated(builders, rivals, rows, spread, 500) for spread in SPREADS]
    share, error, _ = pooled(parts, 0.75, 0.85)
    assert 0.75 - 2 * error <= share <= 0.85 + 2 * error


@pytest.mark.slow
def test_equal_rivals_make_it_careful_and_never_rash() -> None:
    """Rivals that are exactly equal are not what the prior expects: their luck alone sets them apart."""
    parts = [
        simulated(builders, 3, rows, spread, 150, equal_rivals=True)
        for builders in (1, 6)
        for rows in (300, 3000)
        for spread in SPREADS[1:]
    ]
    share, error, _ = pooled(parts, 0.75, 0.85)
    assert share > 0.75 - 2 * error


@pytest.mark.parametrize(("builders", "before"), [(1, 0.10), (6, 0.30), (10, 0.42)])
def test_without_a_difference_an_ensemble_is_seldom_exported(builders: int, before: float) -> None:
    """``before``: how often, where the best of the builders was tested as if it had been the only one."""
    said, _ = simulated(builders, 2, 750, 0.0, 300)
    assert (said >= LIKELY).mean() <= 0.05 < before


def samples(rewards: Values, groups: np.ndarray | None = None) -> list[Sample]:
    return [Sample.mean_of(each, groups) for each in rewards]


def found(all_samples: list[Sample], builders: int, seed: int = 0) -> float:
    scores = np.array([each.score for each in all_samples])
    best = int(scores[:builders].argmax())
    rivals = range(builders, len(scores))
    return chance_of_best(scores, paired_resamples(all_samples, seed), units(all_samples[0]), best, rivals)


def test_resamples_of_rows_say_what_their_covariance_says() -> None:
    random = np.random.default_rng(5)
    for _ in range(5):
        _, rewards = study(random, 6, 400, 0.01)
        lots = random.normal(size=(2000, 6))
        assert found(samples(rewards), 3) == pytest.approx(stated(rewards, 3, lots)[0], abs=0.03)


def test_one_against_one_it_is_the_shrunken_z() -> None:
    """By hand, for every effect: Φ(√c · z) with c = gn / (1 + gn); and effects weigh by their prior and φ(z)."""
    rows, z = 900, 2.0
    lots = np.random.default_rng(0).normal(size=(20000, 1))
    lots = (lots - lots.mean()) / lots.std()
    resampled = np.hstack([lots, np.zeros_like(lots)])  # the standard error of the difference is 1
    explained = np.append(0.0, EFFECTS**2 * rows)
    weights = PRIOR * norm.pdf(z / np.sqrt(1 + explained)) / np.sqrt(1 + explained)
    by_hand = weights @ norm.cdf(z * np.sqrt(explained / (1 + explained))) / weights.sum()
    assert chance_of_best(np.array([z, 0.0]), resampled, rows, 0, [1]) == pytest.approx(by_hand, abs=0.01)


def test_one_that_is_plainly_worse_does_not_make_the_others_differ() -> None:
    random = np.random.default_rng(2)
    _, rewards = study(random, 7, 750, 0.003)
    plain = found(samples(rewards), 4)
    worse = np.vstack([rewards, rewards[-1:] - (random.random((1, 750)) < 0.1)])
    assert found(samples(worse), 4) == pytest.approx(plain, abs=0.06)


def test_a_clear_margin_is_clear() -> None:
    random = np.random.default_rng(3)
    _, rewards = study(random, 5, 750, 0.0)
    rewards[1] += random.random(750) < 0.05
    assert found(samples(rewards), 2) > 0.99


def test_neither_order_nor_unit_nor_twins_matter() -> None:
    random = np.random.default_rng(4)
    _, rewards = study(random, 5, 500, 0.005)
    plain = found(samples(rewards), 3)
    assert found(samples(rewards[:, random.permutation(500)]), 3) == pytest.approx(plain, abs=0.03)
    assert found(samples(100 * rewards), 3) == pytest.approx(plain, abs=1e-6)
    assert found(samples(rewards[[2, 0, 1, 4, 3]]), 3) == pytest.approx(plain, abs=1e-9)
    twins = found(samples(rewards[[0, 1, 2, 0, 1, 2, 3, 4]]), 6)
    assert twins == pytest.approx(plain, abs=0.1), "builders that say the same are not more of a choice"


def test_rows_that_belong_together_count_once() -> None:
    """Every row five times over, as groups of five: nothing is known that the rows alone did not say."""
    _, rewards = study(np.random.default_rng(6), 5, 200, 0.01)
    plain = found(samples(rewards), 3)
    groups = np.repeat(np.arange(200), 5)
    assert found(samples(np.repeat(rewards, 5, axis=1), groups), 3) == pytest.approx(plain, abs=1e-6)


def test_who_says_the_same_as_a_rival_is_not_better() -> None:
    _, rewards = study(np.random.default_rng(7), 3, 300, 0.0)
    assert found(samples(rewards[[0, 0]]), 1) == pytest.approx(0.5)
    assert found(samples(np.ones((2, 50))), 1) == pytest.approx(0.5), "all rows are right"
    assert found(samples(rewards[[0, 0, 1, 2]]), 1) < 0.5
    assert found(samples(np.vstack([np.ones(50), np.zeros(50)])), 1) == 1.0
    assert found(samples(np.vstack([np.zeros(50), np.ones(50)])), 1) == 0.0
    assert 0 < found(samples(np.array([[1.0, 0.0], [0.0, 0.0]])), 1) < 1, "two rows"


def test_it_holds_for_a_metric_that_is_no_mean_over_rows() -> None:
    random = np.random.default_rng(8)
    counts = random.random((4, 300, 2)) + 1

    def ratio(means: Values) -> Values:
        return np.asarray(means[..., 0] / means[..., 1])

    assert 0 < found([Sample(each, ratio) for each in counts], 2) < 0.95
    counts[0, :, 0] += 0.5
    assert found([Sample(each, ratio) for each in counts], 2) > 0.99


def test_ten_candidates_and_three_thousand_rows_take_less_than_a_second() -> None:
    import time

    _, rewards = study(np.random.default_rng(9), 10, 3000, 0.005)
    begin = time.process_time()
    found(samples(rewards), 7)
    assert time.process_time() - begin < 3  # .2 s on an idle core, most of it for the resamples
