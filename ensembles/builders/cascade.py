"""The builder of a cascade: what greedy selection picks, the best member first, with thresholds that cost little.

Weights, order and both thresholds are fitted on the rows that the builder is given, and cross-fitted with it.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from sweepstack.ensembles.builders.base import Builder, ranking
from sweepstack.ensembles.builders.selection import Selection
from sweepstack.ensembles.combinations.cascade import cascade_of
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.members.library import Stack
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.ensembles.scoring.temperature import fit_temperature, logs
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Floats, Ints, Predictions

SURE = (0.99, 0.98, 0.97, 0.96, 0.95)  # lower ones save next to nothing, and few rows cannot tell what they cost
UNSURE = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 1.0)  # 1: whenever it wants to read on, it may


@dataclass(frozen=True)
class Regret:
    """The mean over rows of the loss that a whole ensemble expects where something else answers in its place.

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
    """A cascade of the members that greedy selection picks, the best one first.

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
        plain = cascade_of(whole, (1.0,) * (len(whole.members) - 1), Costs(matrix=objective.costs.matrix))
        said = [stage for stage, _ in plain.stages(own.probabilities, own.answer, own.n_segments)[:-1]]
        at = [own.n_segments - 1 if objective.reads_all else each.stops() for each in said]
        fitted = (fit_temperature(each, labels, ends, stack.groups) for each, ends in zip(said, at, strict=True))
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
