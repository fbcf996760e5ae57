"""Reading a file of rows: JSON lines, JSON, CSV, TSV, Parquet, or a folder saved by Hugging Face datasets.

The same reader serves training and prediction. Encoding and delimiter are found out, and said where they are not the
usual ones. All rows that cannot be used are one DataError, or are left out: with how many there are, where and why.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from sweepstack.models.data.cleaning import clean, name_of
from sweepstack.models.data.file_formats import NAMED_BY, Table, read_table
from sweepstack.models.errors import DataError
from sweepstack.models.settings.data import Read

LabelType = Literal["text", "int", "bool"]
Label = str | int | bool
LONGEST_LABEL = 1000  # characters: what is longer is a text
WHOLE = re.compile(r"(-?[1-9]\d*|0)(?:\.0+)?")  # as programs write a column of whole numbers, also where one is missing
NO_VALUE = ("na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "?", "unknown")  # written for what is missing
KINDS = {  # what values are called that are neither text nor missing
    bool: "a truth value",
    int: "a number",
    float: "a number",
    Decimal: "a decimal number",
    list: "a list",
    dict: "a mapping",
    bytes: "bytes",
    datetime: "a time",
    date: "a date",
}
SHOWN = 10  # places in a file that a message names


@dataclass(frozen=True)
class Rows:
    """Columns of a data file: inputs and targets as texts, and groups where the study names a column for them."""

    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    groups: tuple[str, ...] | None
    source: str  # for messages
    label_type: LabelType = "text"  # what targets are that are labels
    notes: tuple[str, ...] = field(default=(), compare=False)  # how the file was read, and what was left out

    def __len__(self) -> int:
        return len(self.inputs)


def typed(name: str, label_type: LabelType) -> Label:
    """A class by its name, as it stands in the data."""
    if label_type == "int":
        return int(name)
    return name == "True" if label_type == "bool" else name


def read_rows(
    path: Path, input_column: str, target_column: str, group_column: str | None, read: Read | None = None
) -> Rows:
    """Rows whose targets are labels; raises DataError."""
    return _read(path, input_column, target_column, group_column, read, labels=True)


def read_pairs(
    path: Path, input_column: str, target_column: str, group_column: str | None, read: Read | None = None
) -> Rows:
    """Rows whose targets are texts; raises DataError."""
    return _read(path, input_column, target_column, group_column, read, labels=False)


def _read(
    path: Path, input_column: str, target_column: str, group_column: str | None, read: Read | None, *, labels: bool
) -> Rows:
    read = read or Read()
    wanted = [input_column, target_column, *([group_column] if group_column else [])]
    table = read_table(path, wanted, read.encoding, read.delimiter)
    given = table.columns
    notes = list(table.notes)
    names, label_type = _labels(given[target_column], table, notes) if labels else ([], "text")
    targets = names if labels else [text_of(value) for value in given[target_column]]
    columns: dict[str, tuple[str, Sequence[str | None]]] = {
        input_column: ("text", [text_of(value) for value in given[input_column]]),
        target_column: ("label" if labels else "text", targets),
    }
    if group_column:
        columns[group_column] = ("group", [_name(value) for value in given[group_column]])
    kept = _usable(path, table, columns, read.on_bad_rows == "drop", notes)

    def column(name: str) -> tuple[str, ...]:
        values = columns[name][1]
        return tuple(value for row in kept if (value := values[row]) is not None)

    groups = column(group_column) if group_column else None
    return Rows(column(input_column), column(target_column), groups, str(path), label_type, tuple(notes))


def read_inputs(
    path: Path, column: str, say: Callable[[str], object] | None = None, named_by: str = NAMED_BY
) -> list[str]:
    """One column of texts, for prediction: one for each row, and where a row has nothing an empty text. ``say`` hears
    how the file was read, where that is not the usual way; ``named_by``: see :func:`read_table`."""
    table = read_table(path, [column], blank=True, named_by=named_by)
    if say:
        list(map(say, table.notes))
    values = ["" if is_missing(value) else value for value in table.columns[column]]
    _usable(path, table, {column: ("text", [value if isinstance(value, str) else None for value in values])}, None, [])
    return values


def _usable(
    path: Path,
    table: Table,
    columns: dict[str, tuple[str, Sequence[str | None]]],
    drop: bool | None,  # None: nobody could set it
    notes: list[str],
) -> list[int]:
    """The rows that can be used, by their places in the table; the others are a note, or one DataError.

    ``columns``: by name, what each of its values must be and the values; None where there is no such value.
    """
    bad: dict[str, list[int]] = defaultdict(list)
    examples: dict[str, str] = {}  # of what is wrong
    for number, problem in table.bad.items():
        bad[problem].append(number)
    kept = []
    for row, number in enumerate(table.numbers):
        lacking = next((name for name, (_, values) in columns.items() if values[row] is None), None)
        if lacking is None:
            kept.append(row)
        else:
            value = table.columns[lacking][row]
            problem = _lack(columns[lacking][0], lacking, value)
            examples.setdefault(problem, _example(value))
            bad[problem].append(number)
    total, unusable = len(table.numbers) + len(table.bad), sum(map(len, bad.values()))
    if not unusable:
        return kept
    said = ", ".join(
        f"{len(where)} with {what} ({examples.get(what, '')}{_places(table.counted, where)})"
        for what, where in _grouped(bad)
    )
    if drop and kept:
        notes.append(f"{unusable:,} of {total:,} rows of {path.name} are left out: {said}")
        return kept
    way_out = (
        "mend or remove them"
        if drop is None
        else ("mend or remove them, or leave them out with data.read.on_bad_rows: drop")
    )
    raise DataError(f"{path}: {unusable:,} of {total:,} rows cannot be used: {said}; {way_out}")


def _lack(what: str, column: str, value: Any) -> str:
    if is_missing(value) or (isinstance(value, str) and not name_of(value)):
        return f"no {what} in {column!r}"
    if isinstance(value, str):
        return f"a {what} of more than {LONGEST_LABEL:,} characters in {column!r}"
    return f"{KINDS.get(type(value), type(value).__name__)} in {column!r}, which is no {what}"


def _example(value: Any) -> str:
    """A value that is neither text nor missing, before where such values stand."""
    if isinstance(value, str) or is_missing(value):
        return ""
    shown = repr(value)
    return f"{shown if len(shown) <= 40 else shown[:37] + '...'}; "


def _grouped(bad: dict[str, list[int]]) -> list[tuple[str, list[int]]]:
    """The commonest problems by themselves, and the others in one."""
    order = sorted(bad.items(), key=lambda each: (-len(each[1]), each[1]))
    if len(order) <= SHOWN:
        return order
    return [*order[:SHOWN], ("other faults", sorted(number for _, where in order[SHOWN:] for number in where))]


def _places(counted: str, numbers: Sequence[int]) -> str:
    """``line 3``, ``lines 3, 9 and 14``, or the first of them and how many more."""
    if len(numbers) == 1:
        return f"{counted} {numbers[0]}"
    shown = list(map(str, numbers[:SHOWN]))
    if len(numbers) > SHOWN:
        return f"{counted}s {', '.join(shown)} and {len(numbers) - SHOWN:,} more"
    return f"{counted}s {', '.join(shown[:-1])} and {shown[-1]}"


def is_missing(value: Any) -> bool:
    """Whether it is what tables have in place of a value: None, nan, pandas' NA or NaT, or an empty text."""
    if isinstance(value, str):
        return value == ""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def text_of(value: Any) -> str | None:
    """None where it is no text, or one that shows nothing."""
    shows = isinstance(value, str) and (any(map(str.isalnum, value[:40])) or clean(value).strip())
    return value if shows else None


