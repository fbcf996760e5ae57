"""TF-IDF of two to five neighbouring characters, for every prefix of a text, without ever storing the prefixes.

Among words and tokens the characters are those of one word with the space before and behind it, so that a term counts
as soon as its word is read; among characters they are the last ones read. Weights are those of tfidf.py. A segment
changes a prefix's terms by what it adds: of a term's n-th occurrence the frequency 1 + ln(n) grows by ln(n / (n − 1)).
So the scores of all prefixes are running sums over segments, divided by the prefixes' lengths, and a text costs what
its characters do, however many segments it has.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sweepstack.models.data.segmenter import TextReader
from sweepstack.models.predictions.probabilities import Floats, Ints

SHORTEST, LONGEST = 2, 5  # characters in a term
MIN_TEXTS = 3  # that a term must stand in
MOST_TERMS = 50_000  # those of the most texts; more cost time and megabytes, measured without gain


class PrefixSums:
    """The matrix of all prefixes, as what each segment adds to it."""

    def __init__(self, added: csr_array, lengths: NDArray[np.float64], n_segments: Ints) -> None:
        """added: (prefixes, terms); lengths: (prefixes,), the norms; n_segments: (texts,), which sum to prefixes."""
        self._added, self._transposed = added, added.T.tocsr()
        self._lengths = np.maximum(lengths, 1e-12)[:, None]
        self.n_segments = n_segments

    def rows(self) -> csr_array:
        """The matrix itself, where each text is one segment."""
        scale = np.repeat(1 / self._lengths[:, 0], np.diff(self._added.indptr))
        data = (self._added.data * scale).astype(np.float32)
        return csr_array((data, self._added.indices, self._added.indptr), shape=self._added.shape)

    def scores(self, coef: Floats) -> Floats:
        """(prefixes, classes), of ``coef`` (terms, classes)."""
        return np.asarray(_running(self._added @ coef, self.n_segments) / self._lengths, dtype=np.float32)

    def gradient(self, residuals: Floats) -> Floats:
        """(terms, classes), of ``residuals`` (prefixes, classes): a segment counts in every prefix from it on."""
        following = _running(residuals / self._lengths, self.n_segments, backwards=True)
        return np.asarray(self._transposed @ following.astype(np.float32))

    def squares(self, weights: Floats) -> Floats:
        """(terms, 1): as if a term stood once, and from its first segment on."""
        following = _running(weights / self._lengths**2, self.n_segments, backwards=True)
        return np.asarray((self._transposed * self._transposed) @ following.astype(np.float32))


def _running(values: NDArray[np.floating], n_segments: Ints, *, backwards: bool = False) -> NDArray[np.float64]:
    """Sums over each text's segments up to each, or from each on; values: (prefixes, columns).

    Text by text, so that the sums of one do not depend on the others.
    """
    text = np.repeat(np.arange(len(n_segments)), n_segments)
    segment = np.arange(len(text)) - np.repeat(np.cumsum(n_segments) - n_segments, n_segments)
    spread = np.zeros((len(n_segments), int(n_segments.max(initial=1)), values.shape[1]), dtype=np.float64)
    spread[text, segment] = values
    if backwards:
        return np.asarray(spread[:, ::-1].cumsum(axis=1)[:, ::-1][text, segment])
    return np.asarray(spread.cumsum(axis=1)[text, segment])


@dataclass(frozen=True)
class CharacterTfidf:
    kind: ClassVar[str] = "characters"

    reader: TextReader  # only cuts; its ids are not used
    terms: tuple[str, ...]  # sorted
    idf: NDArray[np.float32]  # (terms,)

    @classmethod
    def fit(cls, texts: Sequence[str], reader: TextReader) -> "CharacterTfidf":
        """The terms and their inverse document frequencies of what can be read of ``texts``."""
        place: dict[str, int] = {}
        row, _, term, _ = _events(reader, texts, lambda gram: place.setdefault(gram, len(place)))
        key = np.sort(row * max(1, len(place)) + term)  # faster than np.unique, which hashes
        counts = np.bincount(key[np.diff(key, prepend=-1) > 0] % max(1, len(place)), minlength=len(place))
        grams = np.array(list(place), dtype=object)
        kept = np.flatnonzero(counts >= min(MIN_TEXTS, counts.max(initial=1)))
        if len(kept) > MOST_TERMS:
            least = np.sort(counts[kept])[-MOST_TERMS]
            kept = kept[counts[kept] > least] if (counts[kept] > least).any() else kept[:MOST_TERMS]
        kept = kept[np.argsort(grams[kept])]
        idf = np.log((1 + len(texts)) / (1 + counts[kept])) + 1
        return cls(reader, tuple(grams[kept].tolist()), idf.astype(np.float32))

    def design(self, texts: Sequence[str]) -> PrefixSums:
        place = {term: i for i, term in enumerate(self.terms)}
        row, segment, term, n_segments = _events(self.reader, texts, lambda gram: place.get(gram, -1))
        known = term >= 0
        row, segment, term = row[known], segment[known], term[known]
        # Which occurrence of its term in its text each one is, from 0.
        key = row * max(1, len(self.terms)) + term
        order = np.argsort(key, kind="stable")
        begins = np.flatnonzero(np.diff(key[order], prepend=-1))
        nth = np.empty(len(key), dtype=np.int64)
        nth[order] = np.arange(len(key)) - np.repeat(begins, np.diff(begins, append=len(key)))
        before, after = np.where(nth > 0, 1 + np.log(np.maximum(nth, 1)), 0.0), 1 + np.log(nth + 1)
        first = np.cumsum(n_segments) - n_segments
        prefix, prefixes = first[row] + segment, int(n_segments.sum())
        added = csr_array(
            (((after - before) * self.idf[term]).astype(np.float32), (prefix, term)), shape=(prefixes, len(self.terms))
        )
        added.sum_duplicates()
        grown = (after**2 - before**2) * self.idf[term].astype(np.float64) ** 2
        squares = np.bincount(prefix, grown, prefixes).astype(np.float64)
        return PrefixSums(added, np.sqrt(_running(squares[:, None], n_segments)[:, 0]), n_segments)

    def scores(self, texts: Sequence[str], coef: Floats) -> tuple[Floats, Ints]:
        """(sum of n_segments, classes), text after text, of ``coef`` (terms, classes); and n_segments (texts,)."""
        design = self.design(texts)
        return design.scores(coef), design.n_segments


def _events(reader: TextReader, texts: Sequence[str], place: Callable[[str], int]) -> tuple[Ints, Ints, Ints, Ints]:
    """Every occurrence of a term, in order: its text, segment and place; and n_segments (texts,)."""
    known: dict[str, Ints] = {}  # the terms of a word: words come again and again
    rows: list[int] = []
    segments: list[int] = []
    found: list[Ints] = []
    n_segments = np.ones(len(texts), dtype=np.int64)
    for row, text in enumerate(texts):
        units = reader.placed(text)
        if units:
            n_segments[row] = units[-1][1] + 1
        for piece, segment in _pieces(reader, units):
            if piece not in known:
                known[piece] = np.array([place(gram) for gram in _grams(reader, piece)], dtype=np.int64)
            found.append(known[piece])
            rows.append(row)
            segments.append(segment)
    counts = np.array([len(each) for each in found], dtype=np.int64)
    terms = np.concatenate([np.zeros(0, dtype=np.int64), *found])
    row_of, segment_of = (np.repeat(np.array(each, dtype=np.int64), counts) for each in (rows, segments))
    return row_of, segment_of, terms, n_segments


def _pieces(reader: TextReader, units: Sequence[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """What terms lie within: a word with its spaces; or, among characters, the newest one with those before it."""
    if reader.unit == "characters":
        line = " " + "".join(unit for unit, _ in units)  # a word's beginning says much of its language
        for end, (_, segment) in enumerate(units, start=2):
            yield line[max(0, end - LONGEST) : end], segment
    else:
        yield from ((f" {unit} ", segment) for unit, segment in units)


def _grams(reader: TextReader, piece: str) -> list[str]:
    if reader.unit == "characters":  # those that end where the piece does: the others were there before
        return [piece[-length:] for length in range(SHORTEST, min(LONGEST, len(piece)) + 1)]
    return [
        piece[begin : begin + length]
        for length in range(SHORTEST, LONGEST + 1)
        for begin in range(len(piece) - length + 1)
    ]
