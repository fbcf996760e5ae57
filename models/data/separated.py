"""Tables as text: values separated by commas, semicolons, tabs or bars, and whether quotation marks quote there.

By RFC 4180 a quotation mark at the beginning of a value quotes it. In values that are separated by tabs it is a
character like any other (IANA, text/tab-separated-values), unless the file proves that it was written by a program that
quotes: pandas or a spreadsheet.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sweepstack.models.data.cleaning import name_of
from sweepstack.models.data.text_files import is_broken

LONGEST_FIELD = 1 << 30  # characters; Python's own limit, 131,072, is a long document
LONGEST_HEADING = 1 << 20
MOST_RESTARTS = 100
DELIMITERS = (",", ";", "\t", "|")
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass
class Records:
    """Rows as they stand in the file. ``bad``: by line, what is wrong with rows that have no values."""

    heading: list[str]
    rows: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)  # in which each row begins, from 1
    bad: dict[int, str] = field(default_factory=dict)
    quoted: bool = False  # whether the file proves that marks quote, where they usually do not


def delimiter_of(text: str, usual: str, wanted: Sequence[str]) -> str:
    """The delimiter by which the heading has the wanted columns, first of all the usual one; where none does, the one
    by which it has most."""
    candidates = list(dict.fromkeys((usual, *DELIMITERS)))
    headings = {each: set(_heading(text[:LONGEST_HEADING], each)) for each in candidates}
    found = next((each for each in candidates if headings[each].issuperset(wanted)), None)
    return found or max(candidates, key=lambda each: len(headings[each]))


def _heading(text: str, delimiter: str) -> list[str]:
    """Its names, clean."""
    try:
        return [name_of(name) for name in next(csv.reader(_lines(text), delimiter=delimiter), [])]
    except csv.Error:
        return []


def _lines(text: str) -> io.StringIO:
    """Only a line feed ends a line, where there is one."""
    return io.StringIO(text, newline="\n" if "\n" in text else "")


def records_of(text: str, delimiter: str, *, blank: bool = False, first: int = 1) -> Records:
    """The rows of a table. ``blank``: whether a line without anything is a row of empty values; ``first``: the line of
    the file in which ``text`` begins."""
    csv.field_size_limit(LONGEST_FIELD)
    if delimiter != "\t" or '"' not in text:
        found = _quoted(text, delimiter, blank) if delimiter != "\t" else _plain(text, blank)
    else:
        plain, quoted = _plain(text, blank), _quoted(text, delimiter, blank)
        quoted.quoted = True
        found = quoted if _proved(text, plain, quoted) else plain
    found.lines = [line + first - 1 for line in found.lines]
    found.bad = {line + first - 1: problem for line, problem in found.bad.items()}
    return found


def _proved(text: str, plain: Records, quoted: Records) -> bool:
    """Whether quotation marks quote: by that each row has its values, which without it is not so, or every value with
    a mark in it is written as a program writes it that quotes what needs it."""
    if quoted.bad:
        return False
    if plain.bad:
        # A quoted value of several lines leaves one line, its first or last, that looks like a row. A mark that quotes
        # nothing swallows several such lines.
        ends = [*quoted.lines[1:], text.count("\n") + 2]
        whole = set(plain.lines)
        return all(
            sum(line in whole for line in range(begin, end)) < 2
            for begin, end in zip(quoted.lines, ends, strict=True)
            if end - begin > 1
        )
    marked = [value for row in (plain.heading, *plain.rows) for value in row if '"' in value]
    as_written = all(
        len(value) > 1 and value[0] == value[-1] == '"' and '"' not in value[1:-1].replace('""', "") for value in marked
    )
    needed = any('""' in value[1:-1] or "\r" in value for value in marked)
    return as_written and (needed or all('"' in name for name in plain.heading))


def _plain(text: str, blank: bool) -> Records:
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    found = Records(lines[0].split("\t"))
    for number, line in enumerate(lines[1:], 2):
        _put(found, number, line.split("\t") if line else [], blank)
    return found


def _quoted(text: str, delimiter: str, blank: bool) -> Records:
    # A heading such as `text, label` is followed by rows such as `"a, b", "x"`.
    spaced = any(name.startswith(" ") for name in text[: text.find("\n")].split(delimiter)[1:])
    found = Records([])
    for number, row, problem in _each(list(_lines(text)), delimiter, spaced):
        if problem:
            found.bad[number] = problem
        elif number == 1:
            found.heading = row
        else:
            _put(found, number, row, blank)
    return found


def _each(lines: Sequence[str], delimiter: str, spaced: bool) -> Iterator[tuple[int, list[str], str]]:
    """The line in which a row begins, the row, and what is wrong with it. After a mark that is never closed the next
    line is read anew, where there are not many of them."""
    begin, restarts = 0, 0
    while begin < len(lines):
        reader = csv.reader(lines[begin:], delimiter=delimiter, strict=True, skipinitialspace=spaced)
        offset, begin = begin, len(lines)
        while True:
            number = offset + reader.line_num + 1
            try:
                yield number, next(reader), ""
            except StopIteration:
                break
            except csv.Error as error:
                if "unexpected end" not in str(error):
                    yield number, [], _say(str(error))
                    continue
                yield number, [], "a quotation mark that is never closed"
                restarts += 1
                begin = number if restarts < MOST_RESTARTS else begin
                break


def _say(error: str) -> str:
    if "expected after" in error:
        return "a quotation mark inside quotation marks that is not doubled"
    return f"values that are not CSV ({error})"


def _put(found: Records, number: int, row: list[str], blank: bool) -> None:
    width = len(found.heading)
    if not any(map(str.strip, row)) and len(row) < 2:
        if not blank:
            return
        row = [""] * width
    while len(row) > width and not row[-1].strip():  # delimiters at the end of rows alone
        row = row[:-1]
    if len(row) < width and not any(map(name_of, found.heading[len(row) :])):  # or of the heading alone
        row = [*row, *[""] * (width - len(row))]
    if width > 1 and row == found.heading and all(row):
        found.bad[number] = "the heading once more"
    elif len(row) != width:
        found.bad[number] = f"{len(row)} value{'s' * (len(row) != 1)} for {width} column{'s' * (width != 1)}"
    elif any(map(is_broken, row)):
        found.bad[number] = "bytes that are not UTF-8"
    else:
        found.rows.append(row)
        found.lines.append(number)
