"""The texts that a writer, an ensemble or a translation memory proposes for each row, best first, and their scores.

On disk they are safetensors: all texts as one run of UTF-8 bytes and where each ends, and how many a row has.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from sweepstack.models import checksums


@dataclass(frozen=True)
class Candidates:
    """At least one a row, which may be empty. ``scores``, of each text: a writer's log-probability over a power of its
    length (see models/networks/decoding.py), a translation memory's cosine."""

    texts: tuple[tuple[str, ...], ...]
    scores: tuple[tuple[float, ...], ...]
    lagging: tuple[float, ...] | None = None  # (rows,): of the best text, in words, where it was written while reading

    def __post_init__(self) -> None:
        if [len(row) for row in self.texts] != [len(row) for row in self.scores] or not all(self.texts):
            raise ValueError("every row needs at least one text and a score for each")
        if self.lagging is not None and len(self.lagging) != len(self.texts):
            raise ValueError(f"{len(self.texts)} rows need as many laggings, but got {len(self.lagging)}")

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def best(self) -> list[str]:
        """(rows,)"""
        return [row[0] for row in self.texts]

    def rows(self, index: NDArray[Any]) -> "Candidates":
        """Those of some rows, by their indices or by a mask."""
        chosen = np.arange(len(self))[index]
        behind = None if self.lagging is None else tuple(self.lagging[i] for i in chosen)
        return Candidates(tuple(self.texts[i] for i in chosen), tuple(self.scores[i] for i in chosen), behind)

    def save(self, path: Path, rows_hash: str) -> None:
        """Writes them as safetensors; ``rows_hash`` says which rows of which data they belong to."""
        encoded = [text.encode() for row in self.texts for text in row]
        tensors: dict[str, NDArray[Any]] = {
            "bytes": np.frombuffer(b"".join(encoded), dtype=np.uint8),
            "ends": np.cumsum([len(text) for text in encoded], dtype=np.int64),
            "counts": np.array([len(row) for row in self.texts], dtype=np.int64),
            "scores": np.array([score for row in self.scores for score in row], dtype=np.float64),
        }
        if self.lagging is not None:
            tensors["lagging"] = np.array(self.lagging, dtype=np.float64)
        checksums.put(path.parent, {path.name: save(tensors, {"rows_hash": rows_hash})})

    @staticmethod
    def load(path: Path) -> "tuple[Candidates, str]":
        """The candidates and the hash of the rows that they belong to; raises DamagedError where they have changed."""
        checksums.check(path)
        with safe_open(path, framework="numpy") as file:
            content, ends, counts, scores = (file.get_tensor(name) for name in ("bytes", "ends", "counts", "scores"))
            behind = file.get_tensor("lagging") if "lagging" in file.keys() else None  # noqa: SIM118  # no mapping
            rows_hash: str = file.metadata()["rows_hash"]
        joined, begins = content.tobytes(), [0, *ends.tolist()]
        texts = [joined[begin:end].decode() for begin, end in zip(begins, ends.tolist(), strict=False)]
        lasts = np.cumsum(counts)
        rows = [slice(last - count, last) for count, last in zip(counts.tolist(), lasts.tolist(), strict=True)]
        of_rows = tuple(tuple(texts[row]) for row in rows)
        lagging = None if behind is None else tuple(behind.tolist())
        return Candidates(of_rows, tuple(tuple(scores[row].tolist()) for row in rows), lagging), rows_hash
