"""The wall time of a run: what its sessions have spent, and what must be kept for what follows the search."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepstack.ensembles.builders.base import Builder
from sweepstack.ensembles.builders.registry import make
from sweepstack.ensembles.builders.retrained import TrainsMembers
from sweepstack.models.files import read_json
from sweepstack.models.tasks.classification.supervised import START_FILE
from sweepstack.search.execution.retention import CANDIDATES
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.run.baselines import control_trials
from sweepstack.search.stoppers import budgets
from sweepstack.search.stoppers.budgets import Ended, Stages, asked_for

if TYPE_CHECKING:
    from sweepstack.ensembles.builders.text_builder import TextBuilder
    from sweepstack.search.execution.sweep import Sweep
    from sweepstack.search.ledger.ledger import Ledger
    from sweepstack.search.study.study import Study

SESSIONS = "sessions"  # the attribute that holds the seconds of each session of a run
BUILDERS = "builders_seconds"  # the attribute that says what builders, scores and export took last
BEAT = 5.0  # seconds of work that a kill may leave uncounted
EXPORTED = 5  # members that an exported ensemble is taken to have
ESTIMATE = 1.0  # seconds that an estimate is good for


class WallClock:
    """Seconds that a run has taken, over all its sessions; ``began`` is when this one did, by ``clock``."""

    def __init__(self, ledger: "Ledger", began: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger, self._began, self._clock = ledger, began, clock
        self._earlier: list[float] = ledger.attribute(SESSIONS) or []
        self._kept = 0.0
        self._worked = False

    @property
    def here(self) -> float:
        return self._clock() - self._began

    @property
    def spent(self) -> float:
        return sum(self._earlier) + self.here

    def beat(self) -> None:
        """Something is done: puts the seconds so far into the ledger, where that was not done for some time."""
        self._worked = True
        if self.here >= self._kept + BEAT:
            self.keep()

    def keep(self) -> None:
        """A session that finds everything done takes nothing of the run's time."""
        if not self._worked:
            return
        self._kept = self.here
        self._ledger.set_attribute(SESSIONS, [*self._earlier, round(self._kept, 1)])


class Plan:
    """What ends the sweeps of a run beside their own budgets: its wall time, and a person.

    ``refits`` are those that the builders ask for, ``chained`` of which follow one another; ``workers`` is set as soon
    as it is known.
    """

    def __init__(
        self,
        ledger: "Ledger",
        clock: WallClock,
        trials: "Sweep",
        control: "Sweep | None",
        *,
        stopped: Callable[[], bool],
        wall_time: float | None,
        refits: int,
        starts: Path,
        chained: int = 0,
    ) -> None:
        self.workers = 1
        self._ledger, self._clock, self._trials, self._control = ledger, clock, trials, control
        self._stopped, self._wall_time, self._refits, self._starts = stopped, wall_time, refits, starts
        self._chained = chained
        self._over: Ended | None = None  # an estimate that shrinks later must not begin the search again
        self._estimated: tuple[float, Stages] | None = None

    def ended(self, sweep: "Sweep") -> Ended | None:
        """Why no further trial of ``sweep`` begins, or None."""
        if self._stopped():
            return Ended("stop", self._begun())
        if sweep is not self._trials:
            return self._company_ended(sweep)
        if self._wall_time is None:
            return None
        if self._over is None and not budgets.may_begin(self._wall_time, self._clock.spent, self.stages()):
            line = budgets.planned(self._wall_time, self.stages(), self._refits)
            self._over = Ended("wall_time", f"{self._begun()}; {line}")
        return self._over

    def _begun(self) -> str:
        return f"{len(asked_for(self._trials.trials()))} of {self._trials.budget} trials"

    def _company_ended(self, sweep: "Sweep") -> Ended | None:
        """The control has a quarter of the trials that there were; of a wall time there is what was kept for it."""
        begun = len(sweep.trials())
        wanted = control_trials(len(asked_for(self._trials.trials())))
        if sweep is self._control and begun >= wanted and self._trials.ended() is not None:
            return Ended("trials", f"{begun} trials")
        if self._wall_time is None:
            return None
        stages = self.stages()
        whole = replace(stages, control=0.0, trial=stages.whole)
        return None if budgets.may_begin(self._wall_time, self._clock.spent, whole) else Ended("wall_time", "")

    def cut(self, sweep: "Sweep", record: TrialRecord) -> str | None:
        """Why a running trial ends now, between two epochs, or None. (A stop marks the sweep's own when it comes, so
        that what is queued by hand afterwards is run.)"""
        if sweep is not self._trials and self._stopped():
            return budgets.BY_HAND
        if self._wall_time is None or record.by_hand:
            return None
        stages = self.stages()
        if sweep is not self._trials:
            stages = replace(stages, control=0.0)
        fits = budgets.may_go_on(self._wall_time, self._clock.spent, stages, record.reports)
        return None if fits else budgets.FOR_TIME

    def stages(self) -> Stages:
        """An estimate from the trials so far, both the sweep's and the control's."""
        now = self._clock.here
        if self._estimated is None or now >= self._estimated[0] + ESTIMATE:
            self._estimated = now, self._stages()
        return self._estimated[1]

    def _stages(self) -> Stages:
        own = self._trials.trials()
        left = 0
        if self._control is not None:
            done = sum(record.has_ended for record in self._control.trials())
            left = max(0, control_trials(len(asked_for(own))) - done)
        return budgets.stages(
            own,
            epochs=self._trials.epochs,
            workers=self.workers,
            refits=self._refits,
            chained=self._chained,
            start=start_seconds(self._starts),
            controls_left=left,
            builders=self._ledger.attribute(BUILDERS),
        )


