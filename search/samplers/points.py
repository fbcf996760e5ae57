"""Whole points of a space, worked out before a trial is asked for them.

A space is asked parameter by parameter, and what is asked next depends on the answers. A *source* answers: it gives a
value for a parameter's name and distribution. A stand-in for the trial records what it is asked, and so a point can be
looked at, and refused, before the ledger holds any of it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from optuna import Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sweepstack.search.study.axes import Axis, Interval, in_order
from sweepstack.search.study.conditions import walk
from sweepstack.search.study.space import Space

Source = Callable[[str, BaseDistribution], Any]
Vector = npt.NDArray[np.float64]
Context = tuple[tuple[str, str], ...]  # the choices, and what they took, under which an axis is live
MOST_LISTED = 4096  # points of a finite space that are looked through one by one


class _Recorder:
    """Stands in for an Optuna trial: every parameter comes from ``source``."""

    def __init__(self, source: Source) -> None:
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}
        self._source = source

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return float(self._ask(name, FloatDistribution(low, high, log=log)))

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return int(self._ask(name, IntDistribution(low, high, log=log)))

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        return self._ask(name, CategoricalDistribution(choices))

    def _ask(self, name: str, distribution: BaseDistribution) -> Any:
        if name not in self.params:
            self.distributions[name] = distribution
            self.params[name] = neutral(distribution) if distribution.single() else self._source(name, distribution)
        return self.params[name]


def draw(space: Space, source: Source) -> dict[str, Any]:
    """The point, values by parameter, that ``space`` would take from ``source``."""
    recorder = _Recorder(source)
    space.suggest(cast(Trial, recorder))
    return recorder.params


def with_values(values: Mapping[str, Any], source: Source) -> Source:
    """``values`` by parameter where they are possible, and ``source`` for all else."""

    def ask(name: str, distribution: BaseDistribution) -> Any:
        if name in values and contains(distribution, values[name]):
            return values[name]
        return source(name, distribution)

    return ask


def contains(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (ValueError, TypeError):
        return False


def whole(space: Space, params: Mapping[str, Any]) -> dict[str, Any] | None:
    """The point of ``space`` that a trial with ``params`` stands at, less what no axis of it asks for; None where it
    lacks a value, or has one that is not possible."""

    def missing(name: str, distribution: BaseDistribution) -> Any:
        raise KeyError(name)

    try:
        return draw(space, with_values(params, missing))
    except KeyError:
        return None


def key(params: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    """Equal for equal points, whichever machine has rounded their numbers."""
    return frozenset((name, float(f"{v:.12g}") if isinstance(v, float) else v) for name, v in params.items())


def neutral(distribution: BaseDistribution) -> Any:
    """A value that stands for none: the middle of an interval, on its own scale, or the first of a choice."""
    return distribution.choices[0] if isinstance(distribution, CategoricalDistribution) else value(distribution, 0.5)


def parameters(space: Space) -> dict[str, BaseDistribution]:
    """Every parameter that can differ between trials, conditional ones too, in an order of their own."""
    return dict(sorted((name, d) for group in groups(space).values() for name, d in group.items()))


def groups(space: Space) -> dict[frozenset[Context], dict[str, BaseDistribution]]:
    """The parameters that can differ, in groups which exist together or not at all, by where they exist.

    Those of ``ALWAYS`` are in every point.
    """
    where: dict[str, set[Context]] = {}
    distributions: dict[str, BaseDistribution] = {}
    for axis, context in walk(space.axes):
        recorder = _Recorder(lambda name, distribution: neutral(distribution))
        axis.suggest(cast(Trial, recorder))
        distributions[axis.parameter] = recorder.distributions[axis.parameter]
        for live in axis.when:
            pairs = {(path, repr(value)) for path, value in (*context, *live)}
            where.setdefault(axis.parameter, set()).add(tuple(sorted(pairs)))
    found: dict[frozenset[Context], dict[str, BaseDistribution]] = {}
    for name, contexts in sorted(where.items()):
        if not distributions[name].single():
            exists = ALWAYS if () in contexts else frozenset(contexts)
            found.setdefault(exists, {})[name] = distributions[name]
    return found


ALWAYS: frozenset[Context] = frozenset([()])


def every_point(space: Space) -> list[dict[str, Any]] | None:
    """All points of a space that has few of them; None where an axis is continuous or they are many."""
    whole = _enumerable(space.axes)
    if whole is None or Space(whole).size() > MOST_LISTED:
        return None
    return Space(whole).grid()


def _enumerable(axes: tuple[Axis, ...]) -> tuple[Axis, ...] | None:
    listed: list[Axis] = []
    for axis in axes:
        if isinstance(axis, Interval):
            if axis.kind not in ("int", "int_log"):
                return None
            listed.append(replace(axis, kind="int", points=None))
            continue
        inner = [_enumerable(option.inner) for option in axis.options]
        options = [
            replace(option, inner=own) for option, own in zip(axis.options, inner, strict=True) if own is not None
        ]
        if len(options) < len(inner):
            return None
        listed.append(replace(axis, options=tuple(options)))
    return tuple(listed)


def unit(distribution: BaseDistribution, value: Any) -> float:
    """A number's place in [0, 1] on its axis's own scale."""
    low, high, log = _scale(distribution)
    at = np.log([low, high, value]) if log else np.array([low, high, value], float)
    return float(np.clip((at[2] - at[0]) / (at[1] - at[0]), 0, 1))


def value(distribution: BaseDistribution, place: float) -> Any:
    """The number at ``place`` in [0, 1]; the inverse of :func:`unit`. Each whole number has its share of the scale."""
    low, high, log = _scale(distribution)
    at = low * (high / low) ** place if log else low + (high - low) * place
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    inside = min(max(at, distribution.low), distribution.high)
    return int(min(max(round(at), distribution.low), distribution.high)) if _whole(distribution) else float(inside)


def on_steps(distribution: BaseDistribution, places: Vector) -> Vector:
    """``places`` moved to those of the nearest values that a number can have."""
    if not _whole(distribution):
        return places
    low, high, log = _scale(distribution)
    at = low * (high / low) ** places if log else low + (high - low) * places
    at = np.clip(np.round(at), np.ceil(low), np.floor(high))
    return np.asarray(np.log(at / low) / np.log(high / low) if log else (at - low) / (high - low))


def _whole(distribution: BaseDistribution) -> bool:
    return isinstance(distribution, IntDistribution)


def _scale(distribution: BaseDistribution) -> tuple[float, float, bool]:
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    edge = 0.5 if _whole(distribution) else 0.0
    return distribution.low - edge, distribution.high + edge, distribution.log


class Encoding:
    """Points as vectors: numbers by their place in [0, 1], choices one-hot; where a parameter does not exist ½, and
    every option's even share."""

    def __init__(self, parameters: Mapping[str, BaseDistribution], space: Space) -> None:
        """``parameters`` are those of ``space`` that can differ."""
        self.parameters = dict(parameters)
        widths = [len(d.choices) if isinstance(d, CategoricalDistribution) else 1 for d in self.parameters.values()]
        ends = np.cumsum([0, *widths]).tolist()
        self.slices = {name: slice(a, b) for name, a, b in zip(self.parameters, ends[:-1], ends[1:], strict=True)}
        self.width = ends[-1]
        self.axes = np.repeat(np.arange(len(widths)), widths)  # (width,): which parameter a column is of
        where = {name: exists for exists, group in groups(space).items() for name in group}
        order = [axis.parameter for axis in in_order(space.axes).values()]
        self._where = [(name, where[name]) for name in order if name in where and where[name] != ALWAYS]

    def settled(self, places: Vector) -> Vector:
        """``places`` (points, width) moved to what points can have: whole numbers, and nothing of what does not exist
        beside their choices."""
        settled = places.copy()
        for name, distribution in self.parameters.items():
            if not isinstance(distribution, CategoricalDistribution):
                settled[:, self.slices[name]] = on_steps(distribution, settled[:, self.slices[name]])
        for name, contexts in self._where:  # after the choices that it depends on
            there = np.zeros(len(settled), dtype=bool)
            for context in contexts:
                there |= np.logical_and.reduce([self._took(settled, *pair) for pair in context])
            settled[np.ix_(~there, np.arange(self.width)[self.slices[name]])] = self._neutral(name)
        return settled

    def _took(self, places: Vector, path: str, option: str) -> npt.NDArray[np.bool_]:
        """Whether the choice ``path`` took the option that is written so."""
        distribution = self.parameters.get(path)
        if not isinstance(distribution, CategoricalDistribution):  # it has no other
            return np.ones(len(places), dtype=bool)
        column = [repr(each) for each in distribution.choices].index(option)
        return np.asarray(places[:, self.slices[path].start + column] == 1.0)

    def _neutral(self, name: str) -> float:
        distribution = self.parameters[name]
        return 1 / len(distribution.choices) if isinstance(distribution, CategoricalDistribution) else 0.5

    def vector(self, point: Mapping[str, Any]) -> Vector:
        """(width,)"""
        vector = np.empty(self.width)
        for name, distribution in self.parameters.items():
            place = self.slices[name]
            if name not in point:
                vector[place] = self._neutral(name)
            elif isinstance(distribution, CategoricalDistribution):
                vector[place] = 0.0
                vector[place.start + int(distribution.to_internal_repr(point[name]))] = 1.0
            else:
                vector[place] = unit(distribution, point[name])
        return vector

    def matrix(self, points: Iterable[Mapping[str, Any]]) -> Vector:
        """(points, width)"""
        return np.array([self.vector(point) for point in points]).reshape(-1, self.width)
