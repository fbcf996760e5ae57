"""What every member wrote for every row of a part: the store that builders of texts choose from.

It is what library.Library is to classifiers: members in a fixed order, each file's hash of its rows compared with the
data's. What members wrote for a row is also pooled here, since several builders want the same pool: the distinct texts,
who proposed which, and how alike they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.members.library import UNREADABLE, Kind, Member
from sweepstack.ensembles.members.similarity import Utility, pairwise
from sweepstack.models.errors import StorageError
from sweepstack.models.predictions.probabilities import Ints
from sweepstack.models.predictions.texts import Candidates

SHARPNESS = 10.0  # tokens of a text; a memory's cosines are weighed alike


@dataclass(frozen=True)
class Pool:
    """The candidates of one row, n distinct texts in the order of members and of their ranks."""

    texts: tuple[str, ...]
    scores: NDArray[np.float64]  # (members, n): the member's own; not a number where it did not propose the text
    utility: Utility  # (n, n), see similarity.pairwise

    @property
    def weights(self) -> NDArray[np.float64]:
        """(n,), sums to 1: each member has one vote, split over what it proposed by the softmax of SHARPNESS·score.

        A writer's score is a log-probability a token, so that is how likely it holds texts of so many tokens. Split
        evenly, the last of an n-best list would count as much as the first, which is what a sample would allow.
        """
        best = np.nanmax(self.scores, axis=1, keepdims=True)
        likely = np.where(np.isnan(self.scores), 0.0, np.exp(SHARPNESS * (self.scores - best)))
        return np.asarray((likely / likely.sum(axis=1, keepdims=True)).mean(axis=0))

    @property
    def expected(self) -> NDArray[np.float64]:
        """(n,): each text's utility with a text of the pool as its reference, expected by ``weights``."""
        return np.asarray(self.utility @ self.weights)


@dataclass(frozen=True)
class CandidateLibrary:
    members: tuple[Member, ...]
    candidates: tuple[Candidates, ...]  # of each member, all of the same rows
    sources: tuple[str, ...]  # of these rows
    groups: Ints | None = None  # (rows,): equal numbers for rows that belong together; None: each stands for itself
    _pools: dict[tuple[Any, ...], tuple[Pool, ...]] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.sources)

    @staticmethod
    def load(
        members: Sequence[Member], part: str, rows_hash: str, sources: Sequence[str], groups: Ints | None = None
    ) -> "CandidateLibrary":
        """Reads what every member wrote for ``part``, whose rows have the hash ``rows_hash``.

        Raises StorageError where a file is missing or unreadable, or of other rows.
        """
        if not members:
            raise StorageError(f"no member has written {part}; an ensemble needs at least one finished trial")
        candidates = []
        for member in members:
            path = member.predictions(part)
            try:
                read, found = Candidates.load(path)
            except (*UNREADABLE, ValueError) as error:
                raise StorageError(f"{path} cannot be read ({error}); run the study again to write anew") from error
            if found != rows_hash or len(read.texts) != len(sources):
                raise StorageError(
                    f"{path} was written for {len(read.texts)} rows with hash {found}, but {part} has {len(sources)} "
                    f"with {rows_hash}; the data changed: start afresh with another --out"
                )
            candidates.append(read)
        return CandidateLibrary(tuple(members), tuple(candidates), tuple(sources), groups)

    def of_kinds(self, kinds: frozenset[Kind]) -> tuple[int, ...]:
        """The places of the members of these kinds."""
        return tuple(i for i, member in enumerate(self.members) if member.kind in kinds)

    def rows(self, index: NDArray[Any]) -> "CandidateLibrary":
        """Of these rows only, with the pools that are known already. ``index``: places, or (rows,) of bool."""
        places = np.flatnonzero(index) if index.dtype == np.bool_ else index
        return CandidateLibrary(
            self.members,
            tuple(each.rows(places) for each in self.candidates),
            tuple(self.sources[i] for i in places),
            None if self.groups is None else self.groups[places],
            {key: tuple(pools[i] for i in places) for key, pools in self._pools.items()},
        )

    def pools(self, members: Sequence[int], utility: str, language: str) -> tuple[Pool, ...]:
        """The pool of each row from these members, whose places they are; worked out once."""
        key = (tuple(members), utility, language)
        if key not in self._pools:
            self._pools[key] = pooled([self.candidates[m] for m in members], utility, language)
        return self._pools[key]


def pooled(candidates: Sequence[Candidates], utility: str, language: str) -> tuple[Pool, ...]:
    """The pool of each row from what members wrote, each of whom wrote something, if only an empty text."""
    rows = len(candidates[0].texts)
    texts, scores = [], []
    for row in range(rows):
        place: dict[str, int] = {}
        for own in candidates:
            for text in own.texts[row]:
                place.setdefault(text, len(place))
        of_row = np.full((len(candidates), len(place)), np.nan)
        for m, own in enumerate(candidates):
            for text, score in zip(own.texts[row], own.scores[row], strict=True):
                of_row[m, place[text]] = np.fmax(of_row[m, place[text]], score)
        texts.append(tuple(place))
        scores.append(of_row)
    utilities = pairwise(texts, utility, language)
    return tuple(map(Pool, texts, scores, utilities))
