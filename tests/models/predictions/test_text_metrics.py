"""Equal to sacrebleu, of a corpus and of a sentence, on real and on made-up texts."""

import time

import numpy as np
import pytest
from sacrebleu import corpus_bleu, corpus_chrf, sentence_bleu, sentence_chrf

from sweepstack.models.data.builtin import builtin
from sweepstack.models.predictions import text_metrics
from sweepstack.models.predictions.text_metrics import corpus_scores, language_of, score_of, statistics

TOKENIZE = {"zh": "zh", "ja": "char", "other": "13a"}
EDGES = [
    "",
    " ",
    "a",
    "the cat",
    "the the the the the",
    "a b c",
    "对象",
    "1,000.5 & <b> -\n x",
    "x  y",
    "当前 Skia 已禁用。",
]
WORDS = ["the", "cat", "sat", "on", "a", "mat", ".", ",", "猫", "坐", "在", "垫子", "上"]


def made_up(rows: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """References, and hypotheses that change a fifth of their words and their length."""
    random = np.random.default_rng(seed)
    references = [list(random.choice(WORDS, random.integers(1, 14))) for _ in range(rows)]
    changed = [[str(random.choice(WORDS)) if random.random() < 0.2 else w for w in words] for words in references]
    cut = [words[: random.integers(0, len(words) + 1)] if random.random() < 0.3 else words for words in changed]
    return [" ".join(words) for words in cut], [" ".join(words) for words in references]


@pytest.mark.parametrize("language", TOKENIZE)
def test_a_corpus_scores_as_in_sacrebleu(language: str) -> None:
    names, chinese = (list(each) for each in (builtin("emoji-zh", "translation")[0].targets, EDGES))
    shuffled = list(np.random.default_rng(1).permutation(names[:60]))
    cases = [made_up(80), (shuffled, names[:60]), (chinese, chinese[::-1]), (names[:40], names[:40]), ([""], ["a"])]
    for hypotheses, references in cases:
        found = corpus_scores(hypotheses, references, language)
        bleu = corpus_bleu(hypotheses, [references], tokenize=TOKENIZE[language], force=True).score
        assert found["bleu"] == pytest.approx(bleu, abs=1e-9)
        assert found["chrf"] == pytest.approx(corpus_chrf(hypotheses, [references]).score, abs=1e-9)


@pytest.mark.parametrize("language", TOKENIZE)
def test_a_sentence_scores_as_in_sacrebleu(language: str) -> None:
    hypotheses, references = made_up(60, 2)
    hypotheses += EDGES * len(EDGES)
    references += [text for text in EDGES for _ in EDGES]
    bleu = [
        sentence_bleu(hypothesis, [reference], tokenize=TOKENIZE[language], use_effective_order=True).score / 100
        for hypothesis, reference in zip(hypotheses, references, strict=True)
    ]
    chrf = [sentence_chrf(h, [r]).score / 100 for h, r in zip(hypotheses, references, strict=True)]
    np.testing.assert_allclose(text_metrics.sentence_bleu(hypotheses, references, language), bleu, atol=1e-9)
    np.testing.assert_allclose(text_metrics.sentence_chrf(hypotheses, references), chrf, atol=1e-9)


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_a_bootstrap_is_one_product(metric: str) -> None:
    """How often each row is drawn, times the counts, is what the drawn rows score as a corpus of their own."""
    hypotheses, references = made_up(30, 3)
    counts = statistics(hypotheses, references, "other", metric)
    drawn = np.random.default_rng(0).integers(30, size=(5, 30))
    weights = np.stack([np.bincount(rows, minlength=30) for rows in drawn])
    scores = score_of(weights @ counts, metric)
    assert scores.shape == (5,)
    for rows, score in zip(drawn, scores, strict=True):
        texts = [hypotheses[i] for i in rows], [references[i] for i in rows]
        assert score == pytest.approx(corpus_scores(*texts, "other")[metric], abs=1e-9)


def test_counts_by_hand() -> None:
    """'ab' and 'abc': two, one and no n-grams of three, two and one; all of them match."""
    assert statistics(["ab"], ["abc"], "other", "chrf")[0].tolist() == [2, 3, 2, 1, 2, 1, 0, 1, 0] + [0] * 9
    bleu = statistics(["the cat the"], ["the cat sat"], "other", "bleu")[0]
    assert bleu.tolist() == [3, 3, 2, 1, 0, 0, 3, 2, 1, 0]
    assert statistics([], [], "zh", "bleu").shape == (0, 10)
    # Precision 1 and recall (2/3 + 1/2) / 2 over two orders: F with recall counted twice.
    recall = (2 / 3 + 1 / 2) / 2
    assert text_metrics.sentence_chrf(["ab"], ["abc"])[0] == pytest.approx(5 * recall / (4 + recall))


def test_an_empty_hypothesis_scores_nothing() -> None:
    for language in TOKENIZE:
        assert text_metrics.sentence_bleu(["", " "], ["a", ""], language).tolist() == [0, 0]
        assert corpus_scores([""], ["对象"], language) == {"bleu": 0, "chrf": 0}
    assert text_metrics.sentence_chrf(["", "", "a"], ["a", "", ""]).tolist() == [0, 0, 0]
    assert corpus_scores([], [], "other") == {"bleu": 0, "chrf": 0}


def test_each_hypothesis_needs_its_reference() -> None:
    with pytest.raises(ValueError, match="each hypothesis needs a reference, but got 2 and 1"):
        corpus_scores(["a", "b"], ["a"], "other")


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (["旋转对象", "LibreOffice 的对象"], "zh"),
        (["サーバーを選択", "設定する"], "ja"),
        (["the 猫 sat on the mat", "and slept"], "other"),
        (["Größe", "123", ""], "other"),
        ([], "other"),
    ],
)
def test_the_language_is_told_by_its_script(texts: list[str], language: str) -> None:
    assert language_of(texts) == language


def test_a_thousand_sentences_take_no_second() -> None:
    hypotheses, references = made_up(1000, 4)
    began = time.perf_counter()
    text_metrics.sentence_chrf(hypotheses, references)
    assert time.perf_counter() - began < 1


def test_what_a_process_remembers_of_texts_does_not_grow_with_what_is_written() -> None:
    """Policies sample new texts all the time: 300 texts of 1,000 characters kept 96 MB, and 32,768 would have kept
    gigabytes. References come again, so as many of them are kept as fit the bound."""
    import tracemalloc

    random = np.random.default_rng(0)
    reference = "abcdefghij klmno " * 60
    texts = ["".join(random.choice(list("abcdefghij "), 1000)) for _ in range(300)]
    text_metrics.sentence_chrf(texts[:1], [reference])
    text_metrics.sentence_bleu(texts[:1], [reference], "other")
    tracemalloc.start()
    text_metrics.sentence_chrf(texts, [reference] * 300)
    text_metrics.sentence_bleu(texts, [reference] * 300, "other")
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 1e6
    assert text_metrics._characters_of_references.total <= text_metrics.REMEMBERED
