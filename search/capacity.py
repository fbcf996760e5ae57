"""How many trials run at a time: what this machine, or each machine of a cluster, has room for."""

import math
from typing import Literal

from sweepstack.models.errors import StudyError
from sweepstack.search.search_settings import Resources


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
