"""Single calls in Ray's worker processes, for what is no trial: the linear baseline, refits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sweepstack.models.errors import SweepstackError
from sweepstack.search.execution.interrupts import Interrupts
from sweepstack.search.study.search_section import Resources

RETRIES = 2  # new workers for a call whose worker process died


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


class RayExecutor:
    """Calls with given resources, as with :mod:`concurrent.futures`; Ray must have been started."""

    def __init__(self, log: Path, resources: Resources, interrupts: Interrupts) -> None:
        self._log, self._resources, self._interrupts = log, resources, interrupts

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Task:
        """``fn(*args)`` in a worker process; an object reference among ``args`` is given as its value.

        A worker that dies is replaced, so ``fn`` must go on, or begin again, from what it left on disk.
        """
        import ray

        from sweepstack.search.execution.worker import call

        cpu, gpu = self._resources.cpu, self._resources.gpu
        remote: Any = ray.remote(num_cpus=cpu, num_gpus=gpu, max_retries=RETRIES)(call)
        return Task(remote.remote(self._log, max(1, int(cpu)), fn, *args), self._interrupts)
