import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from sweepstack.models.data.encoding import EncodedPart, TaskData, encode, fitted_rows, out_of_bag, resample
from sweepstack.models.data.labelled import Dataset, Part, load_dataset
from sweepstack.models.data.segmenter import UNKNOWN, TextReader
from sweepstack.models.errors import TrainingError
from sweepstack.models.settings.data import Data, Folds, Text
from sweepstack.models.settings.trial import Reading

READING = Reading(unit="words", segment=2, max_segments=3)
SIZES = {"warm": 60, "policy": 40, "valid": 10, "blend": 10, "test": 20}


def dataset() -> Dataset:
    """Every row has a word of its own, which stands twice, so that rows can be told apart by their tokens."""
    parts, hashes, begin = {}, {"content": "c"}, 0
    for name, size in SIZES.items():
        texts = tuple(f"w{i} w{i}" + " more" * (i % 4) for i in range(begin, begin + size))
        parts[name] = Part(texts, np.arange(begin, begin + size, dtype=np.int64) % 2)
        hashes[name] = name
        begin += size
    return Dataset(("a", "b"), parts, hashes, ())


@pytest.fixture(scope="module")
def data() -> TaskData:
    return encode(dataset(), READING)


def rows(part: EncodedPart) -> list[tuple[int, ...]]:
    return [tuple(row[row > 0].tolist()) for row in part.tokens.reshape(len(part), -1)]


def test_every_part_is_encoded_and_test_labels_stay_behind(data: TaskData) -> None:
    source = dataset()
    assert list(data.parts) == list(SIZES)
    for name, part in data.parts.items():
        assert len(part) == SIZES[name]
        if name == "test":
            assert part.labels is None
        else:
            assert part.labels is not None
            assert np.array_equal(part.labels, source.parts[name].labels)
    assert data.hashes == source.hashes


def test_the_vocabulary_is_that_of_warm_and_policy(data: TaskData) -> None:
    own_words = {name: part.tokens[:, 0, 0] for name, part in data.parts.items()}
    for name in ("warm", "policy"):
        assert (own_words[name] > UNKNOWN).all()
    for name in ("valid", "blend", "test"):
        assert (own_words[name] == UNKNOWN).all()
    assert TextReader.from_json(data.reader).vocab_size == 2 + 100 + 1


NUMBERED = Reading(unit="words", segment=3, max_segments=3)


def words_of_their_own(folder: Path) -> Dataset:
    """Three folds of rows that each have a word of their own, twice: a reader that has seen a row knows its word. Seven
    common words count the rows, so that no two are read the same without it."""
    texts = [
        {"text": f"w{i} w{i} " + " ".join(("no", "yes")[i >> place & 1] for place in range(7)), "label": "ab"[i % 2]}
        for i in range(120)
    ]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in texts), encoding="utf-8")
    return load_dataset(Data(train=str(path), splits=Folds(folds=3, test=0.1)), NUMBERED)


def test_no_fold_knows_a_word_of_what_it_holds_out(tmp_path: Path) -> None:
    source = words_of_their_own(tmp_path)
    data = encode(source, NUMBERED)
    assert (data.parts, data.reader, data.hashes) == ({}, "", source.hashes)
    assert len(data.folds) == 3
    for fold, encoded in zip(source.folds, data.folds, strict=True):
        assert encoded.hashes == fold.hashes
        own_words = {name: part.tokens[:, 0, 0] for name, part in encoded.parts.items()}
        assert list(own_words) == ["warm", "policy", "valid", "test"]
        for name in ("warm", "policy"):
            assert (own_words[name] > UNKNOWN).all()
        for name in ("valid", "test"):
            assert (own_words[name] == UNKNOWN).all()
        assert encoded.parts["test"].labels is None


def test_it_can_be_pickled(data: TaskData) -> None:
    again = pickle.loads(pickle.dumps(data))
    assert np.array_equal(again.parts["test"].tokens, data.parts["test"].tokens)


def test_a_bootstrap_sample_draws_with_replacement_and_keeps_copies_together(data: TaskData) -> None:
    source = rows(data.parts["warm"]) + rows(data.parts["policy"])
    sample = resample(data, seed=3)
    warm, policy = rows(sample.parts["warm"]), rows(sample.parts["policy"])
    assert len(warm) + len(policy) == len(source)
    assert set(warm).isdisjoint(policy)
    assert set(warm) | set(policy) <= set(source)
    # Drawing n of n leaves each row out with probability (1 − 1/n)ⁿ ≈ .366: 63 distinct of 100, sd 3.
    assert 50 < len(set(warm) | set(policy)) < 76
    copies = max((warm + policy).count(row) for row in set(warm + policy))
    assert abs(len(warm) - SIZES["warm"]) <= copies


def test_labels_and_lengths_travel_with_their_rows(data: TaskData) -> None:
    known = {}
    for name in ("warm", "policy"):
        part = data.parts[name]
        assert part.labels is not None
        known |= {row: (n, y) for row, n, y in zip(rows(part), part.n_segments, part.labels, strict=True)}
    sample = resample(data, seed=3)
    for name in ("warm", "policy"):
        part = sample.parts[name]
        assert part.labels is not None
        assert [known[row] for row in rows(part)] == list(zip(part.n_segments, part.labels, strict=True))


