"""A cascade: members run one after the other, and a text leaves as soon as those that have run are sure of it.

After each segment the members that have run for a text, averaged (stage k: the first k, with a temperature of its own),
answer if they want to and are sure, read on if they want to and are far from sure, and otherwise have the next member
run, which then says what it thinks of the same segments. The last stage is the whole ensemble and decides by itself.
So most texts cost one member and the hard ones all of them, and nothing is read that nobody asked for (Viola & Jones
2001; for ensembles Wang et al. 2022, "Wisdom of committees", arXiv 2012.01988).

Weights, order and both thresholds are fitted on the rows that the builder is given, and cross-fitted with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sweepstack.ensembles.builder import Builder, ranking
from sweepstack.ensembles.combination import Combination
from sweepstack.ensembles.objective import Objective
from sweepstack.ensembles.pools import Arrays
from sweepstack.ensembles.selection import Selection
from sweepstack.ensembles.stop import AVERAGED
from sweepstack.ensembles.store import Stack
from sweepstack.ensembles.temperature import fit_temperature, logs
from sweepstack.models.costs import Costs, read_matrix
from sweepstack.models.predictions import Floats, Ints, Predictions

if TYPE_CHECKING:
    from sweepstack.ensembles.ensemble import TextMember

NEVER = 2.0  # no confidence reaches it
SURE = (0.99, 0.98, 0.97, 0.96, 0.95)  # lower ones save next to nothing, and few rows cannot tell what they cost
UNSURE = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 1.0)  # 1: whenever it wants to read on, it may
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

    def run(self, members: "Sequence[TextMember]", texts: Sequence[str], cost: float | None) -> Predictions:
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
        return _cascade(whole, temperatures, Costs(matrix=matrix), float(state["sure"]), float(state["unsure"]))

    def _stage(self, k: int) -> Combination:
        """Of the first k + 1 members; one alone stops as it was trained to."""
        places, weights = tuple(range(k + 1)), self.weights[: k + 1]
        if k == len(self.members) - 1:
            return Combination(places, self.weights, self.pool, self.stop, self.temperature)
        stop = AVERAGED if k == 0 else self.stop
        return Combination(places, weights / weights.sum(), self.pool, stop, self.temperatures[k])


def _cascade(
    whole: Combination, temperatures: tuple[float, ...], costs: Costs, sure: float = NEVER, unsure: float = 0.0
) -> Cascade:
    fitted = (whole.members, whole.weights, whole.pool, whole.stop, whole.temperature)
    return Cascade(*fitted, temperatures, sure, unsure, costs)


@dataclass(frozen=True)
class Regret:
    """What a whole ensemble expects to lose where something else answers in its place, mean over rows.

    Of the reward: less is right by its own probabilities, or more is read. Where the objective looks at the last
    segment only: the cross-entropy with what it says there.
    """

    believed: Floats  # (rows, classes): what the whole ensemble says at each text's end
    worth: float  # what it expects of its own answers
    objective: Objective

    @staticmethod
    def of(whole: Predictions, objective: Objective) -> "Regret":
        regret = Regret(whole.at(whole.n_segments - 1), 0.0, objective)
        return replace(regret, worth=regret._expected(whole))

    def __call__(self, predictions: Predictions) -> float:
        return self.worth - self._expected(predictions)

    def _expected(self, predictions: Predictions) -> float:
        if self.objective.reads_all:
            said = logs(predictions.at(predictions.n_segments - 1))
            return float((self.believed * said).sum(axis=1).mean())
        costs, stops = self.objective.stop_costs, predictions.stops()
        worth = costs.worth(self.believed)[np.arange(len(stops)), costs.answers(predictions.at(stops))]
        return float(worth.mean() - costs.read * stops.mean())


@dataclass(frozen=True)
class CascadeBuilder(Builder):
    """What greedy selection picks, as a cascade, the best member first.

    Of the thresholds with a regret within ``tolerance``, it has those with which the fewest members run. Regret is what
    the whole ensemble itself, having read everything, expects to lose by them. A few hundred labels could not tell: one
    row more or less that is right is more than any tolerance worth having.
    """

    name: ClassVar[str] = "cascade"
    counts: ClassVar[tuple[str, ...]] = ("members",)
    members: int = 8  # of the whole ensemble, at most
    tolerance: float = 0.003  # of regret: its standard error on 500 rows; on other rows a third was lost

    def fit(self, stack: Stack, labels: Ints, objective: Objective) -> Combination:
        whole = Selection(members=self.members).fit(stack, labels, objective)
        if len(whole.members) == 1:
            return whole
        order = ranking(stack.take(whole.members), labels, objective)
        whole = replace(whole, members=tuple(whole.members[i] for i in order), weights=whole.weights[order])
        own = stack.take(whole.members)
        plain = _cascade(whole, (1.0,) * (len(whole.members) - 1), Costs(matrix=objective.costs.matrix))
        said = [stage for stage, _ in plain.stages(own.probabilities, own.answer, own.n_segments)[:-1]]
        at = [own.n_segments - 1 if objective.reads_all else each.stops() for each in said]
        fitted = (fit_temperature(each, labels, ends) for each, ends in zip(said, at, strict=True))
        cascade = replace(plain, temperatures=tuple(fitted))
        stages = cascade.stages(own.probabilities, own.answer, own.n_segments)
        regret = Regret.of(whole.predict(stack), objective)
        found, fewest = cascade, float(len(whole.members))
        for unsure in UNSURE if own.answer.shape[2] > 1 else UNSURE[:1]:
            for sure in SURE:
                tried = replace(cascade, sure=sure, unsure=unsure)
                predicted, depths = tried.walked(stages)
                if regret(predicted) <= self.tolerance and depths.mean() < fewest:
                    found, fewest = tried, float(depths.mean())
        return found
