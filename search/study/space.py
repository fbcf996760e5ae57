"""What a study searches: axes over settings, by their path.

    [a, b, {c: {other.path: AXIS}}]     a choice; a value may bring settings of its own, which exist only with it
    {range: [lo, hi]}                   uniform
    {log: [lo, hi]}                     log-uniform
    {near_one: [lo, hi]}                log-uniform in 1 − x, for γ and λ: the ledger's parameter is `1-train.gamma`
    {int: [lo, hi]}, {int_log: [lo, hi]}  whole numbers, uniform or log-uniform
    a                                   a fixed value, for every trial or with the choice that it hangs on
    auto                                of train.batch_size: powers of two that suit the size of the data

Under the grid sampler an interval needs ``points: n`` beside it (but for ``int``, which can be enumerated); other
samplers do not look at it. ``around: x`` beside an interval is where the best value is expected; the grid does not
look at that.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sweepstack.models.settings.live import leaves
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.study.axes import (
    ALWAYS,
    KINDS,
    NEAR_ONE,
    Axis,
    Choice,
    Context,
    Interval,
    Option,
    SpaceError,
    all_axes,
    below_one,
    deciders,
    holds,
    in_order,
    is_ruled_out,
    product,
    suggest,
    wrong_bounds,
)
from sweepstack.search.study.conditions import Conditions, words
from sweepstack.search.study.messages import nearest_key, rule

if TYPE_CHECKING:
    from optuna import Trial

BATCH_SIZE, AUTO = "train.batch_size", "auto"
ALGORITHM, RLOO = "train.algorithm", "rloo"
SOME_ROWS = 4096  # stands for the policy part where only the form of a space matters
MOST_POINTS = 100_000  # of a grid
DIVIDES = (
    ("model.d_model", "model.heads"),
    ("train.batch_size", "train.env.copies"),
    ("train.batch_size", "train.rloo.samples"),
)
"""The second must divide the first."""
TOGETHER = (*DIVIDES, ("train.batch_size", "train.algorithm"), ("train.optimizer", "train.average"))
"""Not every value of the one fits every value of the other."""


@dataclass(frozen=True)
class Space:
    axes: tuple[Axis, ...]

    @classmethod
    def of(cls, spec: Mapping[str, Any], settings: TrialSettings) -> "tuple[Space, tuple[str, ...]]":
        """The space that is searched under ``settings``: what is written less what cannot matter, and a line for the
        user about the latter; raises SpaceError."""
        return cls.parse(spec, settings).fitting(settings)

    @classmethod
    def parse(cls, spec: Mapping[str, Any], settings: TrialSettings) -> "Space":
        """The ``space:`` of a study file, each value checked against ``settings``; raises SpaceError.

        Batch sizes that are to be derived from the data (:func:`with_candidates`) are some that could be.
        """
        spec = with_candidates(spec, SOME_ROWS, settings)
        space = cls(tuple(_axis(path, value, f"space.{path}") for path, value in spec.items()))
        known: dict[str, Axis] = {}
        for axis in all_axes(space.axes):
            if known.setdefault(axis.path, axis) != axis:
                raise SpaceError(f"space.{axis.path}", "is searched twice in different ways; give it one axis")
        for axis in space.axes:
            _check(axis, space, settings)
        return space

    def suggest(self, trial: "Trial") -> dict[str, Any]:
        """Asks ``trial`` for every parameter; returns the settings by path."""
        return suggest(self.axes, trial)

    def grid(self) -> list[dict[str, Any]]:
        """Every point of the grid: values by parameter, conditional ones only where they exist.

        The order depends on nothing but the axes themselves, not on the order in which they were written.
        """
        if self.size() > MOST_POINTS:
            raise SpaceError(
                "space", f"the grid has {self.size():,} points, more than {MOST_POINTS:,}; take fewer points"
            )
        return list(product(sorted(self.axes, key=lambda axis: axis.path)))

    def size(self) -> int:
        """The number of points of the grid; where axes depend on each other and they are more than a grid may have,
        some number above that."""
        deciding = {path for axis in all_axes(self.axes) for path in deciders(axis)}
        apart: list[Axis] = []
        together: list[Axis] = []
        for axis in self.axes:
            depends = any(each.when != ALWAYS or each.path in deciding for each in all_axes([axis]))
            (together if depends else apart).append(axis)
        size = math.prod(axis.size() for axis in apart)
        if any(axis.size() > MOST_POINTS for axis in all_axes(together) if isinstance(axis, Interval)):
            return size * math.prod(axis.size() for axis in together)
        return size * sum(1 for _ in itertools.islice(product(together), MOST_POINTS + 1))

    def paths(self) -> tuple[str, ...]:
        """Every searched path, conditional ones after the choices that they belong to or depend on."""
        return tuple(in_order(self.axes))

    def intervals(self) -> dict[str, Interval]:
        """Every interval by its parameter's name."""
        return {axis.parameter: axis for axis in all_axes(self.axes) if isinstance(axis, Interval)}

    def point(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Settings by path as parameters, as far as they are searched; raises SpaceError where an axis does not hold
        its value, where the choice that it hangs on is not taken, or where others make it dead.

        Choices that ``values`` leave open are taken so that what is named has an effect."""
        point: dict[str, Any] = {}
        values = self.with_deciders(values)

        def put(axes: Iterable[Axis]) -> None:
            for axis in axes:
                if axis.path not in values:
                    continue
                if is_ruled_out(axis.when, values):
                    raise SpaceError(axis.path, f"has no effect here: it is searched only with {words(axis.when)}")
                point.update(axis.point(values[axis.path]))
                if isinstance(axis, Choice):
                    put(axis.taken(values[axis.path]).inner)

        put(self.axes)
        lost = [path for path in self.paths() if path in values and {path, NEAR_ONE + path}.isdisjoint(point)]
        if lost:
            raise SpaceError(lost[0], "exists only with a choice that is not taken here; name that choice, too")
        return point

    def with_deciders(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """``values`` by path, and the first choices beside which all of them have an effect, as far as it depends."""
        chosen = dict(values)
        for axis in (axis for path, axis in in_order(self.axes).items() if path in values):
            possible = [context for context in axis.when if not is_ruled_out((context,), chosen)]
            if possible and not holds(axis.when, chosen):
                chosen.update(possible[0])
        return chosen

    def without(self, path: str) -> "Space":
        """The space less the axis of ``path``."""
        return Space(_without(self.axes, path))

    def fitting(self, settings: TrialSettings) -> "tuple[Space, tuple[str, ...]]":
        """The space less what cannot matter under ``settings``, and a line for the user about each omission. An axis
        that matters with some values of a choice alone is searched only with them."""
        conditions = Conditions(self.axes, settings)
        reasons: dict[str, list[str]] = {}
        space = Space(_live(self.axes, (), conditions, reasons))
        left_out: dict[str, list[str]] = {}
        for path in (path for path in self.paths() if path not in space.paths()):
            left_out.setdefault("; ".join(dict.fromkeys(reasons[path])), []).append(path)
        only: dict[str, dict[str, None]] = {}
        for axis in all_axes(space.axes):
            if axis.when != ALWAYS:
                only.setdefault(words(axis.when), {})[axis.path] = None
        return space, (
            *(f"left out of the space: {', '.join(paths)} ({reason})" for reason, paths in left_out.items()),
            *(f"searched only with {where}: {', '.join(paths)}" for where, paths in only.items()),
        )


def check_points(points: Sequence[Mapping[str, Any]], spec: Mapping[str, Any], settings: TrialSettings) -> None:
    """Raises SpaceError for a point of ``search.start`` that the space of :meth:`Space.of` does not hold.

    What was left out of it may be named, as it changes nothing. Batch sizes that are still to be derived from the data
    are not looked at.
    """
    written, space = Space.parse(spec, settings).paths(), Space.of(spec, settings)[0]
    for index, point in enumerate(points):
        where = f"search.start[{index}]"
        if not point:
            raise SpaceError(where, "names no setting; give {path: value} of what is searched")
        for path in point:
            if path not in written:
                raise SpaceError(f"{where}.{path}", f"is not searched; space has {', '.join(written)}")
        known = space.paths()
        open_yet = {BATCH_SIZE} if spec.get(BATCH_SIZE) == AUTO else set()
        try:
            space.point({path: value for path, value in point.items() if path in known and path not in open_yet})
        except SpaceError as error:
            raise SpaceError(f"{where}.{error.path}", str(error)) from None


def with_candidates(spec: Mapping[str, Any], rows: int, settings: TrialSettings) -> dict[str, Any]:
    """``train.batch_size: auto`` as the batch sizes worth trying where the policy part has so many rows.

    They count episodes: under rloo all samples of as many texts. Where it is one of several algorithms, they are
    rounded up to whole texts.
    """
    from sweepstack.models.optim.batching import batch_candidates

    if spec.get(BATCH_SIZE) != AUTO:
        return dict(spec)
    sizes, samples = batch_candidates(rows), settings.train.rloo.samples
    searched = spec.get(ALGORITHM, settings.train.algorithm)
    if searched == RLOO:
        sizes = tuple(size * samples for size in sizes)
    elif isinstance(searched, list) and any(
        RLOO in each if isinstance(each, dict) else each == RLOO for each in searched
    ):
        sizes = tuple(dict.fromkeys(-(-size // samples) * samples for size in sizes))
    return {**spec, BATCH_SIZE: list(sizes)}


def settings_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by path that a trial's parameters in the ledger stand for."""
    return {
        name.removeprefix(NEAR_ONE): below_one(value) if name.startswith(NEAR_ONE) else value
        for name, value in parameters.items()
    }


def _without(axes: Iterable[Axis], path: str) -> tuple[Axis, ...]:
    return tuple(_with_inner(axis, lambda option: _without(option.inner, path)) for axis in axes if axis.path != path)


def _live(
    axes: Iterable[Axis], context: Context, conditions: Conditions, reasons: dict[str, list[str]]
) -> tuple[Axis, ...]:
    """``axes`` less those that are dead everywhere, whose ``reasons`` are noted by path."""
    kept: list[Axis] = []
    for axis in axes:
        when, why = conditions.of(axis.path, context)
        if when:
            within = functools.partial(_live_within, axis.path, context, conditions, reasons)
            kept.append(replace(_with_inner(axis, within), when=when))
        else:
            reasons.setdefault(axis.path, []).extend(why)
    return tuple(kept)


def _live_within(
    path: str, context: Context, conditions: Conditions, reasons: dict[str, list[str]], option: Option
) -> tuple[Axis, ...]:
    return _live(option.inner, (*context, (path, option.value)), conditions, reasons)


def _with_inner(axis: Axis, inner: Callable[[Option], tuple[Axis, ...]]) -> Axis:
    if not isinstance(axis, Choice):
        return axis
    return replace(axis, options=tuple(replace(option, inner=inner(option)) for option in axis.options))


def _axis(path: Any, value: Any, where: str) -> Axis:
    if path not in leaves():
        inner = next((each for each in leaves() if each.startswith(f"{path}.")), None)
        if inner is not None:
            raise SpaceError(where, f"is a section, and settings are searched one by one; name one, as in {inner}")
        parent, _, leaf = str(path).rpartition(".")
        nearest = nearest_key(parent, leaf, leaves())
        raise SpaceError(where, f"is not a setting that can be searched; nearest: {nearest}")
    if isinstance(value, list):
        return Choice(path, _options(value, where))
    if isinstance(value, dict) and len(value) == 1 and isinstance(next(iter(value.values())), dict):
        return Choice(path, _options([value], where))
    if isinstance(value, dict):
        return _interval(path, value, where)
    if value is None:
        raise SpaceError(where, f"must be a value, a list of values or {{{' | '.join(KINDS)}: [lo, hi]}}, but got null")
    return Choice(path, _options([value], where))


def _options(values: list[Any], where: str) -> tuple[Option, ...]:
    if not values:
        raise SpaceError(where, "must name at least one value, but got []")
    options: list[Option] = []
    for value in values:
        inner: tuple[Axis, ...] = ()
        if isinstance(value, dict):
            if len(value) != 1 or not isinstance(next(iter(value.values())), dict):
                raise SpaceError(
                    where, f"a value with settings of its own is {{value: {{path: axis}}}}, but got {value!r}"
                )
            (value, own), *_ = value.items()
            inner = tuple(_axis(path, axis, f"{where}.{value}.{path}") for path, axis in own.items())
        if not isinstance(value, str | int | float | bool | None):
            raise SpaceError(where, f"the values of a choice are words or numbers, but got {value!r}")
        if any(value == option.value for option in options):
            raise SpaceError(where, f"{value!r} stands there twice; take one out")
        options.append(Option(value, inner))
    return tuple(options)


def _interval(path: str, value: dict[Any, Any], where: str) -> Interval:
    kinds = [kind for kind in KINDS if kind in value]
    unknown = [key for key in value if key not in KINDS and key not in ("points", "around")]
    if len(kinds) != 1 or unknown:
        raise SpaceError(
            where,
            f"must have one of {', '.join(KINDS)}, and points or around with it, but got {', '.join(map(str, value))}",
        )
    kind = kinds[0]
    bounds = value[kind]
    wanted, numbers = ("two whole numbers", (int,)) if kind in ("int", "int_log") else ("two numbers", (int, float))
    if not (
        isinstance(bounds, list)
        and len(bounds) == 2
        and all(isinstance(b, numbers) and not isinstance(b, bool) and -math.inf < b < math.inf for b in bounds)
    ):
        comma = isinstance(bounds, list) and (len(bounds) == 4 or any("," in str(bound) for bound in bounds))
        point = "; decimals are written with a point, as in 0.001" if comma else ""
        raise SpaceError(where, f"{kind} takes {wanted} [lo, hi], but got {bounds!r}{point}")
    low, high = bounds
    wrong = wrong_bounds(kind, low, high)
    if wrong:
        raise SpaceError(where, wrong)
    if wanted == "two numbers":
        low, high = float(low), float(high)
    points = value.get("points")
    if points is not None and (
        not isinstance(points, int) or isinstance(points, bool) or not 1 <= points <= MOST_POINTS
    ):
        raise SpaceError(
            where, f"points must be a whole number of at least 1 and at most {MOST_POINTS:,}, but got {points!r}"
        )
    around = value.get("around")
    if around is not None:
        try:
            Interval(path, kind, low, high).point(around)
        except SpaceError:
            raise SpaceError(where, f"around must lie between {low:g} and {high:g}, but got {around!r}") from None
    return Interval(path, kind, low, high, points, around)


def _check(axis: Axis, space: Space, settings: TrialSettings) -> None:
    """Tries the values of ``axis`` out on ``settings``; where a pair of TOGETHER is searched, both at once."""
    tried = axis.tried()
    for pair in (pair for pair in TOGETHER if axis.path in pair):
        others = [other for other in space.axes if other.path in pair and other is not axis]
        tried = [{**a, **b} for a in tried for other in others for b in other.tried()] or tried
    for values in tried:
        try:
            _fits(values, axis, space, settings)
        except ValidationError as error:
            first = error.errors()[0]
            problem = first.get("ctx", {}).get("error")
            path = getattr(problem, "path", None) or ".".join(str(part) for part in first["loc"])
            at = path if path in values else axis.path
            raise SpaceError(f"space.{at}", rule(first)) from None
        except (TypeError, KeyError):  # reading.cost where reading is off
            raise SpaceError(f"space.{axis.path}", "cannot be searched where reading is off; take it out") from None


def _fits(values: Mapping[str, Any], axis: Axis, space: Space, settings: TrialSettings) -> None:
    """Raises ValidationError where ``values`` do not go with the settings; where these are searched, too, and decide
    whether ``axis`` is live, not with those beside which it is."""
    try:
        settings.with_values(dict(values))
    except ValidationError:
        beside = Conditions(space.axes, settings).beside(axis.path)
        if beside in ([], [{}]):
            raise
        for others in beside:
            settings.with_values({**others, **values})
