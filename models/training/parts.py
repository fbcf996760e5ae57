"""A trial of several parts, folds or repetitions with other seeds, which are trained one after the other.

To whoever runs and judges it, it is one trial whose epochs count on from one part into the next, so it may be stopped
after any of them: a hopeless setting does not pay for all its parts.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from sweepstack.models.files import read_json, write_json


class TrainerLike(Protocol):
    """What trains a trial epoch by epoch, and keeps on disk what it needs to go on in another process."""

    reports: list[dict[str, float]]  # of every finished epoch, also of those before it was interrupted

    @property
    def kept(self) -> bool:
        """Whether a trial that fails now has a checkpoint with its predictions all the same."""
        ...

    def step(self) -> dict[str, float]: ...

    def close(self, finished: bool) -> None:
        """``finished``: nothing will be trained any more, and what was kept to go on can go."""
        ...


class PartsTrainer:
    """Trains one epoch of one part a :meth:`step`; in a folder that holds an unfinished trial it goes on from there.

    ``make`` gives the trainer of a part (from 0), of ``epochs`` epochs, whose files lie in a folder of their own.
    ``ended`` is told when a part has come to its end; after a kill it may be told again.
    """

    def __init__(
        self,
        folder: Path,
        parts: int,
        epochs: int,
        make: Callable[[int], TrainerLike],
        ended: Callable[[int], None] = lambda part: None,
    ) -> None:
        self.folder, self.parts = folder, parts
        self._state, self._epochs = folder / "parts.json", epochs
        self._make, self._tell = make, ended
        self._trainer: TrainerLike | None = None
        self.reports: list[dict[str, float]] = []
        if self._state.exists():
            self.reports = [dict(report) for report in read_json(self._state)["reports"]]
        self._ended = len(self.reports) // epochs
        if self._ended < parts:
            self._trainer = make(self._ended)
            self.reports += self._trainer.reports
            if len(self._trainer.reports) >= epochs:
                self._end(self._trainer)

    def step(self) -> dict[str, float]:
        if self._trainer is None:
            self._trainer = self._make(self._ended)
        trainer = self._trainer
        report = trainer.step()
        self.reports.append(report)
        if len(trainer.reports) >= self._epochs:
            self._end(trainer)
        return report

    @property
    def kept(self) -> bool:
        """Only parts that came to their end count."""
        return self._ended > 0

    def close(self, finished: bool) -> None:
        trainer, self._trainer = self._trainer, None
        if trainer is not None:
            trainer.close(finished)
        if finished:
            self._state.unlink(missing_ok=True)

    def _end(self, trainer: TrainerLike) -> None:
        self._tell(self._ended)
        write_json(self._state, {"reports": self.reports})
        self._trainer = None
        self._ended += 1
        trainer.close(True)
