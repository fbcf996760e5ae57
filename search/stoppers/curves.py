"""The trials' curves, as stoppers look at them: by trial, and across trials after one epoch.

A stopper asks at every rung of every trial how many values are better. Sorted columns answer that by bisection, so that
a verdict takes no longer in a study of ten thousand trials than in one of a hundred.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Self

from optuna.trial import FrozenTrial, TrialState

Curves = Mapping[int, Sequence[float]]
"""By trial number the values after each epoch of the first repetition or fold so far; more is better. Failed trials
have none."""


class SortedCurves(dict[int, list[float]]):
    """Curves that grow by :meth:`follow` and :meth:`extend` alone, values after each epoch in ascending order beside
    them."""

    def __init__(self) -> None:
        super().__init__()
        self._columns: list[list[float]] = []  # by epoch from 0
        self._moving: set[int] = set()  # the trials that had not ended when their curves were last looked at

    def extend(self, number: int, values: Iterable[float]) -> None:
        """Adds what trial ``number`` has come to since."""
        curve = self.setdefault(number, [])
        for value in values:
            if len(curve) == len(self._columns):
                self._columns.append([])
            insort(self._columns[len(curve)], value)
            curve.append(value)

    def drop(self, number: int) -> None:
        """Trial ``number`` has no curve any more."""
        for column, value in zip(self._columns, self.get(number, ()), strict=False):
            del column[bisect_left(column, value)]
        self[number] = []

    def moving(self, trials: int) -> list[int]:
        """The numbers, of ``trials`` in all, whose curves may have changed since :meth:`follow` looked at them."""
        self._moving.update(range(len(self), trials))
        return sorted(self._moving)

    def follow(self, trials: Iterable[FrozenTrial], length: Callable[[FrozenTrial], int], sign: float) -> Self:
        """Takes in what ``trials`` have reported since, as far as ``length`` of each, times ``sign``."""
        for trial in trials:
            number, values = trial.number, trial.intermediate_values
            known = len(self.get(number, ()))
            if trial.state == TrialState.FAIL:
                self.drop(number)
            else:
                end = min(len(values), length(trial))
                self.extend(number, [sign * values[e] for e in range(known + 1, end + 1)])
            if trial.state.is_finished():
                self._moving.discard(number)
        return self

    def column(self, epoch: int) -> Sequence[float]:
        """The values after ``epoch`` (from 1), ascending."""
        return self._columns[epoch - 1] if epoch <= len(self._columns) else ()


def better(curves: Curves, number: int, epoch: int) -> tuple[int, int]:
    """How many trials were better than ``number`` after ``epoch`` (from 1), and how many have come to it, itself
    among them."""
    if isinstance(curves, SortedCurves):
        column = curves.column(epoch)
    else:
        column = sorted(curve[epoch - 1] for curve in curves.values() if len(curve) >= epoch)
    return len(column) - bisect_right(column, curves[number][epoch - 1]), len(column)
