"""Where a run stands: its trials as last heard of, its stages, and how long the rest will take.

Thread-safe: trials are reported by the ledger's thread, stages by the pipeline's, and a third one draws.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweepstack.search import format as fmt
from sweepstack.search.ledger.confirmation import is_confirmation
from sweepstack.search.ledger.leaderboard import best

if TYPE_CHECKING:
    from sweepstack.search.ledger.records import TrialRecord

SWEEP = "trials"  # the sweep whose trials count; the supervised control's own is shown as a stage


@dataclass(frozen=True)
class Standing:
    """The best ensemble so far and the best trial, on the same rows, while the search goes on."""

    rows: str  # the part of the data: blend, or out_of_fold
    score: float  # of what is chosen from the trials and the baseline so far
    members: tuple[str, ...]  # that have a share in it; one alone is no ensemble
    trial: int | None = None  # the best trial by valid
    trial_score: float | None = None  # its own on these rows

    @staticmethod
    def from_json(stored: Mapping[str, Any] | None) -> "Standing | None":
        """None also where an earlier version has left it."""
        if stored is None or "members" not in stored:
            return None
        fields = {name: stored[name] for name in ("rows", "score", "trial", "trial_score")}
        return Standing(members=tuple(stored["members"]), **fields)

    def words(self, metric: str, *, short: bool = False) -> str:
        """``best .915 (trial 7) · ensemble .925 (both on blend, 5 members)``, ``… · linear .926 (both on blend)``;
        ``short``: ``blend: best .915 (trial 7) · ensemble .925``."""
        pieces = []
        if self.trial is not None:
            pieces.append(f"best {fmt.metric(metric, self.trial_score)} (trial {self.trial})")
        if self.members != (f"trial-{self.trial}",):
            name = "ensemble" if len(self.members) > 1 else self.members[0].replace("trial-", "trial ")
            pieces.append(f"{name} {fmt.metric(metric, self.score)}")
        rows = self.rows.replace("_", " ")
        if short:
            return f"{rows}: {' · '.join(pieces)}"
        on = f"{'both ' * (len(pieces) > 1)}{'on ' * (rows == 'blend')}{rows}"
        several = f", {len(self.members)} members" if len(self.members) > 1 else ""
        return f"{' · '.join(pieces)} ({on}{several})"


@dataclass(frozen=True)
class Stage:
    """Work beside the trials; a total of 0 is not known."""

    name: str
    done: int
    total: int
    note: str = ""


class Progress:
    def __init__(
        self,
        trials: int,
        epochs: int,
        workers: int,
        metric: str,
        clock: Callable[[], float] = time.monotonic,
        seeds: int = 1,
    ) -> None:
        self.seeds = seeds
        self._asked_for, self.epochs, self.workers, self.metric = trials, epochs, workers, metric
        self._clock = clock
        self._lock = threading.RLock()
        self._records: dict[tuple[str, int], TrialRecord] = {}
        self._stages: dict[str, Stage] = {}
        self._standing: Standing | None = None
        self._began: tuple[float, float] | None = None  # when this session's first trial was heard of, the work by then
        self._ended_here = 0
        self._started = clock()

    @property
    def total(self) -> int:
        """What the study asks for, and what was queued by hand beside it."""
        return self._asked_for + sum(record.by_hand for record in self.trials())

    @property
    def seconds(self) -> float:
        """Since this session began."""
        return self._clock() - self._started

    def put(self, record: "TrialRecord", *, earlier: bool = False) -> bool:
        """Takes a trial's new state; ``earlier`` says that a session before this one left it so. Returns whether a
        trial of the sweep has just ended."""
        key = (record.sweep, record.number)
        with self._lock:
            before = self._records.get(key)
            if not earlier and self._began is None and record.sweep == SWEEP:
                self._began = (self._clock(), self._work())
            self._records[key] = record
            ended = record.has_ended and (before is None or not before.has_ended)
            ended &= record.sweep == SWEEP and not earlier
            self._ended_here += ended
            return ended

    def put_standing(self, standing: Standing) -> None:
        with self._lock:
            self._standing = standing

    def put_stage(self, name: str, done: int, total: int) -> bool:
        """Returns whether the stage is new; it goes when all of it is done."""
        with self._lock:
            new = name not in self._stages
            if total and done >= total:
                self._stages.pop(name, None)
            else:
                self._stages[name] = Stage(name, done, total)
            return new

    def trials(self) -> list["TrialRecord"]:
        """The sweep's trials by number."""
        with self._lock:
            return sorted((r for (sweep, _), r in self._records.items() if sweep == SWEEP), key=lambda r: r.number)

    def stages(self) -> list[Stage]:
        """What is going on beside the trials."""
        with self._lock:
            beside = [r for (sweep, _), r in self._records.items() if sweep != SWEEP]
            stages = list(self._stages.values())
        for name, mine in (
            ("confirmation", [r for r in beside if is_confirmation(r.sweep)]),
            ("supervised control", [r for r in beside if not is_confirmation(r.sweep)]),
        ):
            if any(r.state == "running" for r in mine):
                leader = best(mine, self.metric)
                note = f"best {fmt.metric(self.metric, leader.value)}" if leader else ""
                stages.insert(0, Stage(name, sum(r.has_ended for r in mine), 0, note))
        return stages

    def share(self) -> float:
        """The part of the trials' work that is done, in [0, 1]."""
        return min(self._work() / self.total, 1.0)

    def _work(self) -> float:
        """1 for each trial that has ended, its share of the epochs for one that runs."""
        return sum(1.0 if r.has_ended else len(r.reports) / self._epochs_of(r) for r in self.trials())

    def _epochs_of(self, record: "TrialRecord") -> int:
        return self.seeds * int(record.settings.get("train.epochs", self.epochs))

    def seconds_left(self) -> float | None:
        """From this session's rate: pruned trials and waiting are in it. None until enough trials have ended here."""
        with self._lock:
            if self._began is None or self._ended_here < min(2 * self.workers, max(2, self.total // 4)):
                return None
            began, work_then = self._began
        work = self._work()
        if work >= self.total:
            return 0.0
        return (self.total - work) * (self._clock() - began) / max(work - work_then, 1e-9)

    def summary(self, *, short: bool = False) -> str:
        """``9/16 trials · best .895 (trial 7)``, by valid, and where an ensemble stands beside it, both on its rows:
        ``9/16 trials · best .891 (trial 7) · ensemble .915 (both on blend, 5 members)``."""
        trials = self.trials()
        done = f"{sum(r.has_ended for r in trials)}/{self.total} trials"
        if self._standing is not None:
            return f"{done} · {self._standing.words(self.metric, short=short)}"
        leader = best(trials, self.metric)
        if leader is None:
            return done
        return f"{done} · best {fmt.metric(self.metric, leader.value)} (trial {leader.number})"