def refits_of(study: "Study") -> int:
    """How many whole trainings the builders of a study want, and the last one of what is exported: nobody knows before
    how many members that has."""
    wanted = [whole for whole, _ in _trainings(study)]
    return sum(wanted) + (max([EXPORTED, *wanted]) if study.ensembles.refit else 0)


def chained_of(study: "Study") -> int:
    """How many of these follow one another, however many workers there are."""
    return sum(chained for _, chained in _trainings(study))


def _trainings(study: "Study") -> list[tuple[int, int]]:
    """See TrainsMembers.trainings, of each builder that wants some."""
    builders: list[Any] = [*builders_of(study), *text_builders_of(study)]
    return [each.trainings for each in builders if isinstance(each, TrainsMembers)]


def candidates_of(study: "Study") -> int:
    """How many of the best trials a builder of a study may look at."""
    builders: list[Any] = [*builders_of(study), *text_builders_of(study)]
    return max([CANDIDATES, *(getattr(each, "top", 0) for each in builders)])


def builders_of(study: "Study") -> list[Builder]:
    """Those of a study of classification, within its budget of members; raises StudyError where one cannot be kept in a
    bundle."""
    most = study.ensembles.budget.members
    answers = study.environment is None and not study.writes
    return [make(spec).within(most) for spec in study.builder_specs()] if answers else []


def text_builders_of(study: "Study") -> "list[TextBuilder]":
    """Those of a study of a task that writes, within its budget of members; raises StudyError as builders_of."""
    if not study.writes:
        return []
    from sweepstack.ensembles.builders.text_builders import make_text_builder

    most = study.ensembles.budget.members
    return [make_text_builder(spec).within(most) for spec in study.builder_specs()]


def start_seconds(starts: Path) -> float:
    """What a supervised start took, on average; 0 where none has been trained."""
    found = [float(read_json(path)["seconds"]) for path in starts.glob(f"*/{START_FILE}")]
    return sum(found) / len(found) if found else 0.0


def saved(hashes: Sequence[str], starts: Path) -> tuple[int, float] | None:
    """How many starts the trials with these hashes have shared, and the seconds that this has saved them; None where no
    start served two."""
    uses = Counter(name for name in hashes if (starts / name / START_FILE).exists())
    if uses.total() == len(uses):
        return None
    return len(uses), sum(float(read_json(starts / name / START_FILE)["seconds"]) * (n - 1) for name, n in uses.items())
