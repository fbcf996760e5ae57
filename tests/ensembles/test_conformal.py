from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from sweepstack.ensembles.builders import make
from sweepstack.ensembles.conformal import calibration_scores, in_sets, limit
from sweepstack.ensembles.crossfit import cross_fit, folds
from sweepstack.ensembles.objective import Objective
from sweepstack.ensembles.store import Stack
from sweepstack.models.costs import Costs
from sweepstack.models.errors import InputError
from sweepstack.models.predictions import Ints, Predictions


def test_scores_and_sets_by_hand() -> None:
    """Four rows: the fourth smallest score of five is wanted for .8, the third for .6."""
    probabilities = np.float32([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]])[:, None]
    predictions = Predictions(probabilities, np.ones((4, 1), np.float32), np.ones(4, np.int64))
    scores = calibration_scores(predictions, np.array([0, 1, 2, 2]))
    np.testing.assert_allclose(scores, [0.3, 0.4, 0.6, 0.7], atol=1e-6)
    assert limit(scores, 0.8) == pytest.approx(0.7)
    assert limit(scores, 0.6) == pytest.approx(0.6)
    new = np.float32([[0.9, 0.05, 0.05], [0.45, 0.42, 0.13], [0.34, 0.33, 0.33]])
    assert in_sets(new, limit(scores, 0.6)).tolist() == [[True, False, False], [True, True, False], [False] * 3]
    assert in_sets(new, limit(scores, 0.8)).sum(axis=1).tolist() == [1, 2, 3]


def test_scores_are_those_where_it_answers() -> None:
    probabilities = np.float32([[[0.6, 0.4], [0.1, 0.9]], [[0.6, 0.4], [0.1, 0.9]]])
    predictions = Predictions(probabilities, np.float32([[1, 1], [0, 1]]), np.array([2, 2]))
    np.testing.assert_allclose(calibration_scores(predictions, np.array([0, 0])), [0.4, 0.9], atol=1e-6)


@pytest.mark.parametrize(("rows", "coverage", "rank"), [(19, 0.95, 19), (99, 0.9, 90), (100, 0.9, 91), (1, 0.5, 1)])
def test_the_rank_is_that_of_the_proof(rows: int, coverage: float, rank: int) -> None:
    scores = np.arange(1, rows + 1, dtype=np.float32) / 1000
    assert limit(scores, coverage) == pytest.approx(rank / 1000)


@pytest.mark.parametrize(
    ("rows", "coverage", "message"),
    [
        (18, 0.95, "coverage 0.95 needs at least 19 rows to be calibrated on, but this ensemble has 18; .* 0.947"),
        (549, 0.999, "coverage 0.999 needs at least 999 rows .* has 549; ask for at most 0.998"),
        (10, 1.0, "above 0 and below 1, but got 1"),
        (10, 0.0, "above 0 and below 1, but got 0"),
        (10, float("nan"), "above 0 and below 1, but got nan"),
    ],
)
def test_what_cannot_be_promised_is_refused_in_one_line(rows: int, coverage: float, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        limit(np.zeros(rows, np.float32), coverage)
    assert "\n" not in str(error.value)


@given(st.integers(0, 10_000), st.floats(0.5, 0.95))
def test_more_coverage_never_makes_a_set_smaller(seed: int, coverage: float) -> None:
    random = np.random.default_rng(seed)
    scores = np.sort(random.random(60).astype(np.float32))
    probabilities = random.dirichlet(np.ones(5), 20).astype(np.float32)
    less, more = (in_sets(probabilities, limit(scores, each)) for each in (coverage, coverage + 0.03))
    assert (less <= more).all()


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_over_many_draws_coverage_is_what_the_proof_says(coverage: float) -> None:
    """With n = 99 rows and scores without ties it is exactly ⌈100·coverage⌉ / 100, however bad the probabilities."""
    random = np.random.default_rng(0)
    draws = 4000
    classes = np.arange(3)
    right = random.dirichlet([1, 1, 1], (draws, 100)).astype(np.float32)  # what is said …
    labels = np.where(random.random((draws, 100)) < 0.5, right.argmax(axis=2), random.choice(classes, (draws, 100)))
    scores = 1 - np.take_along_axis(right, labels[..., None], axis=2)[..., 0]  # … is not how often it is so
    covered = sum(
        bool(in_sets(right[i, 99], limit(np.sort(scores[i, :99]), coverage))[labels[i, 99]]) for i in range(draws)
    )
    low, high = binom.interval(0.999, draws, coverage)
    assert low <= covered <= high


@pytest.mark.parametrize("builder", ["average", "stacking"])
def test_of_ensembles_fitted_on_blend_it_holds_on_new_rows(builder: str, synthetic: SimpleNamespace) -> None:
    """Calibrated on cross-fitted blend, within what chance allows of n = 300 rows and 3,000 new ones."""
    stack, labels = synthetic.stack([1.5, 2.5, 3.5, 0.5], rows=3300, segments=1)
    blend, new = stack.rows(np.arange(300)), stack.rows(np.arange(300, 3300))
    objective = Objective("reward", Costs(0.01))

    def fit(own: Stack, own_labels: Ints) -> Callable[[Stack], Predictions]:
        return make(builder).fit(own, own_labels, objective).predict

    scores = calibration_scores(cross_fit(fit, blend, labels[:300], folds(labels[:300], 0)), labels[:300])
    predictions = make(builder).fit(blend, labels[:300], objective).predict(new)
    for coverage in (0.8, 0.9, 0.95, 0.99):
        sets = in_sets(predictions.at(predictions.stops()), limit(scores, coverage))
        covered = sets[np.arange(3000), labels[300:]].mean()
        noise = np.sqrt(coverage * (1 - coverage) * (1 / 300 + 1 / 3000))
        assert abs(covered - coverage) <= 3 * noise


@pytest.mark.slow  # five seconds: a linear model of 14 languages
def test_of_real_texts_it_holds_for_a_linear_member() -> None:
    """The baseline of builtin:languages, which has never seen blend or test: within binomial noise of what is asked."""
    from sweepstack.models.data import load_dataset
    from sweepstack.models.data_settings import Data
    from sweepstack.models.linear import LinearBaseline
    from sweepstack.models.settings import Reading

    reading = Reading(unit="characters", segment=2, max_segments=12)
    dataset = load_dataset(Data(train="builtin:languages"), reading)
    blend, test = dataset.parts["blend"], dataset.parts["test"]
    baseline = LinearBaseline.fit(dataset, reading)
    scores = calibration_scores(baseline.read(blend.inputs), blend.labels)
    said = baseline.read(test.inputs)
    probabilities = said.at(said.stops())
    for coverage in (0.8, 0.9, 0.95, 0.99):
        held = in_sets(probabilities, limit(scores, coverage))[np.arange(len(test.labels)), test.labels].mean()
        noise = np.sqrt(coverage * (1 - coverage) * (1 / len(blend.labels) + 1 / len(test.labels)))
        assert abs(held - coverage) <= 3 * noise
