"""Ray for one session: started when it is first needed, quiet, in a folder of its own, and gone without a trace.

Locally the session is a cluster for itself, which obeys only those who know its token: the processes that it starts.
With an address it joins a cluster, which must see the run folder under the same path.
"""

import fcntl
import logging
import math
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from sweepstack.models.errors import StorageError, StudyError, SweepstackError
from sweepstack.models.files import open_log
from sweepstack.search.execution import ray_files
from sweepstack.search.execution.capacity import check_device, cpus, slots, trials_on
from sweepstack.search.execution.futures import RayExecutor, Task
from sweepstack.search.execution.interrupts import Interrupts
from sweepstack.search.execution.log_capture import gather
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.study.search_section import Resources

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` it would build an environment for each worker
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # it prints a frame in spite of verbose=0
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # JSON, CSV and TensorBoard files: 50 ms a trial
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it waits for the running step
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # no snapshots: the ledger is the truth
    "TUNE_WARN_THRESHOLD_S": "10",
}
TOKEN = secrets.token_hex(32)  # without one in the environment Ray writes one to the user's home
PATIENCE = 4.0  # seconds that a cluster may take to answer
ONE_CORE = Resources()
LINGERING = 30.0  # seconds that workers of a driver which was killed may take to be gone


class Cluster:
    """Takes SIGINT and SIGTERM from its making to :meth:`close`, which must be called."""

    def __init__(
        self,
        folder: RunFolder,
        address: str | None = None,
        *,
        concurrency: int | Literal["auto"] = "auto",
        resources: Resources = ONE_CORE,
        device: str = "auto",
    ) -> None:
        self.device = device  # of its trials
        self.folder, self.address, self.resources = folder, address, resources
        self.interrupts = Interrupts()
        self.interrupts.install()
        self._concurrency = concurrency
        self._scratch: ray_files.Scratch | None = None
        self._started = self._borrowed = False
        self._environment: list[str] = []  # the variables that were not set before
        self._shared: list[tuple[Any, Any]] = []

    @property
    def slots(self) -> int:
        """How many trials run at a time. On a cluster, which is asked: as many as its machines hold."""
        if self.address is None:
            return slots(self._concurrency, self.resources)
        self.start()
        import ray

        nodes: Any = ray.nodes  # not typed
        machines = [node["Resources"] for node in nodes() if node["Alive"]]
        check_device(self.device, self.resources, [machine.get("GPU", 0) for machine in machines])
        fitting = sum(trials_on(m.get("CPU", 0), m.get("GPU", 0), self.resources) for m in machines)
        if not fitting:
            raise StudyError(
                f"search.resources (cpu {self.resources.cpu:g}, gpu {self.resources.gpu:g}) fits no machine of the "
                f"cluster at {self.address}; lower it"
            )
        return fitting if self._concurrency == "auto" else self._concurrency

    def start(self) -> None:
        """Starts or joins Ray, unless that is done; returns when no worker of an earlier driver is left.

        Raises KeyboardInterrupt if a signal came meanwhile, StorageError, and SweepstackError where Ray refuses.
        """
        if self._started:
            return
        with self.interrupts.deferred():
            self._set(ENVIRONMENT)
            import ray

            self._started = True
            if ray.is_initialized():  # by the user, who will end it
                self._borrowed = True
            elif self.address is None:
                self._start_local()
            else:
                self._join(self.address)
        self.interrupts.install()
        self.interrupts.check()
        self._wait_for_workers()

    def _start_local(self) -> None:
        import ray

        ray_files.sweep()
        self._scratch = ray_files.Scratch()
        self._set({"RAY_AUTH_TOKEN": TOKEN})
        if "RAY_AUTH_MODE" not in os.environ:  # Ray sets it
            self._environment.append("RAY_AUTH_MODE")
        needed = self.slots * self.resources.cpu
        try:
            ray.init(
                address="local",
                num_cpus=max(cpus(), math.ceil(needed - 1e-9)),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=str(self._scratch.ray),
            )
        except Exception as error:
            self.close()
            raise SweepstackError(
                f"Ray did not start on this machine: {_line(error)}; run the same again when it is less busy; see "
                f"{self.folder.log}"
            ) from error

    def _join(self, address: str) -> None:
        import ray

        if address != "auto":
            check_address(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            self.close()
            raise SweepstackError(f"the Ray cluster at {address} cannot be used: {_line(error)}") from error

    def _set(self, environment: dict[str, str]) -> None:
        """Sets what the user's environment does not say otherwise, until :meth:`close`."""
        for name, value in environment.items():
            if name not in os.environ:
                self._environment.append(name)
                os.environ[name] = value

    def _wait_for_workers(self) -> None:
        """Two workers on one trial would spoil its files: each holds a shared lock on the log while it works."""
        self.folder.root.mkdir(parents=True, exist_ok=True)
        file = open_log(self.folder.log)
        deadline = time.monotonic() + LINGERING
        try:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError:
                    self.interrupts.check()
                    if time.monotonic() > deadline:
                        raise StorageError(
                            f"workers of an earlier run still work in {self.folder.root}; end them, and try again"
                        ) from None
                    time.sleep(0.05)
                except OSError:  # a file system without locks
                    return
        finally:
            os.close(file)

    def share(self, value: Any) -> Any:
        """``value`` in Ray's object store, once however often it is asked for; a task gets it as an argument."""
        self.start()
        for known, reference in self._shared:
            if known is value:
                return reference
        import ray

        self._shared.append((value, ray.put(value)))
        return self._shared[-1][1]

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Task:
        """``fn(*args)`` in a worker process with one core; what :meth:`share` returned is given as its value."""
        return self.executor(ONE_CORE).submit(fn, *args)

    def executor(self, resources: Resources) -> "RayExecutor":
        """The same with other resources than one core for each call."""
        self.start()
        return RayExecutor(self.folder.log, resources, self.interrupts)

    @contextmanager
    def storage(self) -> Iterator[Path]:
        """A folder for what Tune insists on writing; a cluster's other machines must see it."""
        if self._scratch is not None:
            yield self._scratch.path
            return
        path = self.folder.root / ".tune"
        shutil.rmtree(path, ignore_errors=True)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Ends Ray with all its processes, keeps what its workers have printed, and gives the signals back."""
        with self.interrupts.deferred():
            self._shared.clear()
            if self._started and not self._borrowed:
                import ray

                ray.shutdown(wait_for_processes=True)
            self._started = self._borrowed = False
            if self._scratch is not None:
                gather(self._scratch.ray / "session_latest" / "logs", self.folder.log)
                self._scratch.remove()
                self._scratch = None
            for name in self._environment:
                os.environ.pop(name, None)
            self._environment.clear()
        self.interrupts.restore()


def check_address(address: str) -> None:
    """Raises SweepstackError where nothing answers at ``host:port``; Ray itself would try for half a minute."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise StudyError(f"--address is {address!r}, but must be host:port of a Ray cluster's head, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()
    except OSError as error:
        raise SweepstackError(
            f"no Ray cluster answers at {address} ({error.strerror or error}); "
            "start one with ray start --head, or leave out --address"
        ) from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
