"""One trial: the supervised start, then policy optimisation (or more supervised training) epoch by epoch.

After each epoch the policy is scored on valid; its best epoch is kept as a checkpoint with its predictions. What is
needed to go on is written last, so that a kill anywhere repeats one epoch at most, and repeats it exactly: every epoch
draws its random numbers from a seed of its own.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import Parameter

from sweepstack.models.actors import PLAYED, PREDICTED, FrozenActor, WholeActor, frozen_parts
from sweepstack.models.checkpoints import finished, load_policy, pick_device, predict, save_policy
from sweepstack.models.encoding import TaskData
from sweepstack.models.errors import TrainingError
from sweepstack.models.optimizers import make_optimizer
from sweepstack.models.policy import ReadingPolicy
from sweepstack.models.ppo import optimiser_steps, ppo_epoch
from sweepstack.models.predictions import DIRECTION, Predictions, fit_threshold, metrics
from sweepstack.models.reading import Texts
from sweepstack.models.resume import forget_state as forget_state
from sweepstack.models.resume import load_state, read_reports, save_state
from sweepstack.models.schedules import lr_factor
from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings import TrialSettings
from sweepstack.models.supervised import WEIGHT_DECAY, ensure_start, steps_in, train_epoch


@dataclass(frozen=True)
class Stage:
    """A trial at work."""

    policy: ReadingPolicy
    trained: dict[str, Parameter]  # by name; the rest stays as the start left it
    optimizer: torch.optim.Optimizer
    actor: FrozenActor | WholeActor | None  # None: more supervised training instead


class Trainer:
    """Trains one epoch a :meth:`step`; in a folder that holds an unfinished trial it goes on from there.

    ``metric`` says which epoch is the best one. ``cost`` of a READ is what valid is scored with, by default the
    trial's own: where a study searches ``reading.cost``, trials must be compared by one.
    """

    def __init__(
        self,
        settings: TrialSettings,
        data: TaskData,
        starts: Path,
        folder: Path,
        metric: str,
        cost: float | None = None,
    ) -> None:
        self.settings, self.metric = settings, metric
        self._data, self._starts, self._folder = data, starts, folder
        self._own_cost = settings.read_cost
        self._cost = self._own_cost if cost is None else cost
        self._stage: Stage | None = None
        self.reports: list[dict[str, float]] = read_reports(folder)

    def step(self) -> dict[str, float]:
        """Trains one epoch and scores it on valid; raises TrainingError where something is not a number."""
        began = time.monotonic()
        if self._stage is None:
            self._stage = self._prepare()
        stage, epoch = self._stage, len(self.reports)
        trained = self._supervised(stage, epoch) if stage.actor is None else self._ppo(stage, stage.actor, epoch)
        valid = self._read(stage, "valid")
        threshold = None
        if stage.actor is None:
            threshold = fit_threshold(valid.probabilities, valid.n_segments, self._labels("valid"), self._cost)
            valid = _answering(valid, threshold)
        report = {**metrics(valid, self._labels("valid"), self._cost), **trained}
        for name, value in report.items():
            if not math.isfinite(value):
                raise TrainingError(f"{name} is not a number ({value}) after epoch {epoch + 1}; lower train.lr")
        if not all(torch.isfinite(parameter).all() for parameter in stage.trained.values()):
            raise TrainingError(f"a weight is not a number after epoch {epoch + 1}; lower train.lr")
        direction = DIRECTION[self.metric]
        if all(direction * report[self.metric] > direction * each[self.metric] for each in self.reports):
            self._keep(stage, valid, threshold)
        report["seconds"] = time.monotonic() - began
        save_state(self._folder, stage.trained, stage.optimizer, [*self.reports, report])
        self.reports.append(report)
        return report

    def close(self, finished: bool) -> None:
        """``finished``: nothing will be trained any more, and what was kept to go on can go."""
        self._stage = None
        if finished:
            forget_state(self._folder)

    def _prepare(self) -> Stage:
        """The start, trained first if nobody has, and, of a trial that goes on, what it had come to."""
        train, data = self.settings.train, self._data
        start = ensure_start(self.settings, data, self._starts)
        policy, _ = load_policy(start, pick_device(self.settings.device))
        actor: FrozenActor | WholeActor | None = None
        if train.algorithm == "supervised":
            policy.read_head.requires_grad_(False)  # never asked: it answers above a threshold
            policy.value_head.requires_grad_(False)
        elif train.freeze == "encoder":
            only_answers = policy.reading.max_segments == 1
            learning = [policy.read_head, policy.value_head, *([policy.label_head] if only_answers else [])]
            policy.requires_grad_(False)
            for head in learning:
                head.requires_grad_(True)
            actor = FrozenActor(policy, frozen_parts(policy, data, str(start)), data.parts[PLAYED], only_answers)
        else:
            actor = WholeActor(policy, data.parts[PLAYED])
        trained = {name: p for name, p in policy.named_parameters() if p.requires_grad}
        decay = WEIGHT_DECAY if actor is None else 0.0
        optimizer = make_optimizer(train.optimizer, trained.values(), train.lr, decay)
        if self.reports:
            load_state(self._folder, trained, optimizer, len(self.reports))
        return Stage(policy, trained, optimizer, actor)

    def _supervised(self, stage: Stage, epoch: int) -> dict[str, float]:
        train, part = self.settings.train, self._data.parts[PLAYED]
        lr = self._lr(epoch, steps_in(len(part), train.batch_size))
        seed = derive_seed(train.seed, "supervised", epoch)
        loss = train_epoch(stage.policy, part, stage.optimizer, train.batch_size, seed, lr)
        return {"train_loss": loss, "lr": stage.optimizer.param_groups[0]["lr"]}

    def _ppo(self, stage: Stage, actor: FrozenActor | WholeActor, epoch: int) -> dict[str, float]:
        train, part = self.settings.train, self._data.parts[PLAYED]
        device = next(stage.policy.parameters()).device
        random = torch.Generator(device=device)
        random.manual_seed(derive_seed(train.seed, "ppo", epoch))
        texts = Texts(
            torch.tensor(self._labels(PLAYED), device=device),
            torch.tensor(part.n_segments, device=device),
            self._own_cost,
        )
        logged = ppo_epoch(
            actor,
            list(stage.trained.values()),
            stage.optimizer,
            texts,
            train.ppo,
            batch_size=train.batch_size,
            gamma=train.gamma,
            gae_lambda=train.gae_lambda,
            random=random,
            lr=self._lr(epoch, optimiser_steps(len(part), train.batch_size, train.ppo)),
        )
        return {**logged, "lr": stage.optimizer.param_groups[0]["lr"]}

    def _lr(self, epoch: int, steps: int) -> Iterator[float]:
        """The learning rate of each optimiser step from ``epoch`` on; ``steps`` make an epoch."""
        train = self.settings.train
        total = train.epochs * steps
        for i in range(epoch * steps, total):
            yield train.lr * lr_factor(
                train.lr_schedule,
                i,
                total,
                epochs=train.epochs,
                step_every=train.step_every,
                step_factor=train.step_factor,
            )

    def _read(self, stage: Stage, name: str) -> Predictions:
        if stage.actor is None:
            return predict(stage.policy, self._data.parts[name])
        return stage.actor.predict(self._data, name)

    def _labels(self, name: str) -> NDArray[np.int64]:
        labels = self._data.parts[name].labels
        assert labels is not None
        return labels

    def _keep(self, stage: Stage, valid: Predictions, threshold: float | None) -> None:
        """The checkpoint of the best epoch and what it says of valid, blend and test."""
        save_policy(self._folder / "checkpoint", stage.policy, self._data.classes, self._data.reader, threshold)
        for name in PREDICTED:
            predictions = valid
            if name != "valid":
                predictions = self._read(stage, name)
                if threshold is not None:
                    predictions = _answering(predictions, threshold)
            predictions.save(self._folder / "predictions" / f"{name}.safetensors", self._data.hashes[name])


def _answering(predictions: Predictions, threshold: float) -> Predictions:
    return finished(predictions.probabilities, predictions.answer, predictions.n_segments, threshold)
