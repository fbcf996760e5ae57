"""Builds every ensemble, scores it honestly beside single members, and chooses what is exported.

Everything that is fitted on blend is scored there by cross-fitting. The best ensemble is exported only where it is
likely to be better than every single member of the table; nothing here ever sees a label of test. After the choice,
``score_test`` scores predictions that were made without those labels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Generic, Protocol, TypeVar, get_args

import numpy as np

from sweepstack.ensembles.builders.base import Builder, ranking
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.evaluation.budget import Budget, Serving, pareto
from sweepstack.ensembles.evaluation.table import Role, Row
from sweepstack.ensembles.evaluation.verdict import company, singles, verdict
from sweepstack.ensembles.members.library import Kind, Library, Stack
from sweepstack.ensembles.scoring.bootstrap import Gain, gain
from sweepstack.ensembles.scoring.conformal import CROSS_FITTED, OUT_OF_FOLD, Calibration, calibrate
from sweepstack.ensembles.scoring.crossfit import FOLDS, cross_fit, fit_folds, folds, said_held_out
from sweepstack.ensembles.scoring.objective import Objective, half_widths
from sweepstack.ensembles.scoring.optimism import Optimism
from sweepstack.models.errors import TrainingError
from sweepstack.models.predictions.metrics import direction
from sweepstack.models.predictions.probabilities import Ints, Predictions, metrics

C = TypeVar("C")  # the kind of combination
B = TypeVar("B", bound="Named")
Measure = Callable[[Combination], Serving]
UNBOUNDED = Budget()
METHODS: dict[Kind, str] = {"trial": "trial", "baseline": "linear", "control": "supervised"}
NO_CONTROLS: Mapping[str, str] = {}


class Named(Protocol):
    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Decision(Generic[C]):
    rows: tuple[Row, ...]  # ensembles by blend, best first; then best trial, baselines, controls
    combinations: dict[str, C]  # by row name; members are places in the library
    chosen: str  # the row to export
    reason: str  # one sentence
    notes: tuple[str, ...]  # builders that were left out, and why
    calibration: Mapping[str, Calibration] = field(default_factory=dict)  # by row name: of its sets
    optimism: Optimism | None = None  # of the best on blend

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)


@dataclass(frozen=True)
class Choice(Decision[Combination]):
    """Of classifiers."""

    def predict(self, library: Library) -> dict[str, Predictions]:
        """Every row's Predictions of the part that ``library`` (the same members, in the same order) holds."""
        return {name: combination.predict(library.stack) for name, combination in self.combinations.items()}


def choose(
    blend: Library,
    blend_labels: Ints,
    valid: Library,
    valid_labels: Ints,
    builders: Sequence[Builder],
    objective: Objective,
    *,
    seed: int = 0,
    allowed: frozenset[Kind] = frozenset(get_args(Kind)),
    measure: Measure | None = None,
    budget: Budget = UNBOUNDED,
    controls: Mapping[str, str] = NO_CONTROLS,
) -> Choice:
    """Fits all builders on blend and decides.

    Rows of one of the libraries' groups never straddle two folds. ``allowed``: the kinds of members that a study lets
    builders use; the others only stand in the table. ``measure`` says what a combination costs to serve, and ``budget``
    what it may. ``controls``: the method, by name, of trials that are controls; the best of each method has a row, too.
    Both libraries hold the same members in the same order. Raises DataError where blend has fewer than two groups of
    rows.
    """
    return _choose(
        blend,
        blend_labels,
        (valid, valid_labels),
        folds(blend_labels, seed, blend.stack.groups),
        builders,
        objective,
        seed,
        allowed,
        measure,
        budget,
        controls,
    )


