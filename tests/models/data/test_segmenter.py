import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.models.data.segmenter import PADDING, UNKNOWN, TextReader, bounded
from sweepstack.models.settings.data import Text
from sweepstack.models.settings.trial import Reading

WORDS = Reading(unit="words", segment=2, max_segments=3)
LETTERS = Reading(unit="characters", segment=3, max_segments=4)
TOKENS = Reading(unit="tokens", segment=4, max_segments=5)
CORPUS = ["The cat sat, the cat slept.", "the dog's bowl", "THE dog sat", "我爱北京 我爱"]
# Letters, marks, gaps, punctuation, signs that compose, capitals that grow when lowered, half surrogate pairs.
# Signs that are not shown, and words that have a stem and words that are left out.
TEXTS = st.lists(
    st.sampled_from(
        [*"abT sat\n\t\u2003.,'!-_ée\u0301\u0338\u0323=İςΣ我カ\u0926\u093f\ud800😀\u200d3\x00\u200b▁", " the "]
    )
    | st.sampled_from(["cats", "sitting", "Cat ", "\ufeff", "\ufe0f", "\u1100", "\u1161\u11a8", "\xad", "\x85", " of"]),
    max_size=40,
).map("".join)
HOW = {
    "words": (WORDS, Text()),
    "characters": (LETTERS, Text()),
    "tokens": (TOKENS, Text()),
    "one token": (Reading(unit="tokens", segment=1, max_segments=9), Text(vocabulary=40)),
    "stems": (WORDS, Text(stop_words="english", stem="english", min_frequency=1)),
}


@pytest.fixture(scope="module", params=HOW.values(), ids=HOW)
def reader(request: pytest.FixtureRequest) -> TextReader:
    return TextReader.fit(CORPUS, *request.param)


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


@pytest.mark.parametrize(
    ("lengths", "bound"),
    [
        ([3] * 99 + [40], 40),  # all of it costs no more than is read without data
        ([3] * 99 + [4000], 128),
        ([150] * 94 + [200] * 6, 200),  # the 95th of a hundred
        ([150] * 96 + [200] * 4, 150),
        ([4000] * 5, 256),  # and no more, whatever the lengths
    ],
)
def test_how_much_is_read_at_once_comes_from_the_texts(lengths: list[int], bound: int) -> None:
    texts = ["cat " * length for length in lengths]
    assert bounded(Text(), "off", texts).max_words == bound
    reader = TextReader.fit(texts, "off", bounded(Text(), "off", texts))
    assert (reader.segment, reader.max_segments) == (bound, 1)


def test_how_much_is_read_at_once_can_be_set() -> None:
    assert bounded(Text(max_words=7), "off", ["cat " * 90]).max_words == 7
    assert TextReader.fit(CORPUS, "off", Text(max_words=7)).units("cat " * 90) == ["cat"] * 7
    assert bounded(Text(), WORDS, ["cat " * 90]).max_words is None
    with pytest.raises(ValueError, match=r"max_words 7 bounds what reading: off reads; .* reading.max_segments"):
        TextReader.fit(CORPUS, WORDS, Text(max_words=7))


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
    if reader.unit == "words":  # of letters and tokens, a gap before the first one is part of it
        alone = reader.encode(segments).tokens[:, 0]
        assert np.array_equal(alone, encoded.tokens[0])


@given(text=TEXTS, tail=TEXTS)
def test_what_lies_beyond_the_bound_changes_nothing(reader: TextReader, text: str, tail: str) -> None:
    full = text + " x" * reader.segment * reader.max_segments
    assert np.array_equal(reader.encode([full]).tokens, reader.encode([full + " " + tail * 40]).tokens)


def test_json_keeps_everything(reader: TextReader) -> None:
    again = TextReader.from_json(reader.to_json())
    assert again.to_json() == reader.to_json()
    assert np.array_equal(again.encode(CORPUS).tokens, reader.encode(CORPUS).tokens)


@pytest.mark.parametrize("name", HOW)
def test_fitting_is_reproducible(name: str) -> None:
    assert TextReader.fit(CORPUS, *HOW[name]).to_json() == TextReader.fit(CORPUS, *HOW[name]).to_json()


