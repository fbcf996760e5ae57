"""Parts of a trial: trained in turn, their epochs counted on, and gone on with wherever a kill fell."""

import json
from pathlib import Path

import pytest
from killing import Killed

from sweepstack.models.training.parts import PartsTrainer

PARTS, EPOCHS = 3, 2


class Counting:
    """Reports ten times its part and its epoch; keeps its reports in ``state.json``, as Trainer does."""

    def __init__(self, folder: Path, part: int, log: list[str]) -> None:
        self._path, self._part, self._log = folder / f"part-{part}" / "state.json", part, log
        self.reports: list[dict[str, float]] = []
        if self._path.exists():
            self.reports = json.loads(self._path.read_text())

    def step(self) -> dict[str, float]:
        report = {"reward": 10.0 * self._part + len(self.reports)}
        self.reports.append(report)
        self._path.parent.mkdir(exist_ok=True)
        self._path.write_text(json.dumps(self.reports))
        return report

    kept = True

    def close(self, finished: bool) -> None:
        self._log.append(f"closed {self._part} {finished}")
        if finished:
            self._path.unlink(missing_ok=True)


def trainer_in(folder: Path, log: list[str], kill_in: int | None = None) -> PartsTrainer:
    """``kill_in``: the part whose end is not lived to see."""

    def ended(part: int) -> None:
        if part == kill_in:
            raise Killed
        log.append(f"ended {part}")

    return PartsTrainer(folder, PARTS, EPOCHS, lambda part: Counting(folder, part, log), ended)


def rewards(trainer: PartsTrainer) -> list[float]:
    return [report["reward"] for report in trainer.reports]


ALL = [0.0, 1.0, 10.0, 11.0, 20.0, 21.0]


def test_epochs_count_on_from_one_part_into_the_next(tmp_path: Path) -> None:
    log: list[str] = []
    trainer = trainer_in(tmp_path, log)
    assert [trainer.step()["reward"] for _ in ALL] == ALL
    assert rewards(trainer) == ALL
    assert log == ["ended 0", "closed 0 True", "ended 1", "closed 1 True", "ended 2", "closed 2 True"]


@pytest.mark.parametrize("after", range(len(ALL) + 1))
def test_a_trial_goes_on_from_any_epoch(tmp_path: Path, after: int) -> None:
    first = trainer_in(tmp_path, [])
    for _ in range(after):
        first.step()
    second = trainer_in(tmp_path, [])
    assert rewards(second) == ALL[:after]
    while len(second.reports) < len(ALL):
        second.step()
    assert rewards(second) == ALL


@pytest.mark.parametrize("part", range(PARTS))
def test_the_end_of_a_part_that_a_kill_cut_off_is_made_up_for(tmp_path: Path, part: int) -> None:
    first = trainer_in(tmp_path, [], kill_in=part)
    for _ in range((part + 1) * EPOCHS - 1):
        first.step()
    with pytest.raises(Killed):
        first.step()
    log: list[str] = []
    second = trainer_in(tmp_path, log)
    assert rewards(second) == ALL[: (part + 1) * EPOCHS], "the last epoch was trained, and is not trained again"
    assert log == [f"ended {part}", f"closed {part} True"]
    while len(second.reports) < len(ALL):
        second.step()
    assert rewards(second) == ALL


def test_closing_keeps_what_is_needed_to_go_on_until_the_trial_is_finished(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, [])
    for _ in range(3):
        trainer.step()
    trainer.close(False)
    assert sorted(path.name for path in tmp_path.rglob("*.json")) == ["parts.json", "state.json"]
    trainer_in(tmp_path, []).close(True)
    assert not list(tmp_path.rglob("*.json"))


def test_only_parts_that_came_to_their_end_are_kept(tmp_path: Path) -> None:
    """Whatever the one at work has."""
    trainer, found = trainer_in(tmp_path, []), []
    for _ in ALL:
        found.append(trainer.kept)
        trainer.step()
    assert found == [False, False, True, True, True, True]
