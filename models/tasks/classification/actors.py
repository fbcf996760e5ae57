"""Policies at play on the policy part: learning as a whole, or over a frozen Transformer whose states are kept."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from sweepstack.models.data.encoding import EncodedPart, TaskData
from sweepstack.models.networks.policy import PolicyOutput, ReadingPolicy
from sweepstack.models.predictions.probabilities import Predictions
from sweepstack.models.tasks.classification.checkpoint import finished, predict, probabilities_of
from sweepstack.models.training.second_stage import PLAYED, PREDICTED

CHUNK = 512  # rows that go through the Transformer at a time
MAX_BYTES = 2**29  # of frozen parts that a process keeps, and always those of the latest start
_kept: "OrderedDict[tuple[str, ...], dict[str, FrozenPart]]" = OrderedDict()


@dataclass(frozen=True)
class FrozenPart:
    """What a frozen Transformer says of a part's rows after every segment."""

    label_logits: Tensor  # (rows, S, K)
    observations: Tensor  # (rows, S, …): what READ and value are judged from


def frozen_parts(policy: ReadingPolicy, data: TaskData, start: str) -> dict[str, FrozenPart]:
    """By name, for each part that a trial looks at; ``start`` names the start that the policy has come from.

    A process keeps those of the last few starts that it has seen: the trials of a sweep share them.
    """
    device = next(policy.parameters()).device
    looked_at = [name for name in (PLAYED, *PREDICTED) if name in data.parts]
    key = (start, str(device), *(data.hashes[name] for name in looked_at))
    if key not in _kept:
        _kept[key] = {name: freeze(policy, data.parts[name]) for name in looked_at}
        while len(_kept) > 1 and sum(map(_bytes, _kept.values())) > MAX_BYTES:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return _kept[key]


@torch.no_grad()
def freeze(policy: ReadingPolicy, part: EncodedPart) -> FrozenPart:
    device = next(policy.parameters()).device
    states = torch.zeros((*part.tokens.shape[:2], policy.state_size), device=device)
    order = np.argsort(part.n_segments, kind="stable")
    for begin in range(0, len(order), CHUNK):
        index = order[begin : begin + CHUNK]
        longest = int(part.n_segments[index].max())
        tokens = torch.from_numpy(part.tokens[index, :longest]).to(device)
        states[torch.from_numpy(index).to(device), :longest] = policy.states(tokens)
    label_logits = policy.label_head(states)
    return FrozenPart(label_logits, policy.observe(states, label_logits))


def _bytes(parts: dict[str, FrozenPart]) -> int:
    return sum(t.nbytes for part in parts.values() for t in (part.label_logits, part.observations))


class FrozenActor:
    """Only the heads learn: READ and value, and an answer is the likeliest label as the start sees it. Where there is
    nothing but one answer to decide (``learns_labels``), the label head learns, and labels are sampled."""

    def __init__(
        self, policy: ReadingPolicy, parts: dict[str, FrozenPart], part: EncodedPart, learns_labels: bool
    ) -> None:
        self.samples_labels = learns_labels
        self._policy, self._parts, self._played = policy, parts, parts[PLAYED]
        self._n_segments = torch.tensor(part.n_segments, device=self._played.label_logits.device)

    def everywhere(self, rows: Tensor, cost: Tensor | None) -> PolicyOutput:
        longest = int(self._n_segments[rows].max())
        by_segment = None if cost is None else cost[:, None]
        return self._output(
            self._played.label_logits[rows, :longest], self._played.observations[rows, :longest], by_segment
        )

    def at(self, rows: Tensor, cost: Tensor | None, episode: Tensor, step: Tensor) -> PolicyOutput:
        row = rows[episode]
        own = None if cost is None else cost[episode]
        if self.samples_labels:  # one segment, so this is no more work
            place = torch.arange(len(row), device=row.device)
            return PolicyOutput(*(each[place, step] for each in self.everywhere(row, own)))
        return self._output(self._played.label_logits[row, step], self._played.observations[row, step], own)

    @property
    def policy(self) -> ReadingPolicy:
        return self._policy

    def observed(self, rows: Tensor, step: Tensor) -> Tensor:
        """(N, …): what READ and value are judged from after segment ``step`` (N,) of the texts ``rows`` (N,)."""
        return self._played.observations[rows, step]

    def value_parameters(self) -> Sequence[Parameter]:
        return list(self._policy.value_head.parameters())

    def predict(self, data: TaskData, name: str) -> Predictions:
        part = self._parts[name]
        with torch.no_grad():
            output = self._output(part.label_logits, part.observations, None)
        return finished(*probabilities_of(output), data.parts[name].n_segments, None)

    def _output(self, label_logits: Tensor, observations: Tensor, cost: Tensor | None) -> PolicyOutput:
        if self.samples_labels:
            return self._policy.heads(observations[..., self._policy.features :], cost)
        return PolicyOutput(label_logits, *self._policy.judge(observations, cost))


class WholeActor:
    """Everything that is not switched off learns; labels are sampled."""

    samples_labels = True

    def __init__(self, policy: ReadingPolicy, part: EncodedPart) -> None:
        self._policy, self._part = policy, part

    def everywhere(self, rows: Tensor, cost: Tensor | None) -> PolicyOutput:
        index = rows.cpu().numpy()
        longest = int(self._part.n_segments[index].max())
        tokens = torch.from_numpy(self._part.tokens[index, :longest]).to(rows.device)
        output: PolicyOutput = self._policy(tokens, cost)
        return output

    def at(self, rows: Tensor, cost: Tensor | None, episode: Tensor, step: Tensor) -> PolicyOutput:
        played = torch.zeros_like(rows, dtype=torch.bool)
        played[episode] = True
        place = played.cumsum(0) - 1  # of an episode among those that are played
        output = self.everywhere(rows[played], None if cost is None else cost[played])
        return PolicyOutput(*(each[place[episode], step] for each in output))

    def value_parameters(self) -> Sequence[Parameter]:
        return list(self._policy.value_head.parameters())

    def predict(self, data: TaskData, name: str) -> Predictions:
        return predict(self._policy, data.parts[name])
