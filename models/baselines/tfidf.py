"""TF-IDF of every prefix of a text, as a sparse matrix with a row for each segment that a reader may stop after.

Terms are words and word pairs (also where a policy reads tokens), or one to three characters; a term counts from the
segment on in which its last unit stands, so that a row is exactly what the raw text read so far would give. Term
frequencies are sublinear, 1 + ln(n), or the counts n themselves; inverse document frequencies are smoothed,
ln((1 + texts) / (1 + texts with the term)) + 1, and rows have unit length.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sweepstack.models.data.segmenter import TextReader

LONGEST = {"words": 2, "characters": 3, "tokens": 2}  # units in a term
MIN_TEXTS = 2  # a term of one text only costs time: measured on both data sets, without gain

Units = Sequence[tuple[str, int]]  # of a text, each with its segment


@dataclass(frozen=True)
class PrefixTfidf:
    reader: TextReader  # only cuts; its ids are not used
    terms: tuple[str, ...]  # sorted
    idf: NDArray[np.float32]  # (terms,)
    sublinear: bool = True

    @property
    def kind(self) -> str:
        return "units" if self.sublinear else "counts"

    @classmethod
    def fit(cls, texts: Sequence[str], reader: TextReader) -> "PrefixTfidf":
        """The terms and their inverse document frequencies of what can be read of ``texts``."""
        return cls._of(reader, [reader.placed(text) for text in texts])

    @classmethod
    def fit_transform(
        cls, texts: Sequence[str], reader: TextReader
    ) -> tuple["PrefixTfidf", csr_array, NDArray[np.int64]]:
        """:meth:`fit` and :meth:`transform` of the same texts, which are cut once."""
        features, counts, n_segments = cls.fit_counts(texts, reader)
        return features, features.weighted(counts), n_segments

    @classmethod
    def fit_counts(cls, texts: Sequence[str], reader: TextReader) -> tuple["PrefixTfidf", csr_array, NDArray[np.int64]]:
        """The same, with the :meth:`counts`, which may be weighted in more ways than one."""
        read = [reader.placed(text) for text in texts]
        features = cls._of(reader, read)
        return (features, *features._counted(read))

    @classmethod
    def _of(cls, reader: TextReader, read: Sequence[Units]) -> "PrefixTfidf":
        found = Counter(term for units in read for term in {term for _, term in _terms(reader, units)})
        terms = sorted(term for term, count in found.items() if count >= MIN_TEXTS) or sorted(found)
        counts = np.array([found[term] for term in terms], dtype=np.float64)
        return cls(reader, tuple(terms), (np.log((1 + len(read)) / (1 + counts)) + 1).astype(np.float32))

    def transform(self, texts: Sequence[str]) -> tuple[csr_array, NDArray[np.int64]]:
        """The matrix (sum of n_segments, terms) of all prefixes, text after text, and n_segments (rows,)."""
        counts, n_segments = self.counts(texts)
        return self.weighted(counts), n_segments

    def counts(self, texts: Sequence[str]) -> tuple[csr_array, NDArray[np.int64]]:
        """How often each term stands in each prefix, (sum of n_segments, terms); and n_segments (rows,)."""
        return self._counted([self.reader.placed(text) for text in texts])

    def weighted(self, counts: csr_array) -> csr_array:
        """The matrix of what has these :meth:`counts`."""
        frequencies = 1 + np.log(counts.data) if self.sublinear else counts.data
        weights = frequencies * self.idf[counts.indices]
        return _unit_length(csr_array((weights, counts.indices, counts.indptr), shape=counts.shape))

    def _counted(self, read: Sequence[Units]) -> tuple[csr_array, NDArray[np.int64]]:
        place = {term: i for i, term in enumerate(self.terms)}
        n_segments = np.array([units[-1][1] + 1 if units else 1 for units in read], dtype=np.int64)
        events = [
            (text, segment, place[term])
            for text, units in enumerate(read)
            for segment, term in _terms(self.reader, units)
            if term in place
        ]
        text, segment, column = np.array(events, dtype=np.int64).reshape(-1, 3).T
        # A term that appears in segment s is there in every prefix from s to the last.
        repeats = n_segments[text] - segment
        within = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        first = np.cumsum(n_segments) - n_segments
        row = np.repeat(first[text] + segment, repeats) + within
        shape = (int(n_segments.sum()), len(self.terms))
        matrix = csr_array((np.ones(len(row), dtype=np.float32), (row, np.repeat(column, repeats))), shape=shape)
        matrix.sum_duplicates()
        return matrix, n_segments

    def scores(self, texts: Sequence[str], coef: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(sum of n_segments, classes), of ``coef`` (terms, classes); and n_segments (rows,)."""
        matrix, n_segments = self.transform(texts)
        return np.asarray(matrix @ coef), n_segments


def _unit_length(matrix: csr_array) -> csr_array:
    counts = np.diff(matrix.indptr)
    squares = np.bincount(
        np.repeat(np.arange(len(counts)), counts), weights=matrix.data.astype(np.float64) ** 2, minlength=len(counts)
    )
    norms = np.repeat(np.sqrt(squares), counts)
    matrix.data = (matrix.data / norms).astype(np.float32)
    return matrix


def _terms(reader: TextReader, units: Units) -> Iterator[tuple[int, str]]:
    """Each term of a text, given as units with their segments, with the segment in which its last unit stands."""
    for unit, segment in units:
        yield segment, unit
    joint, margin = ("", [(" ", 0)]) if reader.unit == "characters" else (" ", [])  # how a phrase begins: its language
    padded = [*margin, *units]
    for length in range(2, LONGEST[reader.unit] + 1):
        for begin in range(len(padded) - length + 1):
            term = padded[begin : begin + length]
            yield term[-1][1], joint.join(unit for unit, _ in term)
