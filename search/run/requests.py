"""What a person asks of a run by hand: files in RUN/requests/, which whoever drives the run takes into its ledger.

A request is whole or not there, and is removed when it stands in the ledger, with its id; one that a kill left behind
is known by it and changes nothing the second time. They are taken in the order in which they were made.

    {kind: add, parameters: {…}}      a trial with these values by parameter; what they leave open the sampler draws
    {kind: retry, trial: N}           a trial with the parameters of trial N, which failed
    {kind: stop}                      the sampler is asked for no further trial; those that run end at their next report
    {kind: stop, trial: N}            this one ends at its next report
"""

import logging
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepstack.models.files import read_json, write_json
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.samplers.initial_points import held
from sweepstack.search.study.space import settings_of

if TYPE_CHECKING:
    from sweepstack.search.execution.sweep import Sweep
    from sweepstack.search.ledger.ledger import Ledger

EVERY = 1.0  # seconds between two looks at the folder
STOP = "stop"  # the attribute of a run that a person has stopped: {request, state}
IN_FORCE, DONE, LIFTED = "in force", "done", "lifted"
"""Until the run that it stopped has come to its end; until it is run again; from then on."""
REQUEST = "request"  # the attribute of a trial that says which request made it
log = logging.getLogger(__name__)


def make_request(folder: Path, content: Mapping[str, Any]) -> Path:
    """Writes a request; the file is gone as soon as it was taken. Raises StorageError where the disk refuses."""
    path = folder / f"{time.time_ns()}-{secrets.token_hex(3)}.json"
    write_json(path, dict(content))
    return path


def waiting(folder: Path) -> list[dict[str, Any]]:
    """The requests in ``folder`` that nobody has taken yet."""
    found = []
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, ValueError):  # taken just now, or not written by us
            content = read_json(path)
            found += [content] if isinstance(content, dict) else []
    return found


class Inbox:
    """The requests to the run in whose folder ``folder`` is ``requests/``."""

    def __init__(self, folder: Path, ledger: "Ledger", sweep: "Sweep") -> None:
        self._folder, self._ledger, self._sweep = folder, ledger, sweep
        self._looked = -EVERY
        self._stop: dict[str, str] = ledger.attribute(STOP) or {}

    @property
    def stopped(self) -> bool:
        """Whether a person has stopped the run and not run it again since."""
        return self._stop.get("state") in (IN_FORCE, DONE)

    def move_stop(self, before: str, after: str) -> None:
        """A stop in the state ``before`` goes on to ``after``."""
        if self._stop.get("state") == before:
            self._set_stop(self._stop["request"], after)

    def poll(self) -> list[TrialRecord]:
        """As :meth:`take`, but looks once a second at most."""
        now = time.monotonic()
        if now < self._looked + EVERY:
            return []
        self._looked = now
        return self.take()

    def take(self) -> list[TrialRecord]:
        """Takes what is there into the ledger; returns the trials that this has changed."""
        changed: list[TrialRecord] = []
        paths = sorted(self._folder.glob("*.json")) if self._folder.exists() else []  # a file being written has a dot
        for path in paths:
            try:
                changed += self._put(path.stem, read_json(path))
            except (ValueError, KeyError, TypeError) as error:  # not written by us: nothing of it can be meant
                log.warning("the request %s is left out: %s", path.name, error)
            path.unlink(missing_ok=True)
        return changed

    def _put(self, name: str, content: Mapping[str, Any]) -> list[TrialRecord]:
        match content:
            case {"kind": "add", "parameters": dict(parameters)}:
                space, settings = self._sweep.space, settings_of(parameters)
                if unknown := settings.keys() - set(space.paths()):
                    raise ValueError(f"{', '.join(sorted(unknown))} is not searched")
                return self._queue(name, space.point(settings), {})
            case {"kind": "retry", "trial": int(number)}:
                given, space = self._sweep.parameters_of(number), self._sweep.space
                again = space.point(held(settings_of(given), space))  # of a space that was wider, what is left of it
                return self._queue(name, {name: given[name] for name in again}, {"retry_of": number})
            case {"kind": "stop", "trial": int(number)}:
                self._sweep.stop(number)
                return [self._sweep.record(number)]
            case {"kind": "stop"}:
                if self._stop.get("request") != name and self._sweep.unfinished:
                    self._set_stop(name, IN_FORCE)
                return self._end_all() if self._stop == {"request": name, "state": IN_FORCE} else []
        raise ValueError(f"{dict(content)} is no request")

    def _end_all(self) -> list[TrialRecord]:
        """All that have not ended; those which are queued later are meant to be run."""
        going = [record.number for record in self._sweep.trials() if not record.has_ended]
        for number in going:
            self._sweep.stop(number)
        return [self._sweep.record(number) for number in going]

    def _set_stop(self, request: str, state: str) -> None:
        self._stop = {"request": request, "state": state}
        self._ledger.set_attribute(STOP, self._stop)

    def _queue(self, name: str, parameters: dict[str, Any], attributes: dict[str, Any]) -> list[TrialRecord]:
        if any(record.attributes.get(REQUEST) == name for record in self._sweep.trials()):
            return []
        return [self._sweep.queue(parameters, {**attributes, REQUEST: name})]