def choose_out_of_fold(
    library: Library,
    labels: Ints,
    fold: Ints,
    builders: Sequence[Builder],
    objective: Objective,
    *,
    seed: int = 0,
    allowed: frozenset[Kind] = frozenset(get_args(Kind)),
    measure: Measure | None = None,
    budget: Budget = UNBOUNDED,
    controls: Mapping[str, str] = NO_CONTROLS,
) -> Choice:
    """The same where members were trained under folds, and their out-of-fold predictions are valid and blend in one.

    ``fold`` (rows,): which fold of the members' own held a row out. What is fitted on some of these folds is scored on
    the others, and so is the choice of the best trial. Folds of other rows than the members' would let a row's own
    policies weigh them: rows of one fold were predicted by the same policies, whose luck and quirks a fit would know.
    What stays is that a row has taught the policies of the other folds, whose predictions the fit sees; but those of
    all members alike, and a fit has one number a member to learn from them.
    """
    return _choose(library, labels, None, fold % FOLDS, builders, objective, seed, allowed, measure, budget, controls)


def _choose(
    blend: Library,
    blend_labels: Ints,
    valid: tuple[Library, Ints] | None,  # None: blend, which is scored fold by fold, is valid, too
    fold: Ints,
    builders: Sequence[Builder],
    objective: Objective,
    seed: int,
    allowed: frozenset[Kind],
    measure: Measure | None,
    budget: Budget,
    controls: Mapping[str, str],
) -> Choice:
    ranked_on = (blend, blend_labels) if valid is None else valid
    combinations: dict[str, Combination] = {}
    on_blend: dict[str, Predictions] = {}
    calibration: dict[str, Calibration] = {}
    rows: list[Row] = []
    notes: list[str] = []

    of_singles: dict[tuple[int, ...], Serving] = {}

    def serving(combination: Combination) -> Serving | None:
        if measure is None:
            return None
        if len(combination.members) > 1:
            return measure(combination)
        if combination.members not in of_singles:
            of_singles[combination.members] = measure(combination)
        return of_singles[combination.members]

    def add(
        name: str,
        method: str,
        role: Role,
        combination: Combination,
        blend_predictions: Predictions,
        calibrated_on: Predictions | None = None,  # None: the same
    ) -> None:
        alone = "one segment" if blend.stack.answer.shape[2] == 1 else "its own"
        combinations[name], on_blend[name] = combination, blend_predictions
        caveat = OUT_OF_FOLD if valid is None else CROSS_FITTED if role == "ensemble" else ""
        calibration[name] = calibrate(
            blend_predictions if calibrated_on is None else calibrated_on, blend_labels, blend.stack.groups, caveat
        )
        if valid is None and role == "ensemble":  # which was fitted on those very rows
            on_valid = blend_predictions
        else:
            on_valid = combination.predict(ranked_on[0].stack)
        cost = serving(combination)
        rows.append(
            Row(
                name,
                method,
                role,
                tuple(blend.members[m].name for m in combination.members),
                tuple(float(w) for w in combination.weights),
                alone if role != "ensemble" or alone == "one segment" else combination.stops_by(),
                metrics(on_valid, ranked_on[1], objective.costs),
                metrics(blend_predictions, blend_labels, objective.costs),
                blend_interval=half_widths(blend_predictions, blend_labels, objective.costs, blend.stack.groups),
                over_budget=budget.broken(len(combination.members), cost),
                **({} if cost is None else asdict(cost)),
            )
        )

    for name, builder in named(builders).items():
        kinds = builder.kinds & allowed
        places = tuple(place for place in blend.of_kinds(kinds) if builder.uses(blend.members[place]))
        if not places:
            notes.append(f"{name} was left out: there is no member of kind {' or '.join(sorted(kinds)) or 'allowed'}")
            continue
        own = blend.stack.take(places)

        def fit(stack: Stack, labels: Ints, builder: Builder = builder) -> Combination:
            return builder.fit(stack, labels, objective)

        try:
            fitted, of_folds = fit(own, blend_labels), fit_folds(fit, own, blend_labels, fold)
        except TrainingError as error:
            notes.append(f"{name} was left out: {error}")
            continue
        cross_fitted = said_held_out([each.predict for each in of_folds], own, fold)
        calibrated_on = said_held_out([each.answering_as(fitted).predict for each in of_folds], own, fold)
        fitted = replace(fitted, members=tuple(places[m] for m in fitted.members))
        add(name, builder.name, "ensemble", fitted, cross_fitted, calibrated_on)

    rows.sort(key=lambda row: -objective.score(on_blend[row.name], blend_labels))  # stable: ties in the given order
    cheapest: list[tuple[float, str]] = []

    def best(places: Sequence[int]) -> int:
        return places[ranking(ranked_on[0].stack.take(places), ranked_on[1], objective)[0]]

    def excess(place: int) -> dict[str, float]:
        return budget.excess(1, serving(Combination((place,), np.ones(1, dtype=np.float32))))

    for role, method, places in company(blend.members, METHODS, controls):
        shown, over = singles(places, best, excess, bounded=budget != UNBOUNDED)
        for place, among in shown:
            name = blend.members[place].name
            if name in combinations:  # a control that is the best trial
                continue
            alone = Combination((place,), np.ones(1, dtype=np.float32))
            said = blend.stack.member(place)
            if valid is None and among:
                said = cross_fit(_the_best(objective), blend.stack.take(among), blend_labels, fold)
            add(name, method, role, alone, said)
        if over is not None:
            cheapest.append((over, blend.members[shown[-1][0]].name))

    samples = {
        name: objective.sample(predictions, blend_labels, blend.stack.groups) for name, predictions in on_blend.items()
    }
    chosen, reason, flattery = verdict(rows, samples, objective.metric, cheapest, budget, seed)
    return Choice(with_front(rows, objective.metric), combinations, chosen, reason, tuple(notes), calibration, flattery)


