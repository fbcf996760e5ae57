"""How a policy writes: the ``writing`` section of a study of translation or generation.

The vocabulary of what it reads and writes, how long both may be, what a text is rewarded for, and how texts are found:
by beam search where they are evaluated, by sampling where the policy learns from them.
"""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from sweepstack.models.settings.base import (
    Count,
    NonNegative,
    NonNegativeCount,
    Positive,
    Settings,
    mapping_or_number,
    shown,
)
from sweepstack.models.settings.rewards import Term, needs_reference, parse_reward

LEAST_VOCABULARY = 8  # the four special entries, and as many to write with
LAGGING = "lagging"
WRITING_METRICS = ("reward", "bleu", "chrf", "log_loss", "length")
"""Of a part: the mean reward of the likeliest texts, BLEU and chrF of them all (0 to 100), the log loss of a
reference's token in nats, and the mean number of tokens written. Where a policy writes while it reads, LAGGING, too:
the mean number of words that it stays behind an even pace."""

Entries = Annotated[int, Field(ge=LEAST_VOCABULARY)]


class Vocabulary(Settings):
    """Entries of the byte-pair encodings of what is read and what is written, special ones included."""

    source: Entries = 4000
    target: Entries = 3000


class Decode(Settings):
    """How texts are written where they count: beam search, of which a beam of 1 is greedy."""

    beam: Count = 4
    length_penalty: NonNegative = 1.0  # α: hypotheses are compared by log-probability / lengthᵅ
    candidates: Count = 4  # texts of a row that are kept, best first

    @model_validator(mode="after")
    def _fits_the_beam(self) -> Self:
        if self.candidates > self.beam:
            raise ValueError(
                f"candidates must be at most beam, but got candidates={self.candidates}, beam={self.beam}; raise beam"
            )
        return self


class Sample(Settings):
    """How texts are drawn where the policy learns from them."""

    temperature: Positive = 1.0
    top_k: NonNegativeCount = 0  # tokens that may be drawn; 0: all
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0  # the likeliest tokens that have this much probability together


def _vocabulary(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | dict | Vocabulary):
        raise ValueError(f"must be a number of entries, or {{source: 4000, target: 3000}}, but got {shown(value)}")
    return value


class Writing(Settings):
    vocabulary: Annotated[
        Annotated[Entries, Tag("<number>")] | Annotated[Vocabulary, Tag("<mapping>")],
        Discriminator(mapping_or_number),
        BeforeValidator(_vocabulary),
    ] = Vocabulary()  # a number: one vocabulary for both sides
    max_source: Annotated[int, Field(ge=2)] = 64  # tokens, the end's included
    max_target: Annotated[int, Field(ge=2)] = 64
    reward: Any = "chrf"  # a name, or names with weights or options: see rewards.py
    increments: bool = False  # the reward is given token by token, as it grows, and not at the end
    decode: Decode = Decode()
    sample: Sample = Sample()

    @field_validator("reward")
    @classmethod
    def _can_be_given(cls, reward: Any) -> Any:
        parse_reward(reward)
        return reward

    @property
    def shared(self) -> bool:
        """Whether what is read and what is written have one vocabulary."""
        return isinstance(self.vocabulary, int)

    @property
    def rewards(self) -> tuple[Term, ...]:
        """What ``reward`` stands for."""
        return parse_reward(self.reward)

    @property
    def reference_free(self) -> bool:
        """Whether the reward is known without references."""
        return not needs_reference(self.reward)
