"""The estimator's contract, by scikit-learn's own checks where they apply, and its ensembles made of policies."""

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier, StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import validate_data
from topic_words import topics_dataset

from sweepstack.ensembles.policy_classifier import PolicyClassifier
from sweepstack.models.data.encoding import encode
from sweepstack.models.settings.trial import Reading

QUICK: dict[str, Any] = {
    "model.d_model": 8,
    "model.heads": 1,
    "model.word_dropout": 0.0,
    "train.warm_start.epochs": 3,
    "train.warm_start.lr": 2e-2,
    "train.warm_start.batch_size": 8,
    "train.epochs": 1,
    "precision": "float32",
}
READING = {"unit": "words", "segment": 4, "max_segments": 2}
ONE_SEGMENT = {"unit": "words", "segment": 12, "max_segments": 1}  # narrower than reading: off, so faster


def texts_and_labels() -> tuple[np.ndarray, np.ndarray]:
    dataset = topics_dataset()
    part = dataset.parts["policy"]
    return np.array(part.inputs, dtype=object), np.array([dataset.classes[label] for label in part.labels])


X, Y = texts_and_labels()  # 140 texts of three topics


def quick(**given: Any) -> PolicyClassifier:
    return PolicyClassifier(**{"settings": QUICK, "reading": ONE_SEGMENT, "random_state": 0, **given})


@pytest.fixture(scope="module")
def fitted() -> PolicyClassifier:
    return quick().fit(X, Y)


class OnNumbers(PolicyClassifier):
    """Rows of numbers as texts with a word for each: scikit-learn's checks know no other input than numbers."""

    def _texts(self, X: Any, *, reset: bool) -> list[str]:
        numbers = validate_data(self, X, reset=reset, dtype=np.float64)
        return [" ".join(f"f{i}{'np'[int(v > 0)]}{int(2 * abs(v))}" for i, v in enumerate(row)) for row in numbers]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.one_d_array = False
        return tags


REPEATED = "rows are drawn by their weights, so a row with weight 2 is not exactly a row that stands there twice"
BATCHED = "float32 sums depend on what else is in a batch, in the seventh digit"
EXPECTED = {
    "check_methods_sample_order_invariance": BATCHED,
    "check_methods_subset_invariance": BATCHED,
    "check_sample_weight_equivalence_on_dense_data": REPEATED,
    "check_sample_weight_equivalence_on_sparse_data": REPEATED,
}


@pytest.mark.slow
@parametrize_with_checks(
    [OnNumbers(settings={**QUICK, "train.warm_start.epochs": 8}, reading=ONE_SEGMENT, random_state=0)],
    expected_failed_checks=lambda estimator: EXPECTED,
)
def test_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


def test_it_learns_and_says_so_in_the_classes_that_it_was_given(fitted: PolicyClassifier) -> None:
    assert fitted.classes_.tolist() == ["farm", "money", "ship"]
    assert fitted.score(X, Y) > 0.8
    probabilities = fitted.predict_proba(X)
    assert probabilities.shape == (140, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(fitted.classes_[probabilities.argmax(axis=1)], fitted.predict(X))
    assert not hasattr(fitted, "n_features_in_"), "one-dimensional input has none"


@pytest.mark.parametrize("as_given", [list, np.array, lambda x: x[:, None], pd.Series, lambda x: x[:, None].tolist()])
def test_texts_may_come_in_many_shapes(as_given: Any, fitted: PolicyClassifier) -> None:
    np.testing.assert_array_equal(fitted.predict(as_given(X)), fitted.predict(X))


def test_a_column_of_texts_has_one_feature_and_its_name() -> None:
    frame = pd.DataFrame({"headline": X})
    named = quick().fit(frame, Y)
    assert named.n_features_in_ == 1
    assert named.feature_names_in_.tolist() == ["headline"]
    with pytest.raises(ValueError, match="feature names should match"):
        named.predict(frame.rename(columns={"headline": "body"}))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", "got one text"),
        (np.column_stack([X, X]), r"in the shape \(n,\) or \(n, 1\), but got \(140, 2\)"),
        ([*X[:-1], 3.5], "row 139 is 3.5"),
        ([*X[:-1], None], "row 139 is None"),
        ([], "minimum of 1 is required"),
        (X[:5], "inconsistent numbers of samples"),
        (csr_array(np.ones((140, 1))), "[Ss]parse"),
    ],
)
def test_what_are_no_texts_is_refused(texts: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        quick().fit(texts, Y)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"settings": {"train.lr": -1.0}}, "greater than 0"),
        ({"valid": 0.0}, "valid must be a share"),
        ({"policy": 0.6, "valid": 0.5}, "they sum to 1.1"),
        ({"device": "tpu"}, "'auto', 'cpu' or 'cuda'"),
    ],
)
def test_a_wrong_setting_is_refused_by_fit_and_not_before(given: dict[str, Any], message: str) -> None:
    estimator = quick(**given)
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, Y)


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two classes, but got 1 class"):
        quick().fit(X, np.zeros(140))
    with pytest.raises(ValueError, match="at least two classes, but got 1 class"):
        quick().fit(X, Y, sample_weight=(Y == "farm").astype(float))


