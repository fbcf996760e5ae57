"""One contract over all text pipelines."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.naive_bayes import MultinomialNB
from topic_words import topics_dataset

from sweepstack.models.baselines import pipelines
from sweepstack.models.baselines.linear import LinearBaseline, LinearMember
from sweepstack.models.baselines.pipelines import PIPELINES
from sweepstack.models.data.encoding import encode
from sweepstack.models.data.labelled import Dataset
from sweepstack.models.data.segmenter import TextReader
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import metrics
from sweepstack.models.settings.data import Text
from sweepstack.models.settings.trial import Reading
from sweepstack.models.tasks.classification.checkpoint import load_member

READING = Reading(unit="words", segment=2, max_segments=4, cost=0.01)
DATA = topics_dataset()

pytestmark = pytest.mark.parametrize("name", PIPELINES)


@pytest.fixture(scope="module")
def fitted() -> dict[str, LinearMember]:
    return {name: fit(DATA, READING) for name, fit in PIPELINES.items()}


def test_it_learns_the_topics_and_reads_no_more_than_it_needs(name: str, fitted: dict[str, LinearMember]) -> None:
    test = DATA.parts["test"]
    got = metrics(fitted[name].read(test.inputs), test.labels, Costs(READING.cost))
    assert got["accuracy_full"] > 0.94
    assert got["reward"] > 0.92
    assert 1 <= got["segments"] < 3


def test_what_it_says_after_a_segment_depends_on_what_it_has_read_alone(
    name: str, fitted: dict[str, LinearMember]
) -> None:
    texts = ["the said wheat of corn in it", "bank of the sea", ""]
    member = fitted[name]
    whole = member.read(texts)
    assert whole.probabilities.sum(axis=2) == pytest.approx(1, abs=1e-6)
    for row, text in enumerate(texts):
        for n in range(int(whole.n_segments[row])):
            prefix = member.read([member.features.reader.prefix(text, n + 1)])
            assert np.array_equal(prefix.probabilities[0, n], whole.probabilities[row, n])


def test_loading_gives_back_the_same_numbers_from_plain_files(
    name: str, fitted: dict[str, LinearMember], tmp_path: Path
) -> None:
    fitted[name].save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"weights.safetensors", "config.json", "SHA256SUMS"}
    member = load_member(tmp_path)
    assert member.classes == DATA.classes
    before, after = (each.read(DATA.parts["test"].inputs) for each in (fitted[name], member))
    assert np.array_equal(before.probabilities, after.probabilities)
    assert np.array_equal(before.answer, after.answer)


def test_the_same_rows_give_the_same_bytes_whatever_test_holds(
    name: str, fitted: dict[str, LinearMember], tmp_path: Path
) -> None:
    other = Dataset(DATA.classes, {**DATA.parts, "test": topics_dataset(5).parts["test"]}, DATA.hashes, ())
    for folder, member in ((tmp_path / "a", fitted[name]), (tmp_path / "b", PIPELINES[name](other, READING))):
        member.save(folder)
    for file in ("weights.safetensors", "config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("unit", ["words", "characters", "tokens"])
def test_it_cuts_a_text_where_a_policy_of_the_same_study_does(name: str, unit: str) -> None:
    data = replace(DATA, text=Text(vocabulary=60))
    reading = Reading(unit=unit, segment=5, max_segments=6)  # type: ignore[arg-type]
    member, policy = PIPELINES[name](data, reading), TextReader.from_json(encode(data, reading).reader)
    texts = (*data.parts["test"].inputs, "harvestcorn wheatwheatwheat of", "")
    assert member.read(texts).n_segments.tolist() == policy.encode(texts).n_segments.tolist()


def test_without_reading_it_is_calibrated(name: str) -> None:
    """Its log loss is what matters there: no temperature on unseen rows would mend more than a little."""
    blend = DATA.parts["blend"]
    predictions = PIPELINES[name](DATA, "off").read(blend.inputs)
    assert predictions.answer.tolist() == [[1.0]] * len(blend.labels)
    logits = np.log(predictions.probabilities[:, 0])
    losses = []
    for temperature in (0.5, 1.0, 2.0):
        odds = np.exp(logits / temperature)
        losses.append(-np.log((odds / odds.sum(1, keepdims=True))[np.arange(len(logits)), blend.labels]).mean())
    assert losses[1] < min(losses) + 0.06


def test_it_errs_differently_from_the_baseline(name: str, fitted: dict[str, LinearMember]) -> None:
    test, baseline = DATA.parts["test"].inputs, LinearBaseline.fit(DATA, READING)
    distance = np.abs(fitted[name].read(test).probabilities - baseline.read(test).probabilities).sum(axis=2) / 2
    assert distance.mean() > 0.01, "what a builder takes for one member"


def test_costs_and_an_interval_of_costs_make_thresholds(name: str) -> None:
    data = replace(DATA, costs=np.float32(0.005 * (1 - np.eye(3))))
    cheap = PIPELINES[name](data, READING)
    assert cheap.read(data.parts["test"].inputs).stops().mean() == 0, "errors cost less than a READ"
    told = PIPELINES[name](DATA, Reading(**{**READING.model_dump(), "cost": {"condition": [0.0, 0.1]}}))
    assert told.conditioned
    read = [told.read(DATA.parts["test"].inputs, cost).stops().mean() for cost in (0.0, 0.1)]
    assert read[0] >= read[1]


def test_naive_bayes_is_that_of_scikit_learn(
    name: str, fitted: dict[str, LinearMember], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the scale of its scores: with one smoothing the coefficients are the library's, all by one factor."""
    if name != "naive_bayes":
        pytest.skip("of one of them")
    for path in ("sharper", "smoother"):
        monkeypatch.setattr(pipelines, path, lambda decade: iter(()))
    member = PIPELINES[name](DATA, "off")
    texts = [text for part in ("warm", "policy") for text in DATA.parts[part].inputs]
    labels = np.concatenate([DATA.parts[part].labels for part in ("warm", "policy")])
    matrix = member.features.transform(texts)[0]  # type: ignore[union-attr]
    reference = MultinomialNB(alpha=0.1).fit(matrix, labels)
    factor = member.coef / reference.feature_log_prob_.T
    assert factor == pytest.approx(factor.mean(), rel=1e-4)
    assert member.intercept == pytest.approx(reference.class_log_prior_, abs=1e-6)


def test_what_was_found_is_enough_to_fit_the_same_again(
    name: str, fitted: dict[str, LinearMember], tmp_path: Path
) -> None:
    """Also where valid would now choose something else."""
    first, fit = fitted[name], PIPELINES[name]
    first.save(tmp_path)
    found = LinearMember.load(tmp_path).found
    assert found
    labels = DATA.parts["valid"].labels
    spoilt = replace(DATA.parts["valid"], labels=(labels + 1) % len(DATA.classes))
    other = replace(DATA, parts={**DATA.parts, "valid": spoilt})
    again = fit(other, READING, found)
    np.testing.assert_allclose(again.coef, first.coef, atol=1e-6)
    assert again.found == found
    assert not np.allclose(fit(other, READING, None).coef, first.coef, atol=1e-3), "a fit that chooses is another one"
