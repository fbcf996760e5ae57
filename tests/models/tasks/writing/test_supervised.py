"""A writer's start that learns, is reproducible, and is named by what it is of; its loss is the mean of a token."""

import dataclasses
import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from small_writing import pairs_data
from torch import Tensor

from sweepstack.models.data.bpe import PADDING
from sweepstack.models.errors import TrainingError
from sweepstack.models.networks.token_loss import states_before
from sweepstack.models.networks.writer import Writer
from sweepstack.models.optim.optimizers import average_of, make_optimizer
from sweepstack.models.settings.trial import PRECISION_FILE, Descent
from sweepstack.models.tasks.writing import supervised
from sweepstack.models.tasks.writing.checkpoint import load_writer
from sweepstack.models.tasks.writing.supervised import (
    batches_of_texts,
    ensure_writing_start,
    lengths_of,
    log_loss,
    measure_pairs_noise,
    new_writer,
    start_batches,
    train_pairs_epoch,
    train_writing_start,
    writing_precision,
    writing_start_hash,
)
from sweepstack.models.training.warm_starts import START_FILE

CPU = torch.device("cpu")


def digest(folder: Path) -> dict[str, str]:
    paths = [path for path in sorted(folder.iterdir()) if path.name != START_FILE]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def pairs(writing: SimpleNamespace, name: str = "policy") -> tuple[Tensor, Tensor]:
    part = writing.data.parts[name]
    return torch.from_numpy(part.sources.astype(np.int64)), torch.from_numpy(part.targets.astype(np.int64))


def still(writing: SimpleNamespace, seed: int = 0) -> Writer:
    """A writer without dropout, with initial weights."""
    return new_writer(writing.settings.with_values({"model.dropout": 0.0}), writing.data, seed)


