"""Supervised training of writers: cross-entropy of the references, token by token, each given those before it.

What counts is the token: a batch of the start has so many of them, and its loss is their mean, so that short texts do
not count for more than long ones. Pairs of like length meet in a batch, so that little of it is padding.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sweepstack.models.data.bpe import PADDING, UNKNOWN, Tokenizers
from sweepstack.models.data.pairs import EncodedPairs, WritingData
from sweepstack.models.errors import TrainingError
from sweepstack.models.networks.device import pick_device
from sweepstack.models.networks.precision import Calibration, Precision, calibrate, supports_bfloat16
from sweepstack.models.networks.token_loss import states_before, token_losses
from sweepstack.models.networks.writer import Shape, Writer
from sweepstack.models.optim.batching import GradientNoise, batches_by_length, batches_by_tokens, micro_batches
from sweepstack.models.optim.optimizers import end_epoch, make_optimizer, to_evaluation
from sweepstack.models.optim.schedules import lr_factors, scaled_lr
from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings.trial import Descent, TrialSettings, WarmStart
from sweepstack.models.tasks.writing.checkpoint import load_writer, save_writer
from sweepstack.models.tasks.writing.simultaneous import SimultaneousWriter
from sweepstack.models.training.supervised import descend_epoch, mean_loss, noise_over_rows
from sweepstack.models.training.warm_starts import decided_precision, ensure, hash_of

Rows = NDArray[np.int64]

FORMAT = 1
BUDGET = 1500  # tokens of a batch where a start does not say
SCORED = 8192  # tokens that go through the writer at a time where nothing is learned


def train_pairs_epoch(
    writer: Writer,
    part: EncodedPairs,
    batches: list[list[Rows]],
    optimizer: torch.optim.Optimizer,
    descent: Descent,
    seed: int,
    lr: Iterator[float],
) -> float:
    """One optimiser step for each of ``batches``, which are given as pieces that fit into a forward pass each.

    ``lr`` gives the rate of each step. Returns the mean loss of a token; raises TrainingError where it is not a number.
    """

    def accumulate(pieces: list[Rows]) -> Tensor:
        return _accumulate(writer, part, pieces, descent.label_smoothing)

    losses = descend_epoch(writer, batches, accumulate, optimizer, descent, seed, lr)
    return mean_loss(losses, [_tokens(part, pieces) for pieces in batches])


def batches_of_texts(part: EncodedPairs, size: int, token_budget: int | None, seed: int) -> list[list[Rows]]:
    """Batches of ``size`` pairs of like length; each cut into pieces of at most ``token_budget`` tokens."""
    sources, targets = lengths_of(part.sources), lengths_of(targets_of(part))
    return [
        micro_batches(index, sources + targets, 1, token_budget) for index in batches_by_length(targets, size, seed)
    ]


def measure_pairs_noise(
    writer: Writer, part: EncodedPairs, descent: Descent, batch_size: int, seed: int
) -> GradientNoise:
    """As supervised.measure_noise, of the mean loss of a token; ``batch_size`` counts pairs."""
    lengths = lengths_of(part.sources) + lengths_of(targets_of(part))

    def accumulate(rows: Rows) -> None:
        _accumulate(writer, part, micro_batches(rows, lengths, 1, descent.token_budget), descent.label_smoothing)

    return noise_over_rows(writer, len(part), batch_size, accumulate, seed)


@torch.no_grad()
def log_loss(writer: Writer, part: EncodedPairs) -> float:
    """In nats, of a token of the references, END included, that can be written; the writer's as it predicts."""
    device = next(writer.parameters()).device
    lengths = lengths_of(part.sources) + lengths_of(targets_of(part))
    losses = []
    for rows in micro_batches(np.arange(len(part)), lengths, 1, SCORED):
        sources, targets = _pairs(part, rows, device)
        states, tokens = states_before(writer, writer.encode(sources), targets)
        losses.append(token_losses(writer.logits(states), tokens).double())
    return float(torch.cat(losses).mean())


def writing_start_hash(settings: TrialSettings, data: WritingData) -> str:
    assert settings.writing is not None
    return hash_of(
        [
            FORMAT,
            data.hashes["warm"],
            hashlib.sha256(data.tokenizers.encode()).hexdigest(),
            settings.writing.max_source,
            settings.writing.max_target,
            settings.model.model_dump(),
            settings.train.warm_start.model_dump(),
            settings.precision,
            settings.compile,
            *([] if settings.reading == "off" else [settings.reading.model_dump(exclude={"cost"})]),
        ]
    )


def ensure_writing_start(settings: TrialSettings, data: WritingData, starts: Path, initial: Path | None = None) -> Path:
    """The folder of the supervised start, trained now if nobody has; waits while somebody else trains it.

    ``initial``: see :func:`train_writing_start`. A start's name does not tell it, so such starts need a folder of
    their own.
    """
    writing = settings.writing
    assert writing is not None

    def train(folder: Path) -> None:
        save_writer(
            folder, train_writing_start(settings, data, initial), data.tokenizers, writing.decode, data.language
        )

    return ensure(starts, writing_start_hash(settings, data), train)


def writing_precision(settings: TrialSettings, data: WritingData, starts: Path) -> TrialSettings:
    """See warm_starts.decided_precision; raises TrainingError where the device has not what the settings want."""
    return decided_precision(settings, starts, lambda settings: calibrate_writing(settings, data))


