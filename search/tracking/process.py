"""A store's Mirror in a process of its own: MLflow then takes no time from the driver, whose thread serves all trials.

Requests and answers go through a socket that only the two processes have. The process ends when that is closed, however
its parent ended; it has a session of its own, so that an interrupt is none of its business.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from sweepstack.models.errors import TrackingError, TrackingRefusal
from sweepstack.search.tracking.log import is_permanent, reason, route
from sweepstack.search.tracking.mirror import Mirror, RunState

PATIENCE = 60.0  # seconds for what was begun, when it is told to end


class RemoteMirror:
    """The same as a Mirror, whose exceptions all come as TrackingError, or as TrackingRefusal where they will again."""

    def __init__(self, uri: str, experiment: str, sweep_id: str, log: Callable[[str], None]) -> None:
        self._log = log
        self.parent_id: str | None = None
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", f"from {__name__} import serve; serve({theirs.fileno()})"],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            theirs.close()
        self._connection = Connection(ours.detach())
        try:
            self._ask("open", uri, experiment, sweep_id)
        except BaseException:
            self.close()
            raise

    def record(self, state: RunState, times: Mapping[int, int]) -> str:
        return str(self._ask("record", state, times))

    def is_current(self) -> bool:
        return bool(self._ask("is_current"))

    def close(self) -> None:
        with suppress(TrackingError):
            self._ask("close")
        self._connection.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, method: str, *args: Any) -> Any:
        try:
            self._connection.send((method, args))
            while True:
                kind, said, self.parent_id = self._connection.recv()
                if kind == "log":
                    self._log(said)
                elif kind == "failed":
                    text, permanent = said
                    raise (TrackingRefusal if permanent else TrackingError)(text)
                else:
                    return said
        except (EOFError, OSError) as error:
            raise TrackingError("the process that records has ended") from error


def serve(descriptor: int) -> None:
    """What that process does: answers until nobody asks any more."""
    connection = Connection(descriptor)
    mirror: Mirror | None = None

    def say(kind: str, said: Any) -> None:
        connection.send((kind, said, None if mirror is None else mirror.parent_id))

    def log(line: str) -> None:
        say("log", line)

    route(log)
    with suppress(EOFError, OSError):
        while True:
            method, args = connection.recv()
            try:
                if method == "open":
                    uri, experiment, sweep_id = args
                    mirror, answer = Mirror(uri, experiment, sweep_id, log), None
                else:
                    answer = getattr(mirror, method)(*args)
            except Exception as error:  # whatever a store can raise
                say("failed", (reason(error), is_permanent(error)))
            else:
                say("done", answer)
    os._exit(0)  # MLflow's own threads hold nothing up
