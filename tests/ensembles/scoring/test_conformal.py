import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from sweepstack.ensembles.builders.learners import ARRAYS
from sweepstack.ensembles.builders.registry import BUILDERS, make
from sweepstack.ensembles.evaluation.choose import Choice, choose, choose_out_of_fold
from sweepstack.ensembles.members.library import Library, Stack
from sweepstack.ensembles.scoring.conformal import (
    CROSS_FITTED,
    GUARANTEED,
    OF_GROUPS,
    OUT_OF_FOLD,
    Calibration,
    calibrate,
    in_sets,
    label_scores,
    packed,
    unpacked,
)
from sweepstack.ensembles.scoring.crossfit import folds
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.errors import InputError
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Floats, Ints, Predictions, answer_above


def of_rows(scores: Floats) -> Calibration:
    return Calibration(np.sort(scores), np.ones(len(scores)))


def test_scores_and_sets_by_hand() -> None:
    """Of four rows the likeliest label is right in two: the fourth smallest score of five is wanted for .8, the third
    for .6, the second for .4."""
    probabilities = np.float32([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]])[:, None]
    predictions = Predictions(probabilities, np.ones((4, 1), np.float32), np.ones(4, np.int64))
    found = calibrate(predictions, np.array([0, 1, 2, 2]))
    np.testing.assert_allclose(found.scores, [0, 0, 0.6, 0.7], atol=1e-6)
    assert [found.limit(coverage) for coverage in (0.4, 0.6, 0.8)] == pytest.approx([0, 0.6, 0.7])
    new = np.float32([[0.9, 0.05, 0.05], [0.45, 0.42, 0.13], [0.34, 0.33, 0.33]])
    assert in_sets(new, found.limit(0.4)).tolist() == [[True, False, False]] * 3, "never empty"
    assert in_sets(new, found.limit(0.6)).tolist() == [[True, False, False], [True, True, False], [True, False, False]]
    assert in_sets(new, found.limit(0.8)).sum(axis=1).tolist() == [1, 2, 3]


def test_of_two_labels_as_likely_one_is_the_likeliest() -> None:
    np.testing.assert_allclose(label_scores(np.float32([[0.2, 0.4, 0.4]])), [[0.8, 0, 0.6]])


def test_scores_are_those_where_it_answers() -> None:
    probabilities = np.float32([[[0.4, 0.6], [0.1, 0.9]], [[0.4, 0.6], [0.1, 0.9]]])
    predictions = Predictions(probabilities, np.float32([[1, 1], [0, 1]]), np.array([2, 2]))
    np.testing.assert_allclose(calibrate(predictions, np.array([0, 0])).scores, [0.6, 0.9], atol=1e-6)


@pytest.mark.parametrize(("rows", "coverage", "rank"), [(19, 0.95, 19), (99, 0.9, 90), (100, 0.9, 91), (1, 0.5, 1)])
def test_the_rank_is_that_of_the_proof(rows: int, coverage: float, rank: int) -> None:
    scores = np.arange(1, rows + 1, dtype=np.float32) / 1000
    assert of_rows(scores).limit(coverage) == pytest.approx(rank / 1000)


