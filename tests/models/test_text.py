import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.models.settings import Reading
from sweepstack.models.text import PADDING, UNKNOWN, TextReader

WORDS = Reading(unit="words", segment=2, max_segments=3)
LETTERS = Reading(unit="characters", segment=3, max_segments=4)
CORPUS = ["The cat sat, the cat slept.", "the dog's bowl", "THE dog sat", "我爱北京 我爱"]
# Letters, marks, gaps, punctuation, signs that compose, capitals that grow when lowered, half surrogate pairs.
TEXTS = st.text(
    st.sampled_from("abT sat\n\t\u2003.,'!-_ée\u0301\u0338=İςΣ我カ\u0926\u093f\ud800😀\u200d3"), max_size=60
)


@pytest.fixture(scope="module", params=[WORDS, LETTERS], ids=["words", "characters"])
def reader(request: pytest.FixtureRequest) -> TextReader:
    return TextReader.fit(CORPUS, request.param)


def test_words_are_cut_at_gaps_and_punctuation_and_lowered() -> None:
    reader = TextReader.fit(CORPUS, Reading(unit="words", segment=2, max_segments=8))
    assert reader.units("The dog's\n BOWL... 3.5 x_y") == ["the", "dog", "'", "s", "bowl", "...", "3", ".", "5", "x_y"]
    assert reader.segments("The dog's\n BOWL") == ["The dog", "'s", "\n BOWL"]


def test_a_sign_of_a_script_without_spaces_is_a_word() -> None:
    assert TextReader.fit(CORPUS, WORDS).units("我爱 abcカ हिन्दी") == ["我", "爱", "abc", "カ", "हिन्दी"]


def test_a_gap_between_characters_is_one_unit() -> None:
    reader = TextReader.fit(CORPUS, LETTERS)
    assert reader.units("  A \n\t b") == ["a", " ", "b"]
    assert reader.segments("  A \n\t bcd") == ["A \n\t b", "cd"]


def test_composed_and_decomposed_letters_are_the_same() -> None:
    reader = TextReader.fit(CORPUS, LETTERS)
    assert reader.units("e\u0301") == reader.units("é") == ["é"]


def test_ids_of_known_and_unknown_units() -> None:
    reader = TextReader.fit(CORPUS, WORDS)
    # "the" stands four times, so it is the first id after padding and unknown; "bowl" stands once, so it is unknown.
    encoded = reader.encode(["the bowl the", "", "the"])
    assert encoded.tokens.tolist() == [[[2, UNKNOWN], [2, PADDING]], [[UNKNOWN, 0], [0, 0]], [[2, 0], [0, 0]]]
    assert encoded.n_segments.tolist() == [2, 1, 1]
    assert encoded.tokens.dtype == np.int32


def test_the_vocabulary_holds_only_what_can_be_reached() -> None:
    far = " ".join(["near near"] * 3 + ["far far"] * 9)  # six words can be read
    reader = TextReader.fit([far], WORDS)
    assert reader.vocab_size == 3  # padding, unknown, near
    assert reader.units(far) == ["near"] * 6


def test_a_capital_that_grows_when_lowered_is_one_known_unit() -> None:
    reader = TextReader.fit(["İİ"], LETTERS)
    assert reader.encode(["İ"]).tokens.tolist() == [[[2, 0, 0]]]


def test_reading_off_is_one_segment_of_128_words() -> None:
    reader = TextReader.fit(CORPUS, "off")
    encoded = reader.encode(["cat " * 500])
    assert encoded.tokens.shape == (1, 1, 128)
    assert (encoded.tokens > UNKNOWN).all()


def test_no_texts_encode_to_no_rows(reader: TextReader) -> None:
    encoded = reader.encode([])
    assert encoded.tokens.shape == (0, 1, reader.segment)
    assert encoded.n_segments.shape == (0,)


def test_an_empty_text_shows_nothing(reader: TextReader) -> None:
    for text in ("", " \n "):
        assert reader.segments(text) == [""]
        assert reader.encode([text]).tokens.tolist() == [[[UNKNOWN, *[PADDING] * (reader.segment - 1)]]]


@given(text=TEXTS, data=st.data())
def test_tokens_of_a_prefix_are_a_prefix_of_the_tokens(reader: TextReader, text: str, data: st.DataObject) -> None:
    whole = reader.encode([text])
    n = data.draw(st.integers(1, int(whole.n_segments[0])))
    prefix = reader.encode([reader.prefix(text, n)])
    assert prefix.n_segments.tolist() == [n]
    assert np.array_equal(prefix.tokens[0], whole.tokens[0, :n])


@given(text=TEXTS)
def test_segments_agree_with_the_tokens(reader: TextReader, text: str) -> None:
    segments = reader.segments(text)
    encoded = reader.encode([text])
    assert len(segments) == encoded.n_segments[0] <= reader.max_segments
    assert reader.prefix(text, len(segments)) == "".join(segments)
    # A segment tokenised alone gives its own tokens: nothing leaks from its neighbours.
    if reader.unit == "words":
        alone = reader.encode(segments).tokens[:, 0]
        assert np.array_equal(alone, encoded.tokens[0])


@given(text=TEXTS, tail=TEXTS)
def test_what_lies_beyond_the_bound_changes_nothing(reader: TextReader, text: str, tail: str) -> None:
    full = reader.prefix(text + " x" * 12, reader.max_segments)
    assert np.array_equal(reader.encode([full]).tokens, reader.encode([full + " " + tail * 40]).tokens)


def test_json_keeps_everything(reader: TextReader) -> None:
    again = TextReader.from_json(reader.to_json())
    assert again.to_json() == reader.to_json()
    assert np.array_equal(again.encode(CORPUS).tokens, reader.encode(CORPUS).tokens)


def test_fitting_is_reproducible(reader: TextReader) -> None:
    reading = WORDS if reader.unit == "words" else LETTERS
    assert TextReader.fit(CORPUS, reading).to_json() == reader.to_json()


def test_json_of_another_format_is_refused(reader: TextReader) -> None:
    content = {**json.loads(reader.to_json()), "format": 9}
    with pytest.raises(ValueError, match="format 1, but got 9"):
        TextReader.from_json(json.dumps(content))
