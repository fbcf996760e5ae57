"""The axes of a space: an interval or a choice over one setting, as Optuna's parameters and as points of a grid."""

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sweepstack.models.settings.base import SettingError

if TYPE_CHECKING:
    from optuna import Trial

Kind = Literal["range", "log", "near_one", "int", "int_log"]
KINDS: tuple[Kind, ...] = ("range", "log", "near_one", "int", "int_log")
NEAR_ONE = "1-"
SPREAD = 0.15  # of an axis's length: the standard deviation of a prior
SMALLEST = 1e-100  # bound of a log axis; 1 / SMALLEST is the largest of all
LARGEST = 2**40  # whole number: the logarithms of neighbours still differ
NEAREST = 1e-12  # to 1 of a near_one axis: 1 − x is kept to 15 places, three of which then count
CLOSEST = 1e-9  # that two bounds may be, as a share of the larger
MOST_CHECKED = 64  # whole numbers of one axis that are tried out one by one before a launch


Context = tuple[tuple[str, Any], ...]
"""Choices by path, and the values that they have taken."""
Contexts = tuple[Context, ...]
"""One of them must hold."""
ALWAYS: Contexts = ((),)


class SpaceError(SettingError):
    """An axis that cannot be; ``path`` is its key's path in the study file."""


@dataclass(frozen=True)
class Interval:
    path: str
    kind: Kind
    low: float
    high: float
    points: int | None = None
    around: float | None = None  # where somebody who knows expects the best value
    when: Contexts = ALWAYS  # searched only where one of these holds

    @property
    def parameter(self) -> str:
        return NEAR_ONE + self.path if self.kind == "near_one" else self.path

    def suggest(self, trial: "Trial") -> Any:
        """A value of the setting, from ``trial``."""
        match self.kind:
            case "int" | "int_log":
                return trial.suggest_int(self.path, int(self.low), int(self.high), log=self.kind == "int_log")
            case "near_one":
                return below_one(
                    trial.suggest_float(self.parameter, below_one(self.high), below_one(self.low), log=True)
                )
            case _:
                return trial.suggest_float(self.path, self.low, self.high, log=self.kind == "log")

    def values(self) -> list[Any]:
        """The grid's values of the parameter (so of 1 − x under near_one), in ascending order."""
        if self.kind == "int" and self.points is None:
            return list(range(int(self.low), int(self.high) + 1))
        low, high = (below_one(self.high), below_one(self.low)) if self.kind == "near_one" else (self.low, self.high)
        if self.points is None:
            raise SpaceError(
                f"space.{self.path}", f"the grid sampler needs points: n beside {self.kind} (n values to try)"
            )
        steps = [0.5] if self.points == 1 else [i / (self.points - 1) for i in range(self.points)]
        if self.kind in ("range", "int"):
            values = [low + (high - low) * step for step in steps]
        else:
            values = [low * (high / low) ** step for step in steps]
        if self.kind in ("int", "int_log"):
            return sorted({round(value) for value in values})
        return [min(max(value, low), high) for value in values]

    def size(self) -> int:
        if self.kind == "int" and self.points is None:
            return int(self.high) - int(self.low) + 1
        return len(self.values())

    def point(self, value: Any) -> dict[str, Any]:
        """``value`` of the setting as the parameter's; raises SpaceError if the axis does not hold it."""
        wanted = int if self.kind in ("int", "int_log") else int | float
        if not isinstance(value, wanted) or isinstance(value, bool) or not self._holds(value):
            of = " in whole numbers" if wanted is int else ""
            raise SpaceError(self.path, f"is searched from {self.low:g} to {self.high:g}{of}, but got {value!r}")
        return {
            self.parameter: below_one(value) if self.kind == "near_one" else value if wanted is int else float(value)
        }

    def _holds(self, value: float) -> bool:
        if self.kind == "near_one":  # as the ledger holds it, rounded
            return below_one(self.high) <= below_one(value) <= below_one(self.low)
        return self.low <= value <= self.high

    def expected(self, draw: random.Random | None = None) -> Any:
        """A value of the parameter from the prior: normal about ``around`` on the axis's own scale, with a deviation
        of SPREAD of its length, cut at its ends; without ``draw`` the middle itself."""
        assert self.around is not None
        logarithmic = self.kind in ("log", "near_one", "int_log")
        low, high, middle = self.low, self.high, self.around
        if self.kind == "near_one":
            low, high, middle = below_one(high), below_one(low), below_one(middle)
        value = middle
        if draw is not None:
            ends = [math.log(x) if logarithmic else x for x in (low, high, middle)]
            sigma = SPREAD * (ends[1] - ends[0])
            drawn = math.inf
            while not ends[0] <= drawn <= ends[1]:
                drawn = draw.gauss(ends[2], sigma)
            value = min(max(math.exp(drawn) if logarithmic else drawn, low), high)
        return round(value) if self.kind in ("int", "int_log") else value

    def tried(self) -> list[dict[str, Any]]:
        """Settings by path which, if they are valid, make the whole axis valid."""
        ends: Iterable[Any] = (self.low, self.high)
        if self.kind in ("int", "int_log"):
            low, high = int(self.low), int(self.high)
            ends = range(low, high + 1) if high - low < MOST_CHECKED else (low, high)
        return [{self.path: value} for value in ends]