@pytest.mark.parametrize(
    ("rows", "coverage", "message"),
    [
        (18, 0.95, "coverage 0.95 needs at least 19 rows to be calibrated on, but this ensemble has 18; .* 0.947"),
        (549, 0.999, "coverage 0.999 needs at least 999 rows .* has 549; ask for at most 0.998"),
        (0, 0.5, "coverage 0.5 needs at least 1 rows .* has 0"),
        (10, 1.0, "above 0 and below 1, but got 1"),
        (10, 0.0, "above 0 and below 1, but got 0"),
        (10, float("nan"), "above 0 and below 1, but got nan"),
    ],
)
def test_what_cannot_be_promised_is_refused_in_one_line(rows: int, coverage: float, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        of_rows(np.zeros(rows, np.float32)).limit(coverage)
    assert "\n" not in str(error.value)


def test_a_group_counts_as_one_row_by_hand() -> None:
    """Two rows of one group and two by themselves are three: (3 + 1)·.5 = 2 are reached at the third score."""
    probabilities = np.float32([[0.6, 0.4], [0.7, 0.3], [0.8, 0.2], [0.9, 0.1]])[:, None]
    predictions = Predictions(probabilities, np.ones((4, 1), np.float32), np.ones(4, np.int64))
    found = calibrate(predictions, np.ones(4, np.int64), np.array([7, 7, 1, 3]))
    np.testing.assert_allclose(found.scores, [0.6, 0.7, 0.8, 0.9], atol=1e-6)
    assert found.weights.tolist() == [0.5, 0.5, 1, 1]
    assert [found.limit(coverage) for coverage in (0.25, 0.5, 0.75)] == pytest.approx([0.7, 0.8, 0.9])
    with pytest.raises(InputError, match=r"needs at least 4 groups of rows to be calibrated on, .* has 3; .* 0.75"):
        found.limit(0.8)
    assert found.promise == OF_GROUPS
    alone = calibrate(predictions, np.ones(4, np.int64), np.array([4, 7, 1, 3]))
    assert alone.limit(0.8) == calibrate(predictions, np.ones(4, np.int64)).limit(0.8)
    assert alone.promise == GUARANTEED


def test_a_text_of_a_new_group_is_covered_where_large_groups_are_easy() -> None:
    """39 groups, of one row or of twelve, whose rows share most of their score. By rows 90% would be 80%."""
    random = np.random.default_rng(0)
    draws, covered, by_rows = 3000, 0, 0
    for _ in range(draws):
        large = random.random(40) < 0.3
        sizes = np.where(large, 12, 1)
        groups = np.repeat(np.arange(40), sizes)
        of_group = random.random(40) * np.where(large, 0.3, 1)
        scores = (0.9 * of_group[groups] + 0.1 * random.random(len(groups))).astype(np.float32)
        known, new = groups < 39, np.flatnonzero(groups == 39)[0]
        order = np.argsort(scores[known])
        own = Calibration(scores[known][order], (1 / sizes[groups])[known][order])
        covered += bool(scores[new] <= own.limit(0.9))
        by_rows += bool(scores[new] <= of_rows(scores[known]).limit(0.9))
    low, high = binom.interval(0.999, draws, 0.9)
    assert low <= covered <= high
    assert by_rows < 0.85 * draws


def test_calibrations_are_kept_in_a_file_and_checked() -> None:
    kept = {
        "selection": Calibration(np.float32([0, 0.25, 0.9]), np.array([1, 0.5, 0.5]), CROSS_FITTED),
        "linear": of_rows(np.float32([0.5])),
    }
    arrays, metadata = packed(kept)
    again = unpacked(arrays, metadata)
    assert [(each.scores.tolist(), each.weights.tolist(), each.caveat) for each in again.values()] == [
        ([0, 0.25, np.float32(0.9)], [1, 0.5, 0.5], CROSS_FITTED),
        ([0.5], [1], ""),
    ]
    assert list(again) == ["selection", "linear"]
    for name, wrong, message in (
        ("linear/scores", np.float32([1.5]), "scores from 0 to 1, ascending"),
        ("selection/scores", np.float32([0.5, 0.25, 0.9]), "scores from 0 to 1, ascending"),
        ("linear/weights", np.zeros(1), "a weight above 0"),
        ("linear/weights", np.ones(2), "a weight above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            unpacked({**arrays, name: wrong}, metadata)
    with pytest.raises(KeyError):
        unpacked(arrays, {})
    with pytest.raises(KeyError):
        unpacked({}, {"caveats": json.dumps({"linear": ""})})


@given(st.integers(0, 10_000), st.floats(0.5, 0.95))
def test_more_coverage_never_makes_a_set_smaller(seed: int, coverage: float) -> None:
    random = np.random.default_rng(seed)
    known = of_rows(random.random(60).astype(np.float32))
    probabilities = random.dirichlet(np.ones(5), 20).astype(np.float32)
    less, more = (in_sets(probabilities, known.limit(each)) for each in (coverage, coverage + 0.03))
    assert (less <= more).all()
    assert less[np.arange(20), probabilities.argmax(axis=1)].all()


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_over_many_draws_coverage_is_what_the_proof_says(coverage: float) -> None:
    """With n = 99 rows and scores without ties it is exactly ⌈100·coverage⌉ / 100, however bad the probabilities.

    Ties are there only where the likeliest label is right, which is so of 60% of the rows.
    """
    random = np.random.default_rng(0)
    draws = 4000
    said = random.dirichlet([1, 1, 1], (draws, 100)).astype(np.float32)
    labels = np.where(random.random((draws, 100)) < 0.4, said.argmax(axis=2), random.integers(0, 3, (draws, 100)))
    one, rows = np.ones((99, 1), np.float32), np.ones(99, np.int64)
    covered = 0
    for i in range(draws):
        known = calibrate(Predictions(said[i, :99, None], one, rows), labels[i, :99])
        covered += bool(in_sets(said[i, 99], known.limit(coverage))[labels[i, 99]])
    low, high = binom.interval(0.999, draws, coverage)
    assert low <= covered <= high


ROWS, NEW, SPLITS = 99, 2000, 5
ASKED = (0.8, 0.9, 0.95)
OBJECTIVE = Objective("reward", Costs(0.01))
KINDS = ("trial", "trial", "trial", "baseline", "control", "refit", "refit", "refit", "soup", "soup")
LEARNERS = (*ARRAYS, "sklearn.tree:DecisionTreeClassifier")
EVERY = [make(name) for name in BUILDERS] + [make({"stacking": {"learner": learner}}) for learner in LEARNERS]


def evidence(drift: float, thresholds: tuple[float, float], classes: int, segments: int) -> tuple[Stack, Ints]:
    """Members that read evidence, a random walk of each class that drifts where the class is right, with noise of
    their own. They answer above a threshold, so that most scores lie just below 1 − the threshold."""
    random = np.random.default_rng(0)
    rows = ROWS + NEW
    labels = random.integers(0, classes, rows)
    shape, truth = (rows, segments, classes), drift * np.eye(classes)[labels][:, None]
    shared = (random.normal(size=shape) + truth).cumsum(axis=1)
    members = []
    for threshold in np.linspace(*thresholds, len(KINDS)):
        logits = drift * (shared + 0.5 * random.normal(size=shape).cumsum(axis=1))
        odds = np.exp(logits - logits.max(axis=2, keepdims=True))
        probabilities = (odds / odds.sum(axis=2, keepdims=True)).astype(np.float32)
        members.append(answer_above(probabilities, np.full(rows, segments), threshold))
    return Stack.of(members), labels


def splits(stack: Stack, labels: Ints, synthetic: SimpleNamespace) -> list[tuple[Choice, Library, Ints]]:
    """Choices on rows that are drawn anew, and the rows that they have not seen."""
    found = []
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(len(labels))
        blend = synthetic.library(stack.rows(order[:ROWS]), KINDS)
        new = synthetic.library(stack.rows(order[ROWS:]), KINDS)
        own = labels[order[:ROWS]]
        found.append((choose(blend, own, blend, own, EVERY, OBJECTIVE), new, labels[order[ROWS:]]))
    return found


@pytest.mark.parametrize(
    ("drift", "thresholds", "classes", "segments", "accuracies"),
    [(1.3, (0.87, 0.95), 3, 6, (0.9, 0.975)), (0.8, (0.75, 0.9), 4, 4, (0.5, 0.75))],
    ids=["easy", "hard"],
)
def test_sets_of_every_builder_and_single_hold_what_is_asked_on_fresh_rows(
    drift: float,
    thresholds: tuple[float, float],
    classes: int,
    segments: int,
    accuracies: tuple[float, float],
    synthetic: SimpleNamespace,
) -> None:
    """Within two standard errors of what is asked, and from below within three of the mean's own.

    Above only by labels whose score is the limit itself: the likeliest one, and those that naive Bayes or a tree gives
    the smallest probability that there is. Without these a set holds the right label no more often than is asked.
    """
    stack, labels = evidence(drift, thresholds, classes, segments)
    made = splits(stack, labels, synthetic)
    names = [row.name for row in made[0][0].rows if row.role == "ensemble"] + ["trial", "baseline-3", "control-4"]
    assert len(names) == len(EVERY) + 3
    errors = np.sqrt(np.multiply(ASKED, np.subtract(1, ASKED)) * (1 / ROWS + 1 / NEW))
    for name in names:
        found = []
        for choice, new, right in made:
            own = next(row.name for row in choice.rows if name in (row.name, row.role))
            predictions = choice.combinations[own].predict(new.stack)
            said = predictions.at(predictions.stops())
            accuracy = (said.argmax(axis=1) == right).mean()
            assert accuracies[0] < accuracy < accuracies[1]
            limits = [choice.calibration[own].limit(coverage) for coverage in ASKED]
            sets = [in_sets(said, limit) for limit in limits]
            assert all(each.any(axis=1).all() for each in sets), "no set is empty"
            held = np.array([each[np.arange(NEW), right].mean() for each in sets])
            assert held.min() >= accuracy
            scores = label_scores(said)[np.arange(NEW), right]
            below = np.array([(scores < np.float32(limit)).mean() for limit in limits])
            found.append(np.minimum(held - ASKED, 0) + np.maximum(below - ASKED, 0))
        z = found / errors
        assert (z.mean(axis=0) >= -3 / np.sqrt(SPLITS)).all(), (name, z)
        assert (z.mean(axis=0) <= 2).all(), (name, z)
        assert np.sqrt((z**2).mean()) < 1.6, (name, z)


def test_an_ensemble_is_calibrated_at_its_own_stop_by_fits_on_other_folds(synthetic: SimpleNamespace) -> None:
    """As worked out here: each row by the weights of the other folds, at the temperature and the stop of the whole."""
    stack, labels = evidence(1.3, (0.87, 0.95), 3, 6)
    blend, own = synthetic.library(stack.rows(np.arange(300)), KINDS), labels[:300]
    choice = choose(blend, own, blend, own, [make("stacking")], OBJECTIVE, seed=3)
    fold, whole = folds(own, 3), choice.combinations["stacking"]
    used = blend.stack.take(blend.of_kinds(make("stacking").kinds))
    scores, stops = np.empty(300, np.float32), []
    for k in range(5):
        held = fold == k
        fitted = make("stacking").fit(used.rows(~held), own[~held], OBJECTIVE)
        stops.append(fitted.stop)
        said = replace(fitted, stop=whole.stop, temperature=whole.temperature).predict(used.rows(held))
        at = said.at(said.stops())
        likeliest = at.argmax(axis=1) == own[held]
        scores[held] = np.where(likeliest, 0, 1 - at[np.arange(held.sum()), own[held]])
    assert any(stop != whole.stop for stop in stops)
    np.testing.assert_allclose(choice.calibration["stacking"].scores, np.sort(scores), atol=1e-6)


def test_what_is_guaranteed_depends_on_what_saw_the_rows(synthetic: SimpleNamespace) -> None:
    """Single members have not seen blend. Under folds a row was read by the policies of one fold only."""
    stack, labels = synthetic.stack([2.0, 2.5, 3.0, 2.0], rows=100)
    library = synthetic.library(stack, ["trial", "trial", "baseline", "control"])
    choice = choose(library, labels, library, labels, [make("average")], OBJECTIVE)
    promises = {name: each.promise for name, each in choice.calibration.items()}
    single = next(row.name for row in choice.rows if row.role == "trial")
    assert promises == {"average": CROSS_FITTED, **dict.fromkeys((single, "baseline-2", "control-3"), GUARANTEED)}
    under_folds = choose_out_of_fold(library, labels, np.arange(100) % 5, [make("average")], OBJECTIVE)
    assert {each.promise for each in under_folds.calibration.values()} == {OUT_OF_FOLD}
    grouped = synthetic.library(replace(stack, groups=np.arange(100) // 2), ["trial", "trial", "baseline", "control"])
    of_groups = choose(grouped, labels, grouped, labels, [], OBJECTIVE).calibration["control-3"]
    assert (of_groups.promise, set(of_groups.weights.tolist())) == (OF_GROUPS, {0.5})


@pytest.mark.slow  # five seconds: a linear model of 14 languages
def test_of_real_texts_it_holds_for_a_linear_member() -> None:
    """The baseline of builtin:languages, which has not seen blend or test: within two standard errors of what is asked,
    or of its accuracy where that is higher."""
    from sweepstack.models.baselines.linear import LinearBaseline
    from sweepstack.models.data.labelled import load_dataset
    from sweepstack.models.settings.data import Data
    from sweepstack.models.settings.trial import Reading

    reading = Reading(unit="characters", segment=2, max_segments=12)
    dataset = load_dataset(Data(train="builtin:languages"), reading)
    blend, test = dataset.parts["blend"], dataset.parts["test"]
    baseline = LinearBaseline.fit(dataset, reading)
    known = calibrate(baseline.read(blend.inputs), blend.labels, blend.units)
    said = baseline.read(test.inputs)
    probabilities = said.at(said.stops())
    accuracy = (probabilities.argmax(axis=1) == test.labels).mean()
    for coverage in (0.8, 0.9, 0.95, 0.99):
        held = in_sets(probabilities, known.limit(coverage))[np.arange(len(test.labels)), test.labels].mean()
        noise = np.sqrt(coverage * (1 - coverage) * (1 / len(blend.labels) + 1 / len(test.labels)))
        assert abs(held - max(coverage, accuracy)) <= 2 * noise
