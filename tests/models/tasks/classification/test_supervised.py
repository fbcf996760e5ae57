"""The loss by hand; a start that learns, that is trained once, that is whole or absent, and named by what it is of."""

import dataclasses
import hashlib
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from sweepstack.models import checksums
from sweepstack.models.data.encoding import TaskData, resample
from sweepstack.models.errors import TrainingError
from sweepstack.models.files import read_json
from sweepstack.models.networks.policy import PolicyOutput, ReadingPolicy
from sweepstack.models.optim.optimizers import average_of, make_optimizer, to_training
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import metrics
from sweepstack.models.settings.trial import PRECISION_FILE, Descent, LRSchedule, Optimizer
from sweepstack.models.tasks.classification import supervised
from sweepstack.models.tasks.classification.checkpoint import load_policy, new_policy, predict
from sweepstack.models.tasks.classification.supervised import (
    START_FILE,
    class_weights,
    cross_entropy,
    ensure_start,
    measure_noise,
    start_hash,
    train_epoch,
    train_start,
    with_precision,
)
from sweepstack.models.training import supervised as supervised_loop
from sweepstack.models.training.supervised import steps_in

CPU = torch.device("cpu")


def digest(folder: Path) -> dict[str, str]:
    """Of all that does not depend on the clock."""
    paths = [path for path in sorted(folder.iterdir()) if path.name != START_FILE]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_the_loss_by_hand() -> None:
    """Row 0 has two segments of −ln .8 and −ln .5, row 1 one of −ln .25; rows count alike."""
    probabilities = torch.tensor([[[0.8, 0.2], [0.5, 0.5]], [[0.75, 0.25], [1e-9, 1 - 1e-9]]])
    output = PolicyOutput(probabilities.log(), torch.zeros(2, 2), torch.zeros(2, 2))
    loss = cross_entropy(output, torch.tensor([0, 1]), torch.tensor([2, 1]))
    assert loss.item() == pytest.approx((-np.log(0.8) - np.log(0.5)) / 4 - np.log(0.25) / 2, rel=1e-5)
    loss = cross_entropy(output, torch.tensor([0, 1]), torch.tensor([2, 1]), weights=torch.tensor([0.5, 1.5]))
    assert loss.item() == pytest.approx((-np.log(0.8) - np.log(0.5)) / 8 - 1.5 * np.log(0.25) / 2, rel=1e-5)


def test_label_smoothing_by_hand() -> None:
    """.05 smoothed over two labels: .975 of the right one, .025 of the other."""
    output = PolicyOutput(torch.tensor([[[0.8, 0.2]]]).log(), torch.zeros(1, 1), torch.zeros(1, 1))
    loss = cross_entropy(output, torch.tensor([0]), torch.tensor([1]), 0.05)
    assert loss.item() == pytest.approx(-0.975 * np.log(0.8) - 0.025 * np.log(0.2), rel=1e-5)


def test_balanced_weights_by_hand() -> None:
    """n / (k · count), as scikit-learn's; a class without rows is not one of the k, and the mean over rows stays 1."""
    labels = np.array([0, 0, 0, 2, 2, 2, 2, 3])
    weights = class_weights("balanced", labels, 5)
    assert weights is not None
    assert weights.tolist() == pytest.approx([8 / 9, 0.0, 8 / 12, 8 / 3, 0.0])
    assert weights[torch.from_numpy(labels)].mean().item() == pytest.approx(1.0)
    expected = compute_class_weight("balanced", classes=np.array([0, 2, 3]), y=labels)
    assert weights[[0, 2, 3]].tolist() == pytest.approx(expected.tolist())
    assert class_weights("none", labels, 5) is None


@pytest.mark.parametrize(("rows", "size", "steps"), [(10, 5, 2), (11, 5, 3), (1, 5, 1)])
def test_steps_in_an_epoch(rows: int, size: int, steps: int) -> None:
    assert steps_in(rows, size) == steps


