"""Ctrl-C and SIGTERM while a run works: a KeyboardInterrupt, but never in the middle of what must not be torn.

Ray's own handlers would kill its processes under us or wait for the running step, so ours are set again after each of
its starts. While Ray starts, ends or executes trials a signal only raises a flag, which the loop looks at; the third
signal is not put off, whatever hangs. Elsewhere than in the main thread Python has no signals: nothing is done there.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 3  # signals: a user who sends that many means it


class Interrupts:
    def __init__(self) -> None:
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}
        self._received = 0
        self._deferred = 0

    @property
    def pending(self) -> bool:
        """Whether a signal has come, deferred or not."""
        return self._received > 0

    def install(self) -> None:
        """Sets the handlers, again if another library has put its own in their place."""
        if threading.current_thread() is threading.main_thread():
            for each in SIGNALS:
                before = signal.signal(each, self._handle)
                self._before.setdefault(each, before)

    def restore(self) -> None:
        """Puts back what was there before the first :meth:`install`."""
        if threading.current_thread() is threading.main_thread():
            for each, before in self._before.items():
                signal.signal(each, signal.SIG_DFL if before is None else before)
            self._before.clear()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within, a signal is only remembered; :meth:`check` afterwards acts on it."""
        self._deferred += 1
        try:
            yield
        finally:
            self._deferred -= 1

    def check(self) -> None:
        """Raises KeyboardInterrupt if a signal has come."""
        if self.pending:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._received += 1
        if not self._deferred or self._received >= PATIENCE:
            raise KeyboardInterrupt
