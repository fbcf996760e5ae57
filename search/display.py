"""What the user watches while a run works.

In a terminal the trials' table lives above a progress bar and is redrawn in place; elsewhere (a file, a pipe, TERM=dumb,
NO_COLOR) a line is written when a trial ends or a stage begins. With ``--json`` nothing is written at all. A display never
stops a sweep: once its stream refuses to take more, it is silent.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TextIO

from sweepstack.search import format as fmt
from sweepstack.search.leaderboard import best, ranked
from sweepstack.search.tables import TrialTable, labelled_parts, stream_width

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live

    from sweepstack.search.ledger import TrialRecord
    from sweepstack.search.study import Study

BAR = 24  # columns
TOP = 20  # rows of the leaderboard that are printed; leaderboard.csv has them all
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
STYLES = {"running": "cyan", "pruned": "dim", "failed": "red", "complete": ""}


class Stream:
    """A text stream that cannot hurt: what its encoding lacks becomes ``?``, and after a failure it swallows all."""

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


def is_live(stream: TextIO) -> bool:
    """Whether a table may be redrawn in place there."""
    capable = os.environ.get("TERM", "").lower() not in ("", "dumb", "unknown")
    return stream.isatty() and capable and not os.environ.get("NO_COLOR")


def question(study: "Study", classes: int | None) -> str:
    """``which of 14 languages is it?``"""
    source = study.data.train
    kind = "languages" if source == "builtin:languages" else "labels"
    return f"which of {classes} {kind} is it?" if classes else study.task


def reads(study: "Study") -> str:
    if study.reading == "off":
        return "reads the whole text at once"
    unit = {"characters": "letter", "words": "word"}[study.reading.unit]
    return f"reads {study.reading.segment} {unit}{'s' * (study.reading.segment > 1)} at a time"


class Display:
    """Start it, tell it of every change, finish it; every method may be called from any thread."""

    def __init__(
        self,
        study: "Study",
        parts: Mapping[str, int],
        workers: int,
        stream: TextIO,
        *,
        json: bool = False,
        classes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._study, self._parts, self._workers, self._classes = study, parts, workers, classes
        self._stream = Stream(stream)
        self._silent = json
        self._terminal = not json and is_live(stream)
        self._clock = clock
        self._lock = threading.RLock()
        self._table = TrialTable(study)
        self._records: dict[tuple[str, int], TrialRecord] = {}
        self._printed: set[tuple[str, int]] = set()
        self._stages: dict[str, tuple[int, int]] = {}
        self._ensemble: float | None = None
        self._began: tuple[float, float] | None = None  # when the first trial of this session was heard of, work done then
        self._ended_here = 0
        self._started = clock()
        self._console: Console | None = None
        self._live: Live | None = None

    def start(self) -> None:
        """Prints the header line and, in a terminal, opens the live view."""
        if self._silent:
            return
        sizes = " · ".join(f"{fmt.count(size)} {name}" for name, size in self._parts.items())
        what = f"{question(self._study, self._classes)}  {reads(self._study)}"
        workers = f"{self._workers} worker{'s' * (self._workers != 1)}"
        header = labelled_parts(self._study.name, [what, sizes, workers], stream_width(self._stream))
        if self._terminal:
            from rich.console import Console
            from rich.live import Live

            self._console = Console(
                file=self._stream, force_terminal=True, highlight=False, markup=False, emoji=False, legacy_windows=False
            )
            self._live = Live(
                get_renderable=self._render,
                console=self._console,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
                refresh_per_second=4,
            )
        self._print(header[0], "bold")
        self._print("\n".join(header[1:]), "bold")
        if self._live:
            self._live.start()

    def adopt(self, records: Iterable["TrialRecord"]) -> None:
        """Trials that the ledger already holds when the run goes on."""
        for record in records:
            with self._lock:
                self._records[record.sweep, record.number] = record
                if record.state != "running":
                    self._printed.add((record.sweep, record.number))
        ended = sum(record.state != "running" for record in self._trials())
        if ended and not self._terminal:
            self._print(f"going on: {ended} of {self._study.search.trials} trials have ended before", "dim")

    def trial(self, record: "TrialRecord") -> None:
        """A trial that has changed in the ledger."""
        if self._silent:
            return
        key = (record.sweep, record.number)
        with self._lock:
            if self._began is None and record.sweep == "trials":
                self._began = (self._clock(), self._work())
            self._records[key] = record
            ended = record.state != "running" and key not in self._printed
            first = not self._printed
            if ended:
                self._printed.add(key)
                self._ended_here += record.sweep == "trials"
        if ended and not self._terminal and record.sweep == "trials":
            heading, (row,) = self._table.lines([record], stream_width(self._stream))
            self._print(f"{heading}\n{row}" if first else row)

    def ensemble(self, value: float) -> None:
        """What the best ensemble of the trials so far reaches."""
        with self._lock:
            self._ensemble = value

    def note(self, text: str) -> None:
        """A line that stays: something that the user should know."""
        self._print(text, "dim")

    def stage(self, name: str, done: int = 0, total: int = 0) -> None:
        """Work other than trials: ``done`` of ``total`` (0: not known); a stage goes when all of it is done."""
        with self._lock:
            begins = name not in self._stages
            self._stages[name] = (done, total)
            if total and done >= total:
                self._stages[name] = (total, total)
        if begins and not self._terminal:
            self._print(f"{name} …" if total == 0 else f"{name} ({total}) …")

    def end_stage(self, name: str) -> None:
        """The end of a stage whose total was not known."""
        self.stage(name, 1, 1)

    def finish(self) -> None:
        """Closes the live view and prints the leaderboard; may be called twice."""
        with self._lock:
            live, self._live = self._live, None
            silent, self._silent = self._silent, True
        if live:
            live.stop()
        if silent:
            return
        self._silent = False
        self._print_leaderboard()
        self._silent = True

    def _print_leaderboard(self) -> None:
        order = ranked(self._trials(), self._study.search.metric)
        if not order:
            return
        heading, rows = self._table.lines(order[:TOP], stream_width(self._stream))
        self._print(f"Leaderboard, best {fmt.metric_name(self._study.search.metric)} first", "bold")
        self._print(heading, "dim")
        for place, (record, row) in enumerate(zip(order, rows, strict=False)):
            self._print(row, "bold" if place == 0 and record.state != "failed" else STYLES[record.state])
        if len(order) > TOP:
            self._print(f"… and {len(order) - TOP} more in leaderboard.csv", "dim")
        self._print(f"{self._summary()} · {fmt.duration(self._clock() - self._started)}\n")

    def _trials(self) -> list["TrialRecord"]:
        with self._lock:
            return sorted((r for (sweep, _), r in self._records.items() if sweep == "trials"), key=lambda r: r.number)

    def _work(self) -> float:
        """Trials' worth of work done: 1 for each that has ended, its share of the epochs for one that runs."""
        epochs = self._study.train.epochs
        return sum(1.0 if r.state != "running" else min(len(r.reports) / epochs, 1.0) for r in self._trials())

    def seconds_left(self) -> float | None:
        """From the rate of this session, once two trials for each worker have ended or a quarter of all; else None."""
        total = self._study.search.trials
        if self._began is None or self._ended_here < min(2 * self._workers, max(2, total // 4)):
            return None
        began, work_then = self._began
        work = self._work()
        return (total - work) * (self._clock() - began) / max(work - work_then, 1e-9) if work < total else 0.0

    def _summary(self) -> str:
        trials, metric = self._trials(), self._study.search.metric
        ended = sum(r.state != "running" for r in trials)
        pieces = [f"{ended}/{self._study.search.trials} trials"]
        leader = best(trials, metric)
        if leader is not None:
            pieces.append(f"best {fmt.metric(metric, leader.value)} (trial {leader.number})")
        if self._ensemble is not None:
            pieces.append(f"ensemble {fmt.metric(metric, self._ensemble)}")
        return " · ".join(pieces)

    def _print(self, text: str, style: str = "") -> None:
        """Never called with the lock held: rich's own lock and ours would wait for each other."""
        if self._silent or not text:
            return
        if self._console is not None:
            from rich.text import Text

            self._console.print(Text(text, style), soft_wrap=True)
        else:
            self._stream.write(text + "\n")
            self._stream.flush()
