"""What a builder of texts returns: which members, and how what they propose becomes the ensemble's candidates.

    single              the member's own
    token_average       one search over the mean of the members' next tokens: the text has to be written anew
    minimum_bayes_risk  the pooled candidates by their expected utility, see texts.Pool
    reranker            the pooled candidates by a linear model of reranking.features

A combination is plain numbers: JSON and arrays, never code. Members may differ in everything but for the average.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

import numpy as np

from sweepstack.ensembles.combinations.pools import Arrays
from sweepstack.ensembles.combinations.reranking import PLAIN, features
from sweepstack.ensembles.combinations.token_means import MEANS
from sweepstack.ensembles.members.similarity import UTILITIES
from sweepstack.ensembles.members.texts import CandidateLibrary, Pool, pooled
from sweepstack.models.errors import BundleError
from sweepstack.models.predictions.texts import Candidates

CombinationKind = Literal["single", "token_average", "minimum_bayes_risk", "reranker"]


class WritingMember(Protocol):
    """A loaded member, as the load_writing_member of a writer's checkpoint returns it."""

    def write(self, texts: Sequence[str], n: int = 1) -> Candidates: ...


@dataclass(frozen=True)
class TextCombination:
    """``options`` by kind: mean and decode of an average; utility, language and counts (how many candidates each member
    proposes) of the two that pick; memories (whether each member is one) and usual (log ratio of lengths) of a
    reranker, whose arrays are coefficients (F,)."""

    kind: CombinationKind
    members: tuple[int, ...]  # places in the library
    options: Mapping[str, Any] = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)

    @property
    def weights(self) -> tuple[float, ...]:
        """(members,): each has one vote, whatever the kind."""
        return (1 / len(self.members),) * len(self.members)

    @property
    def needs_decoding(self) -> bool:
        """Whether what members wrote does not suffice: they have to write together."""
        return self.kind == "token_average"

    @property
    def utility(self) -> str:
        """The metric that candidates are picked by where nothing was fitted to references; else empty."""
        return str(self.options["utility"]) if self.kind == "minimum_bayes_risk" else ""

    def pick(self, library: CandidateLibrary) -> Candidates:
        """The ensemble's candidates of every row of the library, best first."""
        if self.needs_decoding:
            raise ValueError("an average of tokens cannot be picked from what members wrote; decode it")
        if self.kind == "single":
            return library.candidates[self.members[0]]
        pools = library.pools(self.members, self.options["utility"], self.options["language"])
        return self._ranked(pools, library.sources)

    def write(
        self, members: Sequence[WritingMember], texts: Sequence[str], n: int = 1, names: Sequence[str] = ()
    ) -> Candidates:
        """What loaded ``members``, in the combination's order, write: at most ``n`` candidates a text, or as many as
        are kept of each row in a study where n is 0. ``names`` of the members are for messages.

        Raises BundleError where tokenisers that must agree do not.
        """
        names = names or [f"member {place}" for place in range(len(members))]
        if not texts:
            return Candidates((), ())
        if self.kind == "token_average":
            from sweepstack.ensembles.combinations.token_average import write_average  # torch: a second to import

            return first(write_average(writers(members, names), names, self.options, texts, n), n)
        if self.kind == "single":
            return first(members[0].write(texts, n or self.options["counts"][0]), n)
        counts = self.options["counts"]
        proposed = [member.write(texts, count) for member, count in zip(members, counts, strict=True)]
        return first(self._ranked(pooled(proposed, self.options["utility"], self.options["language"]), texts), n)

    def _ranked(self, pools: Sequence[Pool], sources: Sequence[str]) -> Candidates:
        texts, scores = [], []
        for pool, source in zip(pools, sources, strict=True):
            values = pool.expected
            if self.kind == "reranker":
                options = self.options
                values = features(pool, source, options["usual"], options["memories"]) @ self.arrays["coefficients"]
            order = np.argsort(-values.round(12), kind="stable")  # equals stay in the order of members and ranks
            texts.append(tuple(pool.texts[i] for i in order))
            scores.append(tuple(float(values[i]) for i in order))
        return Candidates(tuple(texts), tuple(scores))

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Everything but ``members``' names, as JSON values and arrays."""
        return {"kind": self.kind, "members": list(self.members), "options": dict(self.options)}, dict(self.arrays)

    @staticmethod
    def from_state(state: Mapping[str, Any], arrays: Arrays) -> "TextCombination":
        """The inverse of :meth:`state`; raises ValueError, TypeError or KeyError where it is not one."""
        kind, members, options = state["kind"], tuple(map(int, state["members"])), dict(state["options"])
        if kind not in get_args(CombinationKind):
            raise ValueError(f"kind must be one of {', '.join(get_args(CombinationKind))}, but got {kind!r}")
        if not members or (kind == "single" and len(members) != 1):
            raise ValueError(f"{kind} cannot have {len(members)} members")
        if kind in ("single", "minimum_bayes_risk", "reranker") and len(options["counts"]) != len(members):
            raise ValueError(f"{len(members)} members need as many counts, but got {len(options['counts'])}")
        if kind in ("minimum_bayes_risk", "reranker") and options["utility"] not in UTILITIES:
            raise ValueError(f"utility must be one of {', '.join(UTILITIES)}, but got {options['utility']!r}")
        if kind == "token_average" and (options["mean"] not in MEANS or not isinstance(options["decode"], dict)):
            raise ValueError(f"mean must be one of {', '.join(MEANS)}, but got {options['mean']!r}")
        if kind == "reranker" and arrays["coefficients"].shape != (len(PLAIN) + len(members),):
            raise ValueError(f"{len(members)} members do not fit {arrays['coefficients'].shape} coefficients")
        return TextCombination(kind, members, options, dict(arrays))


def single(library: CandidateLibrary, place: int) -> TextCombination:
    return TextCombination("single", (place,), {"counts": counts_of(library, (place,))})


def counts_of(library: CandidateLibrary, members: Sequence[int]) -> list[int]:
    """How many candidates each of these members has of a row, at most."""
    return [max((len(row) for row in library.candidates[m].texts), default=1) for m in members]


def first(candidates: Candidates, n: int) -> Candidates:
    """The best ``n`` of each row; 0: all."""
    if n == 0:
        return candidates
    texts, scores = tuple(row[:n] for row in candidates.texts), tuple(row[:n] for row in candidates.scores)
    return Candidates(texts, scores, candidates.lagging)


def writers(members: Sequence[WritingMember], names: Sequence[str]) -> list[Any]:
    """Raises BundleError where one of them has no next token to average."""
    for name, member in zip(names, members, strict=True):
        if not hasattr(member, "writer"):
            raise BundleError(f"{name} is no writer, and what it says of the next token cannot be averaged")
    return list(members)
