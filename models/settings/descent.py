"""How a stage of training goes downhill: optimiser, learning rate, averages of its weights. Reasons beside the values.

The supervised start and the second stage have the same settings, and defaults of their own.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sweepstack.models.settings.base import Count, Fraction, NonNegative, Positive, Seed, Settings, Share

LRSchedule = Literal[
    "constant",
    "linear",
    "polynomial",
    "exponential",
    "inverse_time",
    "inverse_sqrt",
    "step",
    "cosine",
    "cosine_restarts",
    "one_cycle",
    "wsd",
    "cyclic",
]
Optimizer = Literal["sgd", "adam", "adamw", "rmsprop", "schedule_free", "lbfgs"]


class Descent(Settings):
    optimizer: Optimizer = "adamw"
    beta1: Fraction = 0.9  # optimizer adam, adamw, schedule_free: memory of the gradient,
    beta2: Fraction = 0.999  # and of its square
    eps: Positive = 1e-8  # of these and rmsprop: added to the root that a step is divided by
    momentum: Fraction | None = None  # optimizer sgd, rmsprop; null: 0.9 for sgd, 0 for rmsprop
    nesterov: bool = False  # optimizer sgd: the gradient is taken where momentum leads to
    lr: Positive = 3e-3
    lr_schedule: LRSchedule = "cosine"
    lr_warmup: Fraction = 0.0  # share of the steps in which lr rises linearly, before the schedule begins
    lr_min_ratio: Share | None = None  # the lowest rate of a schedule as a share of lr; null: see optim/schedules.py
    step_every: Count = 2  # schedule step: epochs between two drops
    step_factor: Share = 0.5  # schedule step: what a drop multiplies lr by
    power: Annotated[float, Field(gt=0, le=10)] = 2.0  # schedule polynomial; 1 would be linear
    cycles: Count = 4  # schedules cyclic and cosine_restarts: how often lr rises and falls
    cycle_growth: Annotated[float, Field(ge=1, le=10)] = 1.0  # schedule cosine_restarts: a cycle's length over the last
    decay: Share = 0.2  # schedule wsd: share of the steps in which lr falls to its end
    # How lr follows the number of samples that an optimiser step learns from: the batch size, under ppo that of a
    # minibatch where it is smaller. lr is meant for a step of lr_reference samples.
    lr_scaling: Literal["none", "sqrt", "linear"] = "none"
    lr_reference: Count = 64
    weight_decay: NonNegative | None = None  # null: 0.05 in supervised training, 0 in policy optimisation
    decay_all: bool = True  # false: no weight decay on biases, norms and embeddings
    max_grad_norm: Positive | None = 1.0  # null: gradients are not clipped
    # The weights that are scored, kept and predicted with; training goes on from the last ones. ema: their exponential
    # average over the optimiser steps; last: their mean over the ends of the last epochs.
    average: Literal["none", "ema", "last"] = "none"
    average_decay: Share = 0.99  # ema: what a step leaves of the average, so that about 100 steps count
    average_last: Count = 3  # last: of so many epochs
    label_smoothing: Fraction = 0.05
    class_weights: Literal["none", "balanced"] = "none"  # balanced: in cross-entropy every class counts the same
    # Tokens in one forward pass; larger batches accumulate gradients. A writer's start takes an optimiser step for each
    # forward pass instead: there this is the size of a batch, of sources and references together, padding included.
    token_budget: Count | None = None

    @model_validator(mode="after")
    def _averages_once(self) -> Self:
        if self.optimizer == "schedule_free" and self.average != "none":
            raise ValueError(
                f"average must be none with optimizer schedule_free, which averages by itself, but got {self.average}"
            )
        return self


class WarmStart(Descent):
    """The supervised start on *warm*: trained once for all trials that share these values."""

    epochs: Count = 8
    lr_warmup: Fraction = 0.1
    weight_decay: NonNegative | None = 0.05
    label_smoothing: Fraction = 0.0  # 0.05 is as accurate, but less sure than it is right: a fifth more log loss
    batch_size: Count = 64
    seed: Seed = 0
