"""Players for tests of algorithms: a policy whose every logit is a weight, and texts that it does not look at."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from sweepstack.models.networks.policy import PolicyOutput
from sweepstack.models.tasks.classification.episodes import ReadingPlayer, Texts

STEPS = 4


class Learner(torch.nn.Module):
    """An actor that knows nothing of a text but how much of it was read."""

    def __init__(self, samples_labels: bool = False, classes: int = 3, seed: int | None = None) -> None:
        super().__init__()
        self.samples_labels = samples_labels
        self.labels = Parameter(torch.zeros(STEPS, classes))
        self.read = Parameter(torch.zeros(STEPS))
        self.values = Parameter(torch.zeros(STEPS))
        if seed is not None:
            with torch.no_grad():
                for parameter in self.parameters():
                    parameter.normal_(generator=seeded(seed))

    def everywhere(self, rows: Tensor, cost: Tensor | None) -> PolicyOutput:
        b = len(rows)
        return PolicyOutput(self.labels.repeat(b, 1, 1), self.read.repeat(b, 1), self.values.repeat(b, 1))

    def at(self, rows: Tensor, cost: Tensor | None, episode: Tensor, step: Tensor) -> PolicyOutput:
        return PolicyOutput(self.labels[step], self.read[step], self.values[step])

    def value_parameters(self) -> Sequence[Parameter]:
        return [self.values]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def texts_of(rows: int, cost: float, label: int | None = None, **more: object) -> Texts:
    """Texts of four segments; every label is random, or the one that is given."""
    labels = torch.randint(3, (rows,), generator=seeded(1)) if label is None else torch.full((rows,), label)
    return dataclasses.replace(Texts(labels, torch.full((rows,), STEPS), (cost, cost)), **more)  # type: ignore[arg-type]


def player_of(learner: Learner, texts: Texts, gamma: float = 1.0) -> ReadingPlayer:
    return ReadingPlayer(learner, texts, gamma)
