"""Ray's folders: one for each driver, swept with what still runs in it once the driver is dead, and not before."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweepstack.search.execution import ray_files
from sweepstack.search.execution.ray_files import Scratch, sweep

LIVES = """
import sys, time
from sweepstack.search.execution.ray_files import Scratch
made = Scratch()
log = open(made.path / "log", "w")
print(made.path, flush=True)
time.sleep(100)
"""
WORKS = "import sys, time; log = open(sys.argv[1] + '/log', 'a'); print(flush=True); time.sleep(100)"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        monkeypatch.setenv("TMPDIR", short)
        yield Path(short)


def lines_of(*command: str) -> tuple["subprocess.Popen[str]", str]:
    process = subprocess.Popen([sys.executable, "-c", *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_a_folder_is_private_and_goes(temporary: Path) -> None:
    made = Scratch()
    assert made.path.parent == temporary
    assert made.path.stat().st_mode & 0o77 == 0
    (made.path / "file").touch()
    made.remove()
    assert not made.path.exists()


def test_a_living_drivers_folder_stays_and_a_dead_ones_goes_with_its_processes() -> None:
    driver, folder = lines_of(LIVES)
    orphan, _ = lines_of(WORKS, folder)
    assert driver.stdout is not None
    assert orphan.stdout is not None
    with driver.stdout, orphan.stdout:
        sweep()
        assert Path(folder).is_dir()
        assert driver.poll() is None
        assert orphan.poll() is None
        driver.kill()
        driver.wait()
        sweep()
        assert not Path(folder).exists()
        assert orphan.poll() is not None


def test_a_link_is_not_followed(temporary: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    (temporary / "sweepstack-abcdefgh").symlink_to(tmp_path)
    sweep()
    assert (tmp_path / "precious").exists()


def test_another_users_folder_is_left_alone(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = temporary / "sweepstack-abcdefgh"
    theirs.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: theirs.stat().st_uid + 1)
    sweep()
    assert theirs.is_dir()


def test_a_path_too_long_for_sockets_is_avoided(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("long" * 10)))
    assert ray_files.parent() == Path("/tmp")
