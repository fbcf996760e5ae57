"""A stop of an ensemble, learned by policy gradient: a small network corrects the stop that there is (read_head.py).

What members say of a text does not depend on what the ensemble does. So an episode is played on their combined
predictions, and PPO with GAE (Schulman et al. 2017, arXiv 1707.06347; 2016, arXiv 1506.02438) learns from it by the
code that policies of text are learned with. The network begins at nothing and decays towards it.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import Parameter

from sweepstack.ensembles.combinations.read_head import FEATURES, HIDDEN, ReadHead, features, read_logits
from sweepstack.models.networks.policy import PolicyOutput
from sweepstack.models.optim.steps import Steps
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Floats, Ints, Predictions
from sweepstack.models.rl.algorithms import make_algorithm
from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings.trial import PPO, Train
from sweepstack.models.tasks.classification.episodes import ReadingPlayer, Texts

ROWS = 600  # more of them teach tens of numbers little
ROLLOUTS = 12  # of all rows
RATE = 0.1  # falls to 0
DECAY = 0.1
TRAIN = Train(algorithm="ppo", gamma=1.0, gae_lambda=0.9, ppo=PPO(epochs=4, minibatch=ROWS))


class CombinedActor(nn.Module):
    """An Actor (models/tasks/classification/episodes.py) on combined predictions; it answers the label worth most."""

    samples_labels = False

    def __init__(self, stopped: Predictions, averaged: Floats, costs: Costs, random: torch.Generator) -> None:
        super().__init__()
        self._log_probs = torch.from_numpy(np.log(np.maximum(stopped.probabilities, 1e-12)))
        self._base = torch.from_numpy(read_logits(stopped))
        self.segments = stopped.answer.shape[1]
        self._seen = torch.from_numpy(features(stopped, averaged, costs, self.segments))
        self.read, self.value = (
            nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1)) for _ in range(2)
        )
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                nn.init.zeros_(parameter)
                if name.endswith("0.weight"):
                    parameter.normal_(0, 1 / math.sqrt(FEATURES), generator=random)

    def everywhere(self, rows: Tensor, cost: Tensor | None) -> PolicyOutput:
        return self._output(self._log_probs[rows], self._base[rows], self._seen[rows])

    def at(self, rows: Tensor, cost: Tensor | None, episode: Tensor, step: Tensor) -> PolicyOutput:
        place = rows[episode], step
        return self._output(self._log_probs[place], self._base[place], self._seen[place])

    def value_parameters(self) -> Sequence[Parameter]:
        return list(self.value.parameters())

    def head(self) -> ReadHead:
        arrays = [p.detach().numpy().copy() for p in self.read.parameters()]  # weight and bias, hidden and out
        return ReadHead(arrays[0], arrays[1], arrays[2][0], arrays[3], self.segments)

    def _output(self, log_probs: Tensor, base: Tensor, seen: Tensor) -> PolicyOutput:
        return PolicyOutput(log_probs, base + self.read(seen).squeeze(-1), self.value(seen).squeeze(-1))


def learn_head(stopped: Predictions, averaged: Floats, labels: Ints, costs: Costs, seed: int = 0) -> ReadHead:
    """What corrects a stop so that the reward of ``stopped``, its Predictions, becomes higher.

    averaged: (rows, segments), the members' averaged answering probability. It learns on the CPU, wherever policies do:
    its steps are too small for a GPU.
    """
    random = torch.Generator().manual_seed(derive_seed(seed, "stop"))
    rows = torch.randperm(len(labels), generator=random)[:ROWS].numpy()
    actor = CombinedActor(stopped.rows(rows), averaged[rows], costs, random)
    worth = None if costs.matrix is None else torch.from_numpy(1 - costs.matrix)
    n_segments = torch.from_numpy(stopped.n_segments[rows])
    texts = Texts(torch.from_numpy(labels[rows]), n_segments, (costs.read, costs.read), worth)
    player = ReadingPlayer(actor, texts, TRAIN.gamma)
    algorithm, parameters = make_algorithm(TRAIN), list(actor.parameters())
    planned = ROLLOUTS * algorithm.steps(len(rows))
    rates = iter((RATE * (1 - np.arange(planned) / planned)).tolist())
    steps = Steps(torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY), parameters, rates, TRAIN.max_grad_norm)
    for _ in range(ROLLOUTS):
        for batch in player.batches(len(rows), random):
            algorithm.learn(player, batch, steps, random, measure=False)
    return actor.head()