@dataclass(frozen=True)
class Option:
    value: Any
    inner: "tuple[Axis, ...]" = ()  # searched only where this value is taken


@dataclass(frozen=True)
class Choice:
    path: str
    options: tuple[Option, ...]
    when: Contexts = ALWAYS

    @property
    def parameter(self) -> str:
        return self.path

    def suggest(self, trial: "Trial") -> Any:
        """A value of the setting, from ``trial``; what hangs on it is not asked for."""
        return trial.suggest_categorical(self.path, self.values())

    def values(self) -> list[Any]:
        return [option.value for option in self.options]

    def taken(self, value: Any) -> Option:
        return next(option for option in self.options if option.value == value)

    def point(self, value: Any) -> dict[str, Any]:
        """``value`` as the parameter's; raises SpaceError if it is none of the choice's."""
        if all(value != option.value for option in self.options):
            words = ", ".join(str(option.value) for option in self.options)
            raise SpaceError(self.path, f"is one of {words}, but got {value!r}")
        return {self.parameter: value}

    def size(self) -> int:
        """With what hangs on it, wherever that is live."""
        return sum(math.prod(axis.size() for axis in option.inner) for option in self.options)

    def tried(self) -> list[dict[str, Any]]:
        tried: list[dict[str, Any]] = []
        for option in self.options:
            tried.append({self.path: option.value})
            tried.extend({self.path: option.value, **inner} for axis in option.inner for inner in axis.tried())
        return tried


Axis = Interval | Choice


def wrong_bounds(kind: Kind, low: float, high: float) -> str | None:
    """What keeps samplers from searching between these bounds, in one line, if anything does.

    Samplers compute with differences, squares and ratios of bounds in double precision, and whole numbers are numbers
    of that kind to them.
    """
    shown = f"[{low}, {high}]"
    if low >= high:
        return f"{kind} needs lo < hi, but got {shown}"
    if kind in ("log", "int_log") and low <= 0:
        return f"{kind} needs bounds above 0, but got {shown}; raise {low} or use range or int"
    if kind == "near_one" and high >= 1:
        return f"near_one needs bounds below 1, but got {shown}; lower {high}, to 0.9999 say"
    if kind in ("int", "int_log"):
        return f"{kind} takes numbers up to {LARGEST:,}, but got {shown}" if max(-low, high) > LARGEST else None
    if max(abs(low), abs(high)) > 1 / SMALLEST:
        return f"{kind} takes numbers up to {1 / SMALLEST:g}, but got {shown}"
    if kind == "near_one" and below_one(high) < NEAREST:
        return f"near_one needs bounds at least {NEAREST:g} below 1, but got {shown}; lower {high}"
    low, high = (below_one(high), below_one(low)) if kind == "near_one" else (float(low), float(high))
    if (low if kind == "log" else max(abs(low), abs(high))) < SMALLEST:
        return f"{kind} takes numbers down to {SMALLEST:g}, but got {shown}"
    if high - low < CLOSEST * max(abs(low), abs(high)):
        return f"{kind} needs bounds that differ by more than a {1 / CLOSEST:,.0f}th, but got {shown}; take one value"
    return None


