"""SHA256SUMS over every file of a folder, in the format of ``sha256sum``: what makes a bundle's change visible."""

import hashlib
import os
import re
from pathlib import Path

from sweepstack.models.errors import BundleError

NAME = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64})  (.+)")
ADVICE = "copy or export the bundle again"


def files(folder: Path) -> list[str]:
    """Paths relative to ``folder`` of all files below it but SHA256SUMS, sorted; raises BundleError at a link."""
    found = []
    for root, folders, names in os.walk(folder):
        for name in folders + names:
            path = Path(root, name)
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise BundleError(
                    f"{folder}: {relative} is a link or no plain file, which a bundle never has; {ADVICE}"
                )
            if name in names and relative != NAME:
                found.append(relative)
    return sorted(found)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(folder: Path) -> None:
    (folder / NAME).write_text(
        "".join(f"{digest(folder / name)}  {name}\n" for name in files(folder)), encoding="utf-8"
    )


def bundle_around(path: Path) -> Path | None:
    """The bundle that ``path`` lies in, which one more file would spoil; None where it lies in none."""
    around = Path(os.path.realpath(path)).parents
    return next((folder for folder in around if (folder / NAME).exists() and (folder / "bundle.json").exists()), None)


def foreign(folder: Path) -> list[str]:
    """Files below ``folder`` that SHA256SUMS does not name; raises BundleError as :func:`verify`."""
    wanted = _wanted(folder)
    return [name for name in files(folder) if name not in wanted]


def verify(folder: Path) -> None:
    """Raises BundleError, one line, at the first file that is missing, extra or changed."""
    wanted = _wanted(folder)
    present = files(folder)  # only these are opened, so a path in SHA256SUMS cannot lead outside
    if missing := sorted(wanted.keys() - set(present)):
        raise BundleError(f"{folder}: {missing[0]} is missing; {ADVICE}")
    for name in present:
        if name not in wanted:
            raise BundleError(f"{folder}: {name} does not belong to the bundle; remove it, or {ADVICE}")
        if digest(folder / name) != wanted[name]:
            raise BundleError(f"{folder}: {name} was changed since the export; {ADVICE}")


def _wanted(folder: Path) -> dict[str, str]:
    """Read the hashes in SHA256SUMS, by path."""
    if not folder.is_dir():
        raise BundleError(f"{folder} is no folder; give the folder of an exported bundle")
    sums = folder / NAME
    if sums.is_symlink() or not sums.is_file():
        raise BundleError(f"{folder}: {NAME} is missing; this is no whole bundle, {ADVICE}")
    wanted: dict[str, str] = {}
    for number, line in enumerate(sums.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        match = LINE.fullmatch(line)
        if match is None:
            raise BundleError(f"{sums} line {number} is not 'hash  path': {line[:80]!r}; {ADVICE}")
        wanted[match[2]] = match[1]
    return wanted
