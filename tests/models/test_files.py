import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweepstack.models.errors import StorageError
from sweepstack.models.files import read_json, reason_of, write_atomic, write_json


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_atomic(tmp_path / "new" / "folder" / "a.txt", "γ and λ\n")
    assert (tmp_path / "new" / "folder" / "a.txt").read_bytes() == "γ and λ\n".encode()
    write_atomic(tmp_path / "b", b"\x00\xff")
    assert (tmp_path / "b").read_bytes() == b"\x00\xff"
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o644  # for others to read, which mkstemp's files are not


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    for content in ("old", "new"):
        write_atomic(tmp_path / "a", content)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text(encoding="utf-8") == "new"


def test_a_full_disk_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomic(tmp_path / "a", "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError) as caught:
        write_atomic(tmp_path / "a", "new")
    assert str(caught.value) == (
        f"cannot write {tmp_path / 'a'}: No space left on device; free some space or choose another folder with --out"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text(encoding="utf-8") == "old"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        StorageError, match=r"^cannot write \S*/file/a: .*; free some space or choose another folder with --out$"
    ):
        write_atomic(tmp_path / "file" / "a", "x")


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_leaves_a_whole_file(tmp_path: Path, seed: int) -> None:
    """A process writes a megabyte of one letter, then of another, without end, until it is killed."""
    code = (
        "import itertools, pathlib, sys; from sweepstack.models.files import write_atomic\n"
        "for letter in itertools.cycle('abc'): write_atomic(pathlib.Path(sys.argv[1]), letter * 1_000_000)"
    )
    path = tmp_path / "a"
    process = subprocess.Popen([sys.executable, "-c", code, str(path)])
    try:
        while not path.exists():
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.013 * (seed + 1))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    content = path.read_text(encoding="utf-8")
    assert len(content) == 1_000_000
    assert len(set(content)) == 1


def test_json_round_trip(tmp_path: Path) -> None:
    content = {"γ": 0.1, "none": None, "list": [1, "二", True]}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "二" in text
    assert text.endswith("}\n")


def test_json_holds_no_nan_which_other_readers_refuse(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not (tmp_path / "a.json").exists()
    (tmp_path / "b.json").write_text("{", encoding="utf-8")
    with pytest.raises(json.JSONDecodeError):
        read_json(tmp_path / "b.json")


def test_the_reason_of_what_cannot_be_loaded_is_the_line_that_says_something() -> None:
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.nn.Linear(2, 3).load_state_dict({"weight": torch.zeros(5, 2), "extra": torch.zeros(1)})
    reason = reason_of(caught.value)
    assert reason == 'config.json and weights.safetensors do not fit: Missing key(s) in state_dict: "bias" (and 2 more)'
    assert reason_of(KeyError("format")) == "it lacks 'format'"
    assert reason_of(ValueError("one\ntwo")) == "one"
    assert reason_of(TypeError()) == "TypeError"
