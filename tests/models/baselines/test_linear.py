import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sweepstack.models.baselines.linear import BATCH, LinearBaseline, LinearMember
from sweepstack.models.baselines.pipelines import PIPELINES
from sweepstack.models.data.encoding import encode
from sweepstack.models.data.labelled import Dataset, Part, load_dataset
from sweepstack.models.data.segmenter import TextReader
from sweepstack.models.errors import BundleError
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import metrics
from sweepstack.models.settings.data import Data, Text
from sweepstack.models.settings.trial import Reading

READING = Reading(unit="words", segment=2, max_segments=4, cost=0.01)
TOPICS = {
    "farm": "wheat corn grain harvest acres",
    "money": "dollar bank rates yen loan",
    "ship": "port sea crew vessel",
}
FILLER = "the of said and to a in it"


def dataset(seed: int = 0, per_part: int = 200) -> Dataset:
    """Each text is eight words: six that say nothing and two, somewhere, of its topic."""
    rng = np.random.default_rng(seed)
    parts = {}
    for name in ("warm", "policy", "valid", "blend", "test"):
        texts, labels = [], []
        for row in range(per_part):
            label = row % len(TOPICS)
            words = list(rng.choice(FILLER.split(), 6)) + list(rng.choice(list(TOPICS.values())[label].split(), 2))
            texts.append(" ".join(rng.permutation(words)))
            labels.append(label)
        parts[name] = Part(tuple(texts), np.array(labels, dtype=np.int64))
    return Dataset(tuple(TOPICS), parts, {name: name for name in parts}, ())


@pytest.fixture(scope="module")
def baseline() -> LinearBaseline:
    return LinearBaseline.fit(dataset(), READING)


def test_it_learns_the_topics_and_answers_as_soon_as_it_is_sure(baseline: LinearBaseline) -> None:
    test = dataset().parts["test"]
    got = metrics(baseline.read(test.inputs), test.labels, Costs(READING.cost))
    assert got["accuracy_full"] > 0.98
    # The first topic word lies, on average, in segment 1.9 of 4 (positions 1 to 8, the smaller of two drawn: 3).
    assert 1.5 < got["segments"] < 2.6
    assert got["reward"] > 0.95


def test_predictions_have_the_shape_that_ensembles_combine(baseline: LinearBaseline) -> None:
    predictions = baseline.read(["wheat corn", "the of said and to a", ""])
    assert predictions.n_segments.tolist() == [1, 3, 1]
    assert predictions.probabilities.shape == (3, 3, 3)
    assert predictions.probabilities.dtype == np.float32
    assert predictions.probabilities.sum(axis=2) == pytest.approx(1, abs=1e-6)
    assert np.array_equal(predictions.probabilities[0, 0], predictions.probabilities[0, 2])  # the last is repeated
    assert predictions.answer[:, 2].tolist() == [1, 1, 1]
    assert predictions.probabilities[0, 0].argmax() == 0


def test_what_it_says_after_a_segment_depends_on_what_it_has_read_alone(baseline: LinearBaseline) -> None:
    texts = ["the said wheat of corn in it", "bank of the sea"]
    whole = baseline.read(texts)
    for row, text in enumerate(texts):
        for n in range(int(whole.n_segments[row])):
            prefix = baseline.read([baseline.features.reader.prefix(text, n + 1)])
            assert np.array_equal(prefix.probabilities[0, n], whole.probabilities[row, n])


def test_it_reads_no_texts_and_more_than_a_batch(baseline: LinearBaseline) -> None:
    assert baseline.read([]).probabilities.shape == (0, 1, 3)
    texts = ["wheat corn"] * BATCH + ["the of said and loan bank"]
    many = baseline.read(texts)
    assert many.n_segments[-1] == 3
    assert np.array_equal(many.probabilities[-1], baseline.read(texts[-1:]).probabilities[0])
    assert np.array_equal(many.probabilities[0, 2], baseline.read(texts[:1]).probabilities[0, 0])


def test_loading_gives_back_the_same_numbers(baseline: LinearBaseline, tmp_path: Path) -> None:
    baseline.save(tmp_path)
    again = LinearBaseline.load(tmp_path)
    before, after = (each.read(dataset().parts["test"].inputs) for each in (baseline, again))
    assert again.classes == baseline.classes
    assert np.array_equal(before.probabilities, after.probabilities)
    assert np.array_equal(before.answer, after.answer)
    assert np.array_equal(before.n_segments, after.n_segments)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert (config["format"], config["kind"], config["threshold"]) == (2, "linear", baseline.threshold)


