"""What a person does to a run from the command line: one trial more, failed ones again, an end before the budgets'.

Everything is checked against the run as it stands before anything is asked. Where a process drives the run, it is asked
(:mod:`sweepstack.search.run.requests`) and answers within a second or two; where none does, the run goes on right here.
"""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweepstack.models import checksums
from sweepstack.models.errors import InputError
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search import format as fmt
from sweepstack.search.ledger.journal import driver_of
from sweepstack.search.ledger.ledger import MAIN, Ledger
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.report.result import Result
from sweepstack.search.run.requests import REQUEST, make_request, waiting
from sweepstack.search.samplers.initial_points import held
from sweepstack.search.study.axes import SpaceError, is_ruled_out
from sweepstack.search.study.messages import rule
from sweepstack.search.study.yaml import parse_override

ANSWER = 15.0  # seconds to wait for a driver, which looks once a second while trials run
Say = Callable[[str], None]


def add(run: Path, overrides: Sequence[str], say: Say, *, address: str | None = None, json: bool = False) -> Any:
    """Queues one trial with the values of ``overrides`` ("KEY=VALUE"), see :func:`point_of`; raises InputError.

    Returns what happened as JSON values; with :meth:`Result.summary` where the run went on here.
    """
    result = Result.open(run)
    settings, told = point_of(result, dict(parse_override(text) for text in overrides))
    say(told)
    content = {"kind": "add", "parameters": result.space.point(settings)}
    return _queue(result, [content], say, address, json)


def retry(
    run: Path, numbers: Sequence[int], say: Say, *, failed: bool = False, address: str | None = None, json: bool = False
) -> Any:
    """Queues the failed trials ``numbers``, or all that were not tried again yet, once more; raises InputError."""
    result = Result.open(run)
    asked = {each.get("trial") for each in waiting(result.folder.requests) if each.get("kind") == "retry"}
    wanted = [r.number for r in again(result.trials) if r.number not in asked] if failed else list(numbers)
    if not wanted:
        raise InputError(f"{run} has no failed trial that was not tried again; there is nothing to retry")
    for number in wanted:
        record = trial_of(result, number)
        folder = result.folder.of(record)
        whole = (folder / "checkpoint").exists() and checksums.is_whole(folder)
        if record.state != "failed" and (whole or not record.has_ended):
            raise InputError(
                f"trial {number} is {record.state}; only a failed one can be tried again, or one whose folder is gone "
                "or damaged"
            )
        if "generation" in record.attributes:
            raise InputError(f"trial {number} is of a population, which goes on without it; add a trial instead")
    return _queue(result, [{"kind": "retry", "trial": number} for number in wanted], say, address, json)


def stop(run: Path, trial: int | None, say: Say) -> Any:
    """Ends the search of a run that works, or one of its trials; raises InputError where there is none."""
    result = Result.open(run)
    if trial is not None and (record := trial_of(result, trial)).has_ended:
        raise InputError(f"trial {trial} has ended already ({record.state}); there is nothing to stop")
    driver = driver_of(result.folder.ledger)
    if driver is None:
        raise InputError(f"nothing works in {run}; sweepstack ensemble {run} builds ensembles of the trials it has")
    content = {"kind": "stop"} if trial is None else {"kind": "stop", "trial": trial}
    left = _left([make_request(result.folder.requests, content)], result.folder.ledger)
    if left and driver_of(result.folder.ledger) is None:
        _withdraw(left)
        raise InputError(f"the process that worked in {run} has just ended; there is nothing to stop any more")
    taken = not left
    what = "the search ends: no further trial begins, those that run end at their next report, then come the ensembles"
    if trial is not None:
        what = f"trial {trial} ends at its next report, as pruned"
    say(what if taken else _asked(driver))
    return {"stopped": "run" if trial is None else trial, "taken": taken}


def trial_of(result: Result, number: int) -> TrialRecord:
    if not 0 <= number < len(result.trials):
        known = f"0 to {len(result.trials) - 1}" if result.trials else "none yet"
        raise InputError(f"there is no trial {number} in {result.folder.root}; its trials are {known}")
    return result.trials[number]