def test_json_of_another_format_is_refused(reader: TextReader) -> None:
    content = {**json.loads(reader.to_json()), "format": 9}
    with pytest.raises(ValueError, match="format 2, but got 9"):
        TextReader.from_json(json.dumps(content))


def test_signs_that_are_not_shown_are_left_out() -> None:
    reader = TextReader.fit(CORPUS, WORDS)
    # A byte-order mark, a soft hyphen, a zero-width joiner, a bell, directions, and how a sign looks.
    assert reader.units("\ufeffhar\xadvest \u200edo\u200dgs\x07\u202c ❤\ufe0f!") == ["harvest", "dogs", "❤!"]


def test_gaps_that_do_not_break_and_gaps_of_no_width_are_gaps() -> None:
    reader = TextReader.fit(CORPUS, LETTERS)
    assert reader.segments("a\xa0b\u202fc\u200bd\u2028e") == ["a b", " c ", "d e"]
    assert TextReader.fit(CORPUS, WORDS).units("3\xa0km\x1fnow\x85then") == ["3", "km", "now", "then"]


def test_a_mark_behind_a_joiner_still_composes() -> None:
    assert TextReader.fit(CORPUS, LETTERS).units("e\u200d\u0301") == ["é"]


@given(dot=st.booleans(), joiners=st.text("\u200d", max_size=3), tail=TEXTS)
def test_a_mark_at_the_edge_of_what_is_looked_at_changes_nothing(dot: bool, joiners: str, tail: str) -> None:
    """12 letters are read, 88 looked at first: the last is a mark that stays by itself, and behind it a dot composes
    with the twelfth letter."""
    reader = TextReader.fit(["ạa"] * 2, LETTERS)
    text = "\u200d" * 75 + "a" * 12 + "\u0310" + joiners + "\u0323" * dot + " "
    last = reader.encode([text + tail]).tokens[0, 3, 2]
    assert last == reader.encode(["ạ" if dot else "a"]).tokens[0, 0, 0] > UNKNOWN


def test_tokens_are_merged_within_words_and_packed_as_whole_words() -> None:
    reader = TextReader.fit(["low lower lowest newer lows"] * 4, Reading(unit="tokens", segment=3, max_segments=4))
    # Every word of the corpus is one token: there is room for all merges. Three fit into a segment.
    assert reader.placed("Low newer lower lowest") == [("low", 0), ("newer", 0), ("lower", 0), ("lowest", 1)]
    encoded = reader.encode(["Low newer lower lowest"])
    assert encoded.n_segments.tolist() == [2]
    assert (encoded.tokens[0] > UNKNOWN).tolist() == [[True] * 3, [True, False, False]]
    # "loq" is low's beginning and an unknown letter: 2 tokens or more, which do not fit behind two others.
    ids = reader.encode(["low low lqq"]).tokens[0]
    assert ids[0].tolist() == [ids[0, 0], ids[0, 0], PADDING]
    assert ids[1].tolist() == [ids[1, 0], UNKNOWN, UNKNOWN]
    assert ids[1, 0] > UNKNOWN


def test_a_word_of_more_tokens_than_a_segment_is_cut_between_two() -> None:
    reader = TextReader.fit(["ab ab cd cd"] * 4, Reading(unit="tokens", segment=2, max_segments=3))
    assert reader.segments("Ab abxyzcd cd") == ["Ab", " abx", "yz"]
    assert reader.placed("Ab abxyzcd cd") == [("ab", 0), ("abx", 1), ("yz", 2)]
    assert reader.lengths("Ab abxyzcd cd") == (5, 7)  # ab | ab x | y z is read, and cd | cd is not


def test_whether_a_word_follows_closely_is_known_to_its_token() -> None:
    reader = TextReader.fit(["so-so so"] * 4, TOKENS)
    first, dash, close, apart = reader.encode(["so-so so"]).tokens[0, 0].tolist()
    assert first == apart
    assert len({first, dash, close, UNKNOWN}) == 4


