"""A state that was saved goes on bit by bit as if it had not been, with every optimiser."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch.nn import Parameter

from sweepstack.models import checksums
from sweepstack.models.errors import DamagedError
from sweepstack.models.optim.optimizers import average_of, end_epoch, evaluating, make_optimizer, set_lr
from sweepstack.models.settings.trial import Descent, Optimizer
from sweepstack.models.training.resume import forget_state, load_state, read_reports, save_state


def begin(name: Optimizer, **more: Any) -> tuple[dict[str, Parameter], torch.optim.Optimizer]:
    trained = {
        "head.weight": Parameter(torch.ones(2, 3)),
        "head.bias": Parameter(torch.zeros(3)),
        "idle": Parameter(torch.ones(1)),
    }
    descent = Descent(optimizer=name, lr=0.1, weight_decay=0.01, **more)
    return trained, make_optimizer(descent, trained, supervised=True)


def epoch(trained: dict[str, Parameter], optimizer: torch.optim.Optimizer, number: int) -> None:
    """Three steps on other data each."""
    random = torch.Generator().manual_seed(number)
    for _ in range(3):
        x, y = torch.randn(8, 2, generator=random), torch.randn(8, 3, generator=random)

        def evaluate(x: torch.Tensor = x, y: torch.Tensor = y) -> torch.Tensor:
            optimizer.zero_grad()
            loss = (x @ trained["head.weight"] + trained["head.bias"] - y).square().mean()
            loss.backward()
            return loss.detach()

        closure: Any = evaluate
        set_lr(optimizer, 0.1 / (1 + number))
        optimizer.step(closure)


def scores(trained: dict[str, Parameter], optimizer: torch.optim.Optimizer) -> None:
    end_epoch(optimizer)
    with evaluating(optimizer):
        assert all(bool(p.isfinite().all()) for p in trained.values())


def held(optimizer: torch.optim.Optimizer) -> Any:
    """All that it holds, in an order, tensors as lists."""
    state = optimizer.state_dict()
    of_parameters = {i: sorted(each.items()) for i, each in sorted(state["state"].items())}
    return json.loads(json.dumps([of_parameters, state["param_groups"]], default=lambda t: t.tolist()))


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("name", "more"),
    [
        *((name, {}) for name in get_args(Optimizer)),
        *((name, {"decay_all": False}) for name in get_args(Optimizer)),
        *((name, {"average": "ema"}) for name in get_args(Optimizer) if name != "schedule_free"),
        ("adamw", {"average": "last", "average_last": 2, "decay_all": False}),
        ("rmsprop", {"momentum": 0.5, "average": "last"}),
    ],
)
def test_going_on_equals_not_having_stopped(
    name: Optimizer, more: dict[str, Any], inside: bool, tmp_path: Path
) -> None:
    """Each epoch in a process that knows nothing, saved while it evaluates or after: bit for bit the same."""
    undisturbed, whole = begin(name, **more)
    for number in range(4):
        epoch(undisturbed, whole, number)
        scores(undisturbed, whole)
    for number in range(4):
        trained, optimizer = begin(name, **more)
        reports = read_reports(tmp_path)
        assert len(reports) == number
        if reports:
            assert load_state(tmp_path, trained, optimizer, number) == {"best": number / 7}
        epoch(trained, optimizer, number)
        if inside:
            end_epoch(optimizer)
        with evaluating(optimizer) if inside else nullcontext():
            if not inside:
                scores(trained, optimizer)
            extra = {"best": (number + 1) / 7}
            save_state(tmp_path, trained, optimizer, [*reports, {"reward": number / 3}], extra)
    assert all(torch.equal(trained[key], undisturbed[key]) for key in trained)
    assert held(optimizer) == held(whole)
    averages = average_of(optimizer), average_of(whole)
    for one, other in zip(*(({} if each is None else each.tensors()).items() for each in averages), strict=True):
        assert one[0] == other[0]
        assert torch.equal(one[1], other[1])
    assert read_reports(tmp_path)[3] == {"reward": 1.0}  # to the last bit


def test_lbfgs_has_curvature_to_bring_back(tmp_path: Path) -> None:
    trained, optimizer = begin("lbfgs")
    epoch(trained, optimizer, 0)
    save_state(tmp_path, trained, optimizer, [{"reward": 0.5}])
    again, other = begin("lbfgs")
    assert load_state(tmp_path, again, other, 1) == {}
    [state] = other.state.values()
    assert len(state["old_dirs"]) > 1
    assert isinstance(state["n_iter"], int)


def test_settings_are_the_callers_and_not_those_of_the_file(tmp_path: Path) -> None:
    """A decay that was raised meanwhile stays raised; what training itself has counted comes back."""
    trained, optimizer = begin("schedule_free")
    epoch(trained, optimizer, 0)
    save_state(tmp_path, trained, optimizer, [{"reward": 0.5}])
    again, _ = begin("schedule_free")
    other = make_optimizer(Descent(optimizer="schedule_free", weight_decay=0.3), again, supervised=True)
    load_state(tmp_path, again, other, 1)
    [group] = other.param_groups
    assert (group["weight_decay"], group["k"], group["lr_max"], group["train_mode"]) == (0.3, 3, 0.1, True)


def test_one_state_is_kept_and_nothing_when_a_trial_has_ended(tmp_path: Path) -> None:
    trained, optimizer = begin("adamw")
    for number in range(3):
        epoch(trained, optimizer, number)
        save_state(tmp_path, trained, optimizer, [{"reward": 0.5}] * (number + 1))
        assert checksums.is_whole(tmp_path), "what goes on is no damage: a refit that is would be trained anew"
    (tmp_path / "log.txt").touch()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["SHA256SUMS", "log.txt", "resume-3.safetensors", "state.json"]
    forget_state(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["log.txt"]
    assert read_reports(tmp_path) == []
    forget_state(tmp_path)  # and again, after a kill in between


def test_a_kill_between_the_two_files_repeats_the_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, optimizer = begin("adam")
    epoch(trained, optimizer, 0)
    save_state(tmp_path, trained, optimizer, [{"reward": 0.5}])
    kept = trained["head.weight"].detach().clone()
    epoch(trained, optimizer, 1)

    put = checksums.put

    def killed(folder: Path, contents: dict[str, str | bytes]) -> None:
        if "state.json" in contents:
            raise KeyboardInterrupt
        put(folder, contents)

    monkeypatch.setattr(checksums, "put", killed)
    with pytest.raises(KeyboardInterrupt):
        save_state(tmp_path, trained, optimizer, [{"reward": 0.5}, {"reward": 0.6}])
    assert read_reports(tmp_path) == [{"reward": 0.5}]
    again, optimizer = begin("adam")
    load_state(tmp_path, again, optimizer, 1)
    assert torch.equal(again["head.weight"], kept)


@pytest.mark.parametrize("name", ["resume-1.safetensors", "state.json"])
def test_a_damaged_state_is_told_and_not_trained_on_from(tmp_path: Path, name: str) -> None:
    trained, optimizer = begin("adam")
    epoch(trained, optimizer, 0)
    save_state(tmp_path, trained, optimizer, [{"reward": 0.5}])
    content = bytearray((tmp_path / name).read_bytes())
    content[-5] ^= 1
    (tmp_path / name).write_bytes(content)

    def go_on() -> None:
        read_reports(tmp_path)
        load_state(tmp_path, trained, optimizer, 1)

    with pytest.raises(DamagedError, match=f"{name} is damaged"):
        go_on()
