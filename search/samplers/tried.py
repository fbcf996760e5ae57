"""Which points of a small space no trial has had yet: without one the search has nothing left to do."""

from collections.abc import Iterable, Mapping
from typing import Any

from optuna.trial import FrozenTrial

from sweepstack.search.samplers.base import Key, point_of
from sweepstack.search.samplers.points import key
from sweepstack.search.study.space import Space


class Tried:
    """``points``: all that trials can have; None where they are too many."""

    def __init__(self, space: Space, points: Iterable[Mapping[str, Any]] | None) -> None:
        self._space = space
        self._points = None if points is None else set(map(key, points))
        self._at: dict[int, Key] = {}  # by the number of the trial that is there

    def left(self, trials: Iterable[FrozenTrial]) -> int | None:
        """How many points none of ``trials`` has, whatever became of it; None where they are too many to say."""
        if self._points is None:
            return None
        for trial in trials:
            if trial.number not in self._at and (at := point_of(self._space, trial)) in self._points:
                self._at[trial.number] = at
        return len(self._points.difference(self._at.values()))

    @property
    def words(self) -> str:
        """Where none is left."""
        size = len(self._points or ())
        return "its only point has been tried" if size == 1 else f"all {size:,} points have been tried"
