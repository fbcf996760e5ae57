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
from pathlib import Path
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial

from sweepstack.models.errors import StudyError
from sweepstack.models.metric_directions import direction
from sweepstack.models.seeds import derive_seed
from sweepstack.search.axes import SpaceError
from sweepstack.search.space import Space
from sweepstack.search.trial_record import BY_HAND

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


def best_points(folder: Path, metric: str, space: Space) -> tuple[list[dict[str, Any]], str]:
    """The settings of the best TAKEN_OVER trials of the run in ``folder`` by ``metric``, as far as ``space`` holds
    them, best first, and a line for the user; raises StudyError where there is no such run or nothing to begin with."""
    from sweepstack.search.folder import RunFolder
    from sweepstack.search.ledger import MAIN, Ledger

    run = RunFolder(folder)
    if not run.ledger.exists():
        raise StudyError(f"search.start_from: {folder} is not the folder of a run; name one, or leave it out")
    with Ledger.open(run.ledger, writable=False) as ledger:
        records = [record for record in ledger.records(MAIN) if record.state in ("complete", "pruned")]
    scored = [
        (max(direction(metric) * report[metric] for report in record.reports), record)
        for record in records
        if record.reports and all(metric in report for report in record.reports)
    ]
    scored.sort(key=lambda pair: (-pair[0], pair[1].number))
    points: list[dict[str, Any]] = []
    numbers: list[str] = []
    for _, record in scored:
        point = held(record.settings, space)
        if point and point not in points:
            points.append(point)
            numbers.append(f"{record.number}")
        if len(points) == TAKEN_OVER:
            break
    if not points:
        raise StudyError(
            f"search.start_from: no trial of {folder} has {metric} and a setting that this study searches; leave it out"
        )
    return points, f"begins with the best of {folder.name}: trial{'s' * (len(numbers) > 1)} {', '.join(numbers)}"


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
