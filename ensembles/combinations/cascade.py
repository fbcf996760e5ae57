"""A cascade: members run one after the other, and a text leaves as soon as those that have run are sure of it.

After each segment the members that have run for a text, averaged (stage k: the first k, with a temperature of its own),
answer if they want to and are sure, read on if they want to and are far from sure, and otherwise have the next member
run, which then says what it thinks of the same segments. The last stage is the whole ensemble and decides by itself.
So most texts cost one member and the hard ones all of them, and nothing is read that nobody asked for (Viola & Jones
2001; for ensembles Wang et al. 2022, "Wisdom of committees", arXiv 2012.01988).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sweepstack.ensembles.combinations.combination import Combination, TextMember
from sweepstack.ensembles.combinations.pools import Arrays
from sweepstack.ensembles.combinations.stop import AVERAGED
from sweepstack.ensembles.members.library import Stack
from sweepstack.models.predictions.costs import Costs, read_matrix
from sweepstack.models.predictions.probabilities import Floats, Ints, Predictions

NEVER = 2.0  # no confidence reaches it
Said = tuple[Predictions, Floats]


class Walk:
    """Texts on their way through the stages; what is said of them is filled in as they go."""

    def __init__(self, rows: int, sure: float, unsure: float) -> None:
        self.left = np.arange(rows)  # the texts that have not been answered
        self._at = np.zeros(rows, dtype=np.int64)  # the segment that each of these has come to
        self._sure, self._unsure = sure, unsure
        self._said: Predictions | None = None

    def step(self, stage: Predictions, confidence: Floats, *, last: bool) -> Ints:
        """``stage`` and its confidence (rows, segments) of the texts left; the places among these of those that stay
        for the next stage."""
        segments = np.arange(stage.answer.shape[1])[None, :]
        wants = stage.would_answer()
        answers = wants if last else wants & (confidence >= self._sure)
        reads_on = ~wants if last else ~wants & (confidence <= self._unsure)
        at = ((segments >= self._at[:, None]) & ~reads_on).argmax(axis=1)
        if self._said is None:
            n_segments = stage.n_segments
            self._said = Predictions(np.empty_like(stage.probabilities), np.empty_like(stage.answer), n_segments)
        here = segments >= self._at[:, None]  # what the stages before have said of earlier segments stands
        said = self._said
        said.probabilities[self.left] = np.where(here[:, :, None], stage.probabilities, said.probabilities[self.left])
        said.answer[self.left] = segments >= at[:, None]
        stays = np.flatnonzero(~answers[np.arange(len(at)), at])
        self.left, self._at = self.left[stays], at[stays]
        return stays

    @property
    def said(self) -> Predictions:
        assert self._said is not None
        return self._said


@dataclass(frozen=True)
class Cascade(Combination):
    temperatures: tuple[float, ...] = ()  # of each stage but the last
    sure: float = NEVER  # the confidence from which a text is answered
    unsure: float = 0.0  # the confidence up to which it is read on
    costs: Costs = field(default_factory=Costs)  # of wrong answers, of which confidence is made

    def combine(self, probabilities: Floats, answer: Floats, n_segments: Ints) -> Predictions:
        return self.walked(self.stages(probabilities, answer, n_segments))[0]

    def stages(self, probabilities: Floats, answer: Floats, n_segments: Ints) -> list[Said]:
        """What each stage says of every row, were it run, and how sure it is of it (rows, segments)."""
        said = [
            self._stage(k).combine(probabilities[: k + 1], answer[: k + 1], n_segments)
            for k in range(len(self.members))
        ]
        return [(each, self.costs.confidence(each.probabilities)) for each in said]

    def walked(self, stages: Sequence[Said]) -> tuple[Predictions, Ints]:
        """What is said of all rows, and (rows,) how many members run for each."""
        rows = len(stages[0][0])
        walk, depths = Walk(rows, self.sure, self.unsure), np.ones(rows, dtype=np.int64)
        for k, (stage, confidence) in enumerate(stages, start=1):
            walk.step(stage.rows(walk.left), confidence[walk.left], last=k == len(stages))
            depths[walk.left] += 1
        return walk.said, depths

    def run(self, members: Sequence[TextMember], texts: Sequence[str], cost: float | None) -> Predictions:
        """The same of ``texts``, each by no more members than it needs."""
        walk = Walk(len(texts), self.sure, self.unsure)
        said: list[Predictions] = []  # of the texts that are left, by each member so far
        for k, member in enumerate(members):
            said.append(member.read([texts[i] for i in walk.left.tolist()], cost))
            stack = Stack.of(said)
            stage = self._stage(k).combine(stack.probabilities, stack.answer, stack.n_segments)
            stays = walk.step(stage, self.costs.confidence(stage.probabilities), last=k == len(members) - 1)
            if not len(stays):
                break
            said = [each.rows(stays) for each in said]
        return walk.said

    def depths(self, stack: Stack) -> Ints:
        """(rows,): how many members run for each row of the whole library's stack."""
        own = stack.take(self.members)
        return self.walked(self.stages(own.probabilities, own.answer, own.n_segments))[1]

    def at_any_cost(self) -> "Cascade":
        return replace(self, stop=AVERAGED)

    def answering_as(self, other: Combination) -> Combination:
        if not isinstance(other, Cascade):
            return super().answering_as(other)
        return replace(self, temperature=other.temperature, stop=other.stop, sure=other.sure, unsure=other.unsure)

    def stops_by(self) -> str:
        return f"{self.stop}; members until {self.sure:.3g} sure"

    def state(self) -> tuple[dict[str, Any], Arrays]:
        state, arrays = super().state()
        matrix = None if self.costs.matrix is None else self.costs.matrix.tolist()
        own = {"temperatures": list(self.temperatures), "sure": self.sure, "unsure": self.unsure, "costs": matrix}
        return {**state, "cascade": own}, arrays

    @staticmethod
    def of_state(whole: Combination, state: dict[str, Any]) -> "Cascade":
        """Raises ValueError, TypeError or KeyError where ``state`` is none of so many members."""
        temperatures, stored = tuple(map(float, state["temperatures"])), state["costs"]
        if len(temperatures) != len(whole.members) - 1 or not all(0 < t < np.inf for t in temperatures):
            raise ValueError(
                f"a cascade of {len(whole.members)} members needs a temperature above 0 for all but the last, but got "
                f"{temperatures}"
            )
        matrix = None if stored is None else read_matrix(stored, len(stored))
        return cascade_of(whole, temperatures, Costs(matrix=matrix), float(state["sure"]), float(state["unsure"]))

    def _stage(self, k: int) -> Combination:
        """Of the first k + 1 members; one alone stops as it was trained to."""
        places, weights = tuple(range(k + 1)), self.weights[: k + 1]
        if k == len(self.members) - 1:
            return Combination(places, self.weights, self.pool, self.stop, self.temperature)
        stop = AVERAGED if k == 0 else self.stop
        return Combination(places, weights / weights.sum(), self.pool, stop, self.temperatures[k])


def cascade_of(
    whole: Combination, temperatures: tuple[float, ...], costs: Costs, sure: float = NEVER, unsure: float = 0.0
) -> Cascade:
    fitted = (whole.members, whole.weights, whole.pool, whole.stop, whole.temperature)
    return Cascade(*fitted, temperatures, sure, unsure, costs)
