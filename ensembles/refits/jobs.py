"""Refits: settings that the search has found, trained again on other rows or from another start, each a new member.

One job says what is trained on (a bootstrap sample, rows drawn by weight, or all as they are), where it begins (weights
drawn by its own seed, or those of a checkpoint), and which epoch is kept. A refit is a folder ``refits/<hash>/`` like a
trial's, with ``checkpoint/`` and ``predictions/``; the hash is of all that it depends on. The file ``done`` is written
last; a refit that was killed goes on where its Trainer left off. Samples are drawn from warm and policy together, under
folds from those of each fold, so that what a fold holds out stays unseen.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.members.library import Member
from sweepstack.models import checksums
from sweepstack.models.errors import TrainingError
from sweepstack.models.files import as_json, read_json
from sweepstack.models.predictions.probabilities import Predictions
from sweepstack.models.settings.trial import TrialSettings

if TYPE_CHECKING:
    from sweepstack.models.data.encoding import TaskData
    from sweepstack.models.data.pairs import WritingData
    from sweepstack.models.rl.rewards import RewardOf
    from sweepstack.models.training.parts import TrainerLike

FORMAT = 2
FITTED = "fitted"  # the predictions of all rows of warm and policy, those of one fold after the other

Weights = tuple[NDArray[np.float64], ...]
"""(rows of warm and policy,) for each fold, or one array: how much likelier than others a row is drawn."""


class Future(Protocol):
    def result(self) -> Any: ...


class Executor(Protocol):
    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future: ...


@dataclass(frozen=True)
class Sample:
    """As many rows of warm and policy as there are, drawn with replacement; ``weights`` None: all alike."""

    seed: int
    weights: Weights | None = field(default=None, compare=False, repr=False)

    @property
    def identity(self) -> list[Any]:
        digests = [hashlib.sha256(each.tobytes()).hexdigest() for each in self.weights or ()]
        return [self.seed, digests]


@dataclass(frozen=True)
class RefitJob:
    settings: TrialSettings
    folder: Path  # named by a hash of all that it depends on; see :meth:`of`
    sample: Sample | None = None  # None: the rows as they are
    initial: Path | None = None  # the checkpoint whose weights it begins with; None: they are drawn
    chosen: bool = True  # whether the best epoch by valid is kept, or the last one
    until: int | None = None  # the last epoch that is trained, where that is not the settings' own
    like: Path | None = None  # a checkpoint whose threshold it answers at, where valid is trained on

    @staticmethod
    def of(
        refits: Path,
        hashes: Mapping[str, str],
        settings: TrialSettings,
        sample: Sample | None = None,
        initial: Path | None = None,
        chosen: bool = True,
        until: int | None = None,
        like: Path | None = None,
    ) -> "RefitJob":
        """A job in a folder of ``refits``; ``hashes`` of the data's parts."""
        identity = [
            FORMAT,
            settings.model_dump(mode="json"),
            None if sample is None else sample.identity,
            None if initial is None else checkpoint_hash(initial),
            chosen,
            until,
            None if like is None else _thresholds(like),
            dict(sorted(hashes.items())),
        ]
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        return RefitJob(settings, refits / digest, sample, initial, chosen, until, like)

    @property
    def name(self) -> str:
        return f"refit-{self.folder.name}"

    @property
    def member(self) -> Member:
        return Member(self.name, "refit", self.folder)

    @property
    def marker(self) -> Path:
        return self.folder / "done"

    def said_of_fitted(self) -> Predictions:
        """What a finished refit with a sample says of every row of warm and policy, drawn or not."""
        return Predictions.load(self.member.predictions(FITTED))[0]


@dataclass(frozen=True)
class RefitResult:
    job: RefitJob
    reports: tuple[dict[str, float], ...]  # the metrics on valid after each epoch
    error: str | None  # why it came to nothing; then it is no member


Chain = Callable[[Sequence[RefitResult]], RefitJob | None]
"""The job that follows those results, or None where the chain ends; every step is a function of them alone, so that a
chain that was killed goes on."""


