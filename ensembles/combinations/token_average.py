"""Averaging of what several writers say of the next token, at every step of decoding: one search over their mean.

The mean is of probabilities, or by name of log-probabilities, normalised again. The latter lets one member forbid a
token, which is what a probability of 0 says, so logarithms have a floor. Members must share one vocabulary, on both
sides, which the digest of their tokenisers tells.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sweepstack.ensembles.combinations.token_means import MEANS
from sweepstack.models.errors import BundleError
from sweepstack.models.networks.decoding import NextToken, WriterTokens, written
from sweepstack.models.networks.writer import NEVER
from sweepstack.models.settings.writing import Decode
from sweepstack.models.tasks.writing.checkpoint import WriterMember

if TYPE_CHECKING:
    from sweepstack.models.predictions.texts import Candidates

FLOOR = -100.0  # of a logarithm: e⁻¹⁰⁰ is never written, and its mean with others is a number


@dataclass(frozen=True)
class AveragedTokens:
    """A NextToken over several, whose states are theirs. ``weights`` (members,) sum to 1."""

    members: tuple[NextToken, ...]
    weights: tuple[float, ...]
    mean: str = "probabilities"

    def __post_init__(self) -> None:
        if self.mean not in MEANS:
            raise ValueError(f"mean must be one of {', '.join(MEANS)}, but got {self.mean!r}")
        if len(self.members) != len(self.weights) or not self.members:
            raise ValueError(f"{len(self.members)} members need as many weights, but got {len(self.weights)}")

    @property
    def device(self) -> torch.device:
        return self.members[0].device

    @property
    def max_source(self) -> int:
        return min(member.max_source for member in self.members)

    @property
    def max_target(self) -> int:
        return min(member.max_target for member in self.members)

    def begin(self, sources: Tensor) -> tuple[Any, ...]:
        return tuple(member.begin(sources) for member in self.members)

    def step(self, state: tuple[Any, ...], tokens: Tensor) -> tuple[Tensor, tuple[Any, ...]]:
        steps = [member.step(own, tokens) for member, own in zip(self.members, state, strict=True)]
        return averaged([log_probs for log_probs, _ in steps], self.weights, self.mean), tuple(own for _, own in steps)

    def select(self, state: tuple[Any, ...], rows: Tensor) -> tuple[Any, ...]:
        return tuple(member.select(own, rows) for member, own in zip(self.members, state, strict=True))


def averaged(log_probs: Sequence[Tensor], weights: Sequence[float], mean: str) -> Tensor:
    """Log-probabilities of the mean, (…, V), from those of each member."""
    if mean == "probabilities":
        probabilities = log_probs[0].exp().mul_(weights[0])
        for own, w in zip(log_probs[1:], weights[1:], strict=True):
            probabilities.add_(own.exp(), alpha=w)
        return probabilities.log_().clamp_(min=NEVER)  # in half the time of logsumexp
    total = sum(w * own.clamp(min=FLOOR) for own, w in zip(log_probs, weights, strict=True))
    assert isinstance(total, Tensor)
    return total.log_softmax(dim=-1)


def average_of(members: Sequence[WriterMember], names: Sequence[str], mean: str) -> AveragedTokens:
    """All with one weight; raises BundleError where their tokenisers differ. ``names`` are for its message."""
    for name, member in zip(names, members, strict=True):
        if member.tokenizers.digest != members[0].tokenizers.digest:
            raise BundleError(
                f"{names[0]} and {name} have different tokenizers ({members[0].tokenizers.digest} and "
                f"{member.tokenizers.digest}), so their next tokens have no mean; use minimum_bayes_risk, which has "
                "no need of that"
            )
    tokens = tuple(WriterTokens(member.writer) for member in members)
    return AveragedTokens(tokens, (1 / len(tokens),) * len(tokens), mean)


def write_average(
    members: Sequence[WriterMember], names: Sequence[str], options: Mapping[str, Any], texts: Sequence[str], n: int
) -> "Candidates":
    """What they write together: ``n`` candidates a text, where the search finds so many; 0: as their settings say."""
    decode = Decode.model_validate(options["decode"])
    if n:
        decode = decode.model_copy(update={"beam": max(decode.beam, n), "candidates": n})
    return written(average_of(members, names, options["mean"]), members[0].tokenizers, texts, decode)
