"""The URI of a tracking store: which file it names, and what a relative one means."""

import os
import re
import urllib.parse
from pathlib import Path

from sweepstack.models.errors import TrackingError, TrackingRefusal
from sweepstack.models.files import user_path


def sqlite_path(uri: str) -> Path | None:
    """The file of a ``sqlite:///`` URI, absolute; None for any other URI."""
    if not re.match(r"sqlite(\+\w+)?:", uri):
        return None
    name, _, query = re.sub(r"^sqlite(\+\w+)?:/{0,3}", "", uri).partition("?")
    if name in ("", ":memory:") or name.startswith("file:") or "mode=memory" in query or "://" not in uri:
        raise TrackingRefusal(
            f"tracking store {uri!r} names no file; use sqlite:///mlflow.db or sqlite:////folder/mlflow.db"
        )
    if query and not re.fullmatch(r"\w+=[^/&]*(&\w+=[^/&]*)*", query):
        raise TrackingRefusal(
            f"tracking store {uri!r} has a ? that begins no settings of sqlite; write %3F for one that is in a path"
        )
    return Path(urllib.parse.unquote(name)).absolute()


def sqlite_uri(path: Path) -> str:
    """The URI of the sqlite store at ``path``, which may have any name.

    MLflow makes the parent folder of a plain ``sqlite:///`` URI as it is spelt, quotation included; not of one that
    names its driver.
    """
    plain = str(path.absolute())
    return f"{'sqlite' if quoted(plain) == plain else 'sqlite+pysqlite'}:///{quoted(plain)}"


def quoted(path: str) -> str:
    """A path as it stands in a URI; no other character has a meaning there."""
    return path.replace("%", "%25").replace("?", "%3F").replace("#", "%23")


def absolute_uri(uri: str, folder: Path) -> str:
    """``uri`` as a study in ``folder`` means it: the path of a sqlite store, or a plain path, is relative to that."""
    if not uri.strip():
        return uri
    try:
        path = sqlite_path(uri)
    except TrackingError:
        return uri  # check_tracking refuses it
    if path is None:
        is_plain = not re.match(r"[a-z][a-z0-9+.-]*:|databricks", uri, re.IGNORECASE)
        return os.path.abspath(folder / user_path(uri)) if is_plain else uri
    name, mark, query = re.sub(r"^sqlite(\+\w+)?:///?", "", uri).partition("?")
    there = Path(os.path.abspath(folder / user_path(urllib.parse.unquote(name))))
    return sqlite_uri(there) + mark + query
