"""The registry of ensemble builders: a new one is one file and one entry here."""

import dataclasses
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from sweepstack.ensembles.builders.average import Average
from sweepstack.ensembles.builders.bagging import Bagging
from sweepstack.ensembles.builders.base import Builder
from sweepstack.ensembles.builders.boosting import Boosting
from sweepstack.ensembles.builders.cascade import CascadeBuilder
from sweepstack.ensembles.builders.neural import Neural
from sweepstack.ensembles.builders.selection import Selection
from sweepstack.ensembles.builders.snapshots import Snapshots
from sweepstack.ensembles.builders.soup import Soup
from sweepstack.ensembles.builders.stacking import Stacking
from sweepstack.ensembles.builders.vote import Vote
from sweepstack.models.errors import StudyError

BUILDERS: dict[str, type[Builder]] = {
    each.name: each
    for each in (Average, Vote, Selection, CascadeBuilder, Stacking, Neural, Bagging, Boosting, Snapshots, Soup)
}


B = TypeVar("B")


def options_of(builder: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    """What a study file may say of a builder."""
    return {field.name: field for field in dataclasses.fields(builder) if field.metadata.get("option", True)}


def make(spec: str | Mapping[str, Mapping[str, Any]]) -> Builder:
    """The builder that a study file names, ``selection`` or ``{stacking: {top: 8}}``; raises StudyError."""
    return make_of(BUILDERS, spec)


def make_of(builders: Mapping[str, type[B]], spec: str | Mapping[str, Mapping[str, Any]]) -> B:
    """The same of another registry."""
    where = "ensembles.builders"
    if not isinstance(spec, str) and len(spec) != 1:
        raise StudyError(f"{where}: an entry is a name or {{name: options}}, but got {dict(spec)!r}")
    name, options = (spec, {}) if isinstance(spec, str) else next(iter(spec.items()))
    if name not in builders:
        raise StudyError(f"{where}: {name!r} is not available in this version; use one of {', '.join(builders)}")
    builder = builders[name]
    allowed = options_of(builder)
    for key, value in options.items():
        if key not in allowed:
            near = get_close_matches(key, allowed, n=1, cutoff=0)
            advice = f"did you mean {near[0]}?" if near else "it has none; leave it out"
            raise StudyError(f"{where}.{name}: {key!r} is no option; {advice}")
        if allowed[key].type is str:
            if not isinstance(value, str):
                raise StudyError(f"{where}.{name}.{key} must be text, but got {value!r}")
            continue
        number = isinstance(value, (int, float) if allowed[key].type is float else int) and not isinstance(value, bool)
        if not number or value <= 0:
            raise StudyError(f"{where}.{name}.{key} must be a number above 0, but got {value!r}")
    try:
        return builder(**options)
    except ValueError as error:
        raise StudyError(f"{where}.{name}: {error}") from error