def test_only_warm_and_policy_are_resampled(data: TaskData) -> None:
    sample = resample(data, seed=3)
    for name in ("valid", "blend", "test"):
        assert sample.parts[name] is data.parts[name]
        assert sample.hashes[name] == data.hashes[name]
    assert sample.hashes["warm"] != data.hashes["warm"]
    assert sample.hashes["policy"] != data.hashes["policy"]
    assert (sample.reader, sample.classes) == (data.reader, data.classes)


def test_a_seed_always_draws_the_same_and_another_draws_others(data: TaskData) -> None:
    first, again, other = resample(data, 1), resample(data, 1), resample(data, 2)
    assert rows(first.parts["warm"]) == rows(again.parts["warm"])
    assert first.hashes == again.hashes
    assert rows(first.parts["warm"]) != rows(other.parts["warm"])
    assert first.hashes["warm"] != other.hashes["warm"]


def test_equal_rows_of_different_width_are_still_equal(data: TaskData) -> None:
    """warm may have fewer segments than policy: then it is padded."""
    short = data.parts["warm"]
    narrow = EncodedPart(short.tokens[:, :1], np.minimum(short.n_segments, 1), short.labels, short.units)
    sample = resample(dataclasses.replace(data, parts={**data.parts, "warm": narrow}), seed=0)
    assert sample.parts["warm"].tokens.shape[1:] == data.parts["policy"].tokens.shape[1:]
    assert len(sample.parts["warm"]) + len(sample.parts["policy"]) == 100


def test_one_distinct_row_cannot_be_divided(data: TaskData) -> None:
    one = data.parts["warm"].rows(np.zeros(5, dtype=np.int64))
    with pytest.raises(TrainingError, match="only one distinct text"):
        resample(dataclasses.replace(data, parts={**data.parts, "warm": one, "policy": one}), seed=0)


def test_two_distinct_rows_go_one_to_each(data: TaskData) -> None:
    one, other = (data.parts["warm"].rows(np.full(5, row)) for row in (0, 1))
    sample = resample(dataclasses.replace(data, parts={**data.parts, "warm": one, "policy": other}), seed=1)
    assert len(set(rows(sample.parts["warm"]))) == len(set(rows(sample.parts["policy"]))) == 1
    assert rows(sample.parts["warm"])[0] != rows(sample.parts["policy"])[0]


def test_texts_are_read_as_the_data_say() -> None:
    data = encode(dataclasses.replace(dataset(), text=Text(stem="english", min_frequency=3)), READING)
    reader = TextReader.from_json(data.reader)
    assert reader.units("wheats more") == ["wheat", "more"]
    assert reader.vocab_size == 3  # of the words, only "more" stands three times


def noted(unit: str, segment: int, max_segments: int, *, long: int = 0) -> tuple[str, ...]:
    """What is noted of 120 texts of train of two to five words, ``long`` of which have 50; those of test more."""
    source = dataset()
    texts = list(source.parts["warm"].inputs)
    texts[:long] = ["many words " * 25] * long
    test = Part(("even more " * 99,) * 20, source.parts["test"].labels)
    parts = {**source.parts, "warm": Part(tuple(texts), source.parts["warm"].labels), "test": test}
    reading = Reading(unit=unit, segment=segment, max_segments=max_segments)  # type: ignore[arg-type]
    return encode(dataclasses.replace(source, parts=parts), reading).notes


def test_texts_of_train_that_are_longer_than_what_is_read_are_noted() -> None:
    assert noted("words", 5, 1) == ()
    assert noted("words", 5, 4, long=12) == (
        "10% of the texts are longer than the 4 segments that are read (the longest has 50 words); "
        "raise reading.max_segments",
    )
    # A quarter of the texts have five words.
    assert noted("words", 2, 2) == (
        "25% of the texts are longer than the 2 segments that are read (the longest has 5 words); "
        "raise reading.max_segments",
    )
    assert noted("words", 20, 1, long=12) == (
        "10% of the texts are longer than the 20 words that are read (the longest has 50 words)",
    )


def test_a_small_share_is_not_rounded_to_nothing() -> None:
    source = dataset()
    warm = Part(("few words",) * 400 + ("word " * 300,), np.zeros(401, dtype=np.int64))
    (note,) = encode(dataclasses.replace(source, parts={**source.parts, "warm": warm}), "off").notes
    assert note == (
        "fewer than 1% of the texts are longer than the 128 words that policies read (the longest has 300 words); "
        "linear members read all; raise data.text.max_words"
    )


def test_characters_and_tokens_are_counted_by_themselves() -> None:
    assert "(the longest has 275 characters)" in noted("characters", 2, 30, long=12)[0]  # the last gap is one, too
    # Both words are one token each, and so is every other word of train.
    assert "10% of the texts are longer than the 10 segments that are read" in noted("tokens", 3, 10, long=12)[0]
    assert "(the longest has 50 tokens)" in noted("tokens", 3, 10, long=12)[0]


