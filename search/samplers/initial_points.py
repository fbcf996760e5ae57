"""Where a search begins: points that somebody names, another study's best, and what an expert expects of an axis.

What is given to a trial depends on its place among those that the sampler is asked for, so that a restart goes on where
it was; a trial that was made by hand is given nothing. The first trials take the named points; then, if axes have
``around:``, one takes the expected values themselves. Later trials draw those axes from their priors with probability
PATIENCE / (PATIENCE + place), and else leave them to the sampler: a good prior is tried often while little is known,
and a wrong one is heard less and less (as in prior-guided search, Hvarfner et al. 2022, arXiv 2204.11051, whose prior
decays with β/n).
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial

from sweepstack.models.errors import StudyError
from sweepstack.models.seeds import derive_seed
from sweepstack.search.ledger.leaderboard import best_metrics, front, ranked, seconds
from sweepstack.search.ledger.objectives import SECONDS
from sweepstack.search.ledger.records import BY_HAND, TrialRecord
from sweepstack.search.study.axes import SpaceError
from sweepstack.search.study.space import Space

PATIENCE = 6  # trials after which a prior is heard half the time
TAKEN_OVER = 3  # points of another study


class Beginning:
    """``points`` are values by parameter; what a point leaves open the sampler draws."""

    def __init__(self, space: Space, points: Sequence[Mapping[str, Any]], seed: int) -> None:
        self._points, self._seed = points, seed
        self._priors = {name: axis for name, axis in space.intervals().items() if axis.around is not None}

    @classmethod
    def of(cls, space: Space, points: Sequence[Mapping[str, Any]], seed: int) -> "Beginning":
        """``points`` are settings by path, as far as they are searched."""
        known = set(space.paths())
        named = [space.point({path: value for path, value in point.items() if path in known}) for point in points]
        return cls(space, named, seed)

    def given(self, study: Study, trial: FrozenTrial) -> Mapping[str, Any]:
        """The values of ``trial`` that are not the sampler's to draw, by parameter."""
        if BY_HAND in trial.user_attrs:
            return {}
        at = place(study, trial)
        if at < len(self._points):
            return self._points[at]
        first = at == len(self._points)
        draw = random.Random(derive_seed(self._seed, "prior", trial.number))
        if not first and draw.random() >= PATIENCE / (PATIENCE + at):
            return {}
        return {name: axis.expected(None if first else draw) for name, axis in self._priors.items()}


def best_points(folder: Path, objectives: Sequence[str], space: Space) -> tuple[list[dict[str, Any]], str]:
    """The settings of the best TAKEN_OVER trials of the run in ``folder``, as far as ``space`` holds them, best first,
    and a line for the user; raises StudyError where there is no such run or nothing to begin with.

    Trials stand in the order of a leaderboard by the first of ``objectives``; of several, those on their Pareto front
    before the others.
    """
    from sweepstack.search.ledger.ledger import MAIN, Ledger
    from sweepstack.search.ledger.run_folder import RunFolder

    run = RunFolder(folder)
    if not run.ledger.exists():
        raise StudyError(f"search.start_from: {folder} is not the folder of a run; name one, or leave it out")
    with Ledger.open(run.ledger, writable=False) as ledger:
        records = [record for record in ledger.records(MAIN) if record.state in ("complete", "pruned")]
    measured = [(record, found) for record in records if (found := _at_best(record, objectives)) is not None]
    scored = [replace(record, value=found[objectives[0]], objectives=found) for record, found in measured]
    order = ranked(scored, objectives[0])
    if len(objectives) > 1:
        among = front(scored, objectives)
        order = sorted(order, key=lambda r: among.index(r.number) if r.number in among else len(among))
    points: list[dict[str, Any]] = []
    numbers: list[str] = []
    for record in order:
        point = held(record.settings, space)
        if point and point not in points:
            points.append(point)
            numbers.append(f"{record.number}")
        if len(points) == TAKEN_OVER:
            break
    if not points:
        raise StudyError(
            f"search.start_from: no trial of {folder} has {' and '.join(objectives)} and a setting that this study "
            "searches; leave it out"
        )
    return points, f"begins with the best of {folder.name}: trial{'s' * (len(numbers) > 1)} {', '.join(numbers)}"


def _at_best(record: TrialRecord, objectives: Sequence[str]) -> dict[str, float] | None:
    """The objectives as a leaderboard has them, by this study's names, which need not be those of the trial's own run;
    None where it lacks one."""
    known = best_metrics(record)
    if SECONDS in known:  # of a whole repetition, as ledger/objectives.py has it
        known[SECONDS] = record.objectives.get(SECONDS, (seconds(record) or 0.0) / max(1, record.seeds))
    return {name: known[name] for name in objectives} if all(name in known for name in objectives) else None


def held(settings: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Those of ``settings`` (by path) that ``space`` can take, the others left to the sampler."""
    kept: dict[str, Any] = {}
    for path in space.paths():  # a choice stands before what hangs on it
        if path in settings:
            try:
                space.point({**kept, path: settings[path]})
            except SpaceError:
                continue
            kept[path] = settings[path]
    return kept


def place(study: Study, trial: FrozenTrial) -> int:
    """How many trials the sampler was asked for before this one: those that were made by hand do not count."""
    trials = study.get_trials(deepcopy=False)
    return sum(other.number < trial.number and BY_HAND not in other.user_attrs for other in trials)
