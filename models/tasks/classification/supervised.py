"""Supervised training: the start that all trials with the same settings share, and the control's second stage.

Cross-entropy with label smoothing after every segment, averaged over each text's segments, so that a long text counts
as much as a short one. Where starts lie, and how each is trained once, stands in training/warm_starts.py.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sweepstack.models.data.encoding import EncodedPart, TaskData
from sweepstack.models.networks.device import pick_device
from sweepstack.models.networks.policy import PolicyOutput, ReadingPolicy
from sweepstack.models.optim.batching import GradientNoise, batches_by_length, micro_batches
from sweepstack.models.optim.optimizers import end_epoch, make_optimizer, to_evaluation
from sweepstack.models.optim.schedules import lr_factors, scaled_lr
from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings.trial import Condition, Descent, TrialSettings
from sweepstack.models.tasks.classification.checkpoint import (
    calibrate_precision,
    load_policy,
    new_policy,
    prepared,
    save_policy,
)
from sweepstack.models.training.supervised import Rows, descend_epoch, mean_loss, noise_over_rows, steps_in
from sweepstack.models.training.warm_starts import START_FILE as START_FILE
from sweepstack.models.training.warm_starts import decided_precision, ensure, hash_of

FORMAT = 3


def cross_entropy(
    output: PolicyOutput,
    labels: Tensor,
    n_segments: Tensor,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean over rows of the mean over each row's segments; labels and n_segments (B,).

    weights (classes,): what a row counts by its label. (torch's own class weights go into the smoothing, too, and pull
    every row towards rare classes.)
    """
    b, s, k = output.label_logits.shape
    losses = F.cross_entropy(
        output.label_logits.reshape(b * s, k),
        labels.repeat_interleave(s),
        label_smoothing=label_smoothing,
        reduction="none",
    ).view(b, s)
    there = torch.arange(s, device=labels.device) < n_segments[:, None]
    of_rows = (losses * there).sum(1) / n_segments
    return (of_rows if weights is None else of_rows * weights[labels]).mean()


def class_weights(kind: Literal["none", "balanced"], labels: NDArray[np.int64], classes: int) -> Tensor | None:
    """(classes,), whose mean over the rows is 1; balanced: n / (k · count), so that every class counts the same.

    None where all rows count the same; a class without rows has weight 0.
    """
    if kind == "none":
        return None
    counts = torch.bincount(torch.from_numpy(labels), minlength=classes)
    there = counts > 0
    return torch.where(there, len(labels) / (there.sum() * counts.clamp(min=1)), 0.0).float()


def train_epoch(
    policy: ReadingPolicy,
    part: EncodedPart,
    optimizer: torch.optim.Optimizer,
    descent: Descent,
    batch_size: int,
    seed: int,
    lr: Iterator[float],
) -> float:
    """One pass over ``part``; ``lr`` gives the rate of each step. Returns the mean loss; raises TrainingError.

    A batch is cut into pieces of at most ``token_budget`` tokens, whose gradients add up to its own; it draws other
    dropout then. lbfgs evaluates a batch several times, always with the same dropout, and its gradients are not
    clipped: its line search needs those of the loss.
    """
    weights, lengths = _weights(policy, part, descent), part.lengths
    batches = [
        micro_batches(index, lengths, part.unit, descent.token_budget)
        for index in batches_by_length(lengths, batch_size, seed)
    ]

    def accumulate(pieces: list[Rows]) -> Tensor:
        return _accumulate(policy, part, pieces, descent.label_smoothing, weights)

    losses = descend_epoch(policy, batches, accumulate, optimizer, descent, seed, lr)
    return mean_loss(losses, [sum(map(len, pieces)) for pieces in batches])


