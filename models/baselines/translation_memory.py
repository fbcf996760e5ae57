"""The honest baseline of a study that writes: what was written for the training source that is most like this one.

Sources are compared by the cosine of their TF-IDF of two to five neighbouring characters, of a word with the space
before and behind it. Frequencies are sublinear, 1 + ln(n), inverse document frequencies ln((1 + texts) / (1 + texts
with the term)) + 1. It errs unlike any network, and never writes what nobody has written.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from scipy.sparse import csr_array

from sweepstack.models import checksums
from sweepstack.models.data.cleaning import clean
from sweepstack.models.data.labelled import FITTED
from sweepstack.models.data.pairs import PairDataset
from sweepstack.models.errors import BundleError
from sweepstack.models.files import as_tensors, read_json, reason_of
from sweepstack.models.predictions.text_metrics import language_of
from sweepstack.models.predictions.texts import Candidates

FORMAT = 1
SHORTEST, LONGEST = 2, 5  # characters in a term
BATCH = 256  # texts compared at a time


class TranslationMemory:
    """A member like a writer: :meth:`write` and ``language``. ``vectors`` are those of the sources, of length 1."""

    def __init__(
        self,
        terms: Sequence[str],
        idf: NDArray[np.float32],  # (terms,)
        vectors: csr_array,  # (rows, terms)
        targets: Sequence[str],  # (rows,)
        language: str,  # of the targets, see text_metrics.language_of
    ) -> None:
        if idf.shape != (len(terms),) or vectors.shape != (len(targets), len(terms)) or not targets:
            raise ValueError(f"vectors of shape {vectors.shape} do not fit {len(terms)} terms, {len(targets)} targets")
        self.terms, self.idf, self.vectors = tuple(terms), idf, vectors
        self.targets, self.language = tuple(targets), language
        self._place = {term: i for i, term in enumerate(self.terms)}
        self._by_term = vectors.T.tocsr()

    @classmethod
    def fit(cls, dataset: PairDataset) -> Self:
        """Remembers warm and policy; the same data give the same memory."""
        sources = [text for name in FITTED for text in dataset.parts[name].inputs]
        targets = [text for name in FITTED for text in dataset.parts[name].references]
        with_term = Counter(term for text in sources for term in set(_terms(text)))
        terms = sorted(with_term)
        counts = np.array([with_term[term] for term in terms], dtype=np.float64)
        idf = (np.log((1 + len(sources)) / (1 + counts)) + 1).astype(np.float32)
        vectors = _vectors(sources, {term: i for i, term in enumerate(terms)}, idf)
        return cls(terms, idf, vectors, targets, language_of(targets))

    def write(self, texts: Sequence[str], n: int = 1) -> Candidates:
        """The targets of the ``n`` nearest sources of each text, each target once; ``scores`` are cosines.

        Of sources that are as near, the one that stands first in training comes first. Fewer than ``n`` are given
        where there are no more different targets.
        """
        found = [
            each for begin in range(0, len(texts), BATCH) for each in self._nearest(texts[begin : begin + BATCH], n)
        ]
        return Candidates(tuple(texts for texts, _ in found), tuple(scores for _, scores in found))

    def _nearest(self, texts: Sequence[str], n: int) -> Iterator[tuple[tuple[str, ...], tuple[float, ...]]]:
        cosines = (_vectors(texts, self._place, self.idf) @ self._by_term).toarray()
        for of_text in cosines:
            best: dict[str, float] = {}
            for row in np.argsort(-of_text, kind="stable").tolist():
                best.setdefault(self.targets[row], float(of_text[row]))
                if len(best) == n:
                    break
            yield tuple(best), tuple(best.values())

    def save(self, folder: Path) -> None:
        """Writes weights.safetensors and config.json; plain arrays and text, nothing that runs when it is read."""
        arrays = {
            "idf": self.idf,
            "values": self.vectors.data,
            "columns": self.vectors.indices.astype(np.int32),
            "ends": self.vectors.indptr[1:].astype(np.int64),
        }
        config = {
            "format": FORMAT,
            "kind": "memory",
            "language": self.language,
            "terms": self.terms,
            "targets": self.targets,
        }
        files: dict[str, str | bytes] = {
            "weights.safetensors": as_tensors(arrays),
            "config.json": json.dumps(config, ensure_ascii=False),
        }
        checksums.put(folder, files)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load what :meth:`save` wrote, number for number; raises BundleError where it is not there or not whole.

        DamagedError where a file has changed.
        """
        checksums.check_below(folder)
        try:
            config = read_json(folder / "config.json")
            if config["format"] != FORMAT or config["kind"] != "memory":
                raise ValueError(f"it has format {config['format']!r} and kind {config['kind']!r}")
            arrays = load_file(folder / "weights.safetensors")
            terms, targets = [str(term) for term in config["terms"]], [str(text) for text in config["targets"]]
            vectors = csr_array(
                (arrays["values"], arrays["columns"], np.concatenate([np.zeros(1, np.int64), arrays["ends"]])),
                shape=(len(targets), len(terms)),
            )
            vectors.check_format(full_check=True)
            return cls(terms, arrays["idf"], vectors, targets, str(config["language"]))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise BundleError(
                f"{folder} is not a translation memory of format {FORMAT} ({reason_of(error)}); "
                "copy the whole folder again"
            ) from error


def _vectors(texts: Sequence[str], place: dict[str, int], idf: NDArray[np.float32]) -> csr_array:
    """(texts, terms), of length 1; 0 where a text has no term that is known."""
    columns: list[int] = []
    values: list[NDArray[np.float64]] = []
    ends = [0]
    for text in texts:
        counts = sorted(Counter(place[term] for term in _terms(text) if term in place).items())
        found = np.array([column for column, _ in counts], dtype=np.int64)
        row = (1 + np.log(np.array([count for _, count in counts], dtype=np.float64))) * idf[found]
        columns += found.tolist()
        values.append(row / max(np.sqrt((row**2).sum()), 1e-12))
        ends.append(len(columns))
    data = np.concatenate([np.zeros(0), *values]).astype(np.float32)
    return csr_array((data, np.array(columns, dtype=np.int32), np.array(ends)), shape=(len(texts), len(idf)))


def _terms(text: str) -> Iterator[str]:
    for word in clean(text).lower().split():
        yield from _of_word(word)


@lru_cache(maxsize=50_000)
def _of_word(word: str) -> tuple[str, ...]:
    padded = f" {word} "
    return tuple(
        padded[begin : begin + length]
        for length in range(SHORTEST, LONGEST + 1)
        for begin in range(len(padded) - length + 1)
    )
