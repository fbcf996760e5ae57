"""Supervised training: the start that all trials with the same settings share, and the control's second stage.

Cross-entropy with label smoothing after every segment, averaged over each text's segments, so that a long text counts
as much as a short one. A start lies in ``starts/<hash>/``, whose name is a hash of all that it depends on; it is
trained once, however many workers ask for it at once, and appears when it is whole.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sweepstack.models.batching import GradientNoise, batches_by_length, gradient_noise, micro_batches
from sweepstack.models.checkpoints import (
    calibrate_precision,
    load_policy,
    new_policy,
    pick_device,
    prepared,
    save_policy,
)
from sweepstack.models.encoding import EncodedPart, TaskData
from sweepstack.models.errors import TrainingError
from sweepstack.models.files import locked, read_json, write_json
from sweepstack.models.gradient_noise import PIECES
from sweepstack.models.optimizers import make_optimizer, set_lr, to_evaluation
from sweepstack.models.policy import PolicyOutput, ReadingPolicy
from sweepstack.models.schedules import lr_factors
from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings import PRECISION_FILE, Condition, Descent, TrialSettings

Rows = NDArray[np.int64]

FORMAT = 3
START_FILE = "start.json"  # beside a start's weights: the seconds that it took


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
    device = next(policy.parameters()).device
    weights = _weights(policy, part, descent)
    limit = None if descent.optimizer == "lbfgs" else descent.max_grad_norm

    def evaluate(pieces: list[Rows], state: Tensor) -> Tensor:
        _set_random_state(state, device)
        optimizer.zero_grad(set_to_none=True)
        loss = _accumulate(policy, part, pieces, descent.label_smoothing, weights)
        if limit is not None:
            torch.nn.utils.clip_grad_norm_(policy.parameters(), limit)
        return loss

    policy.train()
    total = torch.zeros((), device=device)
    with seeded(seed, device):
        for index in batches_by_length(part.n_segments, batch_size, seed):
            pieces = micro_batches(index, part.n_segments, part.tokens.shape[2], descent.token_budget)
            set_lr(optimizer, next(lr))
            closure: Any = partial(evaluate, pieces, _random_state(device))  # torch's type has it return a float
            total += optimizer.step(closure) * len(index)
    policy.eval()
    mean = float(total) / len(part)
    if not np.isfinite(mean):
        raise TrainingError(f"the supervised loss is not a number ({mean}); lower the learning rate")
    return mean


def measure_noise(
    policy: ReadingPolicy, part: EncodedPart, descent: Descent, batch_size: int, seed: int
) -> GradientNoise:
    """Of the supervised gradient, unclipped, measured on as many random rows as a batch has (two at least), in up to
    PIECES pieces. Leaves gradients and generators as they were. Raises ValueError where there is but one row."""
    device = next(policy.parameters()).device
    weights = _weights(policy, part, descent)
    rows = np.random.default_rng(seed).permutation(len(part))[: max(batch_size, 2)]
    pieces = np.array_split(rows, min(PIECES, len(rows)))
    parameters = [p for p in policy.parameters() if p.requires_grad]
    before = [p.grad for p in parameters]
    gradients = []
    policy.train()
    with seeded(seed, device):
        for piece in pieces:
            for parameter in parameters:
                parameter.grad = None
            micro = micro_batches(piece, part.n_segments, part.tokens.shape[2], descent.token_budget)
            _accumulate(policy, part, micro, descent.label_smoothing, weights)
            gradients.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
    policy.eval()
    for parameter, gradient in zip(parameters, before, strict=True):
        parameter.grad = gradient
    return gradient_noise(torch.stack(gradients), [len(piece) for piece in pieces])


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


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout draws from torch's global generator: seeded inside, as it was outside."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def steps_in(rows: int, batch_size: int) -> int:
    return -(-rows // batch_size)


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
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:16]


def ensure_start(settings: TrialSettings, data: TaskData, starts: Path, initial: Path | None = None) -> Path:
    """The folder of the supervised start, trained now if nobody has; waits while somebody else trains it.

    ``initial``: see :func:`train_start`. A start's name does not tell it, so such starts need a folder of their own.
    """
    name = start_hash(settings, data)
    folder = starts / name
    if folder.exists():
        return folder
    with locked(starts / f".{name}.lock"):
        if not folder.exists():
            unfinished = starts / f".{name}.new"
            shutil.rmtree(unfinished, ignore_errors=True)
            began = time.monotonic()
            policy = train_start(settings, data, initial)
            save_policy(unfinished, policy, data.classes, data.reader, None)
            write_json(unfinished / START_FILE, {"seconds": time.monotonic() - began})
            unfinished.rename(folder)
    return folder


def with_precision(settings: TrialSettings, data: TaskData, starts: Path) -> TrialSettings:
    """The settings with a precision that is decided: where it is auto, by the first process that asks, for all trials.

    The measurement stands in ``starts/.precision.json`` from then on. Raises TrainingError where the device has not
    what the settings want.
    """
    decided = starts / PRECISION_FILE
    if settings.precision == "auto" and not decided.exists():
        with locked(starts / f"{PRECISION_FILE}.lock"):
            if not decided.exists():
                write_json(decided, calibrate_precision(settings, data))
    found = read_json(decided) if settings.precision == "auto" else calibrate_precision(settings, data)
    return settings.with_values({"precision": found["precision"]})


def train_start(settings: TrialSettings, data: TaskData, initial: Path | None = None) -> ReadingPolicy:
    """``initial``: the checkpoint of a policy for the same data and settings, whose weights it begins with; without it
    they are drawn."""
    start = settings.train.warm_start
    if initial is None:
        policy = new_policy(settings, data, derive_seed(start.seed, "initial weights"))
    else:
        policy = prepared(load_policy(initial, pick_device(settings.device))[0], settings)
    part = data.parts["warm"]
    optimizer = make_optimizer(start, policy.parameters(), supervised=True)
    factors = lr_factors(start, start.epochs * steps_in(len(part), start.batch_size), start.epochs)
    lr = iter((start.lr * factors).tolist())
    for epoch in range(start.epochs):
        seed = derive_seed(start.seed, "start epoch", epoch)
        train_epoch(policy, part, optimizer, start, start.batch_size, seed, lr)
    to_evaluation(optimizer)
    return policy