def with_front(rows: Sequence[Row], metric: str) -> tuple[Row, ...]:
    """The rows with the Pareto front of blend score and latency marked; none where nothing was measured."""
    points = {
        row.name: (direction(metric) * row.blend[metric], row.latency_ms)
        for row in rows
        if row.latency_ms is not None and row.blend
    }
    front = pareto(points)
    return tuple(replace(row, front=row.name in front) for row in rows)


def _the_best(objective: Objective) -> Callable[[Stack, Ints], Callable[[Stack], Predictions]]:
    """To be cross-fitted: which of the members is the best."""

    def fit(stack: Stack, labels: Ints) -> Callable[[Stack], Predictions]:
        place = ranking(stack, labels, objective)[0]
        return lambda rows: rows.member(place)

    return fit


def named(builders: Sequence[B]) -> dict[str, B]:
    """Builders by row name: the second of a kind is "stacking-2"."""
    found: dict[str, B] = {}
    for builder in builders:
        count = sum(other.name == builder.name for other in found.values())
        found[builder.name if count == 0 else f"{builder.name}-{count + 1}"] = builder
    return found


def score_test(
    choice: Choice,
    predictions: Mapping[str, Predictions],
    labels: Ints,
    objective: Objective,
    groups: Ints | None = None,
) -> tuple[Row, ...]:
    """The rows with test filled in; the only function here that takes labels of test.

    Call it when the choice stands in the ledger. ``predictions`` by row name, as of ``Choice.predict``; ``groups``
    (rows,): rows of test that belong together.
    """
    samples = {name: objective.sample(each, labels, groups) for name, each in predictions.items()}
    trial = next((row.name for row in choice.rows if row.role == "trial"), None)
    linear = next((row.name for row in choice.rows if row.role == "baseline"), None)

    def over(name: str, rival: str | None) -> Gain | None:
        found = None if rival is None or rival == name else gain(samples[name], samples[rival])
        return found if found is not None and found.known else None

    scored = []
    for row in choice.rows:
        scored.append(
            replace(
                row,
                test=metrics(predictions[row.name], labels, objective.costs),
                test_interval=half_widths(predictions[row.name], labels, objective.costs, groups),
                gain_over_trial=over(row.name, trial),
                gain_over_linear=over(row.name, linear),
            )
        )
    return tuple(scored)