def again(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The failed trials that no other was made from."""
    retried = {record.attributes.get("retry_of") for record in records}
    return [r for r in records if r.state == "failed" and r.number not in retried and "generation" not in r.attributes]


def point_of(result: Result, given: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The settings of a trial by hand, by path, and a line about them.

    What is searched and not given is as in the best trial, or, where that has none, as in the study itself. Raises
    InputError for what is not searched, out of bounds, or does not fit together.
    """
    space, own = result.space, result.study.trial_settings()
    for path in given:
        if path not in space.paths():
            raise InputError(f"--set {path}: is not searched in this run; its space has {', '.join(space.paths())}")
    best = {} if result.best is None else result.best.settings
    defaults = {path: value for path in space.paths() if (value := _value(own, path)) is not None}
    settings = space.with_deciders(held({**defaults, **best, **given}, space))
    try:
        space.point({**settings, **given})
    except SpaceError as error:
        raise InputError(f"--set {error.path}: {error}") from None
    try:
        own.with_values(settings)
    except ValidationError as error:
        raise InputError(f"--set {', '.join(given)}: {rule(error.errors()[0])}") from None
    sources: dict[str, list[str]] = {}
    drawn = [a.path for a in space.axes if a.path not in settings and not is_ruled_out(a.when, settings)]
    for path in (*settings, *drawn):
        if path in given:
            source = "by hand"
        elif path in best and result.best is not None and path in settings:
            source = f"of trial {result.best.number}, the best so far"
        else:
            source = "of the study itself" if path in settings else "drawn by the sampler"
            if path in settings and path not in defaults:
                source = "as the others need it"
        sources.setdefault(source, []).append(fmt.short_name(path))
    told = "; ".join(f"{', '.join(names)} {source}" for source, names in sources.items())
    return settings, f"{fmt.settings_words(settings)} ({told})"


def _value(settings: TrialSettings, path: str) -> Any:
    return functools.reduce(getattr, path.split("."), settings)


def _queue(
    result: Result, contents: Sequence[Mapping[str, Any]], say: Say, address: str | None, json: bool
) -> dict[str, Any]:
    """Whoever drives the run is asked; where nobody does, this process takes the requests.

    A request that nobody takes is not left behind: a later run would do what was refused here.
    """
    ledger, requests = result.folder.ledger, result.folder.requests
    paths: list[Path] = []
    driver = driver_of(ledger)
    if driver is not None:
        paths = [make_request(requests, content) for content in contents]
        left = _left(paths, ledger)
        driver = driver_of(ledger) if left else driver
    if driver is None:
        contents = [each for each, path in zip(contents, paths, strict=True) if path in left] if paths else contents
        _withdraw(paths)
    else:
        queued = _queued(ledger, paths)
        for each in queued:
            once_more = f", once more what trial {each['retry_of']} was" if "retry_of" in each else ""
            say(f"trial {each['trial']} is queued{once_more}; process {driver} takes it next")
        if left:
            say(_asked(driver))
        return {"queued": queued, "taken": not left}
    from sweepstack.search import pipeline  # heavy

    def ask() -> None:
        paths.extend(make_request(requests, content) for content in contents)

    done = pipeline.go_on(result.folder.root, ask, address=address, json=json)
    return {"queued": _queued(ledger, paths), **done.summary()}


def _left(paths: Sequence[Path], ledger: Path) -> list[Path]:
    """The requests that nobody has taken, after some waiting, or as soon as nobody is left to take them."""
    deadline = time.monotonic() + ANSWER
    left = list(paths)
    while left and time.monotonic() < deadline and driver_of(ledger) is not None:
        time.sleep(0.1)
        left = [path for path in left if path.exists()]
    return left


def _withdraw(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _asked(driver: str) -> str:
    return f"process {driver} was asked and will see to it as soon as it is done with its ensembles"


def _queued(ledger: Path, paths: Sequence[Path]) -> list[dict[str, Any]]:
    names = {path.stem for path in paths}
    with Ledger.open(ledger, writable=False) as opened:
        made = [r for r in opened.records(MAIN) if r.attributes.get(REQUEST) in names]
    return [
        {"trial": r.number} | ({"retry_of": r.attributes["retry_of"]} if "retry_of" in r.attributes else {})
        for r in made
    ]
