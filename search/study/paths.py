"""The paths in a study: absolute while it is worked with, and stored relative to the run folder where they were given
relative, so that a project which is moved or copied as a whole goes on."""

import os
import re
from pathlib import Path
from typing import Any

from sweepstack.models.errors import InputError, StudyError, TrackingError
from sweepstack.models.files import user_path
from sweepstack.search.study.tracking_uri import absolute_uri, quoted, sqlite_path

BUILTIN = "builtin:"
STORE = "tracking.uri"
PATHS = (
    "data.train",
    "data.test",
    "writing.reward.classifier.bundle",
    "ensembles.distill.text",
    "search.start_from",
    STORE,
)
"""By key; a tracking store is a path where it is a sqlite file, or a plain folder, which is refused later."""


def make_absolute(tree: dict[str, Any], folder: Path) -> set[str]:
    """Makes the paths in a raw study absolute, from ``folder``; returns the keys of those that were relative."""
    relative = set()
    for key in PATHS:
        place = _place(tree, key)
        if place is None:
            continue
        section, name = place
        given = section[name]
        if not given.isprintable():  # refused by its section
            continue
        try:
            user_path(given)
        except InputError as error:
            raise StudyError(f"{key}: {error}") from None
        section[name] = absolute_uri(given, folder) if key == STORE else os.path.abspath(folder / user_path(given))
        elsewhere = absolute_uri(given, Path("/")) if key == STORE else os.path.abspath(Path("/") / user_path(given))
        if section[name] != elsewhere:
            relative.add(key)
    return relative


def make_relative(tree: dict[str, Any], keys: frozenset[str], root: Path) -> None:
    """Undoes :func:`make_absolute` for ``keys``, as seen from ``root``."""
    for key in keys:
        place = _place(tree, key)
        if place is not None:
            section, name = place
            section[name] = _uri_from(root, section[name]) if key == STORE else os.path.relpath(section[name], root)


def _place(tree: dict[str, Any], key: str) -> tuple[dict[str, Any], str] | None:
    """The section and the name of a path, if one stands there."""
    *parents, name = key.split(".")
    section: Any = tree
    for parent in parents:
        section = section.get(parent) if isinstance(section, dict) else None
    value = section.get(name) if isinstance(section, dict) else None
    is_path = isinstance(value, str) and value.strip() and not value.startswith(BUILTIN)
    return (section, name) if is_path else None


def _uri_from(root: Path, uri: str) -> str:
    try:
        path = sqlite_path(uri)
    except TrackingError:
        return uri
    if path is None:
        return uri
    settings = re.search(r"\?.*", uri)
    inside = quoted(os.path.relpath(path, root))
    return f"sqlite:///{inside}{settings[0] if settings else ''}"
