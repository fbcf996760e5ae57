"""What trains the trials of a sweep in a worker. Unpickling it imports what is trained with, and nothing of the driver:
a worker's start is waited for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepstack.models.data.encoding import TaskData
from sweepstack.models.data.pairs import WritingData
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.tasks.trainers import make_trainer, new_trainer
from sweepstack.models.training.parts import PartsTrainer, TrainerLike
from sweepstack.models.training.trainer import Parent, Trainer
from sweepstack.search.execution.worker import Assignment
from sweepstack.search.execution.writing_reward import RewardOf
from sweepstack.search.ledger.repetitions import settings_of_repetition, with_start
from sweepstack.search.ledger.run_folder import RunFolder


@dataclass(frozen=True)
class MakeTrainer:
    """What a worker needs to train any trial of a sweep; the data comes out of Ray's object store."""

    settings: TrialSettings
    data: Any  # a Ray ObjectRef of TaskData or WritingData; None in an environment
    starts: Path
    folder: Callable[[int], Path]
    metric: str
    cost: float  # of a READ, for scoring
    seeds: int = 1  # how often a trial is trained at most
    confirms: bool = False  # a trial's seed is that of its start, too
    reward_of: RewardOf | None = None  # of texts that are written

    def __call__(self, trial: Assignment) -> TrainerLike:
        import ray

        data: TaskData | WritingData | None = None if self.data is None else ray.get(self.data)
        values = with_start(trial.settings, self.settings) if self.confirms else trial.settings
        settings, folder = self.settings.with_values(values), self.folder(trial.number)

        def trained(own: TrialSettings, folder: Path, parent: Parent | None = None) -> Trainer:
            return new_trainer(
                own, data, self.starts, folder, self.metric, self.cost, parent=parent, reward_of=self.reward_of
            )

        if trial.parent is not None:
            return trained(settings, folder, Parent(self.folder(trial.parent), trial.epochs_before))
        if isinstance(data, TaskData) and data.folds:
            return make_trainer(settings, data, self.starts, folder, self.metric, self.cost)
        if self.seeds == 1:
            return trained(settings, folder)

        def repetition(place: int) -> Trainer:
            own = settings_of_repetition(settings, trial.settings, place)
            return trained(own, RunFolder.repetition(folder, place))

        return PartsTrainer(folder, self.seeds, settings.train.epochs, repetition)
