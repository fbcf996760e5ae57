import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sweepstack.ensembles.refits import RefitJob, refit_jobs, refits
from sweepstack.models.errors import TrainingError
from sweepstack.models.files import read_json, write_json
from sweepstack.models.settings import TrialSettings

HASHES = {"warm": "1", "policy": "2", "valid": "3", "blend": "4", "test": "5"}


class Data(int):
    """A number in the place of data."""

    folds: tuple["Data", ...] = ()


DATA = Data(100)


class FakeTrainer:
    """The contract of models.trainer.Trainer: state in the folder after each epoch, dropped by close."""

    steps = 0
    fail_at: int | None = None  # a step, counted over all trainers, that is killed
    broken = False

    def __init__(self, settings: TrialSettings, data: Any, starts: Path, folder: Path, metric: str) -> None:
        self.data, self.starts, self.folder = data, starts, folder
        self.state = folder / "state.json"
        self.reports: list[dict[str, float]] = read_json(self.state) if self.state.exists() else []

    def step(self) -> dict[str, float]:
        type(self).steps += 1
        if type(self).steps == self.fail_at:
            raise KeyboardInterrupt
        if self.broken:
            raise TrainingError("train_loss is not a number in epoch 1")
        self.starts.mkdir(parents=True, exist_ok=True)
        report = {"epoch": len(self.reports) + 1.0, "data": float(self.data)}
        self.reports.append(report)
        write_json(self.state, self.reports)
        write_json(self.folder / "checkpoint" / "config.json", report)
        return report

    def close(self, finished: bool) -> None:
        if finished:
            self.state.unlink(missing_ok=True)


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> type[FakeTrainer]:
    class Trainer(FakeTrainer):
        pass

    fake_folds, fake_encoding = ModuleType("folds"), ModuleType("encoding")
    fake_folds.make_trainer = Trainer  # type: ignore[attr-defined]
    fake_encoding.resample = lambda data, seed: data + seed  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sweepstack.models.folds", fake_folds)
    monkeypatch.setitem(sys.modules, "sweepstack.models.encoding", fake_encoding)
    return Trainer


class Now:
    """An executor that works at once and in this thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        result = fn(*args)
        return type("Done", (), {"result": lambda self: result})()


def jobs(folder: Path, members: int = 3) -> list[RefitJob]:
    settings = TrialSettings().with_values({"train.epochs": 2})
    return refit_jobs([settings], members, 0, HASHES, folder / "refits")


def test_jobs_differ_in_start_and_sample_and_are_named_by_what_they_depend_on(tmp_path: Path) -> None:
    three, again = jobs(tmp_path), jobs(tmp_path)
    assert [job.folder for job in three] == [job.folder for job in again]
    assert len({job.folder for job in three}) == 3
    assert len({job.bootstrap_seed for job in three}) == 3
    assert len({job.settings.train.warm_start.seed for job in three}) == 3
    assert jobs(tmp_path, 5)[:3] == three  # more members keep those that are there
    other = refit_jobs([three[0].settings], 3, 0, HASHES | {"warm": "9"}, tmp_path / "refits")
    assert not {job.folder for job in other} & {job.folder for job in three}
    assert three[0].member.checkpoint == three[0].folder / "checkpoint"
    assert three[0].member.kind == "refit"


def test_settings_that_differ_in_the_replaced_seed_only_are_refitted_once(tmp_path: Path) -> None:
    settings = TrialSettings()
    other = settings.with_values({"train.warm_start.seed": 3})
    assert len(refit_jobs([settings, other], 2, 0, HASHES, tmp_path)) == 2


def test_all_epochs_are_trained_and_the_start_is_removed(tmp_path: Path, trainer: type[FakeTrainer]) -> None:
    with ThreadPoolExecutor(2) as executor:
        results = list(refits(jobs(tmp_path), DATA, "reward", executor))
    assert [result.job for result in results] == jobs(tmp_path)
    for result in results:
        assert result.error is None
        assert [report["epoch"] for report in result.reports] == [1, 2]
        assert result.reports[0]["data"] == 100 + result.job.bootstrap_seed
        assert sorted(path.name for path in result.job.folder.iterdir()) == ["checkpoint", "done"]


def test_under_folds_every_fold_has_all_its_epochs(tmp_path: Path, trainer: type[FakeTrainer]) -> None:
    data = Data(100)
    data.folds = (DATA, DATA, DATA)
    for result in refits(jobs(tmp_path), data, "reward", Now()):
        assert len(result.reports) == 3 * 2


def test_done_refits_are_not_repeated(tmp_path: Path, trainer: type[FakeTrainer]) -> None:
    first = list(refits(jobs(tmp_path), DATA, "reward", Now()))
    steps = trainer.steps
    assert list(refits(jobs(tmp_path), DATA, "reward", Now())) == first
    assert trainer.steps == steps == 6


@pytest.mark.parametrize("killed_at", [1, 2, 4])
def test_a_killed_refit_goes_on(killed_at: int, tmp_path: Path, trainer: type[FakeTrainer]) -> None:
    undisturbed = list(refits(jobs(tmp_path / "undisturbed"), DATA, "reward", Now()))
    trainer.steps, trainer.fail_at = 0, killed_at
    with pytest.raises(KeyboardInterrupt):
        list(refits(jobs(tmp_path), DATA, "reward", Now()))
    resumed = list(refits(jobs(tmp_path), DATA, "reward", Now()))
    assert [result.reports for result in resumed] == [result.reports for result in undisturbed]
    assert trainer.steps == 6 + 1  # the killed step, and no other, was repeated


def test_a_training_that_breaks_down_is_a_result_with_its_reason(tmp_path: Path, trainer: type[FakeTrainer]) -> None:
    trainer.broken = True
    results = list(refits(jobs(tmp_path), DATA, "reward", Now()))
    assert [result.error for result in results] == ["train_loss is not a number in epoch 1"] * 3
    steps = trainer.steps
    assert list(refits(jobs(tmp_path), DATA, "reward", Now())) == results
    assert trainer.steps == steps  # it would only break down again
