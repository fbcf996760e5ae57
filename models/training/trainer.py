"""One trial: the supervised start, then its second stage, epoch by epoch.

After each epoch the policy is scored on held-out inputs; its best epoch is kept as a checkpoint with its predictions.
What is needed to go on is written last, so that a kill anywhere repeats one epoch at most, and repeats it exactly:
every epoch draws its random numbers from a seed of its own. A trial may also begin where another one has ended.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch.nn import Parameter

from sweepstack.models.errors import TrainingError
from sweepstack.models.optim.optimizers import end_epoch, evaluating
from sweepstack.models.predictions.metrics import direction
from sweepstack.models.settings.rewards import LARGEST_REWARD
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.training.resume import forget_state as forget_state
from sweepstack.models.training.resume import holds_state, load_state, read_reports, save_state, whole_reports


class Stage(Protocol):
    """A trial's second stage, at work. All that it comes to stands in its weights, its optimiser and the reports."""

    trained: dict[str, Parameter]  # by name; the rest stays as it is
    optimizer: torch.optim.Optimizer

    def train(self, epoch: int, reports: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """Trains one epoch, after those of ``reports``; returns what to log."""
        ...

    def score(self) -> dict[str, float]:
        """The task's metrics on held-out inputs."""
        ...

    def keep(self, folder: Path) -> None:
        """Writes what was scored last as ``checkpoint/`` and ``predictions/``."""
        ...


@dataclass(frozen=True)
class Parent:
    """A trial that has ended and left what it needs to go on; whoever begins there reads it, and changes nothing."""

    folder: Path
    epochs: int  # of all its lineage


class Trainer:
    """Trains one epoch a :meth:`step`; in a folder that holds an unfinished trial it goes on from there.

    ``make_stage`` makes the task's second stage, with nothing trained in it yet. ``metric`` says which epoch is the
    best one. ``chosen`` False keeps the last epoch instead: where predictions of valid are to be fitted on, no choice
    may have been made by it. ``until``: the last epoch that will be trained, where that is not the settings' own; the
    schedule stays theirs. A trial with a ``parent`` begins in its state: weights, optimiser, place in the schedule,
    and all that is counted or adapted from one epoch to the next, which is in the reports.
    """

    def __init__(
        self,
        settings: TrialSettings,
        make_stage: Callable[[], Stage],
        folder: Path,
        metric: str,
        chosen: bool = True,
        parent: Parent | None = None,
        until: int | None = None,
    ) -> None:
        self.settings, self.metric, self._chosen, self._parent = settings, metric, chosen, parent
        self._until = settings.train.epochs if until is None else until
        self._make_stage, self._folder = make_stage, folder
        self._stage: Stage | None = None
        self._keeping = False
        history, inherited = whole_reports(folder), 0 if parent is None else parent.epochs
        self._inherited, self.reports = history[:inherited], history[inherited:]

    def step(self) -> dict[str, float]:
        """Trains one epoch and scores it; raises TrainingError where something is not a number."""
        began = time.monotonic()
        trained = self.stage().train(len(self.history), self.history)
        return self.finish(trained, time.monotonic() - began)

    @property
    def history(self) -> list[dict[str, float]]:
        """The reports of every epoch so far, those of a parent first."""
        return [*self._inherited, *self.reports]

    def stage(self) -> Stage:
        """Ready to train the next epoch."""
        if self._stage is None:
            self._stage = self._prepare()
        return self._stage

    def finish(self, trained: Mapping[str, float], seconds: float) -> dict[str, float]:
        """What follows an epoch that took so long: it is scored, kept if it is the best, and what is needed to go on
        is written. Returns its report."""
        began, stage, history = time.monotonic(), self.stage(), self.history
        end_epoch(stage.optimizer)
        with evaluating(stage.optimizer):
            report = {**stage.score(), **trained}
            self._check(stage, report)
            if self._stays(report):
                self._keeping = True  # until checkpoint and predictions are of one epoch again
                stage.keep(self._folder)
                self._keeping = False
        report["seconds"] = seconds + time.monotonic() - began
        save_state(self._folder, stage.trained, stage.optimizer, [*history, report])
        self.reports.append(report)
        return report

    @property
    def kept(self) -> bool:
        """Whether checkpoint and predictions of the best epoch so far are there, all of them finite numbers."""
        return self._chosen and bool(self.reports) and not self._keeping

    def close(self, finished: bool) -> None:
        """``finished``: nothing will be trained any more, and what was kept to go on can go."""
        self._stage = None
        if finished:
            forget_state(self._folder)

    def _stays(self, report: Mapping[str, float]) -> bool:
        """Whether the policy that ``report`` is of is, as far as is known, the one that is kept in the end."""
        if not self._chosen:
            return len(self.reports) + 1 == self._until
        sign = direction(self.metric)
        return all(sign * report[self.metric] > sign * each[self.metric] for each in self.reports)

    def _prepare(self) -> Stage:
        """The start, trained first if nobody has, and, of a trial that goes on, what it or its parent had come to."""
        folder = self._folder
        if self._parent is not None and not self.reports:
            folder, self._inherited = self._parent.folder, read_reports(self._parent.folder)
            if len(self._inherited) != self._parent.epochs or not holds_state(folder, self._parent.epochs):
                raise TrainingError(
                    f"{folder} does not hold what it came to after epoch {self._parent.epochs}, where this trial was "
                    "to begin; nobody but the run itself should remove files there"
                )
        stage = self._make_stage()
        if self._inherited or self.reports:
            load_state(folder, stage.trained, stage.optimizer, len(self._inherited) + len(self.reports))
        return stage

    def another(self) -> Stage:
        """A stage like this trial's, with nothing trained yet; it leaves this one and its folder alone."""
        return self._make_stage()

    def _check(self, stage: Stage, report: Mapping[str, float]) -> None:
        epoch, reward = len(self._inherited) + len(self.reports) + 1, abs(report.get("reward", 0.0))
        way_out = "lower train.lr"
        if reward > LARGEST_REWARD:
            way_out = f"rewards of {reward:.3g} are too large to learn from; scale them to about 1"
        for name, value in report.items():
            if not math.isfinite(value):
                raise TrainingError(f"{name} is not a number ({value}) after epoch {epoch}; {way_out}")
        if not all(torch.isfinite(parameter).all() for parameter in stage.trained.values()):
            raise TrainingError(f"a weight is not a number after epoch {epoch}; {way_out}")
