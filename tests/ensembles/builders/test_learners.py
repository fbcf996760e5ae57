"""Meta-learners say through their pools what scikit-learn says; what cannot be kept is refused before it is needed."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from sweepstack.ensembles.builders import learners
from sweepstack.ensembles.builders.stacking import Stacking
from sweepstack.ensembles.bundles.bundle import Bundle
from sweepstack.ensembles.combinations.fitted_pools import features
from sweepstack.ensembles.combinations.registry import from_state as combination_from_state
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.errors import TrainingError
from sweepstack.models.predictions.probabilities import Floats, Ints

assert Bundle  # what holds a pool must import without the extra
onnx = pytest.mark.skipif(
    any(learners.find_spec(name) is None for name in ("skl2onnx", "onnxruntime")), reason="needs the extra onnx"
)
TREES = ["sklearn.tree:DecisionTreeClassifier", "sklearn.ensemble:RandomForestClassifier"]
OTHERS = ["sklearn.neighbors:KNeighborsClassifier", "sklearn.linear_model:LogisticRegression"]


def examples(synthetic: SimpleNamespace, classes: int = 4) -> tuple[Floats, Ints, NDArray[np.float64]]:
    """(members, rows, classes) at each text's end, and weights."""
    stack, labels = synthetic.stack([3.0, 2.0, 4.0], rows=300, classes=classes)
    said = stack.probabilities[:, np.arange(300), stack.n_segments - 1]
    return said, labels, np.random.default_rng(0).uniform(0.5, 1.5, 300)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(
    ("learner", "estimator"),
    [
        ("logistic", LogisticRegression(C=0.3, max_iter=1000)),
        ("naive_bayes", GaussianNB(var_smoothing=1e-3)),
        ("lda", LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")),
    ],
)
def test_arrays_say_what_scikit_learn_says(
    learner: str, estimator: object, classes: int, synthetic: SimpleNamespace
) -> None:
    said, labels, weight = examples(synthetic, classes)
    pool = learners.fit(learner, 0.3)(said, labels, weight)
    weighted = {} if learner == "lda" else {"sample_weight": weight}
    estimator.fit(features(said), labels, **weighted)  # type: ignore[attr-defined]
    expected = estimator.predict_proba(features(said))  # type: ignore[attr-defined]
    np.testing.assert_allclose(pool.known(features(said)), expected, atol=1e-5)


@pytest.mark.parametrize("classes", [2, 4])
def test_least_squares_prefers_what_ridge_prefers(classes: int, synthetic: SimpleNamespace) -> None:
    from sklearn.linear_model import RidgeClassifier

    said, labels, weight = examples(synthetic, classes)
    pool = learners.fit("ridge", 0.5)(said, labels, weight)
    ridge = RidgeClassifier(alpha=2.0).fit(features(said), labels, sample_weight=weight)
    np.testing.assert_array_equal(pool.known(features(said)).argmax(axis=1), ridge.predict(features(said)))


@onnx
@pytest.mark.parametrize("learner", [*TREES, *OTHERS])
def test_a_graph_says_what_scikit_learn_says_on_rows_that_neither_has_seen(
    learner: str, synthetic: SimpleNamespace
) -> None:
    said, labels, weight = examples(synthetic)
    seen, fresh = slice(0, 200), slice(200, 300)
    graph, as_it_is = (
        learners.fit(learner, 1.0, convert)(said[:, seen], labels[seen], weight[seen]) for convert in (True, False)
    )
    inputs = features(said[:, fresh])
    np.testing.assert_allclose(graph.known(inputs), as_it_is.known(inputs), atol=1e-5)
    if learner in TREES:  # the grid of the features makes their thresholds exact
        np.testing.assert_array_equal(graph.known(inputs).argmax(axis=1), as_it_is.known(inputs).argmax(axis=1))


@onnx
def test_what_blend_lacked_and_what_is_stored(synthetic: SimpleNamespace) -> None:
    stack, labels = synthetic.stack([3.0, 2.0, 4.0], rows=300)
    seen = labels != 2
    stacking = Stacking(learner=TREES[0])
    combination = stacking.fit(stack.rows(seen), labels[seen], Objective("log_loss"))
    state, arrays = combination.state()
    assert (state["pool"], arrays["pool.graph"].dtype) == ("onnx", np.uint8)
    again = combination_from_state(state, arrays)
    again.pool.check(3, 4)
    np.testing.assert_array_equal(again.predict(stack).probabilities, combination.predict(stack).probabilities)
    assert combination.predict(stack).probabilities[..., 2].max() > 0.2
    with pytest.raises(ValueError, match="are no 12 features"):
        again.pool.check(3, 5)


def test_a_learner_that_memorises_is_not_believed_where_it_was_fitted(synthetic: SimpleNamespace) -> None:
    """A tree is right of every row that it has seen. Its temperature is fitted on what it says of others."""
    if learners.find_spec("skl2onnx") is None:
        pytest.skip("needs the extra onnx")
    stack, labels = synthetic.stack([2.0, 2.0, 2.0], rows=400)
    combination = Stacking(learner=TREES[0]).fit(stack, labels, Objective("log_loss"))
    assert combination.temperature > 2


@onnx
@pytest.mark.parametrize(
    ("learner", "reason"),
    [
        ("sklearn.naive_bayes:MultinomialNB", "cannot be a meta-learner: Negative values"),
        ("sklearn.svm:LinearSVC", "no classifier that says probabilities"),
        ("sklearn.linear_model:Ridge", "no classifier that says probabilities"),
        ("sklearn.ensemble:StackingClassifier", "cannot be made without arguments"),
        ("sklearn.ensemble:Forest", "is not in the installed scikit-learn"),
        ("sklearn.gardening:Tree", "is not in the installed scikit-learn"),
        ("sklearn.neighbors:NearestCentroid", "cannot be a meta-learner"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_the_reason(learner: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        Stacking(learner=learner)
    assert "name" in str(error.value).rpartition(";")[2]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "learner", ["os:System", "subprocess:Popen", "sklearn:x", "sklearn.svm.SVC", "tree", "", "xgb:A"]
)
def test_only_names_of_scikit_learn_are_imported(learner: str) -> None:
    with pytest.raises(ValueError, match="must be log_odds, logistic, naive_bayes, ridge, lda or a classifier of scik"):
        Stacking(learner=learner)


def test_a_name_that_is_nearly_one() -> None:
    with pytest.raises(ValueError, match="did you mean logistic"):
        Stacking(learner="logistics")


def test_without_the_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learners, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"skl2onnx and onnxruntime are not installed; pip install 'sweepstack\[onnx\]'"
    ):
        Stacking(learner=TREES[0])
    assert Stacking(learner="logistic").learner == "logistic"


@onnx
def test_a_graph_that_says_something_else_is_refused(
    synthetic: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learners, "TOLERANCE", -1.0)
    with pytest.raises(TrainingError, match="differ in their probabilities by up to"):
        learners.fit(OTHERS[1], 1.0)(*examples(synthetic))