def _name(value: Any) -> str | None:
    """A class or a group is a name: whole numbers and booleans are taken by how they are written."""
    if (
        isinstance(value, float | Decimal) and value == value and value % 1 == 0
    ):  # a column of whole numbers in which one is missing
        value = int(value)
    name = name_of(str(value)) if isinstance(value, str | int | bool) else ""
    return name if 0 < len(name) <= LONGEST_LABEL else None


def _labels(values: Sequence[Any], table: Table, notes: list[str]) -> tuple[list[str | None], LabelType]:
    """The classes of a column by their names, and what they are. In a file of text alone whole numbers are numbers,
    and True and False what Python writes so."""
    names = [_name(value) for value in values]
    there = [name for name in names if name is not None]
    if table.untyped:
        if there and all(map(WHOLE.fullmatch, there)):
            return [name and name.partition(".")[0] for name in names], "int"
        kinds: set[LabelType] = {"bool" if there and set(there) <= {"True", "False"} else "text"}
    else:
        kinds = {_kind(value) for value, name in zip(values, names, strict=True) if name is not None}
    _note_alike(values, names, table, notes)
    _note_empty(names, table, notes)
    if len(kinds) > 1:
        notes.append(f"the labels of {table.source} are of several types ({', '.join(sorted(kinds))}): taken as texts")
    return names, kinds.pop() if len(kinds) == 1 else "text"


def _kind(value: Any) -> LabelType:
    return "text" if isinstance(value, str) else "bool" if isinstance(value, bool) else "int"


def _note_empty(names: Sequence[str | None], table: Table, notes: list[str]) -> None:
    found = Counter(name for name in names if name is not None and name.lower() in NO_VALUE)
    if found and len(found) < len(set(names)):
        said = " and ".join(f"{name!r} ({count:,} row{'s' * (count != 1)})" for name, count in found.items())
        notes.append(f"{said} of {table.source} count as labels; leave such rows out where a label is missing")


def _note_alike(values: Sequence[Any], names: Sequence[str | None], table: Table, notes: list[str]) -> None:
    """What differs in gaps or composed letters alone is one label; what differs in case stays two."""
    written: dict[str, Counter[Hashable]] = defaultdict(Counter)
    for value, name in zip(values, names, strict=True):
        if name is not None and isinstance(value, str):
            written[name][value] += 1
    changed = {name: found for name, found in written.items() if len(found) > 1}
    if changed:
        shown = "; ".join(" and ".join(map(repr, found)) for found in list(changed.values())[:3])
        notes.append(
            f"labels of {table.source} that differ in gaps, composed letters or characters that are not shown are "
            f"one: {shown}"
        )
    by_case: dict[str, list[str]] = defaultdict(list)
    for name in written:
        by_case[name.casefold()].append(name)
    if alike := [found for found in by_case.values() if len(found) > 1]:
        shown = "; ".join(" and ".join(map(repr, found)) for found in alike[:3])
        notes.append(f"labels of {table.source} that differ in case are different classes: {shown}")
