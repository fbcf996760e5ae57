import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.models.baselines.tfidf import PrefixTfidf
from sweepstack.models.data.segmenter import TextReader
from sweepstack.models.settings.data import Text
from sweepstack.models.settings.trial import Reading

WORDS = TextReader.fit((), Reading(unit="words", segment=2, max_segments=3))
LETTERS = TextReader.fit((), Reading(unit="characters", segment=2, max_segments=4))
TOKENS = TextReader.fit(["abc ab a b"] * 3, Reading(unit="tokens", segment=2, max_segments=4))
STEMS = TextReader.fit((), Reading(unit="words", segment=2, max_segments=3), Text(stop_words="english", stem="english"))


def test_terms_are_words_and_pairs_of_two_texts_or_more() -> None:
    features = PrefixTfidf.fit(["red cat sat", "Red cat ran", "blue cat"], WORDS)
    assert features.terms == ("cat", "red", "red cat")
    assert features.idf.tolist() == pytest.approx([math.log(4 / 4) + 1, math.log(4 / 3) + 1, math.log(4 / 3) + 1])


def test_terms_are_one_to_three_characters_and_know_how_a_text_begins() -> None:
    features = PrefixTfidf.fit(["ab", "ab"], LETTERS)
    assert features.terms == (" a", " ab", "a", "ab", "b")


def test_where_no_term_stands_twice_all_are_kept() -> None:
    assert PrefixTfidf.fit(["one", "two"], WORDS).terms == ("one", "two")


def test_weights_by_hand() -> None:
    features = PrefixTfidf(WORDS, ("cat", "red", "red red"), np.array([1.0, 2.0, 3.0], dtype=np.float32))
    matrix, n_segments = features.transform(["red red red cat"])
    assert n_segments.tolist() == [2]
    # After "red red": red twice, the pair once. After all: red three times, the pair twice, cat once.
    first = np.array([0, 2 * (1 + math.log(2)), 3])
    second = np.array([1, 2 * (1 + math.log(3)), 3 * (1 + math.log(2))])
    expected = [first / np.linalg.norm(first), second / np.linalg.norm(second)]
    assert matrix.toarray() == pytest.approx(np.array(expected), abs=1e-6)


def test_counts_as_they_are_by_hand() -> None:
    features = PrefixTfidf(
        WORDS, ("cat", "red", "red red"), np.array([1.0, 2.0, 3.0], dtype=np.float32), sublinear=False
    )
    matrix, _ = features.transform(["red red red cat"])
    first, second = np.array([0, 2 * 2, 3]), np.array([1, 2 * 3, 3 * 2])
    expected = [first / np.linalg.norm(first), second / np.linalg.norm(second)]
    assert matrix.toarray() == pytest.approx(np.array(expected), abs=1e-6)


def test_a_pair_across_two_segments_counts_from_the_second_on() -> None:
    features = PrefixTfidf(WORDS, ("b c",), np.ones(1, dtype=np.float32))
    matrix, _ = features.transform(["a b c d"])
    assert matrix.toarray().tolist() == [[0], [1]]


def test_texts_without_a_known_term_are_rows_of_zeros() -> None:
    features = PrefixTfidf.fit(["red cat", "red cat"], WORDS)
    matrix, n_segments = features.transform(["", "blue dog", " "])
    assert n_segments.tolist() == [1, 1, 1]
    assert matrix.shape == (3, 3)
    assert matrix.nnz == 0


def test_a_policy_that_reads_tokens_has_the_words_that_they_make_up_beside_it() -> None:
    features = PrefixTfidf.fit(["abc b", "ABC b"], TOKENS)
    assert features.terms == ("abc", "abc b", "b")
    matrix, n_segments = features.transform(["b, abc b"])
    assert n_segments.tolist() == TOKENS.encode(["b, abc b"]).n_segments.tolist() == [2]  # b , | abc b
    assert (matrix.toarray() > 0).tolist() == [[False, False, True], [True, True, True]]


def test_terms_are_cleaned_and_cut_as_the_reader_does() -> None:
    features = PrefixTfidf.fit(["the run\xadning of dogs"] * 2, STEMS)
    assert features.terms == ("dog", "run", "run dog")


@pytest.mark.parametrize("reader", [WORDS, LETTERS, TOKENS, STEMS], ids=["words", "characters", "tokens", "stems"])
@given(texts=st.lists(st.text(st.sampled_from("ab c,"), max_size=30), min_size=1, max_size=4))
def test_each_row_is_what_the_text_read_so_far_gives(reader: TextReader, texts: list[str]) -> None:
    features = PrefixTfidf.fit([*texts, "ab abc, c", "a b ab"], reader)
    matrix, n_segments = features.transform(texts)
    dense = matrix.toarray()
    prefixes = [reader.prefix(text, n + 1) for text, count in zip(texts, n_segments, strict=True) for n in range(count)]
    for row, prefix in enumerate(prefixes):
        alone, _ = features.transform([prefix])
        assert np.array_equal(alone.toarray()[-1], dense[row])
