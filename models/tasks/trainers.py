"""The trainer of a trial by its task: which second stage it has, and whether it is one training or several folds."""

from functools import partial
from pathlib import Path

from sweepstack.models.data.encoding import TaskData, labels_of
from sweepstack.models.data.pairs import WritingData
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.rl.rewards import RewardOf
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.tasks.classification.stage import make_stage as make_reading_stage
from sweepstack.models.tasks.writing.simultaneous_stage import SimultaneousControlStage, SimultaneousPolicyStage
from sweepstack.models.tasks.writing.stage import WritingControlStage, WritingPolicyStage, WritingStage
from sweepstack.models.training.folds import FoldsTrainer, put_together, unfinished
from sweepstack.models.training.parts import TrainerLike
from sweepstack.models.training.trainer import Parent, Stage, Trainer


def make_stage(
    settings: TrialSettings,
    data: TaskData | WritingData | None,
    starts: Path,
    metric: str,
    cost: float | None = None,
    reward_of: RewardOf | None = None,
) -> Stage:
    """The second stage of a trial, with nothing trained in it yet; see :func:`new_trainer`."""
    if settings.environment is not None:
        from sweepstack.models.tasks.gymnasium.stage import EnvironmentStage  # gymnasium is an extra

        return EnvironmentStage(settings, metric)
    assert data is not None
    if isinstance(data, WritingData):
        control = settings.train.algorithm == "supervised"
        writes: type[WritingStage] = WritingControlStage if control else WritingPolicyStage
        if settings.reading != "off":
            writes = SimultaneousControlStage if control else SimultaneousPolicyStage
        return writes(settings, data, starts, metric, reward_of, cost)
    return make_reading_stage(settings, data, starts, metric, cost)


def new_trainer(
    settings: TrialSettings,
    data: TaskData | WritingData | None,
    starts: Path,
    folder: Path,
    metric: str,
    cost: float | None = None,
    chosen: bool = True,
    parent: Parent | None = None,
    until: int | None = None,
    reward_of: RewardOf | None = None,
) -> Trainer:
    """A trainer of one training, without folds; see :class:`Trainer`.

    ``data`` is what texts are read from; an environment has none. ``cost`` of a READ is what valid is scored with, by
    default the trial's own: where a study searches ``reading.cost``, trials must be compared by one. ``reward_of``:
    where a writer's reward needs what only the caller has, see rewards.RewardOf.
    """
    stage = partial(make_stage, settings, data, starts, metric, cost, reward_of)
    return Trainer(settings, stage, folder, metric, chosen, parent, until)


def make_trainer(
    settings: TrialSettings,
    data: TaskData | WritingData | None,
    starts: Path,
    folder: Path,
    metric: str,
    cost: float | None = None,
    chosen: bool = True,
    until: int | None = None,
    reward_of: RewardOf | None = None,
) -> TrainerLike:
    """A trainer of one trial, see :func:`new_trainer`; under folds its epochs are those of one fold after the other and
    the last epoch of each is kept."""
    if not isinstance(data, TaskData) or not data.folds:
        return new_trainer(settings, data, starts, folder, metric, cost, chosen, until=until, reward_of=reward_of)
    folds = data.folds

    def of_fold(k: int) -> Trainer:
        return new_trainer(settings, folds[k], starts, unfinished(folder, k), metric, cost, chosen=False)

    def ended(k: int) -> None:
        if k == len(folds) - 1:
            read_cost = settings.read_cost if cost is None else cost
            interval = None if settings.reading == "off" else settings.reading.interval
            labels = [labels_of(fold, "valid") for fold in folds]
            put_together(folder, labels, data.hashes, Costs(read_cost, data.costs), interval)

    return FoldsTrainer(folder, len(folds), settings.train.epochs, of_fold, ended)