def test_a_start_learns_and_is_reproducible(topics: SimpleNamespace, tmp_path: Path) -> None:
    valid = topics.data.parts["valid"]

    def accuracy(policy: Any) -> float:
        return metrics(predict(policy, valid), valid.labels, Costs(0.0))["accuracy_full"]

    untrained = new_policy(topics.settings, topics.data, 0).eval()
    folder = ensure_start(topics.settings, topics.data, topics.starts)
    policy, config = load_policy(folder, CPU)
    assert accuracy(policy) > 0.9 > 0.6 > accuracy(untrained)  # a third by chance
    assert config["classes"] == list(topics.data.classes)
    torch.rand(3)  # whatever the process has drawn before
    again = ensure_start(topics.settings, topics.data, tmp_path)
    assert again.name == folder.name
    assert digest(again) == digest(folder)


def test_a_start_may_begin_at_a_checkpoint(topics: SimpleNamespace, tmp_path: Path) -> None:
    """A step of next to nothing leaves it where it was, and it is nothing like one whose weights were drawn."""
    begun, _ = load_policy(ensure_start(topics.settings, topics.data, topics.starts), CPU)
    still = topics.settings.with_values(
        {"train.warm_start.epochs": 1, "train.warm_start.lr": 1e-12, "train.warm_start.weight_decay": 0.0}
    )
    folder = ensure_start(still, topics.data, tmp_path, ensure_start(topics.settings, topics.data, topics.starts))
    again, _ = load_policy(folder, CPU)
    drawn = train_start(still, topics.data)
    for name, weight in begun.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weight, atol=1e-6, rtol=0)
    assert not torch.allclose(drawn.label_head.weight, begun.label_head.weight, atol=1e-2)


def test_training_leaves_the_global_generator_as_it_was(topics: SimpleNamespace) -> None:
    before = torch.get_rng_state()
    train_start(topics.settings.with_values({"train.warm_start.epochs": 1}), topics.data)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_start_looks_at_warm_alone(topics: SimpleNamespace) -> None:
    one_epoch = topics.settings.with_values({"train.warm_start.epochs": 1})
    only = dataclasses.replace(topics.data, parts={"warm": topics.data.parts["warm"]})
    a, b = (train_start(one_epoch, data).state_dict() for data in (topics.data, only))
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("values", "same"),
    [
        ({"reading.cost": 0.5}, True),
        ({"train.lr": 1.0, "train.gamma": 0.5, "train.seed": 7, "train.epochs": 1, "train.freeze": "none"}, True),
        ({"train.ppo.clip": 0.1, "train.algorithm": "supervised"}, True),
        ({"reading.segment": 3}, False),
        ({"reading.max_segments": 3}, False),
        ({"model.d_model": 32}, False),
        ({"model.read_head": "state"}, False),
        ({"model.init": "he"}, False),
        ({"train.warm_start.epochs": 4}, False),
        ({"train.warm_start.lr": 1e-3}, False),
        ({"train.warm_start.seed": 1}, False),
        ({"train.warm_start.optimizer": "sgd"}, False),
        ({"train.warm_start.label_smoothing": 0.1}, False),
        ({"train.warm_start.weight_decay": None}, False),
        ({"precision": "bfloat16"}, False),
        ({"compile": True}, False),
        ({"reading.cost": {"condition": [0.0, 0.05]}}, False),  # such a policy is told the cost
    ],
)
def test_what_a_start_depends_on(topics: SimpleNamespace, values: dict[str, Any], same: bool) -> None:
    changed = topics.settings.with_values(values)
    assert (start_hash(changed, topics.data) == start_hash(topics.settings, topics.data)) == same


def test_what_of_the_data_a_start_depends_on(topics: SimpleNamespace) -> None:
    data: TaskData = topics.data
    name = start_hash(topics.settings, data)
    for part in ("policy", "valid", "blend", "test", "content"):
        assert start_hash(topics.settings, dataclasses.replace(data, hashes={**data.hashes, part: "other"})) == name
    assert start_hash(topics.settings, dataclasses.replace(data, hashes={**data.hashes, "warm": "other"})) != name
    assert start_hash(topics.settings, dataclasses.replace(data, reader=data.reader + " ")) != name
    assert start_hash(topics.settings, resample(data, 1)) not in (name, start_hash(topics.settings, resample(data, 2)))


