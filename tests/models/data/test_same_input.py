"""No row of one part is read as one of another: neither where texts are cut, nor where words are unknown, nor where
characters are not shown."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweepstack.models.data.bpe import Tokenizers
from sweepstack.models.data.cleaning import clean
from sweepstack.models.data.encoding import TaskData, encode
from sweepstack.models.data.labelled import Dataset, load_dataset
from sweepstack.models.data.pairs import PairDataset, encode_pairs, load_pairs
from sweepstack.models.data.same_input import by_text, plain, settled, unlike
from sweepstack.models.data.segmenter import TextReader
from sweepstack.models.data.splits import units_of
from sweepstack.models.errors import DataError
from sweepstack.models.settings.data import Data
from sweepstack.models.settings.trial import Reading
from sweepstack.models.settings.writing import Vocabulary, Writing

LETTERS = Reading(unit="characters", segment=2, max_segments=6)
WORDS = Reading(unit="words", segment=2, max_segments=2)
TOKENS = Reading(unit="tokens", segment=2, max_segments=2)
READINGS = pytest.mark.parametrize("reading", [LETTERS, WORDS, TOKENS], ids=["characters", "words", "tokens"])
SPLITS = pytest.mark.parametrize("splits", [{}, {"folds": 3}], ids=["shares", "folds"])
UNSEEN = "\ufe0f\u200d\u00ad\u200c\u2060\ufeff\u034f\u3164\u115f\u0007"  # selectors, joiners, fillers, controls
SMALL = Writing(vocabulary=Vocabulary(source=60, target=60), max_source=6, max_target=20)


def written(path: Path, texts: Sequence[str], targets: Sequence[str], groups: Sequence[str] | None = None) -> str:
    rows = [{"text": text, "label": target} for text, target in zip(texts, targets, strict=True)]
    if groups is not None:
        rows = [{**row, "group": group} for row, group in zip(rows, groups, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def loaded(folder: Path, texts: Sequence[str], reading: Reading, splits: dict[str, Any], **more: Any) -> Dataset:
    train = written(folder / "rows.jsonl", texts, ["ab"[i % 2] for i in range(len(texts))], more.pop("groups", None))
    return load_dataset(Data.model_validate({"train": train, "splits": splits, **more}), reading)


def pairs(folder: Path, texts: Sequence[str], reading: Any = "off", **more: Any) -> PairDataset:
    train = written(folder / "pairs.jsonl", texts, [f"target {i % 7}" for i in range(len(texts))])
    data = Data.model_validate({"train": train, **more})
    return load_pairs(data, "translation", SMALL, reading)


def shared(parts: dict[str, list[bytes]]) -> int:
    """Rows of a part that stand in another one, too."""
    found: dict[bytes, set[str]] = {}
    for name, rows in parts.items():
        for row in rows:
            found.setdefault(row, set()).add(name)
    return sum(len(names) > 1 for names in found.values())


def read(data: TaskData) -> list[dict[str, list[bytes]]]:
    """Of each fold the encoded rows of each part."""
    return [
        {name: [row.tobytes().rstrip(b"\0") for row in part.tokens] for name, part in fold.parts.items()}
        for fold in data.folds or (data,)
    ]


def phrases(count: int, words: int, length: int, seed: int) -> list[str]:
    """Texts of many words that stand once and few that come again, so that much is unknown."""
    random_ = np.random.default_rng(seed)
    shares = np.arange(1, words + 1) ** -1.3
    places = random_.choice(words, size=(count, length), p=shares / shares.sum())
    return [" ".join(f"w{place}" for place in row) for row in places]


@READINGS
@SPLITS
@pytest.mark.parametrize("seed", range(3))
def test_no_encoded_row_stands_in_two_parts(
    tmp_path: Path, reading: Reading, splits: dict[str, Any], seed: int
) -> None:
    texts = phrases(400, 200, 6, seed)
    dataset = loaded(tmp_path, texts, reading, splits, seed=seed)
    data = encode(dataset, reading)
    for parts in read(data):
        assert shared(parts) == 0
    # Texts that differ have been joined, or there was nothing to show.
    assert len({unit for part in dataset.parts.values() for unit in part.units}) < len(set(texts))
    for fold, encoded in zip(dataset.folds or (dataset,), data.folds or (data,), strict=True):
        units: dict[bytes, set[int]] = {}
        for name, part in encoded.parts.items():
            assert part.units is not None
            assert part.units.tolist() == fold.parts[name].units.tolist()
            for row, unit in zip(part.tokens, part.units.tolist(), strict=True):
                units.setdefault(row.tobytes().rstrip(b"\0"), set()).add(unit)
        assert all(len(found) == 1 for found in units.values()), "within a part, too, a unit is all that is read alike"


@READINGS
@SPLITS
def test_no_row_of_train_is_read_as_one_of_a_test_file(
    tmp_path: Path, reading: Reading, splits: dict[str, Any]
) -> None:
    texts = phrases(500, 200, 6, 1)
    test = written(tmp_path / "test.jsonl", texts[400:], ["a"] * 100)
    dataset = loaded(tmp_path, texts[:400], reading, splits, test=test)
    for parts in read(encode(dataset, reading)):
        assert shared(parts) == 0
    trained = sum(len(part.labels) for part in dataset.parts.values()) - 100
    left = 400 - trained
    assert dataset.parts["test"].inputs == tuple(texts[400:])
    assert left > 0
    assert (
        dataset.notes[0] == f"{left} rows of rows.jsonl are read the same as a row of test and were left out of train"
    )


def test_letters_that_are_not_read_tell_no_two_rows_apart(tmp_path: Path) -> None:
    """Twelve letters are read: five variants of a name are one input, as skin tones were in builtin:languages."""
    names = [f"{number:03} is its name" for number in range(60)]
    dataset = loaded(tmp_path, [f"{name}, {tone}" for name in names for tone in range(5)], LETTERS, {})
    for part in dataset.parts.values():
        found = [text[:3] for text in part.inputs]
        assert all(found.count(name) == 5 for name in found)
        assert len(set(part.units.tolist())) == len(set(found))
    said = "300 rows are read the same as another row (at most 12 characters are read) and stay in one part with it"
    assert dataset.notes == (said,)
    assert encode(dataset, LETTERS).notes[0] == said


def test_words_that_are_unknown_tell_no_two_rows_apart(tmp_path: Path) -> None:
    """Each name stands once, so that no vocabulary has it: `who is UNK` is one input, however the rows are split."""
    common = [" ".join(("no", "yes")[i >> place & 1] for place in range(4)) for i in range(16)] * 4
    dataset = loaded(tmp_path, [*common, *(f"who is name{i}" for i in range(10))], WORDS, {})
    where = {name for name, part in dataset.parts.items() for text in part.inputs if text.startswith("who")}
    assert len(where) == 1
    assert "74 rows are read the same as another row (at most 4 words are read)" in dataset.notes[0]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_twins_that_differ_by_characters_that_are_not_shown_never_straddle(tmp_path: Path, data: st.DataObject) -> None:
    bases = [f"I ❤ é{number}" for number in range(40)]

    def twin(text: str) -> str:
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.integers(0, len(text)))
            text = text[:place] + data.draw(st.sampled_from(UNSEEN)) + text[place:]
        return data.draw(st.sampled_from([text, text.replace("é", "e\u0301"), text.replace(" ", "\u00a0"), f" {text}"]))

    rows = [each for base in bases for each in (base, twin(base))]
    assert all(clean(one).split() == clean(other).split() for one, other in zip(rows[::2], rows[1::2], strict=True))
    splits = data.draw(st.sampled_from([{}, {"folds": 2}]))
    reading = data.draw(st.sampled_from([LETTERS, Reading(unit="tokens", segment=4, max_segments=4)]))
    sets = [loaded(tmp_path, rows, reading, splits, seed=data.draw(st.integers(0, 99))), pairs(tmp_path, rows)]
    for dataset in [fold for each in sets for fold in (each.folds or (each,))]:
        where = {text: name for name, part in dataset.parts.items() for text in part.inputs}
        unit = {
            text: int(n) for part in dataset.parts.values() for text, n in zip(part.inputs, part.units, strict=True)
        }
        for one, other in zip(rows[::2], rows[1::2], strict=True):
            assert where[one] == where[other]
            assert unit[one] == unit[other]


def test_a_row_of_test_takes_its_group_and_what_is_read_as_any_of_it_out_of_train(tmp_path: Path) -> None:
    """test — (group) — second of train — (text) — third of train — (group) — fourth of train; the fifth stays."""
    texts = [f"number {i}" for i in range(60)]
    groups = [f"g{i}" for i in range(60)]
    test = written(tmp_path / "test.jsonl", ["unheard of", "new"], ["a", "b"], ["speaker", "other"])
    texts[:5] = ["first said", "it is so", "It\u200d is  SO", "fourth said", "fifth said"]
    groups[:5] = ["speaker", "speaker", "friend", "friend", "stranger"]
    dataset = loaded(
        tmp_path, texts, Reading(unit="characters", max_segments=9), {}, test=test, group="group", groups=groups
    )
    there = {text for name, part in dataset.parts.items() if name != "test" for text in part.inputs}
    assert there == set(texts[4:])
    assert dataset.notes[0] == (
        "4 rows of rows.jsonl are read the same as a row of test or are in a group with one and were left out of train"
    )


def test_units_are_those_of_groups_too(tmp_path: Path) -> None:
    groups = [f"g{i // 4}" for i in range(80)]
    dataset = loaded(tmp_path, [f"text {i:02}" for i in range(80)], LETTERS, {}, group="group", groups=groups)
    for part in dataset.parts.values():
        assert part.units.tolist() == [int(text[-2:]) // 4 * 4 for text in part.inputs]


@pytest.mark.parametrize("splits", [{"folds": 3}, {"folds": 4, "test": 0.2}])
@pytest.mark.parametrize("grouped", [False, True])
def test_folds_hold_units_whole(tmp_path: Path, splits: dict[str, Any], grouped: bool) -> None:
    """What is chosen out of fold is cross-fitted along the study's own folds: a unit is in one of them."""
    groups = [f"g{i // 3}" for i in range(300)] if grouped else None
    group = {"group": "group", "groups": groups} if grouped else {}
    dataset = loaded(tmp_path, phrases(300, 200, 5, 3), WORDS, splits, **group)
    folds: dict[int, set[int]] = {}
    for unit, fold in zip(dataset.parts["out_of_fold"].units.tolist(), dataset.fold.tolist(), strict=True):
        folds.setdefault(unit, set()).add(fold)
    assert len(folds) < 300
    assert all(len(found) == 1 for found in folds.values())
    assert not set(folds) & set(dataset.parts["test"].units.tolist())
    for fold in dataset.folds:
        units = [set(part.units.tolist()) for part in fold.parts.values()]
        assert sum(map(len, units)) == len(set().union(*units))


