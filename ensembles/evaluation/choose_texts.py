"""Builds every ensemble that writes, scores it honestly beside single members, and chooses what is exported.

As choose.py does for classifiers, and into the same rows: what is fitted on blend is scored there by cross-fitting, the
best ensemble is exported only where it is likely to be better than every single member, and no reference of test is
seen before the choice. Only metrics are of whole parts here, so their bootstrap resamples counts, not means.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.builders.text_builder import TextBuilder
from sweepstack.ensembles.combinations.text_combination import TextCombination, single
from sweepstack.ensembles.evaluation.budget import Budget, Serving
from sweepstack.ensembles.evaluation.choose import NO_CONTROLS, UNBOUNDED, Decision, named, with_front
from sweepstack.ensembles.evaluation.table import Role, Row
from sweepstack.ensembles.evaluation.verdict import company, singles, verdict
from sweepstack.ensembles.members.library import Kind
from sweepstack.ensembles.members.texts import CandidateLibrary
from sweepstack.ensembles.scoring.bootstrap import Gain, Sample, gain
from sweepstack.ensembles.scoring.crossfit import folds
from sweepstack.ensembles.scoring.text_objective import TextObjective, half_widths
from sweepstack.models.errors import StudyError, TrainingError
from sweepstack.models.predictions.probabilities import Ints
from sweepstack.models.predictions.texts import Candidates

Decode = Callable[[TextCombination, str], Candidates]
"""What a combination that has to be decoded writes for a part, by the part's name."""
Measure = Callable[[TextCombination], Serving]
METHODS: dict[Kind, str] = {"trial": "trial", "baseline": "memory", "control": "supervised"}
LEFT_OUT = (StudyError, TrainingError)


@dataclass(frozen=True)
class TextChoice(Decision[TextCombination]):
    """Of texts; ``notes`` also say where candidates were picked by the very metric that scores them."""

    def write(self, library: CandidateLibrary, part: str, decode: Decode) -> dict[str, Candidates]:
        """What every row writes for ``part``, whose candidates by the same members ``library`` holds."""
        return {name: written_by(each, library, part, decode) for name, each in self.combinations.items()}


def choose_texts(
    blend: CandidateLibrary,
    blend_references: Sequence[str],
    valid: CandidateLibrary,
    valid_references: Sequence[str],
    builders: Sequence[TextBuilder],
    objective: TextObjective,
    *,
    decode: Decode,
    seed: int = 0,
    allowed: frozenset[Kind] = frozenset(get_args(Kind)),
    measure: Measure | None = None,
    budget: Budget = UNBOUNDED,
    controls: Mapping[str, str] = NO_CONTROLS,
) -> TextChoice:
    """Fits all builders and decides.

    Both libraries hold the same members in the same order. ``decode`` writes what cannot be picked from stored
    candidates. ``allowed``: the kinds of members that a study lets builders use; the others only stand in the table.
    ``measure`` says what a combination costs to serve, and ``budget`` what it may. ``controls``: the method, by name,
    of trials that are controls; the best of each method has a row, too. Raises DataError where blend has fewer than two
    groups of rows.
    """
    objective = objective.remembering()
    on_valid = [
        objective.samples(valid.sources, valid_references, candidates.best, candidates.lagging)
        for candidates in valid.candidates
    ]
    order = sorted(range(len(on_valid)), key=lambda place: (-on_valid[place][objective.metric].score, place))
    fold = _folds(blend, seed)
    samples: dict[str, dict[str, Sample]] = {}
    combinations: dict[str, TextCombination] = {}
    servings: dict[int, Serving | None] = {}  # of single members
    rows: list[Row] = []
    notes: list[str] = []

    def serving(place: int) -> Serving | None:
        if place not in servings:
            servings[place] = None if measure is None else measure(single(blend, place))
        return servings[place]

    def add(name: str, method: str, role: Role, combination: TextCombination, said: Candidates) -> None:
        alone = combination.kind == "single"
        scored = on_valid[combination.members[0]] if alone else None
        if scored is None:
            texts = written_by(combination, valid, "valid", decode).best
            scored = objective.samples(valid.sources, valid_references, texts)
        samples[name] = objective.samples(blend.sources, blend_references, said.best, said.lagging, blend.groups)
        combinations[name] = combination
        cost = serving(combination.members[0]) if alone else None if measure is None else measure(combination)
        rows.append(
            Row(
                name,
                method,
                role,
                tuple(blend.members[m].name for m in combination.members),
                combination.weights,
                "",
                {metric: sample.score for metric, sample in scored.items()},
                {metric: sample.score for metric, sample in samples[name].items()},
                blend_interval=half_widths(samples[name]),
                over_budget=budget.broken(len(combination.members), cost),
                utility=combination.utility,
                **({} if cost is None else asdict(cost)),
            )
        )

    for name, builder in named(builders).items():
        kinds = builder.kinds & allowed
        members = builder.choose(valid, [place for place in order if blend.members[place].kind in kinds])
        if len(members) < builder.least:
            notes.append(f"{name} was left out: {_too_few(builder, len(members), kinds)}")
            continue
        try:
            combination = builder.fit(blend, members, blend_references, objective)
            said = _honest(builder, combination, blend, blend_references, objective, fold, decode)
            add(name, builder.name, "ensemble", combination, said)
        except LEFT_OUT as error:
            notes.append(f"{name} was left out: {error}")
            continue
        if combination.utility == objective.metric:
            notes.append(
                f"{name} picks what is likeliest to score well in {objective.metric}, which is also the metric that "
                "scores it; what it gains in others says more"
            )

    rows.sort(key=lambda row: -samples[row.name][objective.metric].score)  # stable: ties in the given order
    cheapest: list[tuple[float, str]] = []
    for role, method, places in company(blend.members, METHODS, controls):
        ranked = [place for place in order if place in places]
        shown, over = singles(
            ranked,
            lambda among: among[0],
            lambda place: budget.excess(1, serving(place)),
            bounded=budget != UNBOUNDED,
        )
        for place, _ in shown:
            name = blend.members[place].name
            if name not in combinations:  # a control may be the best trial
                add(name, method, role, single(blend, place), blend.candidates[place])
        if over is not None:
            cheapest.append((over, blend.members[shown[-1][0]].name))

    by_metric = {name: each[objective.metric] for name, each in samples.items()}
    chosen, reason, flattery = verdict(rows, by_metric, objective.metric, cheapest, budget, seed)
    return TextChoice(with_front(rows, objective.metric), combinations, chosen, reason, tuple(notes), optimism=flattery)


