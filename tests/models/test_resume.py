"""A state that was saved goes on bit by bit as if it had not been, with every optimiser."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from torch.nn import Parameter

from sweepstack.models.optimizers import make_optimizer
from sweepstack.models.resume import forget_state, load_state, read_reports, save_state
from sweepstack.models.settings import Optimizer


def begin(name: Optimizer) -> tuple[dict[str, Parameter], torch.optim.Optimizer]:
    trained = {
        "head.weight": Parameter(torch.ones(2, 3)),
        "head.bias": Parameter(torch.zeros(3)),
        "idle": Parameter(torch.ones(1)),
    }
    return trained, make_optimizer(name, trained.values(), 0.1, 0.01)


def epoch(trained: dict[str, Parameter], optimizer: torch.optim.Optimizer, number: int) -> None:
    random = torch.Generator().manual_seed(number)
    for _ in range(3):
        for name, parameter in trained.items():
            parameter.grad = None if name == "idle" else torch.randn(parameter.shape, generator=random)
        optimizer.param_groups[0]["lr"] = 0.1 / (1 + number)
        optimizer.step()


@pytest.mark.parametrize("name", get_args(Optimizer))
def test_going_on_equals_not_having_stopped(name: Optimizer, tmp_path: Path) -> None:
    undisturbed, optimizer = begin(name)
    for number in range(4):
        epoch(undisturbed, optimizer, number)
    for number in range(4):
        trained, optimizer = begin(name)  # a process that knows nothing
        reports = read_reports(tmp_path)
        assert len(reports) == number
        if reports:
            load_state(tmp_path, trained, optimizer, number)
        epoch(trained, optimizer, number)
        save_state(tmp_path, trained, optimizer, [*reports, {"reward": number / 3}])
    assert all(torch.equal(trained[key], undisturbed[key]) for key in trained)
    assert read_reports(tmp_path)[3] == {"reward": 1.0}  # to the last bit


def test_one_state_is_kept_and_nothing_when_a_trial_has_ended(tmp_path: Path) -> None:
    trained, optimizer = begin("adamw")
    for number in range(3):
        epoch(trained, optimizer, number)
        save_state(tmp_path, trained, optimizer, [{"reward": 0.5}] * (number + 1))
    (tmp_path / "log.txt").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.txt", "resume-3.safetensors", "state.json"]
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

    def killed(path: Path, content: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sweepstack.models.resume.write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        save_state(tmp_path, trained, optimizer, [{"reward": 0.5}, {"reward": 0.6}])
    assert read_reports(tmp_path) == [{"reward": 0.5}]
    again, optimizer = begin("adam")
    load_state(tmp_path, again, optimizer, 1)
    assert torch.equal(again["head.weight"], kept)
