"""What libraries print lands in the log, whatever they print it with; the terminal gets only what is meant for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from sweepstack.models.errors import StorageError
from sweepstack.search.execution.log_capture import Chatter, gather

PRINTS = """
import os, sys
from pathlib import Path
from sweepstack.search.execution.log_capture import Chatter
print("before")
with Chatter(Path(sys.argv[1])) as chatter:
    print("a library prints")
    print("a library warns", file=sys.stderr)
    os.write(1, b"C++ prints" + bytes([10]))
    os.system("echo a child prints")
    chatter.terminal.write("for the user: ä" + chr(10))
print("after")
print("an error", file=sys.stderr)
"""


def test_descriptors_children_and_streams_go_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "run" / "log.txt"
    done = subprocess.run(
        [sys.executable, "-c", PRINTS, log], capture_output=True, encoding="utf-8", check=True, env={"LANG": "C.UTF-8"}
    )
    assert done.stdout.splitlines() == ["before", "for the user: ä", "after"]
    assert done.stderr == "an error\n"
    assert set(log.read_text().splitlines()) == {"a library prints", "a library warns", "C++ prints", "a child prints"}


def test_a_closed_standard_output_is_no_fault(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    shell = f'"{sys.executable}" -c \'{PRINTS}\' "{log}" 1>&-'
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True)
    assert done.stderr == "an error\n"
    assert "a library warns" in log.read_text()


def test_what_a_session_logs_comes_after_what_earlier_ones_did(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("earlier\n")
    with Chatter(log):
        pass
    assert log.read_text() == "earlier\n"


def test_a_log_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.txt").mkdir()
    with (
        pytest.raises(StorageError, match=r"cannot write .*log\.txt: .*; free some space, or make the folder writable"),
        Chatter(tmp_path / "log.txt"),
    ):
        pytest.fail("it must not begin")


def test_the_workers_words_are_kept_without_rays_marks(tmp_path: Path) -> None:
    (tmp_path / "worker-1.out").write_text(":job_id:01000000\n:actor_name:A\nhello\n")
    (tmp_path / "worker-1.err").write_text(":job_id:01000000\n")
    (tmp_path / "raylet.out").write_text("not of interest\n")
    gather(tmp_path, tmp_path / "log.txt")
    assert (tmp_path / "log.txt").read_text() == "--- worker-1.out\nhello\n"
    gather(tmp_path / "missing", tmp_path / "none.txt")
    assert not (tmp_path / "none.txt").exists()
