"""What there is to know of the exported ensemble's errors on test.

Whether it is as sure as it is right, what it may leave unanswered, where it errs, and what its members have in common.
Worked out once, when test is scored, and kept as JSON for the report.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sweepstack.ensembles.evaluation.choose import Choice
from sweepstack.ensembles.evaluation.diversity import disagreement, error_correlation, missed_by_all
from sweepstack.ensembles.evaluation.reliability import Reliability, reliability, risk_coverage, untempered
from sweepstack.ensembles.members.library import Library
from sweepstack.ensembles.scoring.bootstrap import half_width
from sweepstack.ensembles.scoring.conformal import Calibration, in_sets
from sweepstack.models.errors import InputError
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Floats, Ints

COVERAGES = (0.8, 0.9, 0.95, 0.99)
SHOWN = 10  # of the texts that all members get wrong
LONGEST = 400  # characters of a text that are shown


@dataclass(frozen=True)
class Curve:
    name: str  # a row of the table
    role: str
    answered: tuple[float, ...]  # shares of the rows, ascending
    accuracy: tuple[float, ...]


@dataclass(frozen=True)
class Sets:
    coverage: float  # asked for
    held: float  # the share of sets that hold the right label
    half_width: float  # of its 95% interval
    size: float  # mean
    single: float  # the share of sets of one label: what is answered
    accuracy: float | None  # of these; None where there are none


@dataclass(frozen=True)
class OfClass:
    label: str
    support: int  # rows that have the label
    answered: int  # rows that it is given to
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Missed:
    text: str
    label: str  # the right one
    answer: str  # the ensemble's
    probability: float  # of that
    said: tuple[str, ...]  # by each member


@dataclass(frozen=True)
class Diversity:
    """Of an ensemble's members, at the segment where it answers."""

    name: str  # the ensemble's
    members: tuple[str, ...]
    accuracy: tuple[float, ...]
    disagreement: tuple[tuple[float, ...], ...]
    error_correlation: tuple[tuple[float | None, ...], ...]
    missed: int  # rows that all members get wrong
    examples: tuple[Missed, ...]  # of these, those that the ensemble is surest of


@dataclass(frozen=True)
class Trust:
    digest: str  # of what the ensembles were built from
    name: str  # the exported row
    temperature: float
    before: Reliability  # the temperature; both where it answers
    after: Reliability
    curves: tuple[Curve, ...]
    sets: tuple[Sets, ...]
    classes: tuple[OfClass, ...]
    diversity: Diversity | None  # None where no ensemble has two members
    promise: str  # one line: what is guaranteed of sets; empty where nothing calibrates them

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(state: dict[str, Any]) -> "Trust":
        """The inverse of :meth:`to_json`, also after a round through JSON; raises KeyError or TypeError where it is
        none."""
        one, found = state["diversity"], dict(state)
        for name, of in (("curves", Curve), ("sets", Sets), ("classes", OfClass)):
            found[name] = tuple(of(**_tuples(each)) for each in state[name])
        for name in ("before", "after"):
            found[name] = Reliability(**_tuples(state[name]))
        if one is not None:
            examples = tuple(Missed(**_tuples(each)) for each in one["examples"])
            tables = {name: tuple(map(tuple, one[name])) for name in ("disagreement", "error_correlation")}
            found["diversity"] = Diversity(**{**_tuples(one), **tables, "examples": examples})
        return Trust(**found)


def _tuples(state: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in state.items()}


def examine(
    choice: Choice,
    library: Library,
    texts: Sequence[str],
    labels: Ints,
    classes: Sequence[str],
    costs: Costs,
    digest: str,
) -> Trust:
    """Of test, after its scoring: it takes the labels of ``library``'s rows, in their order."""
    predictions = {name: each.predict(library.stack) for name, each in choice.combinations.items()}
    own, combination = predictions[choice.chosen], choice.combinations[choice.chosen]
    said = own.at(own.stops())
    curves = []
    shown = [choice.chosen, *(row.name for row in choice.rows if row.role in ("trial", "baseline"))]
    for name in dict.fromkeys(shown):
        at = predictions[name].at(predictions[name].stops())
        answered, accuracy = risk_coverage(costs.confidence(at), costs.answers(at) == labels)
        curves.append(Curve(name, choice.row(name).role, tuple(answered.tolist()), tuple(accuracy.tolist())))
    calibration = choice.calibration.get(choice.chosen)
    return Trust(
        digest,
        choice.chosen,
        combination.temperature,
        reliability(untempered(said, combination.temperature), labels),
        reliability(said, labels),
        tuple(curves),
        () if calibration is None else tuple(_sets(said, labels, library.stack.groups, calibration)),
        _of_classes(costs.answers(said), labels, classes),
        _diversity(choice, library, texts, labels, classes, costs),
        "" if calibration is None else calibration.promise,
    )


def _sets(said: Floats, labels: Ints, groups: Ints | None, calibration: Calibration) -> Iterator[Sets]:
    for coverage in COVERAGES:
        try:
            sets = in_sets(said, calibration.limit(coverage))
        except InputError:  # too few rows to be calibrated on
            continue
        size, held = sets.sum(axis=1), sets[np.arange(len(labels)), labels]
        single, share = size == 1, held.astype(np.float64)
        accuracy = float(share[single].mean()) if single.any() else None
        half = half_width(share, groups, (0.0, 1.0))
        yield Sets(coverage, float(share.mean()), half, float(size.mean()), float(single.mean()), accuracy)


def _of_classes(answers: Ints, labels: Ints, classes: Sequence[str]) -> tuple[OfClass, ...]:
    """With scikit-learn's zero where nothing was answered or labelled."""
    found = []
    for k, label in enumerate(classes):
        right, answered, support = ((answers == k) & (labels == k)).sum(), (answers == k).sum(), (labels == k).sum()
        precision, recall = right / max(answered, 1), right / max(support, 1)
        f1 = 2 * right / max(answered + support, 1)
        found.append(OfClass(label, int(support), int(answered), float(precision), float(recall), float(f1)))
    return tuple(found)


def _diversity(
    choice: Choice, library: Library, texts: Sequence[str], labels: Ints, classes: Sequence[str], costs: Costs
) -> Diversity | None:
    """Of the exported ensemble, or where one member is exported, of the best ensemble that there is."""
    names = [choice.chosen, *(row.name for row in choice.rows if row.role == "ensemble")]
    name = next((each for each in names if len(choice.combinations[each].members) > 1), None)
    if name is None:
        return None
    combination = choice.combinations[name]
    own = combination.predict(library.stack)
    stops = own.stops()
    said = own.at(stops)
    places = combination.members
    answers = np.stack([costs.answers(library.stack.member(m).at(stops)) for m in places])  # (members, rows)
    missed = missed_by_all(answers, labels)
    given = costs.answers(said)
    sure = said[np.arange(len(labels)), given]
    surest = missed[np.argsort(-sure[missed], kind="stable")][:SHOWN]
    examples = tuple(
        Missed(
            _shortened(texts[row]),
            classes[labels[row]],
            classes[given[row]],
            float(sure[row]),
            tuple(classes[answer] for answer in answers[:, row]),
        )
        for row in surest
    )
    correlation = error_correlation(answers, labels).tolist()
    return Diversity(
        name,
        tuple(library.members[m].name for m in places),
        tuple((answers == labels).mean(axis=1).tolist()),
        tuple(map(tuple, disagreement(answers).tolist())),
        tuple(tuple(None if math.isnan(each) else each for each in row) for row in correlation),
        len(missed),
        examples,
    )


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST].rstrip() + " …"