def written_by(combination: TextCombination, library: CandidateLibrary, part: str, decode: Decode) -> Candidates:
    return decode(combination, part) if combination.needs_decoding else combination.pick(library)


def score_texts_test(
    choice: TextChoice,
    written: Mapping[str, Candidates],
    sources: Sequence[str],
    references: Sequence[str],
    objective: TextObjective,
    groups: Ints | None = None,
) -> tuple[Row, ...]:
    """The rows with test filled in; the only function here that takes references of test.

    Call it when the choice stands in the ledger. ``written`` by row name, as of ``TextChoice.write``; ``groups``
    (rows,): rows of test that belong together.
    """
    samples = {
        name: objective.samples(sources, references, said.best, said.lagging, groups) for name, said in written.items()
    }
    trial = next((row.name for row in choice.rows if row.role == "trial"), None)
    memory = next((row.name for row in choice.rows if row.role == "baseline"), None)

    def over(name: str, rival: str | None, metric: str) -> Gain | None:
        found = None if rival is None or rival == name else gain(samples[name][metric], samples[rival][metric])
        return found if found is not None and found.known else None

    scored = []
    for row in choice.rows:
        others = {metric: over(row.name, trial, metric) for metric in samples[row.name] if metric != objective.metric}
        scored.append(
            replace(
                row,
                test={metric: sample.score for metric, sample in samples[row.name].items()},
                test_interval=half_widths(samples[row.name]),
                gain_over_trial=over(row.name, trial, objective.metric),
                gain_over_linear=over(row.name, memory, objective.metric),
                other_gains={metric: each for metric, each in others.items() if each is not None} or None,
            )
        )
    return tuple(scored)


def _folds(blend: CandidateLibrary, seed: int) -> Ints:
    """(rows,): rows of one group share a fold; without groups, equal sources do."""
    groups = blend.groups
    if groups is None:
        groups = np.unique(np.array(blend.sources, dtype=object), return_inverse=True)[1]
    return folds(np.zeros(len(blend), dtype=np.int64), seed, groups)


def _honest(
    builder: TextBuilder,
    combination: TextCombination,
    blend: CandidateLibrary,
    references: Sequence[str],
    objective: TextObjective,
    fold: Ints,
    decode: Decode,
) -> Candidates:
    """What it writes for every row of blend, in each case without having learned from the row's reference."""
    if not builder.fits:
        return written_by(combination, blend, "blend", decode)
    texts: list[tuple[str, ...]] = [()] * len(blend)
    scores: list[tuple[float, ...]] = [()] * len(blend)
    for k in range(int(fold.max()) + 1):
        others: NDArray[np.bool_] = fold != k
        seen = [reference for reference, there in zip(references, others, strict=True) if there]
        fitted = builder.fit(blend.rows(others), combination.members, seen, objective)
        said = fitted.pick(blend.rows(~others))
        for place, row in enumerate(np.flatnonzero(~others).tolist()):
            texts[row], scores[row] = said.texts[place], said.scores[place]
    return Candidates(tuple(texts), tuple(scores))


def _too_few(builder: TextBuilder, found: int, kinds: frozenset[Kind]) -> str:
    of_kinds = f"of kind {' or '.join(sorted(kinds)) or 'allowed'}"
    if found == 0:
        return f"there is no member {of_kinds}"
    return f"it needs {builder.least} members {of_kinds} that differ, and there is but {found}"