def test_few_rounds_settle_rows_of_which_most_words_are_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another split changes the vocabulary a little only, so that it hardly joins other rows."""
    rounds = 0
    fitted = TextReader.fitted

    def counted(self: TextReader, *args: Any) -> TextReader:
        nonlocal rounds
        rounds += 1
        return fitted(self, *args)

    monkeypatch.setattr(TextReader, "fitted", counted)
    dataset = loaded(tmp_path, phrases(4000, 20_000, 4, 0), Reading(unit="words", segment=2, max_segments=2), {})
    assert 2 <= rounds <= 8
    assert len({unit for part in dataset.parts.values() for unit in part.units}) > 2500


def test_rounds_end_even_where_each_joins_two_units_only() -> None:
    rounds = []

    def reads(count: int) -> list[list[int]]:
        """Rows 0 to ``count`` are read the same: one more than are one unit already."""
        return [[0] * (count + 1) + list(range(count + 1, 12))]

    def split(units: np.ndarray) -> int:
        rounds.append(len(set(units.tolist())))
        return min(13 - rounds[-1], 11)

    units, _, _ = settled(np.arange(12), split, reads)
    assert rounds == list(range(12, 0, -1))
    assert units.tolist() == [0] * 12


def test_rows_that_are_all_read_the_same_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gets 0 rows .* the largest has \d+ of 100") as caught:
        loaded(tmp_path, [f"order number{i}" for i in range(100)], WORDS, {})
    assert "\n" not in str(caught.value)
    assert "reading.unit" in str(caught.value)


def test_sources_that_are_read_the_same_stay_in_one_part(tmp_path: Path) -> None:
    """Six tokens are read, and of forty signs that stand once half are unknown: there is room for 30 characters."""
    draw = random.Random(0)
    texts = [" ".join(draw.choices("abcdefgh", k=draw.randint(2, 9))) for _ in range(300)]
    texts += [f"a b {chr(0x4E00 + i)}" for i in range(40)]
    dataset = pairs(tmp_path, texts)
    data = encode_pairs(dataset, SMALL)
    assert (
        shared({name: [row.tobytes().rstrip(b"\0") for row in part.sources] for name, part in data.parts.items()}) == 0
    )
    signs = [
        unit
        for part in dataset.parts.values()
        for text, unit in zip(part.inputs, part.units, strict=True)
        if ord(text[-1]) >= 0x4E00
    ]
    assert len(set(signs)) < 30
    assert "rows are read the same as another row (at most 6 tokens are read)" in dataset.notes[0]
    units = [set(part.units.tolist()) for part in dataset.parts.values()]
    assert sum(map(len, units)) == len(set().union(*units)) < len(set(texts))


def test_words_that_a_translator_does_not_wait_for_tell_no_two_sources_apart(tmp_path: Path) -> None:
    """Where a translation is written while the source is read, three segments of one word are all that is ever read."""
    draw = random.Random(0)
    texts = [" ".join(draw.choices("abcdefgh", k=3)) + f" {end}" for _ in range(60) for end in "xyz"]
    reading = Reading(segment=1, max_segments=3)
    whole, dataset = pairs(tmp_path, texts), pairs(tmp_path, texts, reading)
    begins = [{text[:5] for text in part.inputs} for part in dataset.parts.values()]
    assert sum(map(len, begins)) == len(set().union(*begins))
    begins = [{text[:5] for text in part.inputs} for part in whole.parts.values()]
    assert sum(map(len, begins)) > len(set().union(*begins))
    assert "at most 3 words are read" in dataset.notes[0]


def test_a_source_of_test_leaves_train_with_all_that_is_read_the_same(tmp_path: Path) -> None:
    draw = random.Random(1)
    texts = [" ".join(draw.choices("abcdefgh", k=draw.randint(3, 6))) for _ in range(200)]
    texts[0] = "a b c d e f g h a b"
    test = written(tmp_path / "test.jsonl", [f"{texts[0]} and more", "h h"], ["target 1", "target 2"])
    dataset = pairs(tmp_path, texts, test=test)
    assert texts[0] not in {text for name, part in dataset.parts.items() if name != "test" for text in part.inputs}
    assert "read the same as a row of test and" in dataset.notes[0]
    tokenizers = Tokenizers.from_json(encode_pairs(dataset, SMALL).tokenizers)
    one, other = tokenizers.encode_sources([texts[0], dataset.parts["test"].inputs[0]], SMALL.max_source)
    assert one.tolist() == other.tolist()


def test_texts_without_labels_are_told_apart_by_what_is_read() -> None:
    readers = [TextReader.fit(["who is it", "who was it"] * 2, WORDS), TextReader.fit(["who is bob"] * 2, WORDS)]
    texts = ["Who\u200d  IS it", "who is alice", "who was it", "is it", "who is it not alice", "who is it not bob"]
    # The first reader knows neither alice nor bob: with a bound of four words the last two are read alike.
    assert unlike(texts, ["who is it", "who is it not carol"], readers[:1]) == ["who is alice", "who was it", "is it"]
    # The second one knows neither `was` nor `it`.
    assert unlike(["who was it", "who is bob"], ["who is it", "who so so"], readers[1:]) == ["who is bob"]
    assert unlike(["a", "B"], ["b"], []) == ["a"]


def test_what_stands_in_units() -> None:
    assert plain(" I\u00a0❤\ufe0f  IT\n") == "i ❤ it"
    assert plain("\u03aa\u0301") == plain("\u0390"), "of which only the small letter with both marks is one character"
    assert units_of([1, 2, 2, 3], None, ["x", "y", "z", "x"]).tolist() == [0, 1, 1, 0]
    assert units_of([2, 1, 0, 1], [0, 0, 9, 7]).tolist() == [0, 0, 2, 0], "transitively, by their first row"
    same, other, again = by_text(["a", "\ud83d", "a"]).tolist()
    assert same == again != other
