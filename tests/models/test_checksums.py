import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from sweepstack.models import checksums
from sweepstack.models.errors import BundleError, DamagedError
from sweepstack.models.files import write_atomic


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "members" / "a").mkdir(parents=True)
    (folder / "bundle.json").write_text("{}")
    (folder / "members" / "a" / "weights.safetensors").write_bytes(bytes(range(256)))
    checksums.write(folder)
    return folder


def test_sha256sum_agrees(folder: Path) -> None:
    checksums.verify(folder)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", checksums.NAME], cwd=folder, check=True)


def test_a_changed_byte_is_named(folder: Path) -> None:
    path = folder / "members" / "a" / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"members/a/weights.safetensors was changed since the export"):
        checksums.verify(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "bundle.json").unlink()
    with pytest.raises(BundleError, match=r"bundle.json is missing"):
        checksums.verify(folder)


def test_an_extra_file_is_named(folder: Path) -> None:
    (folder / "members" / "model.pkl").write_bytes(b"")
    with pytest.raises(BundleError, match=r"members/model.pkl does not belong to the bundle"):
        checksums.verify(folder)


def test_links_are_refused_even_to_the_right_content(folder: Path, tmp_path: Path) -> None:
    path = folder / "bundle.json"
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(BundleError, match=r"bundle.json is a link"):
        checksums.verify(folder)


def test_linked_folders_and_pipes_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "members" / "b").symlink_to(tmp_path)
    with pytest.raises(BundleError, match="members/b is a link"):
        checksums.verify(folder)
    (folder / "members" / "b").unlink()
    os.mkfifo(folder / "members" / "c")
    with pytest.raises(BundleError, match="members/c is a link or no plain file"):
        checksums.verify(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "members/../../secret"])
def test_paths_that_lead_outside_are_never_opened(name: str, folder: Path) -> None:
    (folder.parent / "secret").write_text("x")
    with (folder / checksums.NAME).open("a") as sums:
        sums.write(f"{checksums.digest(folder.parent / 'secret')}  {name}\n")
    with pytest.raises(BundleError, match="is missing"):
        checksums.verify(folder)


def test_what_is_no_bundle_is_said_in_one_line(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(BundleError, match="is no folder"):
        checksums.verify(tmp_path / "nothing")
    with pytest.raises(BundleError, match="SHA256SUMS is missing"):
        checksums.verify(tmp_path)
    (folder / checksums.NAME).write_bytes(b"\xff\xfe not a line\n")
    with pytest.raises(BundleError, match="SHA256SUMS line 1 is not"):
        checksums.verify(folder)


def flipped(path: Path, place: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_what_was_put_is_checked_and_sha256sum_agrees(tmp_path: Path) -> None:
    checksums.put(tmp_path, {"a": b"one", "b.json": "é"})
    checksums.put(tmp_path, {"a": b"two"})
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", checksums.NAME], cwd=tmp_path, check=True)
    checksums.check_below(tmp_path)
    flipped(tmp_path / "b.json")
    checksums.check(tmp_path / "a")
    with pytest.raises(DamagedError, match=r"b\.json is damaged: its SHA-256 is not .*; put back a copy of it, or run"):
        checksums.check(tmp_path / "b.json")
    assert not checksums.is_whole(tmp_path.parent)
    checksums.put(tmp_path, {"b.json": "é"})
    assert checksums.is_whole(tmp_path)


@pytest.mark.parametrize("size", [0, 1, 2])
def test_a_truncated_or_missing_file_is_damage(tmp_path: Path, size: int) -> None:
    checksums.put(tmp_path / "x", {"a": b"one"})
    (tmp_path / "x" / "a").write_bytes(b"one"[:size])
    with pytest.raises(DamagedError, match="a is damaged"):
        checksums.check(tmp_path / "x" / "a")
    (tmp_path / "x" / "a").unlink()
    checksums.check(tmp_path / "x" / "a")  # whoever opens it says that it is not there
    with pytest.raises(DamagedError, match="a is missing"):
        checksums.check_below(tmp_path)


def test_files_without_a_line_count_as_whole(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"x")
    checksums.check(tmp_path / "old")
    checksums.put(tmp_path, {"new": b"y"})
    checksums.check(tmp_path / "old")
    checksums.check_below(tmp_path)


def test_killed_anywhere_nothing_whole_is_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write, and every removal, may be the last thing that a process does."""
    for survived in range(6):
        folder = tmp_path / str(survived)
        checksums.put(folder, {"a": b"old", "b": b"old", "c": b"stays"})
        left = survived

        def dying(path: Path, content: bytes | str) -> None:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            write_atomic(path, content)

        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            patch.setattr(checksums, "write_atomic", dying)
            checksums.put(folder, {"a": b"new", "b": b"new"})
        checksums.check_below(folder)
        assert (folder / "a").read_bytes() == (b"new" if survived > 1 else b"old")


def test_a_removed_file_is_no_damage_even_if_killed_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checksums.put(tmp_path, {"a": b"one", "b": b"two"})
    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        checksums.remove(tmp_path / "a")
    assert checksums.is_whole(tmp_path)
    checksums.remove(tmp_path / "a")
    assert checksums.is_whole(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [checksums.NAME, "b"]
    checksums.remove(tmp_path / "b")
    checksums.remove(tmp_path / "b")
    assert not list(tmp_path.iterdir())
