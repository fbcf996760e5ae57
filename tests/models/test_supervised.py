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
from typing import Any

import numpy as np
import pytest
import torch

from sweepstack.models import supervised
from sweepstack.models.checkpoints import load_policy, new_policy, predict
from sweepstack.models.encoding import TaskData, resample
from sweepstack.models.errors import TrainingError
from sweepstack.models.policy import PolicyOutput
from sweepstack.models.predictions import metrics
from sweepstack.models.supervised import cross_entropy, ensure_start, start_hash, steps_in, train_epoch, train_start

CPU = torch.device("cpu")


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_the_loss_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without smoothing: row 0 has two segments of −ln .8 and −ln .5, row 1 one of −ln .25; rows count alike."""
    monkeypatch.setattr(supervised, "LABEL_SMOOTHING", 0.0)
    probabilities = torch.tensor([[[0.8, 0.2], [0.5, 0.5]], [[0.75, 0.25], [1e-9, 1 - 1e-9]]])
    output = PolicyOutput(probabilities.log(), torch.zeros(2, 2), torch.zeros(2, 2))
    loss = cross_entropy(output, torch.tensor([0, 1]), torch.tensor([2, 1]))
    assert loss.item() == pytest.approx((-np.log(0.8) - np.log(0.5)) / 4 - np.log(0.25) / 2, rel=1e-5)


def test_label_smoothing_by_hand() -> None:
    """.05 smoothed over two labels: .975 of the right one, .025 of the other."""
    output = PolicyOutput(torch.tensor([[[0.8, 0.2]]]).log(), torch.zeros(1, 1), torch.zeros(1, 1))
    loss = cross_entropy(output, torch.tensor([0]), torch.tensor([1]))
    assert loss.item() == pytest.approx(-0.975 * np.log(0.8) - 0.025 * np.log(0.2), rel=1e-5)


@pytest.mark.parametrize(("rows", "size", "steps"), [(10, 5, 2), (11, 5, 3), (1, 5, 1)])
def test_steps_in_an_epoch(rows: int, size: int, steps: int) -> None:
    assert steps_in(rows, size) == steps


def test_a_start_learns_and_is_reproducible(topics: SimpleNamespace, tmp_path: Path) -> None:
    valid = topics.data.parts["valid"]

    def accuracy(policy: Any) -> float:
        return metrics(predict(policy, valid), valid.labels, 0.0)["accuracy_full"]

    untrained = new_policy(topics.settings, topics.data, 0).eval()
    folder = ensure_start(topics.settings, topics.data, topics.starts)
    policy, config = load_policy(folder, CPU)
    assert accuracy(policy) > 0.9 > 0.6 > accuracy(untrained)  # a third by chance
    assert config["classes"] == list(topics.data.classes)
    torch.rand(3)  # whatever the process has drawn before
    again = ensure_start(topics.settings, topics.data, tmp_path)
    assert again.name == folder.name
    assert digest(again) == digest(folder)


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
from sweepstack.models import supervised
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


@pytest.mark.parametrize("files", [1, 2, 3])
def test_a_kill_while_a_start_is_saved_leaves_nothing_that_is_taken_for_whole(
    topics: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    """After each of its files but before the folder has its name: what a kill leaves, the next one starts over from."""
    from sweepstack.models import checkpoints

    written: list[Path] = []
    whole = checkpoints.write_atomic

    def killed(path: Path, content: bytes | str) -> None:
        whole(path, content)
        written.append(path)
        if len(written) == files:
            raise KeyboardInterrupt

    one_epoch = topics.settings.with_values({"train.warm_start.epochs": 1})
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_atomic", killed)
        patch.setattr(checkpoints, "write_json", lambda path, content: killed(path, "{}"))
        with pytest.raises(KeyboardInterrupt):
            ensure_start(one_epoch, topics.data, tmp_path)
    assert len(written) == files
    assert not (tmp_path / start_hash(one_epoch, topics.data)).exists()
    folder = ensure_start(one_epoch, topics.data, tmp_path)
    load_policy(folder, CPU)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "tokenizer.json", "weights.safetensors"]


def test_a_loss_that_is_not_a_number_is_said(topics: SimpleNamespace) -> None:
    policy = new_policy(topics.settings, topics.data, 0)
    with torch.no_grad():
        policy.label_head.bias[0] = float("nan")
    optimizer = torch.optim.AdamW(policy.parameters())
    with pytest.raises(TrainingError, match=r"not a number .*; lower the learning rate"):
        train_epoch(policy, topics.data.parts["warm"], optimizer, 16, 0, iter([1e-3] * 99))