def test_costs_go_with_the_data_and_with_a_bootstrap_sample_of_them(data: TaskData) -> None:
    assert data.costs is None
    matrix = np.float32([[0, 2], [1, 0]])
    own = encode(dataclasses.replace(dataset(), costs=matrix), READING)
    assert own.costs is not None
    assert np.array_equal(own.costs, matrix)
    assert resample(own, 1).costs is own.costs


def test_a_bootstrap_sample_under_folds_never_sees_what_a_fold_holds_out(tmp_path: Path) -> None:
    data = encode(words_of_their_own(tmp_path), NUMBERED)
    sample, again, other = resample(data, 1), resample(data, 1), resample(data, 2)
    for k, (before, after) in enumerate(zip(data.folds, sample.folds, strict=True)):
        known = {row for name in ("warm", "policy") for row in rows(before.parts[name])}
        for name in ("warm", "policy"):
            assert set(rows(after.parts[name])) < known
            assert rows(after.parts[name]) == rows(again.folds[k].parts[name])
            assert rows(after.parts[name]) != rows(other.folds[k].parts[name])
            assert after.hashes[name] != other.folds[k].hashes[name]
        assert after.parts["valid"] is before.parts["valid"]
    assert sample.hashes == data.hashes


def test_equal_weights_draw_any_row_and_no_weight_none(data: TaskData) -> None:
    """Only rows with a weight are drawn, and another weighting is another sample with other hashes."""
    both = fitted_rows(data)
    some = np.zeros(len(both))
    some[::2] = 1.0
    sample = resample(data, 1, (some,))
    drawn = {row for name in ("warm", "policy") for row in rows(sample.parts[name])}
    assert drawn <= set(rows(both.rows(np.arange(0, len(both), 2))))
    assert sum(len(sample.parts[name]) for name in ("warm", "policy")) == len(both)
    other = resample(data, 1, (np.ones(len(both)),))
    for name in ("warm", "policy"):
        assert len({each.hashes[name] for each in (data, sample, other, resample(data, 1))}) == 4
        assert rows(sample.parts[name]) != rows(other.parts[name])


def test_weights_under_folds_are_each_folds_own(tmp_path: Path) -> None:
    data = encode(words_of_their_own(tmp_path), NUMBERED)
    weights = []
    for fold in data.folds:
        own = np.zeros(len(fitted_rows(fold)))
        own[:4] = 1.0
        weights.append(own)
    sample = resample(data, 3, weights)
    for before, after in zip(data.folds, sample.folds, strict=True):
        known = set(rows(fitted_rows(before).rows(np.arange(4))))
        assert {row for name in ("warm", "policy") for row in rows(after.parts[name])} <= known
    assert len(fitted_rows(data)) == sum(len(own) for own in weights)


@pytest.mark.parametrize("seed", range(3))
def test_out_of_bag_are_the_rows_that_the_sample_has_nothing_of(data: TaskData, seed: int) -> None:
    sample = resample(data, seed)
    drawn = {row for name in ("warm", "policy") for row in rows(sample.parts[name])}
    assert out_of_bag(data, seed).tolist() == [row not in drawn for row in rows(fitted_rows(data))]


def grouped(data: TaskData) -> TaskData:
    """Rows of warm and policy in units: five of a group, the last of which is in policy alone."""
    parts = {
        name: dataclasses.replace(data.parts[name], units=np.arange(SIZES[name]) // 5) for name in ("warm", "policy")
    }
    policy = dataclasses.replace(parts["policy"], units=parts["policy"].units + 12)  # type: ignore[operator]
    return dataclasses.replace(data, parts={**data.parts, **parts, "policy": policy})


@pytest.mark.parametrize("seed", range(3))
def test_a_bootstrap_sample_draws_units_whole_and_leaves_them_out_whole(data: TaskData, seed: int) -> None:
    """Twenty units of five rows: as many are drawn, and those that are not are out of bag, .36 of them."""
    own = grouped(data)
    sample = resample(own, seed)
    drawn = {name: sample.parts[name].units.tolist() for name in ("warm", "policy")}  # type: ignore[union-attr]
    assert not set(drawn["warm"]) & set(drawn["policy"])
    assert len(drawn["warm"]) + len(drawn["policy"]) == 100
    for found in drawn.values():
        assert all(found.count(unit) % 5 == 0 for unit in found)
    unseen = out_of_bag(own, seed)
    units = fitted_rows(own).units
    assert units is not None
    assert unseen.tolist() == [unit not in drawn["warm"] + drawn["policy"] for unit in units.tolist()]
    assert 10 <= unseen.sum() <= 60
    assert unseen.sum() % 5 == 0


def test_weights_draw_rows_and_a_unit_still_stands_on_one_side(data: TaskData) -> None:
    own = grouped(data)
    sample = resample(own, 0, (np.ones(100),))
    drawn = {name: sample.parts[name].units.tolist() for name in ("warm", "policy")}  # type: ignore[union-attr]
    assert not set(drawn["warm"]) & set(drawn["policy"])
    assert len(drawn["warm"]) + len(drawn["policy"]) == 100
    assert any(found.count(unit) % 5 for found in drawn.values() for unit in found)
