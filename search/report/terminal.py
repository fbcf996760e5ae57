"""The terminal, file or pipe that the user reads: what it can do, and how to write to it without being hurt."""

import io
import json
import os
import shutil
from typing import Any, TextIO

UNLIMITED = 1000  # columns where nobody has said how wide a line may be


def never_fail(*streams: TextIO | None) -> None:
    """What the encoding of ``streams`` lacks becomes ``?`` from now on: it ends no command with a traceback."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def json_line(content: Any, encoding: str | None) -> str:
    """``content`` as JSON on one line, with escapes where ``encoding`` lacks a character: nothing is lost."""
    line = json.dumps(content, ensure_ascii=False)
    try:
        line.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        line = json.dumps(content)
    return line + "\n"


class Stream:
    """A text stream for display: what its encoding lacks becomes ``?``, and once it fails it swallows everything.

    A reader that has gone away (``| head``) or a full disk must not end a sweep of hours.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self.broken = False

    def write(self, text: str) -> int:
        if not self.broken:
            try:
                self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
            except (OSError, ValueError):
                self.broken = True
        return len(text)

    def flush(self) -> None:
        if not self.broken:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self.broken = True

    def isatty(self) -> bool:
        return not self.broken and self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def line(self, text: str) -> None:
        self.write(text + "\n")
        self.flush()

    @property
    def live(self) -> bool:
        """Whether a table may be redrawn in place. NO_COLOR, which rich obeys, asks for no colour and nothing else."""
        capable = os.environ.get("TERM", "").lower() not in ("", "dumb", "unknown")
        return self.isatty() and capable

    def size(self) -> tuple[int, int]:
        """(columns, rows): the terminal's, else what COLUMNS says, else as many as there are."""
        try:
            if self.isatty():
                columns, rows = os.get_terminal_size(self.fileno())
                return columns or 80, rows or 24
        except (OSError, ValueError):
            pass
        columns, rows = shutil.get_terminal_size((UNLIMITED, 24))
        return columns, rows