ANOTHER_PROCESS = """
import os, pathlib, pickle, sys, time
import torch
from sweepstack.models.tasks.classification import supervised
torch.set_num_threads(1)
task, starts, trained, delay = sys.argv[1:]
settings, data = pickle.loads(pathlib.Path(task).read_bytes())
train_start = supervised.train_start
def slow(*given):
    (pathlib.Path(trained) / str(os.getpid())).touch()
    time.sleep(float(delay))
    return train_start(*given)
supervised.train_start = slow
supervised.ensure_start(settings, data, pathlib.Path(starts))
"""


@pytest.fixture
def another_process(topics: SimpleNamespace, tmp_path: Path) -> Iterator[Callable[[float], subprocess.Popen[bytes]]]:
    """Asks for a start in tmp_path/starts; takes so many seconds more over it, and notes in tmp_path/trained that it
    has trained one."""
    (tmp_path / "trained").mkdir()
    (tmp_path / "task").write_bytes(pickle.dumps((topics.settings, topics.data)))
    begun: list[subprocess.Popen[bytes]] = []

    def begin(delay: float) -> subprocess.Popen[bytes]:
        folders = [str(tmp_path / name) for name in ("task", "starts", "trained")]
        begun.append(subprocess.Popen([sys.executable, "-c", ANOTHER_PROCESS, *folders, str(delay)]))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.wait()


Begin = Callable[[float], "subprocess.Popen[bytes]"]


def test_two_processes_train_one_start(topics: SimpleNamespace, tmp_path: Path, another_process: Begin) -> None:
    for process in [another_process(1.0), another_process(1.0)]:
        assert process.wait(60) == 0
    seconds = read_json(tmp_path / "starts" / start_hash(topics.settings, topics.data) / START_FILE)["seconds"]
    assert 1.0 < seconds < 60, "what it has taken whoever trained it"
    assert len(list((tmp_path / "trained").iterdir())) == 1
    name = start_hash(topics.settings, topics.data)
    assert [path.name for path in (tmp_path / "starts").iterdir() if not path.name.startswith(".")] == [name]
    assert digest(tmp_path / "starts" / name) == digest(ensure_start(topics.settings, topics.data, topics.starts))


def test_a_killed_process_leaves_no_start_and_nobody_waits_for_it(
    topics: SimpleNamespace, tmp_path: Path, another_process: Begin
) -> None:
    process = another_process(600.0)
    while not list((tmp_path / "trained").iterdir()):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (tmp_path / "starts" / start_hash(topics.settings, topics.data)).exists()
    folder = ensure_start(topics.settings, topics.data, tmp_path / "starts")
    assert digest(folder) == digest(ensure_start(topics.settings, topics.data, topics.starts))


def test_who_waits_for_a_process_that_is_killed_trains_the_start_itself(
    topics: SimpleNamespace, tmp_path: Path, another_process: Begin
) -> None:
    def trained() -> int:
        return len(list((tmp_path / "trained").iterdir()))

    first = another_process(600.0)
    while trained() < 1:
        assert first.poll() is None
        time.sleep(0.02)
    second = another_process(0.0)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(8)
    assert trained() == 1, "the second waits"
    first.kill()
    assert second.wait(60) == 0
    assert trained() == 2
    name = start_hash(topics.settings, topics.data)
    assert digest(tmp_path / "starts" / name) == digest(ensure_start(topics.settings, topics.data, topics.starts))


