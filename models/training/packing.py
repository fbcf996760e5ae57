"""Trainers that share a process: those of one shape train as one program (lockstep.py), the others in turn.

Whether that is faster depends on the machine and on how small the policies are, so it is measured once for a study.
"""

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Protocol, TypedDict, runtime_checkable

from sweepstack.models.errors import StorageError
from sweepstack.models.files import locked, read_json, write_json
from sweepstack.models.training.lockstep import shape_of, train_together
from sweepstack.models.training.second_stage import Optimisation, Reports
from sweepstack.models.training.trainer import Trainer

PACKING_FILE = ".packing.json"
"""In the folder of starts: what a calibration has measured, for a whole study."""
SECONDS = 0.5  # of measuring, after a first time of each that may still build things
MARGIN = 0.8  # a trial in a pack has to cost a fifth less, and in so many of the measurements: it comes with a queue
AGREED = 0.75
Outcome = dict[str, float] | Exception
"""The report of an epoch, or why a trial cannot go on."""


@runtime_checkable
class Packable(Protocol):
    """A trainer.Stage whose policy optimisation can be one of several."""

    optimisation: Optimisation

    def told(self, logs: dict[str, float], reports: Reports) -> dict[str, float]: ...


class Calibration(TypedDict):
    width: int  # how many trials to train together
    alone_ms: float | None  # of a rollout and what is learned from it, a trial; None: not measured
    together_ms: float | None  # the same, a trial of those that are trained together


@dataclass(frozen=True)
class Packer:
    """What a worker calls with the trainers that it has; one that is alone in it measures, if nobody has."""

    starts: Path
    widest: int
    measures: bool

    def __call__(self, trainers: Sequence[Any]) -> list[Outcome]:
        outcomes = step_together(trainers)
        decided = self.starts / PACKING_FILE
        if self.measures and not decided.exists() and not isinstance(outcomes[0], Exception):
            shape = shape_of(trainers[0].settings) if isinstance(trainers[0], Trainer) else None
            if shape is not None:
                with locked(self.starts / f"{PACKING_FILE}.lock"):
                    if not decided.exists():
                        write_json(decided, calibrate(trainers[0], self.widest))
        return outcomes


def calibrate(trainer: Trainer, widest: int) -> Calibration:
    """Measures a rollout and what is learned from it, by ``widest`` trials like this one and by one, in turns."""
    trials = [stage.optimisation for stage in (trainer.another() for _ in range(widest)) if isinstance(stage, Packable)]
    packs = {1: trials[:1], widest: trials}
    taken: dict[int, list[float]] = {width: [] for width in packs}
    end = time.perf_counter() + SECONDS
    while len(taken[widest]) < 2 or time.perf_counter() < end:
        for width, pack in packs.items():
            began = time.perf_counter()
            train_together(pack, [()] * width, trainer.metric, most=1)  # ends with numbers on the CPU
            taken[width].append((time.perf_counter() - began) / width)
    pairs = list(zip(taken[1], taken[widest], strict=True))[1:]
    agreed = sum(together < MARGIN * alone for alone, together in pairs) >= AGREED * len(pairs)
    alone, together = (median(each) * 1e3 for each in zip(*pairs, strict=True))
    return Calibration(width=widest if agreed else 1, alone_ms=alone, together_ms=together)


def known_width(starts: Path) -> int | None:
    """What was measured; None where nothing was yet."""
    decided = starts / PACKING_FILE
    return int(read_json(decided)["width"]) if decided.exists() else None


def step_together(trainers: Sequence[Any]) -> list[Outcome]:
    """An epoch of each trainer, those of one shape as one program; returns its report, or why it cannot go on.

    Raises StorageError. A report's seconds are the trial's share of what was done together.
    """
    outcomes: dict[int, Outcome] = {}
    groups: dict[Hashable, list[int]] = {}
    for i, trainer in enumerate(trainers):
        shape = shape_of(trainer.settings) if isinstance(trainer, Trainer) else None
        groups.setdefault(i if shape is None else shape, []).append(i)
    for group in groups.values():
        if len(group) == 1:
            outcomes[group[0]] = _outcome(trainers[group[0]].step)
        else:
            outcomes |= dict(zip(group, _in_lockstep([trainers[i] for i in group]), strict=True))
    return [outcomes[i] for i in range(len(trainers))]


def _in_lockstep(trainers: Sequence[Trainer]) -> list[Outcome]:
    stages: dict[int, Packable] = {}
    outcomes: list[Outcome | None] = [None] * len(trainers)
    seconds = [0.0] * len(trainers)

    def prepare(i: int) -> None:
        began = time.monotonic()
        stage = trainers[i].stage()
        assert isinstance(stage, Packable)
        stages[i], seconds[i] = stage, time.monotonic() - began

    def finish(i: int, logs: dict[str, float]) -> dict[str, float]:
        return trainers[i].finish(stages[i].told(logs, trainers[i].history), seconds[i])

    for i in range(len(trainers)):
        outcomes[i] = _why_not(partial(prepare, i))
    if stages:
        began = time.monotonic()
        histories = [trainers[i].history for i in stages]
        trained = train_together([stage.optimisation for stage in stages.values()], histories, trainers[0].metric)
        share = (time.monotonic() - began) / len(stages)
        for i, logs in zip(stages, trained, strict=True):
            seconds[i] += share
            outcomes[i] = logs if isinstance(logs, Exception) else _outcome(partial(finish, i, logs))
    return [outcome for outcome in outcomes if outcome is not None]


def _outcome(act: Callable[[], dict[str, float]]) -> Outcome:
    try:
        return act()
    except StorageError:  # no fault of a trial
        raise
    except Exception as error:
        return error


def _why_not(act: Callable[[], None]) -> Exception | None:
    try:
        act()
    except StorageError:
        raise
    except Exception as error:
        return error
    return None
