import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from sweepstack.models.baselines import character_tfidf
from sweepstack.models.baselines.character_tfidf import CharacterTfidf
from sweepstack.models.data.segmenter import TextReader
from sweepstack.models.predictions.probabilities import Floats
from sweepstack.models.settings.trial import Reading

TEXTS = ["the cat sat on the mat", "the dog sat", "a cat and the cat", "mats and cats on a mat", "dog on dog"]
WORDS = Reading(unit="words", segment=2, max_segments=4)
CHARACTERS = Reading(unit="characters", segment=3, max_segments=6)


def every_prefix(features: CharacterTfidf, texts: list[str]) -> Floats:
    """(prefixes, terms): the matrix that is never stored."""
    return features.scores(texts, np.eye(len(features.terms), dtype=np.float32))[0]


def test_the_rows_are_those_of_scikit_learn_on_the_text_read_so_far() -> None:
    reader = TextReader.fit((), WORDS)
    features = CharacterTfidf.fit(TEXTS, reader)
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, vocabulary=features.terms)
    vectorizer.fit(TEXTS)
    assert features.idf == pytest.approx(vectorizer.idf_, rel=1e-6)
    prefixes = [reader.prefix(text, n + 1) for text in TEXTS for n in range(len(reader.segments(text)))]
    assert every_prefix(features, TEXTS) == pytest.approx(vectorizer.transform(prefixes).toarray(), abs=1e-6)
    assert {"cat", " the ", "t "} <= set(features.terms)
    assert list(features.terms) == sorted(features.terms)


def test_among_characters_a_term_ends_with_the_last_one_read() -> None:
    reader = TextReader.fit((), CHARACTERS)
    features = CharacterTfidf.fit(TEXTS, reader)
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(2, 5), sublinear_tf=True, vocabulary=features.terms)
    vectorizer.fit([" " + reader.prefix(text, 6) for text in TEXTS])
    prefixes = [" " + reader.prefix(text, n + 1) for text in TEXTS for n in range(len(reader.segments(text)))]
    assert every_prefix(features, TEXTS) == pytest.approx(vectorizer.transform(prefixes).toarray(), abs=1e-6)


def test_the_gradient_is_that_of_the_scores() -> None:
    """⟨R, X·W⟩ = ⟨Xᵀ·R, W⟩ for any R and W."""
    features = CharacterTfidf.fit(TEXTS, TextReader.fit((), WORDS))
    design = features.design(TEXTS)
    random = np.random.default_rng(0)
    coef = random.normal(size=(len(features.terms), 3)).astype(np.float32)
    residuals = random.normal(size=(int(design.n_segments.sum()), 3)).astype(np.float32)
    assert (residuals * design.scores(coef)).sum() == pytest.approx((design.gradient(residuals) * coef).sum(), rel=1e-4)
    weights = random.random((len(residuals), 1)).astype(np.float32)
    once = CharacterTfidf.fit(["abc de", "abc fg", "abc hi"], features.reader).design(["abc de"])
    assert once.squares(weights[:1]) == pytest.approx(once.gradient(np.ones((1, 1))) ** 2 * weights[0], rel=1e-5)


def test_what_other_texts_are_read_with_changes_nothing() -> None:
    features = CharacterTfidf.fit(TEXTS, TextReader.fit((), WORDS))
    coef = np.random.default_rng(0).normal(size=(len(features.terms), 3)).astype(np.float32)
    together, counts = features.scores([*TEXTS, ""], coef)
    apart = [features.scores([text], coef) for text in [*TEXTS, ""]]
    assert np.array_equal(together, np.concatenate([scores for scores, _ in apart]))
    assert counts.tolist() == [n for _, each in apart for n in each] == [3, 2, 3, 3, 2, 1]
    assert np.array_equal(together[-1], np.zeros(3)), "a text without units has no terms"
    assert features.scores([], coef)[0].shape == (0, 3)


def test_seldom_terms_are_left_out_but_never_all(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = TextReader.fit((), WORDS)
    assert "dog" not in CharacterTfidf.fit(TEXTS, reader).terms, "it stands in two texts, and three are wanted"
    assert CharacterTfidf.fit(["ab", "cd"], reader).terms == (" a", " ab", " ab ", " c", " cd", " cd ", "ab", "ab ", "b ", "cd", "cd ", "d ")  # fmt: skip # noqa: E501
    monkeypatch.setattr(character_tfidf, "MOST_TERMS", 6)
    counts = CharacterTfidf.fit(TEXTS, reader)
    assert 0 < len(counts.terms) <= 6
    assert counts.idf.max() < 1.7, "those of the most texts stay"


def test_tokens_are_words_and_pieces_of_long_ones() -> None:
    reader = TextReader.fit(TEXTS * 3, Reading(unit="tokens", segment=4, max_segments=6))
    features = CharacterTfidf.fit(TEXTS, reader)
    assert {" cat", "cat"} <= set(features.terms)
    assert features.scores(TEXTS, np.eye(len(features.terms), dtype=np.float32))[1].tolist() == [
        len(reader.segments(text)) for text in TEXTS
    ]
