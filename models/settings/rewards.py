"""What a text is rewarded for: the names, options and weights that ``writing.reward`` may hold, checked before a run.

``chrf`` is one reward; ``{chrf: 0.7, length: {low: 3, high: 12, weight: 0.3}}`` is the sum of two, by their weights.
What each of them computes is in rl/rewards.py.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sweepstack.models.settings.base import SettingError

LARGEST_REWARD = 1e9  # the square of a sum of larger ones may be more than float32 holds
PATH = "writing.reward"


@dataclass(frozen=True)
class Option:
    """Of a reward; ``check`` says what is wrong with a value, or nothing."""

    required: bool
    check: Callable[[Any], str | None]
    default: Any = None


@dataclass(frozen=True)
class Kind:
    """``needs_reference``: it compares a text with what should have been written."""

    needs_reference: bool
    options: Mapping[str, Option]
    lone: str | None = None  # the option that a value which is no mapping stands for; None: its weight


@dataclass(frozen=True)
class Term:
    """One reward of a sum."""

    name: str
    weight: float
    options: Mapping[str, Any]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _words(value: Any) -> str | None:
    return None if _number(value) and value >= 1 else "must be a number of words, at least 1"


def _pattern(value: Any) -> str | None:
    if not isinstance(value, str) or not value:
        return "must be a regular expression, as text"
    try:
        re.compile(value)
    except re.error as error:
        return f"is no regular expression ({error})"
    return None


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) and value.strip() else "must be text"


def _module_function(value: Any) -> str | None:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", value):
        return None
    return "must be module:function, my_rewards:polite say"


KINDS: dict[str, Kind] = {
    "chrf": Kind(True, {}),
    "bleu": Kind(True, {}),
    "similarity": Kind(True, {}),
    "length": Kind(False, {"low": Option(True, _words), "high": Option(True, _words)}),
    "repetition": Kind(False, {}),
    "matches": Kind(False, {"pattern": Option(True, _pattern)}, lone="pattern"),
    "classifier": Kind(False, {"bundle": Option(True, _text), "label": Option(True, _text)}),
    "function": Kind(False, {"name": Option(True, _module_function)}, lone="name"),
}


def parse_reward(spec: Any) -> tuple[Term, ...]:
    """The rewards that ``spec`` names, with their weights; raises SettingError where it is impossible."""
    if isinstance(spec, str):
        spec = {spec: 1.0}
    if not isinstance(spec, Mapping) or not spec:
        raise SettingError(PATH, f"must be a reward's name, or names with weights or options, but got {spec!r}")
    return tuple(_term(name, value) for name, value in spec.items())


def _term(name: Any, value: Any) -> Term:
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise SettingError(PATH, f"must name one or more of {', '.join(KINDS)}, but got {name!r}")
    path = f"{PATH}.{name}"
    if isinstance(value, Mapping):
        given = dict(value)
    elif kind.lone is not None and isinstance(value, str):
        given = {kind.lone: value}
    elif value is None:
        given = {}
    else:
        given = {"weight": value}
    weight = given.pop("weight", 1.0)
    if not _number(weight) or weight == 0:
        raise SettingError(path, f"needs a weight that is a number and not 0, but got {weight!r}")
    if foreign := [option for option in given if option not in kind.options]:
        allowed = ", ".join((*kind.options, "weight"))
        raise SettingError(path, f"has the options {allowed}, but got {foreign[0]!r}")
    for option, rule in kind.options.items():
        if option not in given:
            raise SettingError(path, f"needs {' and '.join(kind.options)}, but {option} is missing")
        if wrong := rule.check(given[option]):
            raise SettingError(f"{path}.{option}", f"{wrong}, but got {given[option]!r}")
    if name == "length" and given["low"] > given["high"]:
        raise SettingError(path, f"needs low <= high, but got low={given['low']}, high={given['high']}")
    return Term(name, float(weight), given)


def bounds(spec: Any) -> tuple[float, float] | None:
    """The least and the most that the sum may be: every reward lies between 0 and 1, but for a user's own function."""
    terms = parse_reward(spec)
    if any(term.name == "function" for term in terms):
        return None
    weights = [term.weight for term in terms]
    return sum(weight for weight in weights if weight < 0), sum(weight for weight in weights if weight > 0)


def needs_reference(spec: Any) -> bool:
    """Whether any of the rewards compares a text with a reference."""
    return any(KINDS[term.name].needs_reference for term in parse_reward(spec))
