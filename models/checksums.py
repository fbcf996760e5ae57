"""SHA256SUMS in a folder, in the format of ``sha256sum``: what makes it visible that a file has changed.

A bundle has one over all its files, and any difference is refused (:func:`write`, :func:`verify`). In a run folder each
folder of a checkpoint, of predictions or of a start has its own (:func:`put`, :func:`check`). A file without a line was
written by an older version, or the process that wrote it was killed just then: it counts as whole.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from sweepstack.models.errors import BundleError, DamagedError
from sweepstack.models.files import write_atomic

NAME = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64})  (.+)")
ADVICE = "copy or export the bundle again"
AGAIN = "put back a copy of it, or run the study again, which does without it or makes it anew"


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


def was_bundle(folder: Path) -> bool:
    """Whether ``folder`` holds a bundle, also one whose bundle.json somebody has deleted."""
    return (folder / "bundle.json").exists() or "bundle.json" in _lines(folder)


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


def digest_of_bundle(folder: Path) -> str | None:
    """16 digits of what the bundle in ``folder`` holds, wherever it lies; None where there is none."""
    try:
        return hashlib.sha256((folder / NAME).read_bytes()).hexdigest()[:16]
    except OSError:
        return None


def put(folder: Path, contents: Mapping[str, bytes | str]) -> None:
    """Writes files of ``folder``, by name, and what they must be when they are read.

    The old lines go first, so that a kill in between leaves none that is wrong. Two processes may put different new
    files into one folder: the line of one may be lost, and its file then counts as whole.
    """
    data = {name: each.encode() if isinstance(each, str) else each for name, each in contents.items()}
    others = {name: wanted for name, wanted in _lines(folder).items() if name not in data and (folder / name).exists()}
    _write_lines(folder, others)
    for name, content in data.items():
        write_atomic(folder / name, content)
    _write_lines(folder, others | {name: hashlib.sha256(content).hexdigest() for name, content in data.items()})


def remove(path: Path) -> None:
    """Removes a file that was :func:`put`, its line first, so that a kill in between leaves no line without a file."""
    lines = _lines(path.parent)
    if lines.pop(path.name, None) is not None:
        _write_lines(path.parent, lines)
    path.unlink(missing_ok=True)


def check(path: Path, *, there: bool = False) -> None:
    """Raises DamagedError where ``path``, a file that was :func:`put`, holds something else now; with ``there`` also
    where it is gone."""
    wanted = _lines(path.parent).get(path.name)
    if wanted is not None and there and not path.is_file():
        raise DamagedError(f"{path} is missing, which {NAME} beside it names; {AGAIN}")
    if wanted is not None and path.is_file() and digest(path) != wanted:
        raise DamagedError(f"{path} is damaged: its SHA-256 is not the one in {NAME} beside it; {AGAIN}")


def check_below(folder: Path) -> None:
    """The same of every file that was put into ``folder`` or a folder below it; one that is missing is damage, too."""
    for sums in sorted(folder.rglob(NAME)):
        for name in _lines(sums.parent):
            check(sums.parent / name, there=True)


def is_kept(path: Path) -> bool:
    """Whether a file that was put is there, and has not changed."""
    try:
        check(path, there=True)
    except DamagedError:
        return False
    return True


def is_whole(folder: Path) -> bool:
    """Whether no file below ``folder`` is known to be damaged."""
    try:
        check_below(folder)
    except DamagedError:
        return False
    return True


def _lines(folder: Path) -> dict[str, str]:
    try:
        lines = (folder / NAME).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {match[2]: match[1] for match in map(LINE.fullmatch, lines) if match and "/" not in match[2]}


def _write_lines(folder: Path, lines: Mapping[str, str]) -> None:
    if lines:
        write_atomic(folder / NAME, "".join(f"{wanted}  {name}\n" for name, wanted in sorted(lines.items())))
    else:
        (folder / NAME).unlink(missing_ok=True)
