"""Where an axis of a space is live: with which values of the other axes its setting has an effect.

The rules are those of models/settings/live.py. They are asked before anything is chosen: where a rule looks at a choice
that is still open, each of its options is tried in turn. So an axis comes to a list of contexts, each a few choices
and their values; it is searched where one of them holds. An interval is no context: an axis that its ends make dead,
and what lies between, is dead everywhere.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sweepstack.models.settings.live import Of, value_at, why_dead
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.study.axes import ALWAYS, Axis, Choice, Context, Contexts, Interval

MOST_SAID = 2  # contexts that are spelt out to the user


class _Open(Exception):
    """A rule looks at an axis whose value is not chosen yet."""

    def __init__(self, axis: Axis) -> None:
        self.axis = axis


class Conditions:
    """Of the axes of one space under ``settings``."""

    def __init__(self, axes: Sequence[Axis], settings: TrialSettings) -> None:
        self._settings = value_at(settings)
        self._asking: list[str] = []  # whose rules are being looked at: they may look at their own values
        self._places: dict[str, list[tuple[Context, Axis]]] = {}
        for axis, context in walk(axes):
            self._places.setdefault(axis.path, []).append((context, axis))

    def of(self, path: str, context: Context) -> tuple[Contexts, list[str]]:
        """Where the axis of ``path`` that hangs on the choices ``context`` is live, nowhere if there are no contexts;
        and the reasons for which it is not."""
        reasons: dict[str, None] = {}
        return self._explore(path, dict(context), reasons, []), list(reasons)

    def beside(self, path: str) -> list[dict[str, Any]]:
        """All that the rules see, by path, where the axis of ``path`` is live: choices, and the ends of intervals."""
        found: list[dict[str, Any]] = []
        for context, _ in self._places[path]:
            self._explore(path, dict(context), {}, found)
        return found

    def _explore(
        self, path: str, chosen: dict[str, Any], reasons: dict[str, None], found: list[dict[str, Any]]
    ) -> Contexts:
        self._asking.append(path)
        try:
            reason = why_dead(path, self._values(chosen))
        except _Open as is_open:
            self._asking.pop()
            axis = is_open.axis
            below = {v: self._explore(path, {**chosen, axis.path: v}, reasons, found) for v in _values(axis)}
            if isinstance(axis, Interval) or axis.path == path:
                merged = tuple(dict.fromkeys(context for contexts in below.values() for context in contexts))
                return ALWAYS if () in merged else merged
            if len(set(below.values())) == 1:
                return next(iter(below.values()))
            return tuple(((axis.path, value), *rest) for value, contexts in below.items() for rest in contexts)
        self._asking.pop()
        if reason is not None:
            reasons[reason] = None
            return ()
        found.append(chosen)
        return ALWAYS

    def _values(self, chosen: Mapping[str, Any]) -> Of:
        """The values by path where ``chosen`` are; raises _Open for one that is searched and not chosen, or for what
        decides whether it is searched. A setting that is dead there has the study's own value."""

        def of(wanted: str) -> Any:
            if wanted not in chosen:
                for context, _ in self._places.get(wanted, ()):
                    if is_asked(context):
                        live = ALWAYS if wanted in self._asking else self._explore(wanted, dict(chosen), {}, [])
                        if live:
                            first = live[0][0][0] if live != ALWAYS else wanted
                            raise _Open(self._places[first][0][1])
            return chosen[wanted] if wanted in chosen else self._settings(wanted)

        def is_asked(context: Context) -> bool:
            return all(of(each) == value and each in chosen for each, value in context)

        return of


def walk(axes: Iterable[Axis], context: Context = ()) -> Iterator[tuple[Axis, Context]]:
    """Every axis with the choices on which it hangs."""
    for axis in axes:
        yield axis, context
        if isinstance(axis, Choice):
            for option in axis.options:
                yield from walk(option.inner, (*context, (axis.path, option.value)))


def words(contexts: Contexts) -> str:
    """``train.lr_schedule: step or wsd and train.algorithm: ppo``, for the user."""
    merged = [tuple((path, (value,)) for path, value in context) for context in contexts]
    while (pair := _alike(merged)) is not None:
        first, second = pair
        joined = tuple((path, tuple(dict.fromkeys(a + b))) for (path, a), (_, b) in zip(first, second, strict=True))
        merged = [joined if each is first else each for each in merged if each is not second]
    if len(merged) > MOST_SAID:
        return f"some values of {', '.join(dict.fromkeys(path for each in merged for path, _ in each))}"
    return ", or with ".join(
        " and ".join(f"{path}: {' or '.join(map(_word, values))}" for path, values in each) for each in merged
    )


def _alike(merged: list[Any]) -> tuple[Any, Any] | None:
    """Two contexts of the same choices that differ in the values of one."""
    for place, first in enumerate(merged):
        for second in merged[place + 1 :]:
            if [path for path, _ in first] == [path for path, _ in second] and (
                sum(a != b for a, b in zip(first, second, strict=True)) == 1
            ):
                return first, second
    return None


def _word(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _values(axis: Axis) -> list[Any]:
    if isinstance(axis, Choice):
        return [option.value for option in axis.options]
    return [value for tried in axis.tried() for value in tried.values()]