def test_the_named_settings_are_those_of_a_trial_and_the_paths_win() -> None:
    own = quick(epochs=3, lr=0.5, settings={"train.lr": 0.1})._trial_settings(7)
    assert (own.train.epochs, own.train.lr) == (3, 0.1)
    assert quick(reading="off")._trial_settings(7).reading == "off"
    assert own.train.seed != own.train.warm_start.seed


def test_the_same_seed_is_the_same_policy_wherever_it_goes(fitted: PolicyClassifier) -> None:
    again = clone(fitted).fit(X, Y)
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    sent = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(sent.predict_proba(X), fitted.predict_proba(X))
    other = clone(fitted).set_params(random_state=1).fit(X, Y)
    assert np.abs(other.predict_proba(X) - fitted.predict_proba(X)).max() > 1e-3


def test_it_reads_until_it_is_sure() -> None:
    reader = quick(reading=READING).fit(X, Y)
    assert reader.score(X, Y) > 0.6
    said = reader._member.read(X.tolist())
    assert (said.stops() < said.n_segments - 1).any() or (said.n_segments == 1).all()
    np.testing.assert_allclose(reader.predict_proba(X), said.at(said.stops()), atol=1e-6)


def test_equal_weights_change_nothing_and_no_weight_is_no_row(fitted: PolicyClassifier) -> None:
    even = clone(fitted).fit(X, Y, sample_weight=np.full(140, 2.0))
    np.testing.assert_array_equal(even.predict_proba(X), fitted.predict_proba(X))
    there = np.arange(140) % 2 == 0
    some = clone(fitted).fit(X, Y, sample_weight=there.astype(float))
    only = clone(fitted).fit(X[there], Y[there])
    np.testing.assert_array_equal(some.predict_proba(X), only.predict_proba(X))


def test_a_class_that_counts_more_is_said_more_often() -> None:
    """Where texts tell nothing, the weights of their classes are all there is to know."""
    words = np.array(["of", "said", "and", "to", "in", "it", "by", "at"])
    same = np.array([" ".join(np.random.default_rng(i).choice(words, 4)) for i in range(60)], dtype=object)
    y = np.arange(60) % 2
    found = quick(settings={**QUICK, "train.warm_start.lr": 3e-3}).fit(same, y, sample_weight=np.where(y, 9.0, 1.0))
    assert found.predict_proba(same)[:, 1].mean() > 0.7


def test_few_and_equal_rows_are_enough_to_be_trained_on() -> None:
    tiny = quick().fit(["up", "down", "up"], [1, 0, 1])
    assert tiny.predict(["up"]).shape == (1,)


# scikit-learn's ensembles take two-dimensional input only, and give example weights.


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")  # scikit-learn's, of rows in every sample
def test_bagging_of_policies() -> None:
    bagging = BaggingClassifier(quick(), n_estimators=3, oob_score=True, random_state=0)
    with pytest.warns(UserWarning, match="Some inputs do not have OOB scores"):
        bagging.fit(X[:, None], Y)
    assert bagging.score(X[:, None], Y) > 0.7
    assert len({tuple(member.predict(X)) for member in bagging.estimators_}) == 3
    assert 1 / 3 < bagging.oob_score_ < 1


def test_boosting_of_policies() -> None:
    weak = quick(settings={**QUICK, "train.warm_start.epochs": 1, "train.warm_start.lr": 1e-2})
    boosted = AdaBoostClassifier(weak, n_estimators=3, random_state=0).fit(X[:, None], Y)
    assert 1 <= len(boosted.estimators_) <= 3
    assert boosted.estimator_errors_[0] < 2 / 3
    assert boosted.score(X[:, None], Y) > 0.5


def test_stacking_of_policies() -> None:
    stacked = StackingClassifier(
        [("whole", quick()), ("reader", quick(reading=READING))], LogisticRegression(), cv=2
    ).fit(X[:, None], Y)
    assert stacked.final_estimator_.coef_.shape == (3, 2 * 3)
    assert stacked.score(X[:, None], Y) > 0.8


def test_the_best_epoch_is_chosen_by_no_text_that_is_read_as_one_of_those_that_it_learns_from() -> None:
    """Four words are read, and names that stand once are unknown: each text has a twin, and three of them many."""
    texts = [f"{text} {twin}" for text in X[:60] for twin in ("one end", "another")]
    texts += [f"name{i} said so" for i in range(12)]
    labels = np.arange(len(texts)) % 3
    classifier = quick()
    classifier.classes_ = np.arange(3)
    reading = Reading(unit="words", segment=4, max_segments=1)
    dataset, places = classifier._dataset(texts, labels, reading, 7)
    encoded = encode(dataset, reading).parts
    where: dict[bytes, set[str]] = {}
    for name, part in encoded.items():
        for row in part.tokens:
            where.setdefault(row.tobytes(), set()).add(name)
    assert len(where) < 132
    assert all(len(names) == 1 for names in where.values())
    assert sorted(np.concatenate(list(places.values())).tolist()) == list(range(132))
    units = [set(dataset.parts[name].units.tolist()) for name in dataset.parts]
    assert sum(map(len, units)) == len(set().union(*units))
