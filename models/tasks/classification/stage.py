"""The second stage of a reading classifier: policy optimisation on the policy part, or more supervised training."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.nn import Parameter

from sweepstack.models.data.encoding import TaskData, labels_of
from sweepstack.models.errors import TrainingError
from sweepstack.models.networks.device import pick_device
from sweepstack.models.networks.policy import ReadingPolicy
from sweepstack.models.optim.gradient_noise import logged
from sweepstack.models.optim.optimizers import make_optimizer
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions, Thresholds, fit_threshold, metrics, thresholds_over
from sweepstack.models.rl.algorithms import needs_reference
from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.tasks.classification.actors import FrozenActor, WholeActor, frozen_parts
from sweepstack.models.tasks.classification.checkpoint import finished, load_policy, predict, prepared, save_policy
from sweepstack.models.tasks.classification.episodes import ReadingPlayer, Texts
from sweepstack.models.tasks.classification.supervised import (
    class_weights,
    ensure_start,
    measure_noise,
    train_epoch,
    with_precision,
)
from sweepstack.models.training.second_stage import (
    PLAYED,
    PREDICTED,
    Optimisation,
    Reports,
    batch_size_of,
    rates,
    so_far,
)
from sweepstack.models.training.supervised import steps_in


class ReadingStage(ABC):
    """What both have in common. ``cost`` of a READ is what valid is scored with, by default the settings' own."""

    trained: dict[str, Parameter]
    optimizer: torch.optim.Optimizer

    def __init__(self, settings: TrialSettings, data: TaskData, starts: Path, metric: str, cost: float | None) -> None:
        self._settings = settings = with_precision(settings, data, starts)
        self._data, self._metric = data, metric
        self._costs = Costs(settings.read_cost if cost is None else cost, data.costs)
        self._start = ensure_start(settings, data, starts)
        self._policy, _ = load_policy(self._start, pick_device(settings.device))
        self._valid: Predictions | None = None
        self._threshold: float | None = None  # of a policy without a learned stop
        self._thresholds: Thresholds | None = None  # for other costs of a READ

    @abstractmethod
    def train(self, epoch: int, reports: Reports) -> dict[str, float]: ...

    @abstractmethod
    def _predict(self, name: str) -> Predictions:
        """Of the part ``name``, by the policy's own stop, learned or not."""

    @contextmanager
    def _training(self) -> Iterator[None]:
        """Only training is made in the settings' precision: a bundle predicts in float32, and so does a trial."""
        prepared(self._policy, self._settings)
        yield
        self._policy.precision = "float32"

    def score(self) -> dict[str, float]:
        self._valid = self._predict("valid")
        return metrics(self._valid, labels_of(self._data, "valid"), self._costs)

    def keep(self, folder: Path) -> None:
        said = {
            name: self._valid if name == "valid" and self._valid is not None else self._predict(name)
            for name in PREDICTED
            if name in self._data.parts
        }
        for name, predictions in said.items():
            if not predictions.is_finite:
                raise TrainingError(f"a prediction of {name} is not a number; lower train.lr")
        save_policy(
            folder / "checkpoint",
            self._policy,
            self._data.classes,
            self._data.reader,
            self._threshold,
            self._thresholds,
            matrix=self._costs.matrix,
        )
        for name, predictions in said.items():
            predictions.save(folder / "predictions" / f"{name}.safetensors", self._data.hashes[name])


class ControlStage(ReadingStage):
    """More supervised training, of everything: the control that policy optimisation has to beat.

    It has no learned stop: it answers above a threshold that is fitted on valid.
    """

    def __init__(self, settings: TrialSettings, data: TaskData, starts: Path, metric: str, cost: float | None) -> None:
        super().__init__(settings, data, starts, metric, cost)
        self._policy.read_head.requires_grad_(False)
        self._policy.value_head.requires_grad_(False)
        self.trained = _trained(self._policy)
        self.optimizer = make_optimizer(settings.train, self.trained, supervised=True)

    def train(self, epoch: int, reports: Reports) -> dict[str, float]:
        train, part = self._settings.train, self._data.parts[PLAYED]
        size = batch_size_of(train, reports, self._metric)
        steps = steps_in(len(part), size)
        seed = derive_seed(train.seed, "supervised", epoch)
        noise = logged(measure_noise(self._policy, part, train, size, seed), size) if len(part) > 1 else {}
        with self._training():
            loss = train_epoch(self._policy, part, self.optimizer, train, size, seed, rates(train, epoch, steps, size))
        return {
            "train_loss": loss,
            **{name: float(value) for name, value in noise.items()},
            **so_far(reports, updates=steps, episodes=len(part)),
            "batch_size": float(size),
            "lr": self.optimizer.param_groups[0]["lr"],
        }

    def _predict(self, name: str) -> Predictions:
        said = predict(self._policy, self._data.parts[name])
        if name == "valid":
            labels = labels_of(self._data, name)
            self._threshold = fit_threshold(said.probabilities, said.n_segments, labels, self._costs)
            interval = self._policy.reading.interval
            self._thresholds = thresholds_over(interval, said.probabilities, said.n_segments, labels, self._costs)
        return finished(said.probabilities, said.answer, said.n_segments, self._threshold, self._costs)


