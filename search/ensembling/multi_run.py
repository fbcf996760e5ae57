"""Several finished runs with the same data as one: an ensemble may have members of all of them.

Predictions combine only where they are of the same rows, cut into the same segments. So the runs must agree on their
data, classes, parts and reading, and what differs is said in one line. What is built lies in a run folder of its own,
``--out`` or ``runs/<a>-and-<b>``, with a ledger, a table, a bundle and a report, and no trials: the members lie where
they are. They are called by their run, ``<run>.trial-7``; the linear baseline is that of the first run.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sweepstack.models.errors import StudyError
from sweepstack.search.execution.retention import deleted
from sweepstack.search.ledger.records import Adopted, Origin, TrialRecord
from sweepstack.search.ledger.repetitions import settings_of_repetition
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.report.notes import ENDED, RUNS
from sweepstack.search.report.result import Result, no_ensembles
from sweepstack.search.study.study import Study

LINEAR = "linear"  # the attribute that holds what the linear baseline came to
LONGEST = 100  # characters of a study's name


@dataclass(frozen=True)
class Source:
    name: str  # unique among the runs
    result: Result

    @property
    def root(self) -> Path:
        return self.result.folder.root

    @cached_property
    def settings(self) -> Any:
        """As its trials were trained, with the precision that was found out."""
        precision = self.result.provenance.get("precision")
        settings = self.result.study.trial_settings()
        return settings.with_values({"precision": precision["precision"]}) if precision else settings

    def records(self, sweep: Sequence[TrialRecord], first: Mapping[str, Any]) -> tuple[TrialRecord, ...]:
        """With what sets them apart from ``first``, the plain settings of the first run, among their own."""
        origin = Origin(self.name, self.root)
        found = []
        gone = deleted(sweep, self.result.folder.of, folds=self.result.study.folds > 1)
        for record in sweep:
            if record.number in gone:
                continue
            own = settings_of_repetition(
                self.settings.with_values(record.settings), record.settings, record.best_repetition
            )
            values = {path: value for path, value in _flat(own.model_dump()).items() if first.get(path, ...) != value}
            found.append(replace(record, origin=origin, settings={**record.settings, **values}))
        return tuple(found)


def sources(folders: Sequence[Path]) -> list[Source]:
    """The runs, in the order given; raises InputError or StudyError where they cannot be combined."""
    results = [Result.open(folder) for folder in folders]
    for place, result in enumerate(results):
        root = result.folder.root
        if root.resolve() in [other.folder.root.resolve() for other in results[:place]]:
            raise StudyError(f"{root} is named twice; name each run once")
        if result.study.environment is not None:
            raise StudyError(no_ensembles(result.study, result.folder))
        if result.study.writes:
            raise StudyError(
                f"{root} writes (task {result.study.task}), and only runs of classification can be combined; "
                "name these, or raise search.trials of one run"
            )
        if result.ledger.attribute(RUNS):
            raise StudyError(f"{root} combines runs itself; name those that it was built over")
        _check_finished(result)
    for other in results[1:]:
        _check_same(results[0], other)
    return [Source(name, result) for name, result in zip(_names(results), results, strict=True)]


def study_of(found: Sequence[Source]) -> Study:
    """The first run's study, under the name of all, with nothing to search."""
    first = found[0].result.study
    name = "-and-".join(source.name for source in found)
    search = first.search.model_copy(update={"start": [], "start_from": None})
    return first.model_copy(update={"name": name[:LONGEST].rstrip(".-"), "search": search})


def adopted(found: Sequence[Source], settings: Any) -> Adopted:
    """What a folder that combines them takes from the runs; ``settings`` are its own."""
    first = _flat(settings.model_dump())
    return Adopted(
        tuple(record for source in found for record in source.records(source.result.trials, first)),
        tuple(record for source in found for record in source.records(source.result.controls, first)),
        found[0].root,
    )


def on_record(found: Sequence[Source], root: Path) -> list[dict[str, Any]]:
    """The runs as the folder ``root`` that combines them remembers them: where they lie, also as seen from there."""
    return [
        {
            "name": source.name,
            "folder": str(source.root),
            "relative": os.path.relpath(source.root, root),
            "trials": len(source.result.trials),
        }
        for source in found
    ]


def recorded(runs: Sequence[Mapping[str, Any]], root: Path) -> list[Path]:
    """The folders of the runs that the folder ``root`` combines, which may have been moved, with them or without."""
    beside = [Path(os.path.normpath(root / run.get("relative", run["folder"]))) for run in runs]
    return [
        near if RunFolder(near).ledger.exists() else Path(run["folder"]) for near, run in zip(beside, runs, strict=True)
    ]


def _check_finished(result: Result) -> None:
    going = [record for record in result.trials if not record.has_ended]
    if result.ledger.attribute(ENDED) and result.ledger.attribute(LINEAR) and not going:
        return
    root, asked = result.folder.root, result.study.search.trials
    raise StudyError(
        f"{root} is not finished ({len(result.trials) - len(going)} of {asked} trials have ended); "
        f"sweepstack run {result.folder.study} --out {root} goes on"
    )


def _check_same(first: Result, other: Result) -> None:
    """Raises StudyError with the first of what must be equal and is not."""
    for what, one, another in zip(WHAT, _identity(first), _identity(other), strict=True):
        if one != another:
            raise StudyError(
                f"{other.folder.root} cannot be combined with {first.folder.root}: they differ in {what} "
                f"({_differing(another, one)})"
            )


WHAT = ("task", "reading", "classes", "what is done to texts", "costs of wrong answers", "the rows of their parts")


def _identity(result: Result) -> tuple[Any, ...]:
    study, data = result.study, result.provenance["data"]
    assert study.data is not None
    reading = "off" if study.reading == "off" else study.reading.model_dump()
    return study.task, reading, data["classes"], study.data.text.model_dump(), study.data.costs, data["hashes"]


def _differing(one: Any, another: Any) -> str:
    """``segment 5 and 2`` of two mappings; else both values."""
    if isinstance(one, Mapping) and isinstance(another, Mapping):
        keys = [key for key in dict.fromkeys([*one, *another]) if one.get(key) != another.get(key)]
        return f"{keys[0]} {one.get(keys[0])} and {another.get(keys[0])}"
    return f"{one} and {another}"


def _names(results: Sequence[Result]) -> list[str]:
    """Of the runs' folders, as they may stand in a member's name; the second of a name is ``name-2``."""
    names: list[str] = []
    for result in results:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", result.folder.root.name).strip("._-") or "run"
        name, count = plain, 2
        while name in names:
            name, count = f"{plain}-{count}", count + 1
        names.append(name)
    return names


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value by its key path, as TrialSettings.with_values takes it."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if key in ("task", "device", "compile", "reading") and not prefix:
            continue
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