def measure_noise(
    policy: ReadingPolicy, part: EncodedPart, descent: Descent, batch_size: int, seed: int
) -> GradientNoise:
    """Of the supervised gradient, unclipped, measured on as many random rows as a batch has (two at least), in up to
    PIECES pieces. Leaves gradients and generators as they were. Raises ValueError where there is but one row."""
    weights = _weights(policy, part, descent)

    def accumulate(rows: Rows) -> None:
        pieces = micro_batches(rows, part.lengths, part.unit, descent.token_budget)
        _accumulate(policy, part, pieces, descent.label_smoothing, weights)

    return noise_over_rows(policy, len(part), batch_size, accumulate, seed)


def _accumulate(
    policy: ReadingPolicy, part: EncodedPart, pieces: list[Rows], label_smoothing: float, weights: Tensor | None
) -> Tensor:
    """Adds the gradient of the mean loss over all rows of ``pieces``, one after the other; returns that loss."""
    assert part.labels is not None
    device = next(policy.parameters()).device
    rows = sum(map(len, pieces))
    total = torch.zeros((), device=device)
    for piece in pieces:
        longest = int(part.n_segments[piece].max())
        tokens = torch.from_numpy(part.tokens[piece, :longest]).to(device)
        labels = torch.from_numpy(part.labels[piece]).to(device)
        n_segments = torch.from_numpy(part.n_segments[piece]).to(device)
        loss = cross_entropy(policy(tokens), labels, n_segments, label_smoothing, weights) * (len(piece) / rows)
        torch.autograd.backward(loss)
        total += loss.detach()
    return total


def _weights(policy: ReadingPolicy, part: EncodedPart, descent: Descent) -> Tensor | None:
    assert part.labels is not None
    weights = class_weights(descent.class_weights, part.labels, policy.shape.classes)
    return None if weights is None else weights.to(next(policy.parameters()).device)


def start_hash(settings: TrialSettings, data: TaskData) -> str:
    reading: Any = settings.reading
    if reading != "off":
        # What a READ costs is nothing to a start; over which costs a policy is to be told it may be.
        condition = reading.cost.condition if isinstance(reading.cost, Condition) else None
        reading = {**reading.model_dump(exclude={"cost"}), "condition": condition}
    depends_on = [
        FORMAT,
        data.hashes["warm"],
        hashlib.sha256(data.reader.encode()).hexdigest(),
        reading,
        settings.model.model_dump(),
        settings.train.warm_start.model_dump(),
        settings.precision,
        settings.compile,
    ]
    return hash_of(depends_on)


def ensure_start(settings: TrialSettings, data: TaskData, starts: Path, initial: Path | None = None) -> Path:
    """The folder of the supervised start, trained now if nobody has; waits while somebody else trains it.

    ``initial``: see :func:`train_start`. A start's name does not tell it, so such starts need a folder of their own.
    """

    def train(folder: Path) -> None:
        save_policy(folder, train_start(settings, data, initial), data.classes, data.reader, None)

    return ensure(starts, start_hash(settings, data), train)


def with_precision(settings: TrialSettings, data: TaskData, starts: Path) -> TrialSettings:
    """See warm_starts.decided_precision; raises TrainingError where the device has not what the settings want."""
    return decided_precision(settings, starts, lambda settings: calibrate_precision(settings, data))


def train_start(settings: TrialSettings, data: TaskData, initial: Path | None = None) -> ReadingPolicy:
    """``initial``: the checkpoint of a policy for the same data and settings, whose weights it begins with; without it
    they are drawn."""
    start = settings.train.warm_start
    if initial is None:
        policy = new_policy(settings, data, derive_seed(start.seed, "initial weights"))
    else:
        policy = prepared(load_policy(initial, pick_device(settings.device))[0], settings)
    part = data.parts["warm"]
    optimizer = make_optimizer(start, dict(policy.named_parameters()), supervised=True)
    factors = lr_factors(start, start.epochs * steps_in(len(part), start.batch_size), start.epochs)
    lr = iter((scaled_lr(start, start.batch_size) * factors).tolist())
    for epoch in range(start.epochs):
        seed = derive_seed(start.seed, "start epoch", epoch)
        train_epoch(policy, part, optimizer, start, start.batch_size, seed, lr)
        end_epoch(optimizer)
    to_evaluation(optimizer)
    return policy
