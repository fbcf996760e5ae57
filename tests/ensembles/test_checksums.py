import os
import subprocess
from pathlib import Path

import pytest

from sweepstack.ensembles import checksums
from sweepstack.models.errors import BundleError


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
