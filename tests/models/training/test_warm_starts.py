"""A start is made once, is whole or absent, and is named by its causes; a precision is decided once."""

import threading
import time
from pathlib import Path

import pytest

from sweepstack.models import checksums
from sweepstack.models.errors import TrainingError
from sweepstack.models.files import read_json
from sweepstack.models.networks.precision import Calibration
from sweepstack.models.settings.trial import PRECISION_FILE, TrialSettings
from sweepstack.models.training.warm_starts import START_FILE, decided_precision, ensure, hash_of


def trained(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "weights").write_text("whole")


def test_a_start_is_made_once_and_says_how_long_it_took(tmp_path: Path) -> None:
    made: list[Path] = []

    def train(folder: Path) -> None:
        made.append(folder)
        time.sleep(0.02)
        trained(folder)

    folder = ensure(tmp_path, "abc", train)
    assert folder == ensure(tmp_path, "abc", train) == tmp_path / "abc"
    assert len(made) == 1
    assert made[0] != folder, "under another name until it is whole"
    assert (folder / "weights").read_text() == "whole"
    assert 0.02 <= read_json(folder / START_FILE)["seconds"] < 5


def test_who_asks_meanwhile_waits_for_it(tmp_path: Path) -> None:
    began, may_end, made = threading.Event(), threading.Event(), []

    def train(folder: Path) -> None:
        began.set()
        may_end.wait(10)
        made.append(folder)
        trained(folder)

    both = [threading.Thread(target=ensure, args=(tmp_path, "abc", train)) for _ in range(2)]
    both[0].start()
    began.wait(10)
    both[1].start()
    both[1].join(0.05)
    assert both[1].is_alive()
    may_end.set()
    for each in both:
        each.join(10)
    assert len(made) == 1


def test_what_was_not_finished_is_begun_anew(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "half").write_text("")
        raise TrainingError("the loss is not a number")

    with pytest.raises(TrainingError):
        ensure(tmp_path, "abc", fails)
    assert not (tmp_path / "abc").exists()
    folder = ensure(tmp_path, "abc", trained)
    assert sorted(path.name for path in folder.iterdir()) == [START_FILE, "weights"]


def test_a_name_is_of_values_and_not_of_their_order() -> None:
    assert hash_of([1, {"a": 1, "b": 2}]) == hash_of([1, {"b": 2, "a": 1}])
    assert hash_of([1, {"a": 1}]) != hash_of([1, {"a": 2}]) != hash_of([{"a": 2}, 1])
    assert len(hash_of([])) == 16


def test_a_precision_is_decided_by_the_first_who_asks(tmp_path: Path) -> None:
    def says(precision: str) -> object:
        return lambda settings: Calibration(precision=precision, float32_ms=2.0, bfloat16_ms=1.0)  # type: ignore[typeddict-item]

    auto = TrialSettings(precision="auto")
    assert decided_precision(auto, tmp_path, says("bfloat16")).precision == "bfloat16"  # type: ignore[arg-type]
    assert decided_precision(auto, tmp_path, says("float32")).precision == "bfloat16"  # type: ignore[arg-type]
    assert read_json(tmp_path / PRECISION_FILE)["bfloat16_ms"] == 1.0
    told = TrialSettings(precision="float32")
    assert decided_precision(told, tmp_path / "told", says("float32")) == told  # type: ignore[arg-type]
    assert not (tmp_path / "told").exists()


def test_a_damaged_start_is_trained_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def train(folder: Path) -> None:
        checksums.put(folder, {"weights": b"learned"})

    folder = ensure(tmp_path, "abc", train)
    for damaged in (b"learnef", b"learn", b""):
        (folder / "weights").write_bytes(damaged)
        assert (ensure(tmp_path, "abc", train) / "weights").read_bytes() == b"learned"
    (folder / "weights").unlink()
    assert (ensure(tmp_path, "abc", train) / "weights").read_bytes() == b"learned"
    assert caplog.messages == [f"the supervised start {folder} was damaged, and is trained again"] * 4
