"""Refits for bagging: the best settings trained again, each on a bootstrap sample and from a start of its own.

A bootstrap sample is drawn from warm and policy together, under folds from those of each fold, so that what a fold
holds out stays unseen. A refit is a folder ``refits/<hash>/`` like a trial's, with
``checkpoint/`` and ``predictions/``; the hash is of all that it depends on. The file ``done`` is written last. A refit
that was killed goes on where its Trainer left off.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sweepstack.ensembles.store import Member
from sweepstack.models.errors import TrainingError
from sweepstack.models.files import read_json, write_json
from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings import TrialSettings

if TYPE_CHECKING:
    from sweepstack.models.encoding import TaskData

FORMAT = 1


class Future(Protocol):
    def result(self) -> Any: ...


class Executor(Protocol):
    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future: ...


@dataclass(frozen=True)
class RefitJob:
    settings: TrialSettings
    bootstrap_seed: int
    folder: Path

    @property
    def name(self) -> str:
        return f"refit-{self.folder.name}"

    @property
    def member(self) -> Member:
        return Member(self.name, "refit", self.folder)

    @property
    def marker(self) -> Path:
        return self.folder / "done"


@dataclass(frozen=True)
class RefitResult:
    job: RefitJob
    reports: tuple[dict[str, float], ...]  # the metrics on valid after each epoch
    error: str | None  # why it came to nothing; then it is no member


def refit_jobs(
    best: Sequence[TrialSettings], members: int, seed: int, hashes: Mapping[str, str], refits: Path
) -> list[RefitJob]:
    """``members`` refits of each of the ``best`` settings; ``hashes`` of the data's parts.

    Each has its own bootstrap sample and its own supervised start, so that members err differently.
    """
    jobs: dict[Path, RefitJob] = {}  # two of the best may differ in nothing but the seed that is replaced here
    for settings in best:
        for i in range(members):
            own = settings.with_values({"train.warm_start.seed": derive_seed(seed, "refit start", i)})
            bootstrap_seed = derive_seed(seed, "bootstrap", i)
            identity = [FORMAT, own.model_dump(mode="json"), bootstrap_seed, dict(sorted(hashes.items()))]
            digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
            jobs[refits / digest] = RefitJob(own, bootstrap_seed, refits / digest)
    return list(jobs.values())


def refit(job: RefitJob, data: "TaskData", metric: str) -> RefitResult:
    """Trains one refit to its end, in whatever process it is called; a training that breaks down is a result too."""
    if job.marker.exists():
        return read_result(job)
    from sweepstack.models.encoding import resample
    from sweepstack.models.folds import make_trainer

    starts = job.folder / "starts"
    trainer = make_trainer(job.settings, resample(data, job.bootstrap_seed), starts, job.folder, metric)
    epochs = job.settings.train.epochs * max(1, len(data.folds))
    error = None
    try:
        while len(trainer.reports) < epochs:
            trainer.step()
    except TrainingError as raised:
        error = str(raised)
    trainer.close(True)
    shutil.rmtree(starts, ignore_errors=True)
    write_json(job.marker, {"reports": [dict(report) for report in trainer.reports], "error": error})
    return read_result(job)


def read_result(job: RefitJob) -> RefitResult:
    state = read_json(job.marker)
    return RefitResult(job, tuple(state["reports"]), state["error"])


def refits(jobs: Sequence[RefitJob], data: Any, metric: str, executor: Executor) -> Iterator[RefitResult]:
    """The results in the order of ``jobs``, as they come; those that are done already cost nothing.

    ``data`` is a TaskData, or whatever the executor turns into one (a Ray object reference). All jobs are submitted
    before the first result is waited for.
    """
    running = {job.folder: executor.submit(refit, job, data, metric) for job in jobs if not job.marker.exists()}
    for job in jobs:
        yield running[job.folder].result() if job.folder in running else read_result(job)
