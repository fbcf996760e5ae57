"""BLEU and chrF, of a whole part and of single sentences, equal to sacrebleu's to the last digit that matters.

Both are functions of counts that are summed over rows: what a hypothesis has, what its reference has, and what both
have. So a bootstrap over rows needs the counts once and is one matrix product (Koehn 2004). Of sacrebleu stay the
tokenizers, which are what makes BLEU comparable (Post 2018); chrF counts characters (Popović 2015).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweepstack.models.recent import Recent

Statistics = NDArray[np.int64]  # (rows, k): counts that may be summed over rows, see :func:`statistics`
Floats = NDArray[np.float64]
Metric = str  # bleu or chrf

BLEU_ORDER, CHRF_ORDER = 4, 6
BETA_SQUARED = 4  # recall counts twice as much as precision
REMEMBERED = 1 << 20  # n-grams that are kept, of 80 to 160 bytes each: references come again in every epoch
HAN = (("\u3400", "\u4dbf"), ("\u4e00", "\u9fff"), ("\uf900", "\ufaff"), ("\U00020000", "\U000323af"))
KANA = (("\u3040", "\u30ff"),)
LEAST_SHARE = 0.2  # of letters, for a script to be the one that is written: names and terms often stand in another


def language_of(texts: Sequence[str]) -> str:
    """What decides how BLEU cuts words: zh, ja, or other; by the script of ``texts``."""
    letters = Counter(character for text in texts for character in text if character.isalpha())
    han, kana = (
        sum(n for character, n in letters.items() if any(low <= character <= high for low, high in ranges))
        for ranges in (HAN, KANA)
    )
    if han + kana < LEAST_SHARE * max(letters.total(), 1):
        return "other"
    return "ja" if kana >= LEAST_SHARE * (han + kana) else "zh"


def corpus_scores(hypotheses: Sequence[str], references: Sequence[str], language: str) -> dict[str, float]:
    """``bleu`` and ``chrf`` of all rows together, 0 to 100."""
    return {
        metric: float(score_of(statistics(hypotheses, references, language, metric).sum(axis=0), metric))
        for metric in ("bleu", "chrf")
    }


def sentence_chrf(hypotheses: Sequence[str], references: Sequence[str]) -> Floats:
    """(rows,), 0 to 1: of each hypothesis with its reference."""
    return score_of(statistics(hypotheses, references, "other", "chrf"), "chrf") / 100


def sentence_bleu(hypotheses: Sequence[str], references: Sequence[str], language: str) -> Floats:
    """(rows,), 0 to 1: smoothed, and of no longer n-grams than the hypothesis has."""
    return _bleu(statistics(hypotheses, references, language, "bleu"), effective_order=True) / 100


def statistics(hypotheses: Sequence[str], references: Sequence[str], language: str, metric: Metric) -> Statistics:
    """(rows, k): of BLEU the lengths of hypothesis and reference, then for n from 1 to 4 matches, then totals; of chrF,
    for n from 1 to 6, how many n-grams hypothesis and reference have and how many match."""
    if len(hypotheses) != len(references):
        raise ValueError(f"each hypothesis needs a reference, but got {len(hypotheses)} and {len(references)}")
    count = _bleu_counts(language) if metric == "bleu" else _chrf_counts
    width = {"bleu": 2 + 2 * BLEU_ORDER, "chrf": 3 * CHRF_ORDER}[metric]
    rows = [count(hypothesis, reference) for hypothesis, reference in zip(hypotheses, references, strict=True)]
    return np.array(rows, dtype=np.int64).reshape(len(rows), width)


def score_of(summed: NDArray[np.int64] | Floats, metric: Metric) -> Floats:
    """(…), 0 to 100, of counts (…, k) that were summed over rows: sacrebleu's score of a corpus of these rows."""
    counts = np.asarray(summed, dtype=np.float64)
    return _bleu(counts, effective_order=False) if metric == "bleu" else _chrf(counts)


