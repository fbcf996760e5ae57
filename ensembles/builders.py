"""The registry of ensemble builders: a new one is one file and one entry here."""

import dataclasses
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from sweepstack.ensembles.average import Average
from sweepstack.ensembles.bagging import Bagging
from sweepstack.ensembles.builder import Builder
from sweepstack.ensembles.selection import Selection
from sweepstack.ensembles.stacking import Stacking
from sweepstack.models.errors import StudyError

BUILDERS: dict[str, type[Builder]] = {each.name: each for each in (Average, Selection, Stacking, Bagging)}


def make(spec: str | Mapping[str, Mapping[str, Any]]) -> Builder:
    """The builder that a study file names, ``selection`` or ``{stacking: {top: 8}}``; raises StudyError."""
    where = "ensembles.builders"
    if not isinstance(spec, str) and len(spec) != 1:
        raise StudyError(f"{where}: an entry is a name or {{name: options}}, but got {dict(spec)!r}")
    name, options = (spec, {}) if isinstance(spec, str) else next(iter(spec.items()))
    if name not in BUILDERS:
        raise StudyError(f"{where}: {name!r} is not available in this version; use one of {', '.join(BUILDERS)}")
    builder = BUILDERS[name]
    allowed = {field.name: field for field in dataclasses.fields(builder)}
    for key, value in options.items():
        if key not in allowed:
            near = get_close_matches(key, allowed, n=1, cutoff=0)
            advice = f"did you mean {near[0]}?" if near else "it has none; leave it out"
            raise StudyError(f"{where}.{name}: {key!r} is no option; {advice}")
        number = isinstance(value, (int, float) if allowed[key].type is float else int) and not isinstance(value, bool)
        if not number or value <= 0:
            raise StudyError(f"{where}.{name}.{key} must be a number above 0, but got {value!r}")
    return builder(**options)
