"""Ray for the length of a session: started when it is first needed, gone when the session ends, silent in between.

A local Ray lives in a temporary folder of its own, which is removed; folders that a killed driver has left are removed
by the next one. On a cluster (``address``) only the connection is ours.
"""

import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, TextIO

from sweepstack.models.errors import StorageError, StudyError
from sweepstack.search.folder import RunFolder

if TYPE_CHECKING:
    from sweepstack.search.study import Resources

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # CSV, JSON and TensorBoard files cost more than a small trial
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's own waits for the running step
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
PREFIX = "sweepstack-ray-"
OWNER = "owner"  # a file with the driver's process id


def slots(concurrency: int | Literal["auto"], resources: "Resources") -> int:
    """How many trials run at a time; raises StudyError where not even one fits."""
    cpus = len(os.sched_getaffinity(0))
    fitting = int(cpus / resources.cpu)
    if fitting < 1:
        raise StudyError(f"search.resources.cpu is {resources.cpu:g}, but this machine has {cpus}; lower it")
    return fitting if concurrency == "auto" else min(concurrency, fitting)


@dataclass(frozen=True)
class Future:
    """The result of a Ray task."""

    reference: Any

    def result(self) -> Any:
        import ray
        from ray.exceptions import RayTaskError

        try:
            return ray.get(self.reference)
        except RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            raise cause from None


class Cluster:
    """Ray, from the first call that needs it until :meth:`close`."""

    def __init__(self, address: str | None, log: Path) -> None:
        self._address, self._log = address, log
        self._folder: Path | None = None
        self.started = False

    def start(self) -> None:
        if self.started:
            return
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import ray

        options: dict[str, Any] = {"log_to_driver": False, "configure_logging": True, "logging_level": logging.WARNING}
        if self._address is None:
            _remove_stale()
            self._folder = Path(tempfile.mkdtemp(prefix=PREFIX))
            (self._folder / OWNER).write_text(str(os.getpid()))
            options |= {
                "address": "local",
                "num_cpus": len(os.sched_getaffinity(0)),
                "include_dashboard": False,
                "_temp_dir": str(self._folder),
            }
        else:
            options["address"] = self._address
        try:
            ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            self._remove_folder()
            where = self._address or "this machine"
            raise StorageError(
                f"Ray does not start on {where}: {str(error).splitlines()[0]}; see {self._log}"
            ) from error
        self.started = True
        stop_on_signals()  # ray.init has set handlers of its own

    def share(self, value: Any) -> Any:
        """Puts ``value`` once into the object store; tasks get it by the reference."""
        self.start()
        import ray

        return ray.put(value)

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future:
        """Calls ``function`` as a Ray task on one core."""
        self.start()
        import ray

        return Future(ray.remote(num_cpus=1, max_retries=2)(function).remote(*arguments))

    def close(self) -> None:
        if self.started:
            import ray

            ray.shutdown()
            self.started = False
        self._remove_folder()

    def _remove_folder(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _remove_stale() -> None:
    """Folders whose driver is dead: a killed one cannot remove its own."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError, ValueError):
            if not Path(f"/proc/{int((folder / OWNER).read_text())}").exists():
                shutil.rmtree(folder, ignore_errors=True)


class Interrupts:
    """SIGINT and SIGTERM: an exception at once, or, inside ``deferred``, a flag for who can stop in good order."""

    def __init__(self) -> None:
        self.asked = False
        self._deferred = False

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        if self._deferred and not self.asked:
            self.asked = True
            return
        self.asked = True
        raise KeyboardInterrupt

    @contextmanager
    def deferred(self) -> Iterator[None]:
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.asked:
            raise KeyboardInterrupt


interrupts = Interrupts()


def stop_on_signals() -> None:
    """In the main thread; elsewhere (a notebook's worker, a test) signals stay whose they are."""
    with suppress(ValueError):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interrupts.handle)


@contextmanager
def own_signals() -> Iterator[None]:
    """Our handlers for the length of a session, whoever sets others in between; then those from before."""
    interrupts.asked = False
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    stop_on_signals()
    try:
        yield
    finally:
        with suppress(ValueError):
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def quiet(folder: RunFolder) -> Iterator[TextIO]:
    """Sends what this process and its children print to the run's log; yields the stream that the user still sees."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    log = os.open(folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    own = _is_terminal_or_file()
    stream = os.fdopen(os.dup(saved[0]), "w", encoding=sys.stdout.encoding, errors="replace") if own else sys.stdout
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    try:
        yield stream
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        for descriptor in saved:
            os.close(descriptor)
        if own:
            stream.close()


def _is_terminal_or_file() -> bool:
    """Whether sys.stdout is the process's own; in a notebook it is not, and stays where it is."""
    try:
        return sys.stdout.fileno() == 1
    except (OSError, ValueError, AttributeError):
        return False
