"""The tracker: keeps MLflow equal to what the sweep looks like now, from a thread of its own.

``put`` takes the wanted state of a run and returns at once; the thread makes the store equal to the last state of every
run. Because a state can be recorded any number of times, every failure is met in one way: log it, open the store anew
after a while, read what it holds and record again whatever differs. The sweep never waits for MLflow and never fails by
it; ``close`` says whether everything arrived.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from sweepstack.search.tracking.check import check_tracking
from sweepstack.search.tracking.log import is_permanent, reason
from sweepstack.search.tracking.mirror import Mirror, RunState
from sweepstack.search.tracking.process import RemoteMirror
from sweepstack.search.tracking.store import quiet_environment, shown, ui_command

__all__ = ["RunState", "Tracker", "check_tracking", "ui_command"]

GATHER = 0.5  # seconds from the first put to a pass over what was put: several reports of a trial make one batch
FIRST_RETRY, LAST_RETRY = 0.5, 30.0  # seconds; doubled in between


class Tracker:
    """Mirrors the runs of one sweep in the experiment ``experiment`` of the store at ``uri``.

    ``on_run(key, run_id)`` is called once for every run, as soon as it is known to be in the store; ``log`` takes
    MLflow's messages and ours, a line at a time. Both are called from the tracker's thread, which starts at once,
    because importing mlflow and making a fresh store take three to five seconds. ``mirror`` opens the store.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        sweep_id: str,
        on_run: Callable[[str, str], None],
        log: Callable[[str], None],
        mirror: type[Mirror] | type[RemoteMirror] = RemoteMirror,
    ) -> None:
        self._open = partial(mirror, uri, experiment, sweep_id, log)
        self._store, self._on_run, self._log = shown(uri), on_run, log
        self._lock = threading.Lock()
        self._woken = threading.Event()  # something was put, or the tracker closes
        self._closing = threading.Event()
        self._states: dict[str, RunState] = {}
        self._times: dict[str, dict[int, int]] = {}  # by key and step: when it was put, ms since 1970
        self._stale: dict[str, None] = {}  # keys to be recorded, or read again after a failure; a dict for its order
        self._recorded: dict[str, RunState] = {}  # what the store was last seen to take
        self._failures: Counter[str] = Counter()
        self._known: dict[str, str] = {}  # run ids that on_run was told
        self._mirror: Mirror | RemoteMirror | None = None
        self._trouble: str | None = None
        self._refusal: str | None = None  # the trouble, where only a person can end it
        self._tried = threading.Event()  # what was put first has been recorded, or has failed
        quiet_environment()  # before mlflow is imported
        self._thread = threading.Thread(target=self._work, name="tracker", daemon=True)
        self._thread.start()

    def put(self, state: RunState) -> None:
        """Makes ``state`` the wanted state of its run. A run below the parent waits until the parent was put."""
        with self._lock:
            if self._states.get(state.key) == state:
                return
            self._states[state.key] = state
            self._stale[state.key] = None
            _set_times(self._times.setdefault(state.key, {}), state)
        self._woken.set()

    def refusal(self, timeout: float) -> str | None:
        """Why the store will never take anything, as far as the first attempt shows, which is waited for."""
        self._tried.wait(timeout)
        return self._refusal

    def close(self, timeout: float) -> bool:
        """Records what is left, for at most ``timeout`` seconds; whether the store holds everything that was put."""
        self._closing.set()
        self._woken.set()
        self._thread.join(timeout)
        with self._lock:
            return not self._thread.is_alive() and not self._stale

    def missing(self) -> str | None:
        """After ``close``: one line for the user on what the store lacks and why, or None."""
        with self._lock:
            if not self._stale:
                return None
            lacking = [key for key, state in self._states.items() if self._recorded.get(key) is not state]
            still = "it was still recording" if self._thread.is_alive() else "their parent run was never put"
            reason = self._trouble or still
            then = "mend that, and the same command again" if self._refusal else "the same command again"
            return (
                f"{len(lacking or self._stale)} of {len(self._states)} runs are not yet as they should be in MLflow "
                f"({self._store}: {reason}); {then} completes them"
            )

    def _work(self) -> None:
        delay = FIRST_RETRY
        while True:
            closing = self._closing.is_set()  # read before the pass, which then sees everything that was put
            succeeded = self._pass()
            if self._known or not succeeded:
                self._tried.set()
            complete = succeeded and not self._woken.is_set()  # the parent, once it is there, wakes its children
            if closing and (complete or self._refusal or not self._stale):
                if self._mirror is not None:
                    self._mirror.close()
                return
            if succeeded:
                delay = FIRST_RETRY
                self._woken.wait()
                self._closing.wait(GATHER)
            else:
                time.sleep(FIRST_RETRY)
                self._closing.wait(delay - FIRST_RETRY)
                delay = min(2 * delay, LAST_RETRY)

    def _pass(self) -> bool:
        """Records every stale state; False where the store failed, and the next pass has to open it anew."""
        self._woken.clear()
        key = ""
        try:
            if self._mirror is None:
                self._mirror = self._open()
                self._all_stale()
            self._check_current(self._mirror)
            with self._lock:  # what failed before comes last, so that it holds up nothing else
                order = sorted(self._stale, key=lambda key: (self._failures[key], self._states[key].parent))
            for key in order:
                self._record(self._mirror, key)
            self._check_current(self._mirror)
        except Exception as error:  # whatever a store, a network or a disk can raise: the sweep must go on
            if self._mirror is not None:
                with suppress(Exception):
                    self._mirror.close()
            self._mirror = None
            self._failures[key] += 1
            why = reason(error)
            if why != self._trouble:
                self._say(f"MLflow at {self._store} refuses{f' run {key!r}' if key else ''}: {why}; trying again")
            self._trouble, self._refusal = why, why if is_permanent(error) else None
            return False
        if self._trouble is not None:
            self._say(f"MLflow at {self._store} records again")
            self._trouble = self._refusal = None
        return True

    def _record(self, mirror: Mirror | RemoteMirror, key: str) -> None:
        with self._lock:
            state, times = self._states[key], dict(self._times[key])
        if state.parent and mirror.parent_id is None:
            return  # it waits for its parent, which wakes the thread when it is put
        had_parent = mirror.parent_id is not None
        run_id = mirror.record(state, times)
        with self._lock:
            self._recorded[key] = state
            if self._states[key] is state:
                del self._stale[key]
        if not had_parent:
            self._woken.set()
        if self._known.get(key) != run_id:
            self._known[key] = run_id
            try:
                self._on_run(key, run_id)
            except Exception as error:  # the listener's failure is none of the store's
                self._say(f"the run {key!r} is in MLflow as {run_id}, but that could not be noted: {error}")

    def _check_current(self, mirror: Mirror | RemoteMirror) -> None:
        if not mirror.is_current():
            self._all_stale()
            self._recorded.clear()
            raise FileNotFoundError("its file was deleted or replaced")

    def _all_stale(self) -> None:
        with self._lock:
            self._stale |= dict.fromkeys(self._states)

    def _say(self, line: str) -> None:
        with suppress(Exception):  # a log that cannot be written must not end the thread
            self._log(line)


def _set_times(times: dict[int, int], state: RunState) -> None:
    """Gives each new step a time: now, or spread over the run where it has ended (a run that is put again)."""
    new = [step for step, _ in state.metrics if step not in times]
    for place, step in enumerate(new, start=1):
        seconds = (
            time.time() if state.ended is None else state.started + (state.ended - state.started) * place / len(new)
        )
        times[step] = round(1000 * max(seconds, state.started))
