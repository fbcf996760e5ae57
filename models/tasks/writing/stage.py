"""The second stage of a writer: policy optimisation on the policy part, or more supervised training there.

Whatever is scored or kept is decoded as ``writing.decode`` says, after every epoch alike: what a report says of valid
is what its candidates are worth. Policy optimisation plays in the settings' precision; decoding is in float32.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch.nn import Parameter

from sweepstack.models.data.bpe import Tokenizers
from sweepstack.models.data.pairs import WritingData
from sweepstack.models.networks.decoding import WriterTokens, written
from sweepstack.models.networks.device import pick_device
from sweepstack.models.networks.writer import Writer
from sweepstack.models.optim.gradient_noise import logged
from sweepstack.models.optim.optimizers import make_optimizer, make_policy_optimizer
from sweepstack.models.predictions.text_metrics import corpus_scores
from sweepstack.models.predictions.texts import Candidates
from sweepstack.models.rl.algorithms import needs_reference
from sweepstack.models.rl.rewards import Reward, RewardOf, make_reward
from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.settings.writing import LAGGING
from sweepstack.models.tasks.writing.checkpoint import load_writer, save_writer
from sweepstack.models.tasks.writing.episodes import Play, WritingPlayer
from sweepstack.models.tasks.writing.supervised import (
    batches_of_texts,
    ensure_writing_start,
    log_loss,
    measure_pairs_noise,
    prepared_writer,
    train_pairs_epoch,
    writing_precision,
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


def candidate_metrics(
    candidates: Candidates,
    sources: Sequence[str],
    references: Sequence[str],
    reward: Reward,
    language: str,
    tokenizers: Tokenizers,
    cost: float = 0.0,
) -> dict[str, float]:
    """Of the best candidates: mean reward, corpus BLEU and chrF (0 to 100), and mean length in tokens, END included.

    All of WRITING_METRICS but the log loss, which only a writer has. Where they were written while a source was read,
    also LAGGING, each word of which takes ``cost`` from the reward.
    """
    texts = candidates.best
    metrics = {
        "reward": float(np.mean(reward(sources, references, texts))),
        **corpus_scores(texts, references, language),
        "length": float(np.mean([len(tokenizers.target.encode(text)) + 1 for text in texts])),
    }
    if candidates.lagging is not None:
        metrics[LAGGING] = float(np.mean(candidates.lagging))
        metrics["reward"] -= cost * metrics[LAGGING]
    return metrics


class WritingStage(ABC):
    """What both have in common."""

    trained: dict[str, Parameter]
    optimizer: torch.optim.Optimizer

    def __init__(
        self,
        settings: TrialSettings,
        data: WritingData,
        starts: Path,
        metric: str,
        reward_of: RewardOf | None = None,
        cost: float | None = None,
    ) -> None:
        self._cost = settings.read_cost if cost is None else cost
        self._settings = settings = writing_precision(self._adapted(settings), data, starts)
        assert settings.writing is not None
        self._data, self._metric, self._writing = data, metric, settings.writing
        self._tokenizers = Tokenizers.from_json(data.tokenizers)
        self._reward = (
            make_reward(settings.writing.reward, data.language, None) if reward_of is None else reward_of(data.language)
        )
        self._writer = load_writer(ensure_writing_start(settings, data, starts), pick_device(settings.device))[0]
        self._writer.value_head.requires_grad_(False)
        self._valid: Candidates | None = None
        self._prepare()

    def _adapted(self, settings: TrialSettings) -> TrialSettings:
        """The settings as this stage takes them."""
        return settings

    @abstractmethod
    def _prepare(self) -> None:
        """Makes what trains the start."""

    @abstractmethod
    def train(self, epoch: int, reports: Reports) -> dict[str, float]: ...

    @contextmanager
    def _training(self) -> Iterator[None]:
        """Only training is made in the settings' precision: a bundle writes in float32, and so does a trial."""
        prepared_writer(self._writer, self._settings)
        yield
        self._writer.precision = "float32"

    def score(self) -> dict[str, float]:
        part = self._data.parts["valid"]
        assert part.references is not None
        self._valid = self._written("valid")
        return {
            **candidate_metrics(
                self._valid, part.inputs, part.references, self._reward, self._data.language, self._tokenizers
            ),
            "log_loss": log_loss(self._writer, part),
        }

    def keep(self, folder: Path) -> None:
        data = self._data
        save_writer(folder / "checkpoint", self._writer, data.tokenizers, self._writing.decode, data.language)
        for name in (name for name in PREDICTED if name in data.parts):
            candidates = self._written(name) if name != "valid" or self._valid is None else self._valid
            candidates.save(folder / "predictions" / f"{name}.safetensors", data.hashes[name])

    def _written(self, name: str) -> Candidates:
        inputs = self._data.parts[name].inputs
        return written(WriterTokens(self._writer), self._tokenizers, inputs, self._writing.decode)


