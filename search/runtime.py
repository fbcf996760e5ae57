"""Ray for one session: started when it is first needed, quiet, in a folder of its own, and gone without a trace.

Locally the session is a cluster for itself, on this machine only, with a token that no other process knows. With an
address it joins a cluster, which must see the run folder under the same path.
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
from sweepstack.search import scratch
from sweepstack.search.chatter import gather
from sweepstack.search.folder import RunFolder
from sweepstack.search.interrupts import Interrupts
from sweepstack.search.study import Resources

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` it would build an environment for each worker
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # JSON, CSV and TensorBoard files: 50 ms a trial
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it waits for the running step
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # no snapshots: the ledger is the truth
    "TUNE_WARN_THRESHOLD_S": "10",
}
TOKEN = secrets.token_hex(32)  # without one in the environment Ray writes one to the user's home
PATIENCE = 4.0  # seconds that a cluster may take to answer
LINGERING = 30.0  # seconds that workers of a driver which was killed may take to be gone


def cpus() -> int:
    """The cores that this process may use: of its affinity and its container, not of the machine."""
    from joblib import cpu_count

    return int(cpu_count())


def gpus() -> int:
    import torch

    return torch.cuda.device_count()


def slots(concurrency: int | Literal["auto"], resources: Resources) -> int:
    """How many trials run at a time on this machine; auto: as many as its cores and GPUs allow, at least one.

    Raises StudyError where a trial wants more GPUs than there are.
    """
    fitting = trials_on(cpus(), gpus() if resources.gpu else 0, resources)
    if not fitting and resources.gpu:
        raise StudyError(
            f"search.resources.gpu is {resources.gpu:g} a trial, and this machine has {gpus()}; "
            "lower it, or give the --address of a Ray cluster"
        )
    return concurrency if concurrency != "auto" else max(1, fitting)


def trials_on(cpu: float, gpu: float, resources: Resources) -> int:
    """How many trials fit a machine. Shares of a GPU are shares of one: three of 0.4 need two GPUs."""
    by_cpu = math.floor(cpu / resources.cpu + 1e-9)
    if not resources.gpu:
        return by_cpu
    per_gpu = math.floor(1 / resources.gpu + 1e-9)
    by_gpu = math.floor(gpu) * per_gpu if per_gpu else math.floor(gpu / resources.gpu + 1e-9)
    return min(by_cpu, by_gpu)


class Task:
    """The result of a call on the cluster, to come."""

    def __init__(self, reference: Any, interrupts: Interrupts) -> None:
        self._reference, self._interrupts = reference, interrupts

    def done(self) -> bool:
        import ray

        return bool(ray.wait([self._reference], timeout=0)[0])

    def result(self) -> Any:
        """Waits for it; raises what the call raised, KeyboardInterrupt, or SweepstackError where its worker died."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        while not ray.wait([self._reference], timeout=0.1)[0]:
            self._interrupts.check()
        try:
            return ray.get(self._reference)
        except RayTaskError as error:
            raise error.cause from error
        except RayError as error:
            raise SweepstackError(
                f"a worker process died ({type(error).__name__}), killed or out of memory; "
                "free some memory, or lower search.concurrency, and run the same command again"
            ) from error


class Cluster:
    """Takes SIGINT and SIGTERM from its making to :meth:`close`, which must be called."""

    def __init__(
        self,
        folder: RunFolder,
        address: str | None = None,
        *,
        concurrency: int | Literal["auto"] = "auto",
        resources: Resources = Resources(),
    ) -> None:
        self.folder, self.address, self.resources = folder, address, resources
        self.interrupts = Interrupts()
        self.interrupts.install()
        self._concurrency = concurrency
        self._scratch: scratch.Scratch | None = None
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

        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
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

        scratch.sweep()
        self._scratch = scratch.Scratch()
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
                _node_ip_address="127.0.0.1",
                _temp_dir=str(self._scratch.path),
            )
        except Exception as error:
            self.close()
            raise SweepstackError(
                f"Ray did not start on this machine: {_line(error)}; see {self.folder.log}"
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
        """Two workers on one trial would spoil its files: each holds a shared lock on the log as long as it lives."""
        self.folder.root.mkdir(parents=True, exist_ok=True)
        file = os.open(self.folder.log, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
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
        """``fn(*args)`` in a worker process with one core; what :meth:`share` returned is given as its value.

        A worker that dies is replaced twice, so ``fn`` must go on, or begin again, from what it left on disk.
        """
        return self.executor(Resources()).submit(fn, *args)

    def executor(self, resources: Resources) -> "RayExecutor":
        """The same with other resources than one core for each call."""
        return RayExecutor(self, resources)

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
                gather(self._scratch.path / "session_latest" / "logs", self.folder.log)
                self._scratch.remove()
                self._scratch = None
            for name in self._environment:
                os.environ.pop(name, None)
            self._environment.clear()
        self.interrupts.restore()


class RayExecutor:
    """Calls in worker processes, as with :mod:`concurrent.futures`."""

    def __init__(self, cluster: Cluster, resources: Resources) -> None:
        self._cluster, self._resources = cluster, resources

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Task:
        self._cluster.start()
        import ray

        from sweepstack.search.worker import call

        needs = {"num_cpus": self._resources.cpu, "num_gpus": self._resources.gpu, "max_retries": 2}
        threads = max(1, int(self._resources.cpu))
        reference = ray.remote(**needs)(call).remote(self._cluster.folder.log, threads, fn, *args)
        return Task(reference, self._cluster.interrupts)


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
