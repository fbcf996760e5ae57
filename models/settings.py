"""What a trial is made of: the ``data``, ``reading``, ``model``, ``train`` and ``device`` parts of a study file.

Each value has its reason beside it. Models are frozen and strict: an unknown key or a value of another type is an
error, and nothing is converted silently (but an integer where a float is meant).
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
UnitInterval = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]

LRSchedule = Literal["constant", "linear", "exponential", "inverse_time", "step", "cosine"]
Optimizer = Literal["sgd", "adam", "adamw", "rmsprop"]


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())


class Splits(Settings):
    """Shares of ``train``; the rest, at least 0.1, is *warm*. ``test`` is carved first, where no test file is given."""

    policy: Share = 0.3
    valid: Share = 0.1
    blend: Share = 0.1
    test: Share | None = None  # 0.15 where the data brings no test part of its own

    @model_validator(mode="after")
    def _leaves_warm(self) -> Self:
        total = self.policy + self.valid + self.blend
        if total > 0.9 + 1e-9:
            raise ValueError(
                f"policy + valid + blend must leave at least 0.1 for warm, but they sum to {total:g}; lower one of them"
            )
        return self


class Data(Settings):
    train: str  # a path (.jsonl .csv .tsv .parquet or a folder saved by Hugging Face datasets) or builtin:NAME
    test: str | None = None  # without it, splits.test is carved from train first
    input: str = "text"  # column names
    target: str = "label"
    group: str | None = None  # rows of one group never straddle two parts
    splits: Splits = Splits()
    seed: Seed = 0


class Reading(Settings):
    """A text is read ``segment`` units at a time, at most ``max_segments`` times; each READ costs ``cost``."""

    unit: Literal["words", "characters"] = "words"
    segment: Count = 5
    max_segments: Count = 16
    cost: NonNegative = 0.01


class Model(Settings):
    d_model: Annotated[int, Field(ge=4)] = 64  # 128 costs two to three times as much for little at these sizes
    layers: Count = 1
    heads: Count = 4
    dropout: Fraction = 0.2
    word_dropout: Fraction = 0.3  # whole units hidden while training: the strongest regulariser on short texts
    activation: Literal["relu", "gelu", "silu", "tanh"] = "gelu"
    init: Literal["normal", "xavier", "he", "orthogonal"] = "xavier"
    read_head: Literal["confidence", "state"] = "confidence"  # the encoder's state overfits a few thousand texts

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.d_model % self.heads:
            raise ValueError(f"heads must divide d_model, but got heads={self.heads}, d_model={self.d_model}")
        return self


class WarmStart(Settings):
    """The supervised start on *warm*: trained once for all trials that share these values."""

    epochs: Count = 8
    lr: Positive = 3e-3
    lr_schedule: LRSchedule = "cosine"
    batch_size: Count = 64
    seed: Seed = 0


class PPO(Settings):
    epochs: Count = 4  # passes over the episodes of one rollout
    minibatch: Count = 128  # above batch_size it means batch_size
    clip: Positive = 0.2
    entropy: NonNegative = 0.0
    value_coef: NonNegative = 0.5


class Train(Settings):
    warm_start: WarmStart = WarmStart()
    algorithm: Literal["ppo", "supervised"] = "ppo"
    freeze: Literal["encoder", "none"] = "encoder"  # what policy optimisation leaves as the start trained it
    epochs: Count = 8  # one epoch is one pass over the policy part
    optimizer: Optimizer = "adamw"
    lr: Positive = 3e-3
    lr_schedule: LRSchedule = "cosine"
    step_every: Count = 2  # schedule step: epochs between two drops
    step_factor: Share = 0.5  # schedule step: what a drop multiplies lr by
    batch_size: Count = 256  # episodes rolled out for one update
    gamma: UnitInterval = 1.0
    gae_lambda: UnitInterval = 0.95
    ppo: PPO = PPO()
    seed: Seed = 0


class TrialSettings(Settings):
    """Everything that one trial depends on besides the data."""

    task: Literal["classification"] = "classification"
    reading: Reading | Literal["off"] = Reading()
    model: Model = Model()
    train: Train = Train()
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @property
    def read_cost(self) -> float:
        """Of each READ; nothing where the text is read at once."""
        return 0.0 if self.reading == "off" else self.reading.cost

    def with_values(self, values: dict[str, Any]) -> "TrialSettings":
        """A copy with the settings at dotted paths replaced, e.g. ``{"train.lr": 1e-3}``.

        Raises pydantic's ValidationError where a value does not fit.
        """
        tree = self.model_dump()
        for path, value in values.items():
            *parents, leaf = path.split(".")
            node = tree
            for name in parents:
                node = node[name]
            node[leaf] = value
        return TrialSettings.model_validate(tree)
