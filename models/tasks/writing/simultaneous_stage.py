"""The second stage of a writer that translates while it reads: when to read on is learned, or is a rule.

Policy optimisation leaves the translator as its start is and trains what decides between READ and WRITE, from the rule
of :meth:`SimultaneousWriter.lead` that earns most on the policy part. The control goes on training the translator, and
reads by the wait-k rule (Ma et al. 2019) that earns most on valid. Both are scored by texts written greedily: their
reward minus what their average lagging costs.
"""

import copy
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sweepstack.models.optim.optimizers import VALUE, make_policy_optimizer
from sweepstack.models.predictions.texts import Candidates
from sweepstack.models.rl.algorithms import needs_reference
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.tasks.writing.simultaneous import SimultaneousWriter, read_and_written
from sweepstack.models.tasks.writing.simultaneous_episodes import SimultaneousPlayer
from sweepstack.models.tasks.writing.stage import WritingControlStage, WritingStage, candidate_metrics
from sweepstack.models.tasks.writing.supervised import log_loss
from sweepstack.models.training.second_stage import PLAYED, Optimisation, Reports, so_far

WAITS = (1, 2, 3, 5, 8, 12, 20)  # and twice as much as long as the last one tried is the best
TRANSLATOR_LR = 1 / 300  # of a head's rate: of the defaults it makes what other translators have, 1e-4
LEADS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)  # and further, see below
LESS = (0.25, 0.0)  # below them


class SimultaneousStage(WritingStage):
    """What both have in common. The log loss is that of references when everything has been read."""

    @property
    def reader(self) -> SimultaneousWriter:
        assert isinstance(self._writer, SimultaneousWriter)
        return self._writer

    def score(self) -> dict[str, float]:
        self._valid, metrics = self._scored()
        return {**metrics, "log_loss": log_loss(self._writer, self._data.parts["valid"])}

    def _scored(self) -> tuple[Candidates, dict[str, float]]:
        """What is written for valid, and all that it comes to but the log loss."""
        part = self._data.parts["valid"]
        assert part.references is not None
        candidates, rest = self._written("valid"), (self._reward, self._data.language, self._tokenizers)
        return candidates, candidate_metrics(candidates, part.inputs, part.references, *rest, cost=self._cost)

    def _written(self, name: str) -> Candidates:
        inputs = self._data.parts[name].inputs
        return read_and_written(self.reader, self._tokenizers, inputs, self.reader.chooses())


class SimultaneousControlStage(SimultaneousStage, WritingControlStage):
    """More supervised training, by paths drawn at random as in the start. ``train.lr`` is that of a head, and what is
    right for one would undo a translator: its rate is a share of it."""

    def _adapted(self, settings: TrialSettings) -> TrialSettings:
        return settings.with_values({"train.lr": settings.train.lr * TRANSLATOR_LR})

    def score(self) -> dict[str, float]:
        scored, most = {}, max(self.reader.reading.max_segments, WAITS[0])  # by which everything is read
        waits = [k for k in WAITS if k <= most]
        while waits:
            self.reader.wait = waits.pop(0)
            scored[self.reader.wait] = self._scored()
            best = max(scored, key=lambda k: scored[k][1]["reward"])
            if not waits and best == self.reader.wait < most:
                waits.append(min(2 * best, most))
        self.reader.wait = best
        self._valid, metrics = scored[best]
        return {**metrics, "log_loss": log_loss(self._writer, self._data.parts["valid"]), "wait": float(best)}


class SimultaneousPolicyStage(SimultaneousStage):
    """Policy optimisation by the algorithm of the settings."""

    def _prepare(self) -> None:
        train, usual = self._settings.train, self._lead()
        self._player = self._at_play(self.reader, usual)
        reference: SimultaneousPlayer | None = None
        if needs_reference(train):
            reference = self._at_play(copy.deepcopy(self.reader).requires_grad_(False), usual)
        self.reader.requires_grad_(False)
        for parameter in self.reader.head_parameters():
            parameter.requires_grad_(True)
        trained = [(name, p) for name, p in self.reader.named_parameters() if p.requires_grad]
        self.trained = dict(sorted(trained, key=lambda each: each[0].startswith(VALUE)))  # what the optimiser counts on
        self.optimizer = make_policy_optimizer(train, self.trained)
        self.optimisation = Optimisation(train, self._player, list(self.trained.values()), self.optimizer, reference)

    def train(self, epoch: int, reports: Reports) -> dict[str, float]:
        """What is logged as ``train_reward`` is of episodes of the policy part that were drawn."""
        logs = self.optimisation.epoch(epoch, reports, self._metric)
        earned = self._player.earned
        return {**logs, "train_reward": float(earned.mean()), **so_far(reports, episodes=len(earned))}

    def _lead(self) -> Tensor:
        """Gives READ the lead that earns most on what will be played: of LEADS from the least on, until one earns less
        than the one before. Returns what each text earns by it, (rows,).

        Where the least of LEADS is the best LESS follow, and where the last is, twice as much and so on, until
        everything is read first.
        """
        most = self.reader.reading.max_segments
        more = [LEADS[-1] * 2.0**i for i in range(1, 1 + max(0, math.ceil(math.log2(most / LEADS[-1]))))]
        chosen, usual = LEADS[0], self._earned(LEADS[0])
        for path in ((*LEADS[1:], *more), LESS):
            for k in path:
                earned = self._earned(k)
                if earned.mean() < usual.mean():
                    break
                chosen, usual = k, earned
            if chosen != LEADS[0]:
                break
        self.reader.lead(chosen)
        return torch.from_numpy(usual).float()

    def _earned(self, lead: float) -> NDArray[np.float64]:
        """(rows,): what each text that is played earns by a lead."""
        part = self._data.parts[PLAYED]
        self.reader.lead(lead)
        found = self._written(PLAYED)
        earned = np.asarray(self._reward(part.inputs, part.references, found.best), dtype=np.float64)
        return earned - self._settings.read_cost * np.array(found.lagging)

    def _at_play(self, reader: SimultaneousWriter, usual: Tensor) -> SimultaneousPlayer:
        settings, part = self._settings, self._data.parts[PLAYED]
        constant = settings.train.reward == "constant"
        vocabulary = self._tokenizers.target
        return SimultaneousPlayer(reader, part, self._reward, vocabulary, settings.read_cost, usual, constant)
