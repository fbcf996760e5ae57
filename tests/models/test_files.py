import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from sweepstack.models.errors import InputError, NoJSONError, StorageError
from sweepstack.models.files import (
    check_output,
    open_log,
    read_json,
    reason_of,
    user_path,
    write_atomic,
    write_json,
    write_tensors,
)

WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: write_atomic(path, "a"),
    "json": lambda path: write_json(path, {}),
    "tensors": lambda path: write_tensors(path, {"a": np.ones(2)}),
    "log": lambda path: os.close(open_log(path)),
}


@pytest.fixture(params=[(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0o027, 0o640)], ids=lambda pair: oct(pair[0]))
def mode(request: pytest.FixtureRequest) -> Iterator[int]:
    """What a new file has under an umask."""
    umask, mode = request.param
    before = os.umask(umask)
    yield mode
    os.umask(before)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_has_the_mode_of_the_umask(tmp_path: Path, mode: int, writer: str) -> None:
    path = tmp_path / "a"
    for _ in range(2):  # one that replaces another, too
        WRITERS[writer](path)
        assert path.stat().st_mode & 0o777 == mode


def test_tensors_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = {"a": np.arange(6).reshape(2, 3).T, "b": np.zeros((0, 4), dtype=np.float32)}  # one is not contiguous
    write_tensors(tmp_path / "a.safetensors", written, {"digest": "x"})
    found = load_file(tmp_path / "a.safetensors")
    assert found.keys() == written.keys()
    for name, array in written.items():
        np.testing.assert_array_equal(found[name], array)


def _special(path: Path, kind: str) -> None:
    match kind:
        case "a FIFO":
            os.mkfifo(path)
        case "a folder":
            path.mkdir()
        case "a socket":
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(str(path))
        case "a link":
            path.symlink_to(path.with_name("nowhere"))
        case "a device":
            path.symlink_to("/dev/null")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["a FIFO", "a folder", "a socket", "a link", "a device"])
def test_no_output_replaces_anything_but_a_file(tmp_path: Path, kind: str, force: bool) -> None:
    path = Path("/dev/null") if kind == "a device" else tmp_path / "a"
    if kind != "a device":
        _special(path, kind)
    with pytest.raises(InputError, match=f"^-o {path} is {kind}, which is left as it is"):
        check_output(path, force=force)


def test_an_output_replaces_a_file_with_force_and_never_what_is_read(tmp_path: Path) -> None:
    path, source = tmp_path / "a", tmp_path / "b"
    check_output(path, force=False)  # nothing there
    path.touch()
    with pytest.raises(InputError, match=f"^-o {path} exists and is left as it is; .* --force$"):
        check_output(path, force=False, source=source)
    check_output(path, force=True, source=source)  # which is not there
    os.link(path, source)
    for each in (path, source):  # the same file by another name, too
        with pytest.raises(InputError, match=f"^-o {path} is the file that is read"):
            check_output(path, force=True, source=each)
    with path.open() as opened, pytest.raises(InputError, match="the file that is read"):
        check_output(path, force=True, source=opened.fileno())
    with pytest.raises(InputError, match="Not a directory"):
        check_output(path / "c", force=True)


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/runs/a") == tmp_path / "runs" / "a"
    assert user_path("a/~b") == Path("a/~b")
    with pytest.raises(InputError, match=r"^~nobody-of-that-name/a: no home folder is known"):
        user_path("~nobody-of-that-name/a")


@pytest.mark.parametrize("kind", ["a FIFO", "a folder"])
def test_json_is_read_of_plain_files_alone(tmp_path: Path, kind: str) -> None:
    _special(tmp_path / "a", kind)
    with pytest.raises(OSError, match=f"is {kind} and no regular file"):
        read_json(tmp_path / "a")


def test_json_of_an_endless_device_or_without_end_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="is a device and no regular file"):
        read_json(tmp_path / "a")
    (tmp_path / "b").write_text("[" * 200_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json(tmp_path / "b")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_atomic(tmp_path / "new" / "folder" / "a.txt", "γ and λ\n")
    assert (tmp_path / "new" / "folder" / "a.txt").read_bytes() == "γ and λ\n".encode()
    write_atomic(tmp_path / "b", b"\x00\xff")
    assert (tmp_path / "b").read_bytes() == b"\x00\xff"


def test_half_of_a_surrogate_pair_becomes_a_question_mark_in_every_kind_of_file(tmp_path: Path) -> None:
    text = "a\ud83d b\udc00 \U0001f600"
    write_atomic(tmp_path / "a.csv", text)
    write_json(tmp_path / "a.json", {text: [text]})
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "a? b? \U0001f600"
    assert read_json(tmp_path / "a.json") == {"a? b? \U0001f600": ["a? b? \U0001f600"]}


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
        f"cannot write {tmp_path / 'a'}: No space left on device; free some space, or make the folder writable"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text(encoding="utf-8") == "old"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        StorageError, match=r"^cannot write \S*/file/a: .*; free some space, or make the folder writable$"
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
    for torn in (b"{", b'{"a": "\xc3', b""):
        (tmp_path / "b.json").write_bytes(torn)
        with pytest.raises(NoJSONError, match=r"b\.json is damaged, as it holds no JSON \(.*\); put back a copy"):
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