def below_one(value: float) -> float:
    return round(1.0 - value, 15)  # 1 − 0.9 is 0.1, not 0.09999999999999998


def all_axes(axes: Iterable[Axis]) -> Iterator[Axis]:
    """Those that hang on a choice, too, after it."""
    for axis in axes:
        yield axis
        if isinstance(axis, Choice):
            yield from all_axes(inner for option in axis.options for inner in option.inner)


def suggest(axes: Iterable[Axis], trial: "Trial") -> dict[str, Any]:
    """Asks ``trial`` for every axis that is live; returns the settings by path."""
    chosen: dict[str, Any] = {}
    left = list(axes)
    while left:
        axis = left.pop(_next(left, chosen))
        if holds(axis.when, chosen):
            chosen[axis.path] = axis.suggest(trial)
            left[:0] = axis.taken(chosen[axis.path]).inner if isinstance(axis, Choice) else ()
    return chosen


def product(axes: Iterable[Axis]) -> Iterator[dict[str, Any]]:
    """Every combination of the values of the axes, by parameter, each with the axes that are live there."""

    def combine(left: list[Axis], chosen: dict[str, Any], point: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if not left:
            yield point
            return
        place = _next(left, chosen)
        axis, rest = left[place], [*left[:place], *left[place + 1 :]]
        if not holds(axis.when, chosen):
            yield from combine(rest, chosen, point)
            return
        for value in values[id(axis)]:
            taken = {**chosen, axis.path: value} if isinstance(axis, Choice) else chosen
            inner = axis.taken(value).inner if isinstance(axis, Choice) else ()
            yield from combine([*inner, *rest], taken, {**point, axis.parameter: value})

    axes = list(axes)
    values = {id(axis): axis.values() for axis in all_axes(axes)}
    return combine(axes, {}, {})


def holds(when: Contexts, chosen: Mapping[str, Any]) -> bool:
    """Whether one of the contexts does, where ``chosen`` are the values by path."""
    return any(all(path in chosen and chosen[path] == value for path, value in context) for context in when)


def is_ruled_out(when: Contexts, chosen: Mapping[str, Any]) -> bool:
    """Whether none of the contexts can hold beside ``chosen``, in which choices may be missing."""
    return all(any(path in chosen and chosen[path] != value for path, value in context) for context in when)


def deciders(axis: Axis) -> set[str]:
    """The paths of the choices on which it depends whether ``axis`` is live."""
    return {path for context in axis.when for path, _ in context}


def in_order(axes: Iterable[Axis]) -> dict[str, Axis]:
    """All axes by path, each after the choices on which it hangs and those that decide whether it is live."""
    known: dict[str, tuple[Axis, set[str]]] = {}
    found: dict[str, Axis] = {}

    def note(axes: Iterable[Axis], above: set[str]) -> None:
        for axis in axes:
            known.setdefault(axis.path, (axis, set()))[1].update(above | deciders(axis))
            if isinstance(axis, Choice):
                for option in axis.options:
                    note(option.inner, {*above, axis.path})

    def put(path: str) -> None:
        axis, first = known.pop(path)
        for each in [each for each in known if each in first]:
            if each in known:
                put(each)
        found[path] = axis

    note(axes, set())
    for path in list(known):
        if path in known:
            put(path)
    return found


def _next(left: Sequence[Axis], chosen: Mapping[str, Any]) -> int:
    """The place of the first axis of which it is known whether it is live: its deciders come before it."""
    for place, axis in enumerate(left):
        open_ones = deciders(axis) - chosen.keys()
        if not open_ones or open_ones.isdisjoint(other.path for other in all_axes(left) if other is not axis):
            return place
    return 0


def axes_by_path(axes: Iterable[Axis]) -> dict[str, Axis]:
    """Every axis by its path, in the study file's order, those that hang on a choice behind it."""
    found: dict[str, Axis] = {}
    for axis in axes:
        found[axis.path] = axis
        for option in () if isinstance(axis, Interval) else axis.options:
            found.update(axes_by_path(option.inner))
    return found