@pytest.mark.parametrize("files", [1, 2, 3, 4])
def test_a_kill_while_a_start_is_saved_leaves_nothing_that_is_taken_for_whole(
    topics: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    """After each of its files but before the folder has its name: what a kill leaves, the next one starts over from."""
    written: list[Path] = []
    whole = checksums.write_atomic

    def killed(path: Path, content: bytes | str) -> None:
        whole(path, content)
        written.append(path)
        if len(written) == files:
            raise KeyboardInterrupt

    one_epoch = topics.settings.with_values({"train.warm_start.epochs": 1})
    with monkeypatch.context() as patch:
        patch.setattr(checksums, "write_atomic", killed)
        with pytest.raises(KeyboardInterrupt):
            ensure_start(one_epoch, topics.data, tmp_path)
    assert len(written) == files
    assert not (tmp_path / start_hash(one_epoch, topics.data)).exists()
    folder = ensure_start(one_epoch, topics.data, tmp_path)
    load_policy(folder, CPU)
    whole_start = ["SHA256SUMS", "config.json", START_FILE, "tokenizer.json", "weights.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == whole_start


def test_the_cost_within_an_interval_is_no_part_of_it_but_the_interval_is(topics: SimpleNamespace) -> None:
    names = {
        start_hash(topics.settings.with_values({"reading.cost": {"condition": [0.0, high]}}), topics.data)
        for high in (0.05, 0.1)
    }
    assert len(names) == 2


# Each at a rate and a decay that suit it: within the gradient, .05 of decay outweighs what a few steps have learned.
LEARNS: dict[Optimizer, dict[str, Any]] = {
    "sgd": {"lr": 0.3, "weight_decay": 0.0},
    "adam": {"lr": 1e-2, "weight_decay": 0.0},
    "adamw": {"lr": 1e-2},
    "rmsprop": {"lr": 1e-2, "weight_decay": 0.0},
    "schedule_free": {"lr": 3e-2, "lr_schedule": "constant"},
    "lbfgs": {"lr": 1.0, "weight_decay": 1e-3, "batch_size": 120},
}


def started(topics: SimpleNamespace, **values: Any) -> ReadingPolicy:
    settings = topics.settings.with_values({f"train.warm_start.{name}": value for name, value in values.items()})
    return train_start(settings, topics.data).eval()


def accuracy_full(topics: SimpleNamespace, policy: ReadingPolicy) -> float:
    valid = topics.data.parts["valid"]
    return metrics(predict(policy, valid), valid.labels, Costs(0.0))["accuracy_full"]


@pytest.mark.parametrize("name", get_args(Optimizer))
def test_a_start_learns_with_every_optimizer(topics: SimpleNamespace, name: Optimizer) -> None:
    assert accuracy_full(topics, started(topics, optimizer=name, **LEARNS[name])) > 0.9


@pytest.mark.parametrize("name", get_args(LRSchedule))
def test_a_start_learns_on_every_schedule(topics: SimpleNamespace, name: LRSchedule) -> None:
    """inverse_time has lost three quarters of its rate after 3% of the steps, so it takes more of them."""
    assert accuracy_full(topics, started(topics, lr_schedule=name, lr=2e-2, epochs=12)) > 0.9


def test_the_schedule_sets_the_rate_of_every_step(topics: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """5 epochs of 8 steps: the first four of 40 rise, the rest follow the cosine."""
    rates: list[float] = []
    monkeypatch.setattr(supervised_loop, "set_lr", lambda optimizer, lr: rates.append(lr))
    started(topics)
    assert len(rates) == 40
    assert rates[:5] == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01])
    assert rates[22] == pytest.approx(0.005)


def one_step(topics: SimpleNamespace, descent: Descent, batch_size: int, **model: float) -> dict[str, Tensor]:
    """The weights after one epoch over ten rows from the same beginning, without dropout unless ``model`` has some."""
    values = {"model.dropout": 0.0, "model.word_dropout": 0.0, **{f"model.{k}": v for k, v in model.items()}}
    policy = new_policy(topics.settings.with_values(values), topics.data, 0)
    part = topics.data.parts["warm"].rows(np.arange(10))
    optimizer = make_optimizer(descent, dict(policy.named_parameters()), supervised=True)
    train_epoch(policy, part, optimizer, descent, batch_size, 0, iter([descent.lr] * 99))
    return policy.state_dict()


@pytest.mark.parametrize("values", [{}, {"class_weights": "balanced"}, {"max_grad_norm": None}])
@pytest.mark.parametrize("budget", [1, 30])
def test_pieces_of_a_batch_add_up_to_it(topics: SimpleNamespace, values: dict[str, Any], budget: int) -> None:
    """By steps of sgd, which are proportional to the gradient; 1 token: a row at a time."""
    descent = Descent(optimizer="sgd", lr=0.1, **values)
    whole = one_step(topics, descent, 10)
    pieces = one_step(topics, descent.model_copy(update={"token_budget": budget}), 10)
    assert all(torch.allclose(pieces[name], whole[name], atol=1e-6) for name in whole)
    untouched = one_step(topics, descent.model_copy(update={"lr": 1e-12}), 10)
    assert any(not torch.allclose(untouched[name], whole[name], atol=1e-4) for name in whole)


@pytest.mark.parametrize(
    "values",
    [{"label_smoothing": 0.3}, {"class_weights": "balanced"}, {"max_grad_norm": 0.01}, {"max_grad_norm": None}],
)
def test_each_setting_changes_what_is_learned(topics: SimpleNamespace, values: dict[str, Any]) -> None:
    plain, changed = (one_step(topics, Descent(optimizer="sgd", lr=0.1, **each), 10) for each in ({}, values))
    assert not torch.equal(plain["label_head.weight"], changed["label_head.weight"])


def test_the_gradient_is_clipped_to_its_norm(topics: SimpleNamespace) -> None:
    """One step of sgd of rate .1 on a gradient of norm .01 moves the weights by .001 altogether."""
    clipped = Descent(optimizer="sgd", lr=0.1, max_grad_norm=0.01, weight_decay=0.0)
    before = one_step(topics, clipped.model_copy(update={"lr": 1e-12}), 10)
    after = one_step(topics, clipped, 10)
    moved = torch.cat([(after[name] - before[name]).flatten() for name in before]).norm().item()
    assert moved == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("budget", [None, 40])
def test_every_evaluation_of_a_batch_draws_the_same_dropout(topics: SimpleNamespace, budget: int | None) -> None:
    """Else the line search of lbfgs would compare different functions."""
    policy = new_policy(topics.settings, topics.data, 0)
    descent = Descent(optimizer="lbfgs", lr=1.0, token_budget=budget)

    class Evaluates(torch.optim.Optimizer):
        losses: ClassVar[list[list[float]]] = []

        def step(self, closure: Any) -> Any:
            self.losses.append([float(closure()) for _ in range(3)])
            return self.losses[-1][0]

    optimizer = Evaluates(policy.parameters(), {})
    train_epoch(policy, topics.data.parts["warm"], optimizer, descent, 40, 0, iter([1.0] * 99))
    assert len(optimizer.losses) == 3
    assert all(len(set(losses)) == 1 for losses in optimizer.losses)
    assert len({losses[0] for losses in optimizer.losses}) == 3  # each batch its own


def test_lbfgs_lowers_the_loss_of_one_batch_further_than_a_step_of_adamw(topics: SimpleNamespace) -> None:
    part = topics.data.parts["warm"]

    def losses(descent: Descent) -> list[float]:
        policy = new_policy(topics.settings, topics.data, 0)
        optimizer = make_optimizer(descent, dict(policy.named_parameters()), supervised=True)
        return [train_epoch(policy, part, optimizer, descent, 120, 0, iter([descent.lr])) for _ in range(3)]

    second_order, first_order = losses(Descent(optimizer="lbfgs", lr=1.0, weight_decay=0.0)), losses(Descent(lr=1e-2))
    assert second_order[0] == pytest.approx(first_order[0])  # before any step, with the same dropout
    assert second_order[2] < 0.5 * first_order[2]


def test_a_start_without_a_schedule_is_its_average(topics: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.optim.Optimizer] = []

    def make(*given: Any, **named: Any) -> torch.optim.Optimizer:
        made.append(make_optimizer(*given, **named))
        return made[-1]

    monkeypatch.setattr(supervised, "make_optimizer", make)
    policy = started(topics, optimizer="schedule_free", lr_schedule="constant", epochs=1)
    average = policy.label_head.weight.detach().clone()
    to_training(made[0])
    assert not torch.allclose(policy.label_head.weight, average, atol=1e-4)


@pytest.mark.parametrize("average", ["ema", "last"])
def test_a_start_may_be_an_average(
    topics: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, average: Literal["ema", "last"]
) -> None:
    """Of the weights that it would have without one, at the ends of its last two epochs, or after each step."""
    made: list[torch.optim.Optimizer] = []

    def make(*given: Any, **named: Any) -> torch.optim.Optimizer:
        made.append(make_optimizer(*given, **named))
        return made[-1]

    plain = [started(topics, epochs=4, lr_schedule="constant")]
    monkeypatch.setattr(supervised, "make_optimizer", make)
    policy = started(topics, epochs=4, lr_schedule="constant", average=average, average_last=2)
    kept, name = average_of(made[0]), "label_head.weight"
    assert kept is not None
    assert torch.equal(kept.weights()[name], plain[0].label_head.weight), "training is the same"
    if average == "last":
        assert len(kept.kept) == 2
        assert torch.equal(kept.kept[1][name], plain[0].label_head.weight)
        assert torch.equal(policy.label_head.weight, (kept.kept[0][name] + kept.kept[1][name]) / 2)
    else:
        assert kept.steps == 4 * steps_in(len(topics.data.parts["warm"]), topics.settings.train.warm_start.batch_size)
        assert torch.equal(policy.label_head.weight, kept.kept[0][name])
    assert not torch.equal(policy.label_head.weight, plain[0].label_head.weight)


def test_noise_of_the_gradient_is_measured_and_leaves_no_trace(topics: SimpleNamespace) -> None:
    """The loss of a new policy says little of one row and much of all: a scale of the order of the data."""
    policy = new_policy(topics.settings, topics.data, 0).eval()
    part, descent = topics.data.parts["warm"], Descent()
    state = torch.get_rng_state()
    policy.label_head.weight.grad = torch.ones_like(policy.label_head.weight)
    noise = measure_noise(policy, part, descent, 64, 0)
    assert 1 < float(noise.scale) < 1000
    assert all(torch.equal(a, b) for a, b in zip(noise, measure_noise(policy, part, descent, 64, 0), strict=True))
    assert not policy.training
    assert bool((policy.label_head.weight.grad == 1).all())
    assert policy.tokens.weight.grad is None
    assert torch.equal(torch.get_rng_state(), state)
    two = measure_noise(policy, part, descent, 1, 0)  # of two rows, the least there can be
    assert bool(torch.stack(two).isfinite().all())


def test_noise_of_equal_rows_is_none(topics: SimpleNamespace) -> None:
    """But for dropout, which is off here."""
    values = {"model.dropout": 0.0, "model.word_dropout": 0.0}
    policy = new_policy(topics.settings.with_values(values), topics.data, 0)
    part = topics.data.parts["warm"].rows(np.zeros(32, dtype=np.int64))
    assert float(measure_noise(policy, part, Descent(token_budget=20), 16, 0).scale) == pytest.approx(0.0, abs=1e-6)


def test_a_loss_that_is_not_a_number_is_said(topics: SimpleNamespace) -> None:
    policy = new_policy(topics.settings, topics.data, 0)
    with torch.no_grad():
        policy.label_head.bias[0] = float("nan")
    optimizer = torch.optim.AdamW(policy.parameters())
    with pytest.raises(TrainingError, match=r"not a number .*; lower the learning rate"):
        train_epoch(policy, topics.data.parts["warm"], optimizer, Descent(), 16, 0, iter([1e-3] * 99))


def test_the_first_who_asks_decides_the_precision_for_all(
    topics: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """auto is measured once, whatever a second measurement would say; what a study asks for is not measured."""
    asked = topics.settings.with_values({"precision": "auto"})
    first = with_precision(asked, topics.data, tmp_path)
    assert first.precision in ("float32", "bfloat16")
    assert read_json(tmp_path / PRECISION_FILE)["precision"] == first.precision
    other = "bfloat16" if first.precision == "float32" else "float32"
    monkeypatch.setattr(supervised, "calibrate_precision", lambda *given: {"precision": other})
    assert with_precision(asked, topics.data, tmp_path) == first
    assert with_precision(asked, topics.data, tmp_path / "another study").precision == other
    monkeypatch.undo()
    told = topics.settings.with_values({"precision": "float32"})
    assert with_precision(told, topics.data, tmp_path / "told") == told
    assert not (tmp_path / "told").exists()
