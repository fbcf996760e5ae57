"""How many trials run at a time: what this machine, or each machine of a cluster, has room for."""

import math
from collections.abc import Sequence
from typing import Literal

from sweepstack.models.errors import StudyError
from sweepstack.search.study.search_section import Resources


def cpus() -> int:
    """The cores that this process may use: of its affinity and its container, not of the machine."""
    from joblib import cpu_count

    return int(cpu_count())


def gpus() -> int:
    import torch

    return torch.cuda.device_count()


def check_device(device: str, resources: Resources, machines: Sequence[float] | None = None) -> None:
    """Raises StudyError where trials on ``device`` would fail: on this machine, or on those of a cluster, given by how
    many GPUs each has."""
    if device != "cuda":
        return
    if machines is None:
        import torch

        if not torch.cuda.is_available():
            raise StudyError(
                "device is cuda, and torch finds no CUDA device on this machine; take auto or cpu, "
                "or give the --address of a Ray cluster that has one"
            )
    elif not any(machines):
        raise StudyError("device is cuda, and no machine of the cluster has a GPU; take auto or cpu")
    elif not all(machines) and not resources.gpu:
        raise StudyError(
            "device is cuda, and not every machine of the cluster has a GPU; "
            "set search.resources.gpu, so that trials go where there is one"
        )


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