class WritingControlStage(WritingStage):
    """More supervised training, of everything: the control that policy optimisation has to beat."""

    def _prepare(self) -> None:
        self.trained = _trained(self._writer)
        self.optimizer = make_optimizer(self._settings.train, self.trained, supervised=True)

    def train(self, epoch: int, reports: Reports) -> dict[str, float]:
        train, part = self._settings.train, self._data.parts[PLAYED]
        size = batch_size_of(train, reports, self._metric)
        steps = steps_in(len(part), size)
        seed = derive_seed(train.seed, "supervised", epoch)
        noise = logged(measure_pairs_noise(self._writer, part, train, size, seed), size) if len(part) > 1 else {}
        batches = batches_of_texts(part, size, train.token_budget, seed)
        with self._training():
            lr = rates(train, epoch, steps, size)
            loss = train_pairs_epoch(self._writer, part, batches, self.optimizer, train, seed, lr)
        return {
            "train_loss": loss,
            **{name: float(value) for name, value in noise.items()},
            **so_far(reports, updates=steps, episodes=len(part)),
            "batch_size": float(size),
            "lr": self.optimizer.param_groups[0]["lr"],
        }


class WritingPolicyStage(WritingStage):
    """Policy optimisation by the algorithm of the settings."""

    def _prepare(self) -> None:
        train = self._settings.train
        self._player = self._at_play(self._writer)
        reference: WritingPlayer | None = None
        if needs_reference(train):
            as_it_was = copy.deepcopy(self._writer).requires_grad_(False)
            reference = self._at_play(prepared_writer(as_it_was, self._settings))
        self._writer.value_head.requires_grad_(True)
        if train.freeze == "encoder":
            for parameter in self._writer.encoder_parameters():
                parameter.requires_grad_(False)
        self.trained = _trained(self._writer)
        self.optimizer = make_policy_optimizer(train, self.trained)
        self.optimisation = Optimisation(train, self._player, list(self.trained.values()), self.optimizer, reference)

    def train(self, epoch: int, reports: Reports) -> dict[str, float]:
        """What is logged as ``train_reward`` is of sampled texts of the policy part: it rises where held-out metrics
        need not."""
        self._writer.train(self._settings.train.dropout)
        with self._training():
            logs = self.optimisation.epoch(epoch, reports, self._metric)
        self._writer.eval()
        earned = self._player.earned
        return {**logs, "train_reward": float(earned.mean()), **so_far(reports, episodes=len(earned))}

    def _at_play(self, writer: Writer) -> WritingPlayer:
        train, writing = self._settings.train, self._writing
        play = Play(
            reward=self._reward,
            vocabulary=self._tokenizers.target,
            most=writing.max_target,
            how=writing.sample,
            increments=writing.increments,
            constant=train.reward == "constant",
            supervised=train.algorithm == "ppo" and train.ppo.cross_entropy > 0,
            label_smoothing=train.label_smoothing,
            token_budget=train.token_budget,
            frozen_encoder=train.freeze == "encoder",
        )
        return WritingPlayer(writer, self._data.parts[PLAYED], play)


def _trained(writer: Writer) -> dict[str, Parameter]:
    return {name: p for name, p in writer.named_parameters() if p.requires_grad}