class PolicyStage(ReadingStage):
    """Policy optimisation by the algorithm of the settings."""

    def __init__(self, settings: TrialSettings, data: TaskData, starts: Path, metric: str, cost: float | None) -> None:
        super().__init__(settings, data, starts, metric, cost)
        self._actor = self._make_actor(self._policy)
        texts, gamma = self._texts(), settings.train.gamma
        self._player = ReadingPlayer(self._actor, texts, gamma)
        self._reference: ReadingPlayer | None = None
        if needs_reference(settings.train):
            as_it_was = copy.deepcopy(self._policy).requires_grad_(False)
            self._reference = ReadingPlayer(self._make_actor(as_it_was), texts, gamma)
        self.trained = _trained(self._policy)
        self.optimizer = make_optimizer(settings.train, self.trained, supervised=False)
        self.optimisation = Optimisation(
            settings.train, self._player, list(self.trained.values()), self.optimizer, self._reference
        )

    def train(self, epoch: int, reports: Reports) -> dict[str, float]:
        self._policy.train(self._settings.train.dropout)
        with self._training():
            logs = self.optimisation.epoch(epoch, reports, self._metric)
        self._policy.eval()
        return self.told(logs, reports)

    def told(self, logs: dict[str, float], reports: Reports) -> dict[str, float]:
        """What an epoch has logged, with what was played in it."""
        episodes = len(self._data.parts[PLAYED]) * self.optimisation.samples
        return {**logs, **so_far(reports, episodes=episodes)}

    def _predict(self, name: str) -> Predictions:
        return self._actor.predict(self._data, name)

    def _make_actor(self, policy: ReadingPolicy) -> FrozenActor | WholeActor:
        part = self._data.parts[PLAYED]
        if self._settings.train.freeze == "none":
            return WholeActor(policy, part)
        only_answers = policy.reading.max_segments == 1
        learning = [policy.read_head, policy.value_head, *([policy.label_head] if only_answers else [])]
        policy.requires_grad_(False)
        for head in learning:
            head.requires_grad_(True)
        return FrozenActor(policy, frozen_parts(policy, self._data, str(self._start)), part, only_answers)

    def _texts(self) -> Texts:
        """The policy part as its episodes are played."""
        train, part = self._settings.train, self._data.parts[PLAYED]
        device = next(self._policy.parameters()).device
        interval = self._policy.reading.interval
        labels = labels_of(self._data, PLAYED)
        weights = class_weights(train.class_weights, labels, len(self._data.classes))
        return Texts(
            torch.tensor(labels, device=device),
            torch.tensor(part.n_segments, device=device),
            interval or (self._settings.read_cost,) * 2,
            constant=train.reward == "constant",
            worth=None if self._data.costs is None else torch.tensor(1 - self._data.costs, device=device),
            told=interval is not None,
            class_weights=None if weights is None else weights.to(device),
            label_smoothing=train.label_smoothing,
            width=part.tokens.shape[2],
            token_budget=train.token_budget if train.freeze == "none" else None,
        )


def _trained(policy: ReadingPolicy) -> dict[str, Parameter]:
    return {name: p for name, p in policy.named_parameters() if p.requires_grad}


def make_stage(
    settings: TrialSettings, data: TaskData, starts: Path, metric: str, cost: float | None = None
) -> ReadingStage:
    """The second stage of a trial, with nothing trained in it yet; ``cost`` of a READ is what valid is scored with."""
    stage = ControlStage if settings.train.algorithm == "supervised" else PolicyStage
    return stage(settings, data, starts, metric, cost)
