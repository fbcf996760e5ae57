"""What the user watches while a run works.

In a terminal the trials' table stands above a progress bar and is redrawn in place; elsewhere (a file, a pipe,
TERM=dumb) a line is written when a trial ends or a stage begins. With ``--json`` nothing is written at all.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import IO, TYPE_CHECKING, TextIO, cast

from sweepstack.models.data.cleaning import printable
from sweepstack.search import format as fmt
from sweepstack.search.ledger.leaderboard import best, ranked
from sweepstack.search.report.progress import Progress, Stage, Standing
from sweepstack.search.report.tables import TrialTable, labelled
from sweepstack.search.report.task_words import reading_words, writing_words
from sweepstack.search.report.terminal import Stream

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from sweepstack.search.ledger.records import TrialRecord
    from sweepstack.search.study.space import Space
    from sweepstack.search.study.study import Study

BAR, LEAST_BAR = 24, 4  # columns of a progress bar
WORDS = 64  # columns for what stands beside that of a stage
TOP = 20  # rows of the leaderboard that are printed; leaderboard.csv has them all
REASONS = 3  # failed trials whose reason is printed in full
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
STYLES = {"running": "cyan", "waiting": "dim", "pruned": "dim", "failed": "red", "complete": ""}


class Display:
    """Start it, tell it of every change, finish it. Every method may be called from any thread."""

    def __init__(
        self,
        study: "Study",
        space: "Space",
        parts: Mapping[str, int],
        workers: int,
        stream: TextIO,
        *,
        json: bool = False,
        classes: int | None = None,
        languages: tuple[str, str] | None = None,
        most_words: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._header = header(study, parts, workers, classes, languages, most_words)
        self._stream = Stream(stream)
        self._silent = json
        self._table = TrialTable(study, space)
        metric = study.search.objective
        epochs = study.search.epochs_of_trial(study.train.epochs)
        self._progress = Progress(study.search.trials, epochs, workers, metric, clock, study.parts)
        self._headed = False
        self._closing = threading.Lock()
        self._live: Live | None = None

    def start(self) -> None:
        """Prints the header line and, in a terminal, opens the live view."""
        if self._silent:
            return
        for row in wrap(self._header, self._stream.size()[0]):
            self._print(row, "bold")
        if self._stream.live:
            from rich.console import Console
            from rich.live import Live

            console = Console(
                file=cast("IO[str]", self._stream),
                force_terminal=True,
                highlight=False,
                markup=False,
                emoji=False,
                legacy_windows=False,
            )
            self._live = Live(
                get_renderable=self._render,
                console=console,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
                refresh_per_second=4,
            )
            self._live.start()

    def adopt(self, records: "Iterable[TrialRecord]") -> None:
        """The trials that the ledger holds already when a run goes on."""
        for record in records:
            self._progress.put(record, earlier=True)
        ended = sum(record.has_ended for record in self._progress.trials())
        if ended:
            self.note(f"going on: {ended} of {self._progress.total} trials ended before")

    def trial(self, record: "TrialRecord") -> None:
        """A trial that has changed in the ledger."""
        if self._progress.put(record) and not self._live:
            heading, (row,) = self._table.lines([record], self._stream.size()[0])
            if not self._headed:
                self._headed = True
                self._print(heading)
            self._print(row)

    def standing(self, standing: Standing) -> None:
        """What the best ensemble of the trials so far reaches, and the best trial."""
        self._progress.put_standing(standing)

    def note(self, text: str) -> None:
        """A line that stays: something that the user should know."""
        self._print(text, "dim")

    def stage(self, name: str, done: int = 0, total: int = 0) -> None:
        """Work beside the trials: ``done`` of ``total`` (0: nobody knows); it goes when all of it is done."""
        if self._progress.put_stage(name, done, total) and not self._live and (done < total or not total):
            self._print(f"{name} ({total}) …" if total > 1 else f"{name} …")

    def finish(self) -> None:
        """Closes the live view and prints the leaderboard; a second call does nothing."""
        with self._closing:
            live, self._live = self._live, None
            if live:
                live.stop()
            if not self._silent:
                self._print_leaderboard()
            self._silent = True

    def _print_leaderboard(self) -> None:
        order = ranked(self._progress.trials(), self._progress.metric)
        if not order:
            return
        heading, rows = self._table.lines(order[:TOP], self._stream.size()[0], running="unfinished")
        self._print(f"Leaderboard  best {fmt.metric_name(self._progress.metric)} first", "bold")
        self._print(heading, "dim")
        for place, (record, row) in enumerate(zip(order, rows, strict=False)):
            self._print(row, "bold green" if place == 0 and record.state != "failed" else STYLES[record.state])
        if len(order) > TOP:
            self._print(f"{'…':>5}  {len(order) - TOP} more in leaderboard.csv", "dim")
        for record in [r for r in order if r.state == "failed"][:REASONS]:
            for row in labelled(f"Trial {record.number}", [f"failed: {record.reason}"], self._stream.size()[0]):
                self._print(row, "red")
        self._print(f" {self._progress.summary()} · {fmt.duration(self._progress.seconds)}")
        self._print("")

    def _print(self, text: str, style: str = "") -> None:
        if self._silent:
            return
        text = printable(text)  # a reason or a note may hold what a data file or a library brought
        if self._live:
            self._live.console.print(_text(text, style), soft_wrap=True)
        elif style and self._stream.live:
            from rich.console import Console

            Console(file=cast("IO[str]", self._stream), force_terminal=True, highlight=False).print(
                _text(text, style), soft_wrap=True
            )
        else:
            self._stream.line(text)

    def _render(self) -> "Group":
        """The live view, never taller than the terminal."""
        from rich.console import Group

        width, height = self._stream.size()
        if self._live:
            self._live.console.width = width
        stages = [self._stage_line(stage) for stage in self._progress.stages()]
        trials = self._progress.trials()
        leader = best(trials, self._progress.metric)
        shown, hidden = choose_rows(trials, leader, height - len(stages) - 6)
        heading, rows = self._table.lines(shown, width)
        lines = [_text(heading, "dim")] if shown else []
        if hidden:
            lines.append(_text(f"{'…':>5}  {hidden} more", "dim"))
        for record, row in zip(shown, rows, strict=True):
            lines.append(_text(row, "bold green" if record is leader else STYLES[record.state]))
        if trials:
            lines.append(self._bar_line())
        lines += stages
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        return Group(*lines)

    def _bar_line(self) -> "Text":
        left = self._progress.seconds_left()
        time_left = f"{fmt.duration(self._progress.seconds)} so far" if left is None else fmt.remaining(left)
        if left == 0:
            time_left = fmt.duration(self._progress.seconds)
        width = self._stream.size()[0]
        words = f"{self._progress.summary()} · {time_left}"
        if len(words) + LEAST_BAR + 3 > width:
            words = f"{self._progress.summary(short=True)} · {time_left}"
        line = _text(" ")
        line.append_text(_bar(self._progress.share(), width - len(words) - 3))
        line.append(f"  {words}")
        return line

    def _stage_line(self, stage: Stage) -> "Text":
        line = _text(" ")
        if stage.total:
            line.append_text(_bar(stage.done / stage.total, self._stream.size()[0] - WORDS))
            line.append(f"  {stage.name} · {stage.done}/{stage.total}")
        else:
            line.append(SPINNER[int(self._progress.seconds * 4) % len(SPINNER)], "cyan")
            line.append(f" {stage.name}" + (f" · {stage.done} done" if stage.done else ""))
        if stage.note:
            line.append(f" · {stage.note}")
        return line


def header(
    study: "Study",
    parts: Mapping[str, int],
    workers: int,
    classes: int | None,
    languages: tuple[str, str] | None = None,
    most_words: int | None = None,
) -> list[str]:
    """Name, task, sizes and workers of a run, as the pieces of its first line. ``most_words``: see reading_words."""
    at_work = f"{workers} worker{'s' * (workers != 1)}"
    if study.data is None:
        env, steps = study.train.env, study.train.epochs * study.train.env.steps
        played = f"{fmt.count(steps)} decisions a trial in {env.copies} cop{'ies' if env.copies > 1 else 'y'}"
        return [study.name, f"{study.task}  {played}", f"scored on {env.eval_episodes} episodes", at_work]
    task = writing_words(study, languages) if study.writes else reading_words(study, classes, most_words)
    sizes = " · ".join(f"{fmt.count(size)} {name.replace('_', ' ')}" for name, size in parts.items())
    if study.folds > 1:
        sizes = f"{study.folds} folds: {sizes}"
    return [study.name, task, sizes, at_work]


def wrap(pieces: list[str], width: int) -> list[str]:
    """The pieces three spaces apart, a new line before one that does not fit."""
    lines = [pieces[0]]
    for piece in pieces[1:]:
        if len(lines[-1]) + 3 + len(piece) <= width:
            lines[-1] += f"   {piece}"
        else:
            lines.append(f"  {piece}")
    return lines


def choose_rows(
    trials: "list[TrialRecord]", leader: "TrialRecord | None", room: int
) -> "tuple[list[TrialRecord], int]":
    """The trials to show by number, and how many are left out where they do not fit: those that run and the leader
    stay, then the latest."""
    if len(trials) <= room:
        return trials, 0
    order = sorted(trials, key=lambda r: (r is not leader, r.has_ended, -r.number))
    shown = sorted(order[: max(room - 1, 1)], key=lambda r: r.number)
    return shown, len(trials) - len(shown)


def _text(text: str, style: str = "") -> "Text":
    from rich.text import Text

    return Text(text, style, no_wrap=True)


def _bar(share: float, room: int) -> "Text":
    room = max(min(BAR, room), LEAST_BAR)  # the words beside it matter more
    halves = int(share * 2 * room)
    full, half = divmod(halves, 2)
    bar = _text("━" * full + "╸" * half, "green")
    bar.append("─" * (room - full - half), "dim")
    return bar