def test_log_loss_is_the_mean_of_all_tokens_whatever_is_beside_them(
    writing: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, part = still(writing).eval(), writing.data.parts["valid"]
    sources, targets = pairs(writing, "valid")
    total, count = 0.0, 0
    for source, target in zip(sources, targets, strict=True):
        source, target = source[source != PADDING][None], target[target != PADDING][None]
        states, tokens = states_before(writer, writer.encode(source), target)
        total += float(-writer.logits(states).log_softmax(-1).gather(1, tokens[:, None]).detach().sum())
        count += len(tokens)
    assert log_loss(writer, part) == pytest.approx(total / count, rel=1e-5)
    monkeypatch.setattr(supervised, "SCORED", 40)
    assert log_loss(writer, part) == pytest.approx(total / count, rel=1e-5)


def test_pieces_of_a_batch_add_up_to_it(writing: SimpleNamespace) -> None:
    """One step of 40 pairs, in one pass or in pieces: a loss is the mean of a token, not of a piece."""
    part = writing.data.parts["policy"]
    weights, losses = [], []
    for budget in (None, 30):
        writer = still(writing)
        batches = batches_of_texts(part, 40, budget, 0)
        assert (len(batches[0]) > 5) == (budget is not None)
        optimizer = torch.optim.SGD(writer.parameters(), lr=0.1)
        losses.append(train_pairs_epoch(writer, part, batches, optimizer, Descent(), 0, iter([0.1])))
        weights.append(torch.cat([p.detach().flatten() for p in writer.parameters()]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert torch.allclose(*weights, atol=1e-5)


def test_batches_of_a_start_hold_so_many_tokens(writing: SimpleNamespace) -> None:
    part, start = writing.data.parts["warm"], writing.settings.train.warm_start
    sources, targets = lengths_of(part.sources), lengths_of(part.targets)
    batches = start_batches(start, part, 0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(part)))
    assert max(len(rows) * int(sources[rows].max() + targets[rows].max()) for rows in batches) <= start.token_budget
    assert len(start_batches(start, part, 1)) == len(batches)


def test_a_start_learns_and_is_reproducible(writing: SimpleNamespace, tmp_path: Path) -> None:
    part = writing.data.parts["valid"]
    folder = ensure_writing_start(writing.settings, writing.data, writing.starts)
    writer = load_writer(folder, CPU)[0]
    untrained = new_writer(writing.settings, writing.data, 0).eval()
    assert log_loss(writer, part) < 0.7 < 1.5 < log_loss(untrained, part)
    torch.rand(3)  # whatever the process has drawn before
    again = ensure_writing_start(writing.settings, writing.data, tmp_path)
    assert again.name == folder.name == writing_start_hash(writing.settings, writing.data)
    assert digest(again) == digest(folder)
    assert START_FILE in [path.name for path in folder.iterdir()]


def test_a_start_may_begin_with_the_weights_of_a_checkpoint(writing: SimpleNamespace) -> None:
    folder = ensure_writing_start(writing.settings, writing.data, writing.starts)
    known = load_writer(folder, CPU)[0].state_dict()
    hardly = writing.settings.with_values({"train.warm_start.epochs": 1, "train.warm_start.lr": 1e-9})
    begun = train_writing_start(hardly, writing.data, folder).state_dict()
    assert all(torch.allclose(begun[name], known[name], atol=1e-6) for name in known)
    drawn = train_writing_start(hardly, writing.data).state_dict()
    assert not all(torch.allclose(drawn[name], known[name], atol=1e-3) for name in known)


def test_a_start_looks_at_warm_alone_and_leaves_the_generator(writing: SimpleNamespace) -> None:
    one_epoch = writing.settings.with_values({"train.warm_start.epochs": 1})
    only = dataclasses.replace(writing.data, parts={"warm": writing.data.parts["warm"]})
    before = torch.get_rng_state()
    a, b = (train_writing_start(one_epoch, data).state_dict() for data in (writing.data, only))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("values", "same"),
    [
        ({"train.lr": 0.5, "train.algorithm": "rloo", "train.seed": 3}, True),
        ({"writing.reward": "bleu", "writing.decode.beam": 3, "writing.sample.temperature": 0.5}, True),
        ({"train.warm_start.seed": 1}, False),
        ({"train.warm_start.token_budget": 300}, False),
        ({"model.layers": 2}, False),
        ({"writing.max_target": 9}, False),
    ],
)
def test_what_a_start_depends_on(writing: SimpleNamespace, values: dict[str, Any], same: bool) -> None:
    name = writing_start_hash(writing.settings, writing.data)
    assert (writing_start_hash(writing.settings.with_values(values), writing.data) == name) == same


def test_a_start_depends_on_its_rows(writing: SimpleNamespace) -> None:
    assert writing_start_hash(writing.settings, pairs_data(1)) != writing_start_hash(writing.settings, writing.data)


def test_noise_is_measured_and_leaves_no_trace(writing: SimpleNamespace) -> None:
    writer, part = still(writing).eval(), writing.data.parts["policy"]
    state = torch.get_rng_state()
    noise = measure_pairs_noise(writer, part, Descent(), 20, 0)
    assert 1 < float(noise.scale) < 1000
    assert not writer.training
    assert writer.tokens.weight.grad is None
    assert torch.equal(torch.get_rng_state(), state)
    equal = dataclasses.replace(part, **{name: getattr(part, name)[[0] * 32] for name in ("sources", "targets")})
    equal = dataclasses.replace(equal, inputs=part.inputs[:1] * 32, references=part.references[:1] * 32)
    assert float(measure_pairs_noise(writer, equal, Descent(), 16, 0).scale) == pytest.approx(0.0, abs=1e-6)


def test_a_start_has_betas_of_its_own(writing: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.optim.Optimizer] = []

    def make(*given: Any, **named: Any) -> torch.optim.Optimizer:
        made.append(make_optimizer(*given, **named))
        return made[-1]

    monkeypatch.setattr(supervised, "make_optimizer", make)
    for optimizer in ("adamw", "sgd"):
        values = {"train.warm_start.epochs": 1, "train.warm_start.optimizer": optimizer}
        train_writing_start(writing.settings.with_values(values), writing.data)
    assert made[0].param_groups[0]["betas"] == (0.9, 0.98)
    assert "betas" not in made[1].param_groups[0]


def test_a_start_of_a_writer_may_be_an_average_and_its_rate_follows_the_tokens(
    writing: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[torch.optim.Optimizer] = []

    def make(*given: Any, **named: Any) -> torch.optim.Optimizer:
        made.append(make_optimizer(*given, **named))
        return made[-1]

    monkeypatch.setattr(supervised, "make_optimizer", make)
    values = {"average": "last", "epochs": 2, "lr_schedule": "constant", "lr_warmup": 0.0, "token_budget": 375}
    values |= {"lr": 1e-3, "lr_scaling": "sqrt", "lr_reference": 1500}
    settings = writing.settings.with_values({f"train.warm_start.{name}": value for name, value in values.items()})
    writer = train_writing_start(settings, writing.data)
    assert made[0].param_groups[0]["lr"] == pytest.approx(0.5e-3)
    average = average_of(made[0])
    assert average is not None
    assert len(average.kept) == 2
    for name, p in writer.named_parameters():
        assert torch.equal(p, (average.kept[0][name] + average.kept[1][name]) / 2), name
    assert not torch.equal(writer.norm.weight, average.kept[1]["norm.weight"])


def test_a_loss_that_is_not_a_number_is_said(writing: SimpleNamespace) -> None:
    writer, part = still(writing), writing.data.parts["policy"]
    with torch.no_grad():
        writer.norm.bias[0] = float("nan")
    optimizer, batches = torch.optim.AdamW(writer.parameters()), batches_of_texts(part, 20, None, 0)
    with pytest.raises(TrainingError, match=r"not a number .*; lower the learning rate"):
        train_pairs_epoch(writer, part, batches, optimizer, Descent(), 0, iter([1e-3] * 9))


def test_precision_is_decided_once(writing: SimpleNamespace, tmp_path: Path) -> None:
    asked = writing.settings.with_values({"precision": "auto"})
    first = writing_precision(asked, writing.data, tmp_path)
    assert first.precision in ("float32", "bfloat16")
    assert (tmp_path / PRECISION_FILE).exists()
    assert writing_precision(asked, writing.data, tmp_path) == first
    assert writing_precision(writing.settings, writing.data, tmp_path / "told") == writing.settings
    assert not (tmp_path / "told").exists()