def train_writing_start(settings: TrialSettings, data: WritingData, initial: Path | None = None) -> Writer:
    """``initial``: the checkpoint of a writer for the same data and settings, whose weights it begins with; without it
    they are drawn."""
    start, part = settings.train.warm_start, data.parts["warm"]
    if initial is None:
        writer = new_writer(settings, data, derive_seed(start.seed, "initial weights"))
    else:
        writer = prepared_writer(load_writer(initial, pick_device(settings.device))[0], settings)
    optimizer = make_optimizer(start, dict(writer.named_parameters()), supervised=True)
    steps = len(start_batches(start, part, 0))
    peak = scaled_lr(start, start.token_budget or BUDGET)
    lr = iter((peak * lr_factors(start, start.epochs * steps, start.epochs)).tolist())
    for epoch in range(start.epochs):
        seed = derive_seed(start.seed, "start epoch", epoch)
        batches = [[index] for index in start_batches(start, part, seed)]
        train_pairs_epoch(writer, part, batches, optimizer, start, seed, lr)
        end_epoch(optimizer)
    to_evaluation(optimizer)
    return writer


def start_batches(start: WarmStart, part: EncodedPairs, seed: int) -> list[Rows]:
    """Of one epoch of a start, which takes an optimiser step for each forward pass of ``token_budget`` tokens. How many
    there are does not depend on ``seed``."""
    sources, targets = lengths_of(part.sources), lengths_of(targets_of(part))
    return batches_by_tokens(sources, targets, start.token_budget or BUDGET, seed)


def new_writer(settings: TrialSettings, data: WritingData, seed: int) -> Writer:
    """A writer with the initial weights of ``seed``, on the settings' device."""
    writing = settings.writing
    assert writing is not None
    tokenizers = Tokenizers.from_json(data.tokenizers)
    shape = Shape(
        tokenizers.source.vocab_size,
        tokenizers.target.vocab_size,
        writing.shared,
        writing.max_source,
        writing.max_target,
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        # On the CPU, so that weights are the same everywhere.
        if settings.reading == "off":
            writer = Writer(shape, settings.model)
        else:
            writer = SimultaneousWriter(shape, settings.model, settings.reading)
            writer.know(tokenizers)
    return prepared_writer(writer.to(pick_device(settings.device)), settings)


def prepared_writer(writer: Writer, settings: TrialSettings) -> Writer:
    """``writer`` itself, computing as the settings say; precision auto, which nobody has resolved, means float32."""
    writer.precision = "bfloat16" if settings.precision == "bfloat16" else "float32"
    writer.compiled = settings.compile
    return writer


def calibrate_writing(settings: TrialSettings, data: WritingData) -> Calibration:
    """As checkpoint.calibrate_precision, by steps on one batch of a start."""
    device = pick_device(settings.device)
    if settings.precision == "bfloat16" and not supports_bfloat16(device):
        raise TrainingError(f"precision is bfloat16, but {device} cannot multiply in it; take float32 or auto")
    if settings.precision != "auto":
        return Calibration(precision=settings.precision, float32_ms=None, bfloat16_ms=None)
    writer, warm = new_writer(settings, data, 0), data.parts["warm"]
    rows = start_batches(settings.train.warm_start, warm, 0)[0]

    def step(precision: Precision) -> None:
        writer.precision = precision
        writer.zero_grad()
        _accumulate(writer, warm, [rows], settings.train.warm_start.label_smoothing)

    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # dropout draws
        writer.train()
        return calibrate(step, device)


def targets_of(part: EncodedPairs) -> NDArray[np.int32]:
    """(rows, T); those of test are known to nobody here."""
    assert part.targets is not None
    return part.targets


def lengths_of(tokens: NDArray[np.int32]) -> Rows:
    """(rows,): how many tokens of (rows, T) there are before the padding."""
    lengths: Rows = (tokens != PADDING).sum(1).astype(np.int64)
    return lengths


def cut_to_longest(tokens: NDArray[np.int32], rows: Rows, device: torch.device) -> Tensor:
    """(B, T) of ``rows``, T being the most tokens that one of them has, at least 1."""
    chosen = tokens[rows]
    longest = max(int((chosen != PADDING).sum(1).max(initial=1)), 1)
    return torch.from_numpy(chosen[:, :longest].astype(np.int64)).to(device)


def _pairs(part: EncodedPairs, rows: Rows, device: torch.device) -> tuple[Tensor, Tensor]:
    return cut_to_longest(part.sources, rows, device), cut_to_longest(targets_of(part), rows, device)


def _tokens(part: EncodedPairs, pieces: list[Rows]) -> int:
    """Of the references of a batch, as far as they can be written."""
    targets = targets_of(part)
    return sum(int(((targets[rows] != PADDING) & (targets[rows] != UNKNOWN)).sum()) for rows in pieces)


def _accumulate(writer: Writer, part: EncodedPairs, pieces: list[Rows], label_smoothing: float) -> Tensor:
    """Adds the gradient of the mean loss of a token of all rows of ``pieces``; returns that loss."""
    device = next(writer.parameters()).device
    tokens = _tokens(part, pieces)
    total = torch.zeros((), device=device)
    for rows in pieces:
        sources, targets = _pairs(part, rows, device)
        states, actual = states_before(writer, writer.encode(sources), targets)
        loss = token_losses(writer.logits(states), actual, label_smoothing).sum() / tokens
        torch.autograd.backward(loss)
        total += loss.detach()
    return total