def test_the_same_data_give_the_same_bytes(baseline: LinearBaseline, tmp_path: Path) -> None:
    digests = []
    for name, fitted in (("a", baseline), ("b", LinearBaseline.fit(dataset(), READING))):
        fitted.save(tmp_path / name)
        content = b"".join(path.read_bytes() for path in sorted((tmp_path / name).iterdir()))
        digests.append(hashlib.sha256(content).hexdigest())
    assert digests[0] == digests[1]


def test_test_rows_change_nothing(baseline: LinearBaseline) -> None:
    known = dataset()
    other = Dataset(known.classes, {**known.parts, "test": dataset(seed=5).parts["test"]}, known.hashes, ())
    assert np.array_equal(LinearBaseline.fit(other, READING).coef, baseline.coef)


def test_it_cuts_a_text_where_a_policy_of_the_same_study_does() -> None:
    """Members are combined segment by segment; and tokens are cut by what the vocabulary has learned."""
    data = replace(dataset(), text=Text(vocabulary=60))
    reading = Reading(unit="tokens", segment=5, max_segments=6)
    baseline, policy = LinearBaseline.fit(data, reading), TextReader.from_json(encode(data, reading).reader)
    texts = (*data.parts["test"].inputs, "harvestcorn wheatwheatwheat of", "")
    assert baseline.read(texts).n_segments.tolist() == policy.encode(texts).n_segments.tolist()
    assert {"wheat", "corn grain"} & set(baseline.features.terms) == {"wheat", "corn grain"}


def test_it_does_to_words_what_the_data_say(tmp_path: Path) -> None:
    baseline = LinearBaseline.fit(replace(dataset(), text=Text(stop_words="english", stem="english")), READING)
    assert "harvest" in baseline.features.terms
    assert "the" not in baseline.features.terms
    baseline.save(tmp_path)
    again = LinearBaseline.load(tmp_path).read(["The of HARVESTS"])
    assert again.n_segments.tolist() == [1]
    assert np.array_equal(again.probabilities, baseline.read(["harvest"]).probabilities)


def test_costs_change_its_threshold_and_are_kept(tmp_path: Path) -> None:
    """Where errors cost less than a READ it answers at once."""
    cheap = LinearBaseline.fit(replace(dataset(), costs=np.float32(0.005 * (1 - np.eye(3)))), READING)
    plain = LinearBaseline.fit(dataset(), READING)
    test = dataset().parts["test"].inputs
    assert cheap.read(test).stops().mean() == 0
    assert plain.read(test).stops().mean() > 0.5
    cheap.save(tmp_path)
    again = LinearBaseline.load(tmp_path)
    assert again.costs == cheap.costs
    assert np.array_equal(again.read(test).answer, cheap.read(test).answer)


def test_reading_off_answers_after_its_only_segment() -> None:
    data = dataset()
    predictions = LinearBaseline.fit(data, "off").read(data.parts["test"].inputs)
    assert predictions.answer.tolist() == [[1.0]] * 200
    assert metrics(predictions, data.parts["test"].labels, Costs(0.0))["accuracy"] > 0.98


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "weights.safetensors").unlink(),
        lambda folder: (folder / "weights.safetensors").write_bytes(b"short"),
        lambda folder: (folder / "config.json").write_text("{", encoding="utf-8"),
        lambda folder: (folder / "config.json").write_text('{"format": 7, "kind": "linear"}', encoding="utf-8"),
        lambda folder: (folder / "config.json").write_text(
            (folder / "config.json").read_text(encoding="utf-8").replace('"farm", ', ""), encoding="utf-8"
        ),
    ],
    ids=["no weights", "cut weights", "cut config", "another format", "a class too few"],
)
def test_a_spoiled_folder_is_refused_in_one_line(baseline: LinearBaseline, tmp_path: Path, spoil: object) -> None:
    baseline.save(tmp_path)
    assert callable(spoil)
    (tmp_path / "SHA256SUMS").unlink()  # as older versions wrote it: what is wrong is found out by reading
    spoil(tmp_path)
    with pytest.raises(BundleError) as caught:
        LinearBaseline.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "copy the whole folder again" in str(caught.value)


def test_what_was_found_is_enough_to_fit_the_same_again(baseline: LinearBaseline) -> None:
    """Also where valid would now choose something else."""
    valid = dataset().parts["valid"]
    spoilt = replace(valid, labels=(valid.labels + 1) % 3)
    other = replace(dataset(), parts={**dataset().parts, "valid": spoilt})
    again = LinearBaseline.fit(other, READING, baseline.found)
    assert np.array_equal(again.coef, baseline.coef)
    assert LinearBaseline.fit(other, READING).found == {"strength": pytest.approx(1e-4)} != baseline.found


