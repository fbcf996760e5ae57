"""Tables of plain text that fit the width there is: the trials' and the ensembles', laid out the same way.

A table that is too wide first loses the space between its columns, then its least important columns.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sweepstack.models.settings.writing import LAGGING
from sweepstack.search import format as fmt
from sweepstack.search.ledger.leaderboard import best_metrics
from sweepstack.search.study.axes import Interval, axes_by_path

if TYPE_CHECKING:
    from sweepstack.search.ledger.records import TrialRecord
    from sweepstack.search.study.space import Space
    from sweepstack.search.study.study import Study

STATE = len("pruned at rung 2")
RUNNING = "▸ running"
LABEL = 13  # the margin that "Best trial", "Exported" and "Next" stand in


@dataclass(frozen=True)
class Column:
    name: str
    width: int
    right: bool = True
    importance: int = 9  # the least important are left out first


def fit(columns: Sequence[Column], width: int, indent: int = 0) -> tuple[list[Column], int]:
    """The columns that fit into ``width``, with the widest space between them (3 down to 1)."""
    left = list(columns)
    while True:
        for gap in (3, 2, 1):
            if indent + sum(c.width for c in left) + gap * (len(left) - 1) <= width:
                return left, gap
        if len(left) <= 2:
            return left, 1
        least = min(left, key=lambda c: (c.importance, -left.index(c)))
        left.remove(least)


def line(columns: Sequence[Column], gap: int, cells: Mapping[str, str], indent: int = 0) -> str:
    """One row; a cell that is too long ends in an ellipsis."""
    parts = []
    for column in columns:
        text = cells.get(column.name, "")
        if len(text) > column.width:
            text = text[: column.width - 1] + "…"
        parts.append(text.rjust(column.width) if column.right else text.ljust(column.width))
    return (" " * indent + (" " * gap).join(parts)).rstrip()


def labelled(label: str, chunks: Iterable[str], width: int, gap: str = "   ") -> list[str]:
    """``label`` in its margin and the chunks beside it, a new line before a chunk that does not fit."""
    lines: list[str] = []
    for chunk in chunks:
        if lines and len(lines[-1]) + len(gap) + len(chunk) <= width:
            lines[-1] += gap + chunk
            continue
        margin = " " * LABEL if lines else label.ljust(LABEL)
        wrapped = textwrap.wrap(chunk, max(20, width - LABEL), break_long_words=False, break_on_hyphens=False) or [""]
        lines.append(margin + wrapped[0])
        lines.extend(" " * LABEL + rest for rest in wrapped[1:])
    return lines


class TrialTable:
    """How trials are shown as rows: number, what was searched, epoch, metrics of the best epoch, state."""

    def __init__(self, study: "Study", space: "Space") -> None:
        self.metric, self.objectives = study.search.objective, study.search.objectives
        self.epochs, self.parts = study.train.epochs, study.parts
        self.part = "fold" if study.folds > 1 else "seeds"
        self.max_segments = None if study.reading == "off" or study.writes else study.reading.max_segments
        self.axes = axes_by_path(space.axes)
        self.names = fmt.short_names(self.axes)
        shown = ["accuracy", "log_loss"] if self.max_segments is None else ["reward", "accuracy", "segments"]
        if study.writes:
            shown = ["chrf", "bleu", "reward", *(name for name in study.metrics if name == LAGGING)]
        if study.environment is not None:
            shown = list(study.metrics)
        narrow = 5 if study.environment is None else 7  # returns have any size
        self.metrics = list(dict.fromkeys([*self.objectives, *shown]))
        headings = {name: "read" if name == "segments" else fmt.metric_name(name) for name in self.metrics}
        self.columns = [Column("trial", 5)]
        for place, (path, axis) in enumerate(self.axes.items()):
            values = [axis.low, axis.high] if isinstance(axis, Interval) else [option.value for option in axis.options]
            texts = [self.names[path], *(fmt.setting(path, value) for value in values)]
            right = not any(isinstance(value, str) for value in values)
            self.columns.append(Column(path, max(map(len, texts)), right, importance=max(8 - place // 2, 4)))
        self.columns.append(Column("epoch", 5, importance=7))
        if self.parts > 1:
            self.columns.append(Column(self.part, 5, importance=8))
        for name in self.metrics:
            width = len(f"{self.max_segments}.0/{self.max_segments}") if name == "segments" else narrow
            if name == self.metric and self.parts > 1:
                width = narrow + len(" ± .000")
            importance = 9 if name == self.metric else 8 if name in self.objectives else 7 if name == "segments" else 6
            self.columns.append(Column(name, max(width, len(headings[name])), importance=importance))
        self.columns.append(Column("state", STATE, right=False))
        self.header = {c.name: {**self.names, **headings}.get(c.name, c.name) for c in self.columns}

    def cells(self, record: "TrialRecord", running: str = RUNNING) -> dict[str, str]:
        at_best = {**best_metrics(record), **record.objectives}  # seconds are of all epochs
        cells = {path: fmt.setting(path, record.settings.get(path)) for path in self.axes}
        for name in self.metrics:
            cells[name] = fmt.metric(name, at_best.get(name))
            if name == self.metric and record.spread is not None:
                cells[name] = fmt.spread(at_best[name], record.spread)
            if name == "segments" and name in at_best:
                cells[name] += f"/{self.max_segments}"
        state = fmt.state_words(record.state, record.rung, record.reason, record.cut)
        state = running if record.state == "running" else state
        epochs = record.settings.get("train.epochs", self.epochs)
        begun = max(0, len(record.reports) - 1) // epochs  # repetitions or folds before the one at work
        done = record.attributes.get("epochs_before", 0) + len(record.reports) - begun * epochs
        parts = f"{record.seeds if record.has_ended else begun + 1}/{self.parts}"
        return {"trial": str(record.number), "epoch": f"{done}/{epochs}", self.part: parts, "state": state, **cells}

    def lines(self, records: Sequence["TrialRecord"], width: int, running: str = RUNNING) -> tuple[str, list[str]]:
        """The heading and a line for each record; their places do not depend on the records."""
        columns, gap = fit(self.columns, width)
        used = sum(c.width for c in columns[:-1]) + gap * (len(columns) - 1)
        columns[-1] = replace(columns[-1], width=max(STATE, width - used))  # a reason for failing takes what is left
        return line(columns, gap, self.header), [line(columns, gap, self.cells(record, running)) for record in records]