def checkpoint_hash(checkpoint: Path) -> str:
    """Of every file in it, those of folds included, but not of their checksums, which older versions do not have."""
    digest = hashlib.sha256()
    for path in sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != checksums.NAME):
        digest.update(str(path.relative_to(checkpoint)).encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def refit(
    job: RefitJob, data: "TaskData | WritingData", metric: str, reward_of: "RewardOf | None" = None
) -> RefitResult:
    """Trains one refit to its end, in whatever process it is called; a training that breaks down is a result too.

    ``reward_of``: of a writer, see :class:`Trainer`; it has no sample and no threshold.
    """
    if job.marker.exists():
        return read_result(job)
    from sweepstack.models.data.pairs import WritingData
    from sweepstack.models.tasks.trainers import make_trainer

    labelled = None if isinstance(data, WritingData) else data
    starts = job.folder / "starts"
    trainer: TrainerLike | None = None
    error = None
    try:
        settings, rows = _prepared(job, data, starts)
        trainer = make_trainer(
            settings, rows, starts, job.folder, metric, chosen=job.chosen, until=job.until, reward_of=reward_of
        )
        parts = len(labelled.folds) if labelled is not None and labelled.folds else 1
        while len(trainer.reports) < (job.until or settings.train.epochs) * parts:
            trainer.step()
        if labelled is not None:
            _keep_threshold(job, labelled)
            if job.sample is not None:
                _predict_fitted(job, labelled)
    except TrainingError as raised:
        error = str(raised)
    reports = [] if trainer is None else [dict(report) for report in trainer.reports]
    if trainer is not None:
        trainer.close(True)
    shutil.rmtree(starts, ignore_errors=True)
    checksums.put(job.folder, {job.marker.name: as_json({"reports": reports, "error": error})})
    return read_result(job)


def _prepared(
    job: RefitJob, data: "TaskData | WritingData", starts: Path
) -> "tuple[TrialSettings, TaskData | WritingData]":
    """The settings, their precision decided, and the rows; a start that begins at a checkpoint is trained already."""
    from sweepstack.models.data.encoding import resample
    from sweepstack.models.data.pairs import WritingData
    from sweepstack.models.tasks.classification.supervised import ensure_start, with_precision
    from sweepstack.models.training.fold_checkpoint import fold_folders

    if isinstance(data, WritingData):
        from sweepstack.models.tasks.writing.supervised import ensure_writing_start, writing_precision

        settings = writing_precision(job.settings, data, starts)
        ensure_writing_start(settings, data, starts, job.initial)
        return settings, data
    rows = data if job.sample is None else resample(data, job.sample.seed, job.sample.weights)
    if job.initial is None:
        return job.settings, rows
    settings = with_precision(job.settings, (rows.folds or (rows,))[0], starts)
    initials = fold_folders(job.initial, len(rows.folds)) if rows.folds else [job.initial]
    for fold, initial in zip(rows.folds or (rows,), initials, strict=True):
        ensure_start(settings, fold, starts, initial)
    return settings, rows


def _thresholds(checkpoint: Path) -> dict[str, Any]:
    """Those that a checkpoint answers at, none where it has a learned stop; all folds of one have the same."""
    own = checkpoint / "config.json"
    config = read_json(own if "threshold" in read_json(own) else checkpoint / "fold-1" / "config.json")
    return {name: config[name] for name in ("threshold", "thresholds")}


def _keep_threshold(job: RefitJob, data: "TaskData") -> None:
    """Has a refit without a learned stop answer where the member that it is like did, and predicts test so."""
    if job.like is None or (own := _thresholds(job.like))["threshold"] is None:
        return
    from sweepstack.models.networks.device import pick_device
    from sweepstack.models.predictions.costs import Costs
    from sweepstack.models.tasks.classification.checkpoint import load_policy, predict

    checkpoint = job.member.checkpoint
    checksums.put(checkpoint, {"config.json": as_json({**read_json(checkpoint / "config.json"), **own})})
    policy, _ = load_policy(checkpoint, pick_device(job.settings.device))
    said = predict(policy, data.parts["test"], own["threshold"], costs=Costs(matrix=data.costs))
    said.save(job.member.predictions("test"), data.hashes["test"])


def _predict_fitted(job: RefitJob, data: "TaskData") -> None:
    """Keeps what the refit says of the rows that it might have been trained on, before they were sampled."""
    from sweepstack.models.data.encoding import fitted_rows
    from sweepstack.models.networks.device import pick_device
    from sweepstack.models.predictions.costs import Costs
    from sweepstack.models.predictions.probabilities import one_after_another
    from sweepstack.models.tasks.classification.checkpoint import load_policy, predict
    from sweepstack.models.training.fold_checkpoint import fold_folders

    checkpoint = job.member.checkpoint
    checkpoints = fold_folders(checkpoint, len(data.folds)) if data.folds else [checkpoint]
    said = []
    for fold, own in zip(data.folds or (data,), checkpoints, strict=True):
        policy, config = load_policy(own, pick_device(job.settings.device))
        threshold: Any = config["threshold"]
        said.append(predict(policy, fitted_rows(fold), threshold, costs=Costs(matrix=data.costs)))
    rows_hash = hashlib.sha256(json.dumps(dict(sorted(data.hashes.items()))).encode()).hexdigest()[:16]
    one_after_another(said).save(job.member.predictions(FITTED), rows_hash)


def read_result(job: RefitJob) -> RefitResult:
    state = read_json(job.marker)
    return RefitResult(job, tuple(state["reports"]), state["error"])


def refits(
    jobs: Sequence[RefitJob], data: Any, metric: str, executor: Executor, reward_of: "RewardOf | None" = None
) -> Iterator[RefitResult]:
    """The results in the order of ``jobs``, as they come; those that are done already cost nothing.

    ``data`` and ``reward_of`` are those of :func:`refit`, or whatever the executor turns into them (a Ray object
    reference). All jobs are submitted before the first result is waited for.
    """
    missing = [job for job in jobs if not job.marker.exists()]
    running = {job.folder: executor.submit(refit, job, data, metric, reward_of) for job in missing}
    for job in jobs:
        yield running[job.folder].result() if job.folder in running else read_result(job)


def follow(
    chains: Sequence[Chain], data: Any, metric: str, executor: Executor, reward_of: "RewardOf | None" = None
) -> Iterator[tuple[int, RefitResult]]:
    """The results of several chains, each with the place of its chain, round by round: those of a round at once."""
    results: list[list[RefitResult]] = [[] for _ in chains]
    going = list(range(len(chains)))
    while going:
        jobs = {i: job for i in going if (job := chains[i](results[i])) is not None}
        for i, result in zip(jobs, refits(list(jobs.values()), data, metric, executor, reward_of), strict=True):
            results[i].append(result)
            yield i, result
        going = [i for i in jobs if results[i][-1].error is None]
