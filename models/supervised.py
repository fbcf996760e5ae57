"""Supervised training: the start that all trials with the same settings share, and the control's second stage.

Cross-entropy with label smoothing after every segment, averaged over each text's segments, so that a long text counts
as much as a short one. A start lies in ``starts/<hash>/``, whose name is a hash of all that it depends on; it is
trained once, however many workers ask for it at once, and appears when it is whole.
"""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sweepstack.models.batching import batches_by_length
from sweepstack.models.checkpoints import new_policy, save_policy
from sweepstack.models.encoding import EncodedPart, TaskData
from sweepstack.models.errors import TrainingError
from sweepstack.models.policy import PolicyOutput, ReadingPolicy
from sweepstack.models.schedules import lr_factor
from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings import TrialSettings, WarmStart

FORMAT = 1
LABEL_SMOOTHING = 0.05
WEIGHT_DECAY = 0.05
WARM_UP = 0.1  # of the optimiser steps


def cross_entropy(output: PolicyOutput, labels: Tensor, n_segments: Tensor) -> Tensor:
    """Mean over rows of the mean over each row's segments; labels and n_segments (B,)."""
    b, s, k = output.label_logits.shape
    losses = F.cross_entropy(
        output.label_logits.reshape(b * s, k),
        labels.repeat_interleave(s),
        label_smoothing=LABEL_SMOOTHING,
        reduction="none",
    ).view(b, s)
    there = torch.arange(s, device=labels.device) < n_segments[:, None]
    return ((losses * there).sum(1) / n_segments).mean()


def train_epoch(
    policy: ReadingPolicy,
    part: EncodedPart,
    optimizer: torch.optim.Optimizer,
    batch_size: int,
    seed: int,
    lr: Iterator[float],
) -> float:
    """One pass over ``part``; ``lr`` gives the rate of each step. Returns the mean loss; raises TrainingError."""
    assert part.labels is not None
    device = next(policy.parameters()).device
    policy.train()
    total = torch.zeros((), device=device)
    with seeded(seed, device):
        for index in batches_by_length(part.n_segments, batch_size, seed):
            longest = int(part.n_segments[index].max())
            tokens = torch.from_numpy(part.tokens[index, :longest]).to(device)
            labels = torch.from_numpy(part.labels[index]).to(device)
            n_segments = torch.from_numpy(part.n_segments[index]).to(device)
            loss = cross_entropy(policy(tokens), labels, n_segments)
            for group in optimizer.param_groups:
                group["lr"] = next(lr)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
            optimizer.step()
            total += loss.detach() * len(index)
    policy.eval()
    mean = float(total) / len(part)
    if not np.isfinite(mean):
        raise TrainingError(f"the supervised loss is not a number ({mean}); lower the learning rate")
    return mean


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout draws from torch's global generator: seeded inside, as it was outside."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def steps_in(rows: int, batch_size: int) -> int:
    return -(-rows // batch_size)


def start_hash(settings: TrialSettings, data: TaskData) -> str:
    reading = settings.reading if settings.reading == "off" else settings.reading.model_dump(exclude={"cost"})
    depends_on = [
        FORMAT,
        data.hashes["warm"],
        hashlib.sha256(data.reader.encode()).hexdigest(),
        reading,
        settings.model.model_dump(),
        settings.train.warm_start.model_dump(),
    ]
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:16]


def ensure_start(settings: TrialSettings, data: TaskData, starts: Path) -> Path:
    """The folder of the supervised start, trained now if nobody has; waits while somebody else trains it."""
    name = start_hash(settings, data)
    folder = starts / name
    if folder.exists():
        return folder
    starts.mkdir(parents=True, exist_ok=True)
    with (starts / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released by the system when the process dies
        if not folder.exists():
            unfinished = starts / f".{name}.new"
            shutil.rmtree(unfinished, ignore_errors=True)
            policy = train_start(settings, data)
            save_policy(unfinished, policy, data.classes, data.reader, None)
            unfinished.rename(folder)
    return folder


def train_start(settings: TrialSettings, data: TaskData) -> ReadingPolicy:
    start: WarmStart = settings.train.warm_start
    policy = new_policy(settings, data, derive_seed(start.seed, "initial weights"))
    part = data.parts["warm"]
    optimizer = torch.optim.AdamW(policy.parameters(), lr=start.lr, weight_decay=WEIGHT_DECAY, fused=True)
    total = start.epochs * steps_in(len(part), start.batch_size)
    lr = (
        start.lr * lr_factor(start.lr_schedule, i, total, epochs=start.epochs, warm_up=int(WARM_UP * total))
        for i in range(total)
    )
    for epoch in range(start.epochs):
        train_epoch(policy, part, optimizer, start.batch_size, derive_seed(start.seed, "start epoch", epoch), lr)
    return policy