def whole_texts(seed: int, rows: int) -> Part:
    """Two hundred words that say nothing, then two of the topic: nobody who stops before 200 can know it."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % len(TOPICS)
    words = [list(TOPICS.values())[label].split() for label in labels]
    texts = [" ".join([*rng.choice(FILLER.split(), 200), *rng.choice(own, 2)]) for own in words]
    return Part(tuple(texts), labels)


def test_under_reading_off_it_reads_to_the_end() -> None:
    parts = {name: whole_texts(seed, 90) for seed, name in enumerate(("warm", "policy", "valid", "test"))}
    data = Dataset(tuple(TOPICS), parts, {name: name for name in parts}, ())
    baseline = LinearBaseline.fit(data, "off")
    got = metrics(baseline.read(parts["test"].inputs), parts["test"].labels, Costs(0.0))
    assert got["accuracy"] > 0.98
    cut = replace(parts["test"], inputs=tuple(" ".join(text.split()[:200]) for text in parts["test"].inputs))
    assert metrics(baseline.read(cut.inputs), cut.labels, Costs(0.0))["accuracy"] < 0.6


@pytest.mark.parametrize("fit", [LinearBaseline.fit, *PIPELINES.values()])
def test_linear_members_read_whole_texts_of_which_policies_read_a_part(
    fit: Callable[..., LinearMember], tmp_path: Path
) -> None:
    part = whole_texts(7, 180)
    rows = [{"text": text, "label": str(label)} for text, label in zip(part.inputs, part.labels, strict=True)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = load_dataset(Data(train=str(tmp_path / "x.jsonl"), text=Text(max_words=150)), "off")
    member = fit(data, "off", None)
    member.save(tmp_path / "member")
    test = data.parts["test"]
    said = LinearBaseline.load(tmp_path / "member").read(test.inputs)
    assert metrics(said, test.labels, Costs(0.0))["accuracy"] > 0.9
    assert encode(data, "off").parts["test"].tokens.shape[1:] == (1, 150)


@pytest.mark.parametrize(("machines", "sublinear"), [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)])
def test_under_reading_off_the_kind_that_was_found_is_fitted_again(
    machines: float, sublinear: float, tmp_path: Path
) -> None:
    found = {"machines": machines, "strength": 1.0, "factor": 4.0, "sublinear": sublinear}
    first = LinearBaseline.fit(dataset(), "off", found)
    assert first.found["machines"] == machines
    assert first.found["sublinear"] == sublinear
    again = LinearBaseline.fit(dataset(), "off", first.found)
    assert np.allclose(again.coef, first.coef, rtol=1e-5)
    first.save(tmp_path)
    texts = dataset().parts["test"].inputs
    assert np.array_equal(LinearBaseline.load(tmp_path).read(texts).probabilities, first.read(texts).probabilities)


@pytest.mark.parametrize(("texts_of", "sublinear"), [("frequencies", 0.0), ("noise", 1.0)])
def test_under_reading_off_machines_count_terms_as_suits_valid(texts_of: str, sublinear: float) -> None:
    """Where classes differ in how often they say the same words, counts tell more than their logarithms; where a word
    that says nothing stands many times, they drown the one that does."""
    rng = np.random.default_rng(0)
    words = np.array(["red", "blue", "green"])
    often = np.full((3, 3), 0.3) + 0.1 * np.eye(3)

    def text(label: int) -> str:
        if texts_of == "frequencies":
            return " ".join(rng.choice(words, size=200, p=often[label]))
        said = words[label] if rng.random() < 0.9 else rng.choice(words)
        return " ".join(rng.permutation([said, *["noise"] * rng.integers(1, 60)]))

    def part(rows: int) -> Part:
        labels = rng.integers(0, 3, rows)
        return Part(tuple(map(text, labels)), labels)

    data = replace(dataset(), parts={name: part(120) for name in ("warm", "policy", "valid", "test")})
    assert LinearBaseline.fit(data, "off").found["sublinear"] == sublinear


def test_under_reading_off_it_is_not_below_machines_of_scikit_learn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    data = dataset(per_part=150)
    rng = np.random.default_rng(3)
    spoilt = {  # of every part a fifth of the labels
        name: replace(part, labels=np.where(rng.random(150) < 0.2, rng.integers(0, 3, 150), part.labels))
        for name, part in data.parts.items()
    }
    data = replace(data, parts=spoilt)
    fitted = [data.parts["warm"], data.parts["policy"]]
    other = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LinearSVC())
    other.fit([text for part in fitted for text in part.inputs], np.concatenate([part.labels for part in fitted]))
    test = dataset().parts["test"]
    got = metrics(LinearBaseline.fit(data, "off").read(test.inputs), test.labels, Costs(0.0))["accuracy"]
    assert got >= (other.predict(test.inputs) == test.labels).mean()
