"""Texts come back as they were, whatever the script; and the same texts give the same tokens."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.models.data.bpe import END, PADDING, SHOWN_UNKNOWN, SPECIAL, UNKNOWN, Bpe, Tokenizers
from sweepstack.models.data.cleaning import clean
from sweepstack.models.errors import DataError

ENGLISH = ["Select a bullet type.", "select the type, again", "the bullet (again)", "Type  two spaces", "tab\there"] * 3
CHINESE = ["当前 Skia 已禁用。", "已禁用当前的对象", "选择对象", "旋转对象，选择「自定义」", "サーバーを選択"] * 3
BOTH = Bpe.fit(ENGLISH + CHINESE, 200)


@pytest.mark.parametrize("text", sorted({*ENGLISH, *CHINESE, "", "Select 对象 again", " the type", "对 象", "[PAD]"}))
def test_a_text_comes_back_as_it_was_cleaned(text: str) -> None:
    bpe = Bpe.fit([*ENGLISH, *CHINESE, "[PAD]"], 200)
    assert bpe.decode(bpe.encode(text)) == clean(text)


@given(st.text(alphabet=sorted(BOTH.characters | {" ", "\n", "\u00a0"} - {"\n"}), max_size=40))
def test_every_text_of_known_characters_comes_back(text: str) -> None:
    ids = BOTH.encode(text)
    if UNKNOWN not in ids:  # a composed letter may be a new one
        assert BOTH.decode(ids) == clean(text)
    assert not {PADDING, END} & set(ids)


def test_the_merges_of_a_text_by_hand() -> None:
    """' ab' stands four times: first ' a', then ' ab' are merged; 'c' is seen once, and nothing is merged with it."""
    bpe = Bpe.fit(["ab ab", "ab abc"], 10)
    entries = json.loads(bpe.to_json())["entries"]
    assert entries[:8] == [*SPECIAL, " ", "a", "b", "c"]
    assert bpe.vocab_size == len(entries) == 10
    assert set(entries[8:]) in ({" a", " ab"}, {"ab", " ab"})
    assert [entries[i] for i in bpe.encode("ab abc")] == [" ab", " ab", "c"]


def test_a_word_is_the_same_at_the_beginning_and_elsewhere() -> None:
    first, second = BOTH.encode("bullet"), BOTH.encode("bullet bullet")
    assert second == first * 2


def test_merges_cross_signs_but_neither_punctuation_nor_scripts() -> None:
    entries = json.loads(BOTH.to_json())["entries"][len(SPECIAL) :]
    assert "对象" in entries
    assert not [entry for entry in entries if "。" in entry and len(entry) > 1]
    assert not [entry for entry in entries if any(c in entry for c in "对象选") and any(c.isascii() for c in entry)]


def test_an_unknown_character_is_one_token_and_shown_as_such() -> None:
    ids = BOTH.encode("the ж type")
    assert ids.count(UNKNOWN) == 1
    assert BOTH.decode(ids) == f"the {SHOWN_UNKNOWN} type"


def test_a_text_may_spell_a_special_entry() -> None:
    assert PADDING not in BOTH.encode("[PAD]")
    assert END not in BOTH.encode("[END]")


def test_it_is_the_same_every_time_and_after_json() -> None:
    again = Bpe.fit(ENGLISH + CHINESE, 200)
    assert again.to_json() == BOTH.to_json()
    read = Bpe.from_json(BOTH.to_json())
    assert read.to_json() == BOTH.to_json()
    assert read.encode_all(CHINESE) == BOTH.encode_all(CHINESE)


def test_the_size_holds_and_leaves_half_for_merges() -> None:
    small = Bpe.fit(ENGLISH + CHINESE, 40)
    assert small.vocab_size <= 40
    assert len(small.characters) == 20
    assert {"t", "e", " "} <= small.characters
    assert BOTH.vocab_size <= 200


@pytest.mark.parametrize(
    "content",
    [
        {"format": 9, "entries": SPECIAL, "merges": []},
        {"format": 1, "entries": ["a"], "merges": []},
        {"format": 1, "entries": [*SPECIAL, "a", "a"], "merges": []},
        {"format": 1, "entries": [*SPECIAL, "a", "b"], "merges": [["a", "b"]]},
        {"format": 1, "entries": SPECIAL},
        [],
    ],
)
def test_what_is_no_encoding_is_refused(content: Any) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Bpe.from_json(json.dumps(content))


def test_texts_without_a_character_are_refused() -> None:
    with pytest.raises(DataError, match="no text to fit a vocabulary on"):
        Bpe.fit(["", "\u200d"], 100)


def test_rows_are_padded_and_cut() -> None:
    both = Tokenizers.fit(["ab", "ab ab"], ["ab"] * 3, (8, 8))
    ids = both.source.encode("ab")
    sources = both.encode_sources(["ab", "", "ab ab ab ab"], 3)
    np.testing.assert_array_equal(sources[1], [UNKNOWN, 0, 0])
    assert sources.dtype == np.int32
    assert sources.shape == (3, 3)
    assert sources[0, : len(ids)].tolist() == ids
    assert PADDING not in sources[2]
    targets = both.encode_targets(["ab", "", "ab ab ab ab"], 3)
    assert [row[row > 0].tolist()[-1] for row in targets] == [END] * 3
    assert targets[1].tolist() == [END, 0, 0]
    assert both.encode_sources([], 3).shape == (0, 0)


def test_one_vocabulary_or_two() -> None:
    shared, apart = Tokenizers.fit(ENGLISH, CHINESE, 200), Tokenizers.fit(ENGLISH, CHINESE, (60, 80))
    assert shared.shared
    assert shared.source.encode("对象") == shared.target.encode("对象")
    assert not apart.shared
    assert apart.source.vocab_size <= 60
    for each in (shared, apart):
        again = Tokenizers.from_json(each.to_json())
        assert again.shared == each.shared
        assert again.digest == each.digest
        assert len(each.digest) == 16
    assert shared.digest != apart.digest