def _bleu(counts: NDArray[np.int64] | Floats, *, effective_order: bool) -> Floats:
    """A precision of 0 is halved from what it would be with one match, and again for each such order (NIST)."""
    counts = np.asarray(counts, dtype=np.float64)
    length, of_reference = counts[..., 0], counts[..., 1]
    correct, total = counts[..., 2 : 2 + BLEU_ORDER], counts[..., 2 + BLEU_ORDER :]
    there = np.cumprod(total > 0, axis=-1).astype(bool)  # up to the first order that has no n-gram
    missed = there & (correct == 0)
    numerator = np.where(missed, 0.5 ** np.cumsum(missed, axis=-1), correct)
    orders = there.sum(axis=-1) if effective_order else np.full(length.shape, BLEU_ORDER)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(there, np.log(numerator / np.where(there, total, 1)), 0.0)
        brevity = np.where(length < of_reference, np.exp(1 - of_reference / np.maximum(length, 1e-300)), 1.0)
    score = 100 * brevity * np.exp(logs.sum(axis=-1) / np.maximum(orders, 1))
    complete = there.any(axis=-1) if effective_order else there.all(axis=-1)
    return np.asarray(np.where(complete & correct.any(axis=-1), score, 0.0))


def _chrf(counts: Floats) -> Floats:
    """Precision and recall are averaged over the orders that both sides have n-grams of."""
    of_hypothesis, of_reference, matches = counts[..., 0::3], counts[..., 1::3], counts[..., 2::3]
    both = (of_hypothesis > 0) & (of_reference > 0)
    orders = np.maximum(both.sum(axis=-1), 1)
    precision = np.where(both, matches / np.where(both, of_hypothesis, 1), 0.0).sum(axis=-1) / orders
    recall = np.where(both, matches / np.where(both, of_reference, 1), 0.0).sum(axis=-1) / orders
    divisor = BETA_SQUARED * precision + recall
    score = 100 * (1 + BETA_SQUARED) * precision * recall / np.where(divisor > 0, divisor, 1)
    return np.asarray(np.where(divisor > 0, score, 0.0))


def _characters(text: str) -> tuple[int, Counter[str]]:
    """How many characters there are, without white space, and their n-grams of all orders."""
    line = "".join(text.split())
    grams = [line[i : i + n] for n in range(1, CHRF_ORDER + 1) for i in range(len(line) - n + 1)]
    return len(line), Counter(grams)


def _n_grams(counted: tuple[int, Counter[Any]]) -> int:
    return len(counted[1])


_characters_of_references = Recent(_characters, _n_grams, REMEMBERED)


def _chrf_counts(hypothesis: str, reference: str) -> list[int]:
    wanted, others = _characters_of_references(reference)
    written, grams = (wanted, others) if hypothesis == reference else _characters(hypothesis)
    matches = [0] * CHRF_ORDER
    for gram in grams.keys() & others.keys():
        matches[len(gram) - 1] += min(grams[gram], others[gram])
    counts: list[int] = []
    for n, matched in enumerate(matches, 1):
        of_reference = max(wanted - n + 1, 0)
        counts += [max(written - n + 1, 0) if of_reference else 0, of_reference, matched]
    return counts


def _words(text: str, tokenizer: Callable[[str], str]) -> tuple[int, Counter[tuple[str, ...]]]:
    tokens = tuple(tokenizer(text.rstrip()).split())
    grams = [tokens[i : i + n] for n in range(1, BLEU_ORDER + 1) for i in range(len(tokens) - n + 1)]
    return len(tokens), Counter(grams)


@lru_cache
def _words_of_references(language: str) -> Recent[str, tuple[int, Counter[tuple[str, ...]]]]:
    return Recent(lambda text: _words(text, _tokenizer(language)), _n_grams, REMEMBERED)


def _bleu_counts(language: str) -> Callable[[str, str], list[int]]:
    tokenizer, of_references = _tokenizer(language), _words_of_references(language)

    def count(hypothesis: str, reference: str) -> list[int]:
        wanted, others = of_references(reference)
        written, grams = (wanted, others) if hypothesis == reference else _words(hypothesis, tokenizer)
        matches = [0] * BLEU_ORDER
        for gram in grams.keys() & others.keys():
            matches[len(gram) - 1] += min(grams[gram], others[gram])
        return [written, wanted, *matches, *(max(written - n + 1, 0) for n in range(1, BLEU_ORDER + 1))]

    return count


def tokenized(texts: Sequence[str], language: str) -> list[str]:
    """Each text as BLEU counts it: words with a space between them."""
    tokenizer = _tokenizer(language)
    return [tokenizer(text.rstrip()) for text in texts]


@lru_cache
def _tokenizer(language: str) -> Callable[[str], str]:
    """Japanese words need a dictionary, so there its characters are counted."""
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a  # slow to import, and chrF does without
    from sacrebleu.tokenizers.tokenizer_char import TokenizerChar
    from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

    kinds: dict[str, Callable[[], Callable[[str], str]]] = {"zh": TokenizerZh, "ja": TokenizerChar}
    return kinds.get(language, Tokenizer13a)()