@given(word=st.text("ablowernst", min_size=1, max_size=12), cut=st.integers(1, 12))
def test_a_cut_between_two_tokens_changes_neither_side(word: str, cut: int) -> None:
    """What lets a long word be cut: no merge crossed the place, so both sides merge as they did in the whole."""
    reader = TextReader.fit(["low lower lowest newest stable"] * 3, Reading(unit="tokens", segment=12, max_segments=2))
    model = reader._model
    whole = [token.value for token in model.tokenize(word)]
    left, right = whole[:cut], whole[cut:]
    assert [token.value for token in model.tokenize("".join(left))] == left
    assert [token.value for token in model.tokenize("".join(right))] == right


def test_stop_words_are_left_out_and_words_cut_to_their_stems() -> None:
    reader = TextReader.fit([], WORDS, Text(stop_words="english", stem="english"))
    assert reader.units("The runner was running to the bus, and RUNS") == ["runner", "run", "bus", ",", "run"]
    assert reader.segments("The runner was running to the bus.") == ["The runner was running", " to the bus."]
    assert reader.encode(["was to the"]).n_segments.tolist() == [1]


def test_stems_are_those_of_the_language() -> None:
    reader = TextReader.fit([], WORDS, Text(stem="german"))
    assert reader.units("Häuser Katzen Katze") == ["haus", "katz", "katz"]


def test_the_vocabulary_has_at_most_so_many_and_those_seen_so_often() -> None:
    texts = ["a a a b b c"]
    how = Reading(unit="words", segment=9, max_segments=1)
    assert TextReader.fit(texts, how, Text(min_frequency=3)).vocab_size == 3
    assert TextReader.fit(texts, how, Text(min_frequency=1)).vocab_size == 5
    assert TextReader.fit(texts, how, Text(min_frequency=1, vocabulary=4)).vocab_size == 4
    many = ["the quick brown fox jumps over the lazy dog"] * 3
    for size in (30, 60):
        assert TextReader.fit(many, Reading(unit="tokens"), Text(vocabulary=size)).vocab_size <= size


def test_letters_seen_too_seldom_have_no_token() -> None:
    reader = TextReader.fit(["aa aa b"], TOKENS)
    assert reader.encode(["b"]).tokens[0, 0].tolist() == [UNKNOWN, 0, 0, 0]
    assert reader.encode(["aa"]).tokens[0, 0, 0] > UNKNOWN


@pytest.mark.parametrize("asked", [{"stop_words": "english"}, {"stem": "dutch"}], ids=["stop_words", "stem"])
@pytest.mark.parametrize("reading", [LETTERS, TOKENS], ids=["characters", "tokens"])
def test_only_words_have_stems_and_stop_words(asked: dict[str, Any], reading: Reading) -> None:
    (name,) = asked
    with pytest.raises(ValueError, match=rf"^data.text.{name} .* but got {reading.unit}; leave data.text.{name} out"):
        TextReader.fit(CORPUS, reading, Text(**asked))


def test_a_language_without_a_stemmer_is_refused_in_one_line_that_lists_them() -> None:
    with pytest.raises(ValueError, match=r"must be one of arabic, .*german.*, but got 'klingon'") as caught:
        Text(stem="klingon")
    assert len([line for line in str(caught.value).splitlines() if "klingon" in line]) == 1


def test_how_much_of_a_text_is_read() -> None:
    assert TextReader.fit(CORPUS, WORDS).lengths("one two, three four five six") == (6, 7)
    assert TextReader.fit(CORPUS, LETTERS).lengths("a bc") == (4, 4)


def test_a_text_comes_after_a_space_where_characters_are_read() -> None:
    reader = TextReader.fit(["ab cd", "ab cd"], LETTERS)
    assert reader.before == reader.encode(["a b"]).tokens[0, 0, 1] > UNKNOWN
    assert TextReader.fit(["ab", "ab"], LETTERS).before == UNKNOWN
    assert {TextReader.fit(CORPUS, reading).before for reading in (WORDS, TOKENS)} == {PADDING}
