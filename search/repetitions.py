"""A setting trained again and again with further seeds, as one trial: what a worker runs where repetitions race.

A repetition is begun when its first epoch is asked for, so the ledger decides at the end of each whether another
follows. The first has the trial's own folder, the others seed-<n> in it, so that whoever knows of no repetitions finds
the first.
"""

from collections.abc import Callable, Collection
from pathlib import Path

from sweepstack.models.settings import TrialSettings
from sweepstack.search.worker import TrainerLike

SEED, START_SEED = "train.seed", "train.warm_start.seed"
SEEDS = 2**31


def settings_of_repetition(settings: TrialSettings, searched: Collection[str], repetition: int) -> TrialSettings:
    """The settings with the seeds of a repetition (from 0): those that are no searched setting count on from theirs."""
    seeds = {SEED: settings.train.seed}
    if settings.environment is None:
        seeds[START_SEED] = settings.train.warm_start.seed
    return settings.with_values(
        {path: (seed + repetition) % SEEDS for path, seed in seeds.items() if path not in searched}
    )


def folder_of_repetition(folder: Path, repetition: int) -> Path:
    """Of a trial in ``folder``; ``repetition`` counts from 0."""
    return folder / f"seed-{repetition}" if repetition else folder


class Repetitions:
    """Trains ``epochs`` epochs of what ``make(0)`` makes, then of ``make(1)``, ``make(2)``, …, ``most`` in all."""

    def __init__(self, make: Callable[[int], TrainerLike], epochs: int, most: int) -> None:
        self._make, self._epochs, self._most = make, epochs, most
        self._at, self._current = 0, make(0)
        self.reports = list(self._current.reports)
        while self._is_next():  # what was done before an interruption
            self._begin_next()
            self.reports += self._current.reports

    def step(self) -> dict[str, float]:
        """Trains one epoch, of the next repetition where this one is done."""
        if self._is_next():
            self._begin_next()
        report = self._current.step()
        self.reports.append(report)
        return report

    def close(self, finished: bool) -> None:
        """``finished``: nothing will be trained any more, and what was kept to go on can go."""
        self._current.close(finished)
        if finished:
            for repetition in range(self._most):
                self._make(repetition).close(True)

    def _is_next(self) -> bool:
        return len(self._current.reports) >= self._epochs and self._at + 1 < self._most

    def _begin_next(self) -> None:
        self._current.close(False)
        self._at += 1
        self._current = self._make(self._at)
