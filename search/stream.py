"""The terminal, file or pipe that the user reads: what it can do, and how to write to it without being hurt."""

import os
import shutil
from typing import TextIO

UNLIMITED = 1000  # columns where nobody has said how wide a line may be


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
        """Whether a table may be redrawn in place: a terminal that can, whose user has not asked for plain text."""
        capable = os.environ.get("TERM", "").lower() not in ("", "dumb", "unknown")
        return self.isatty() and capable and not os.environ.get("NO_COLOR")

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
