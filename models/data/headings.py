"""The heading of a table in text: what may stand above it, and what is said of a file whose first line is none."""

import re
from collections.abc import Sequence

from sweepstack.models.data.cleaning import name_of

LOOKED_AT = 20  # lines, for the heading
DELIMITERS = (",", ";", "\t", "|")
SELDOM = ("^", "~", "\x01", "\x1f", "\uff0c", " ")  # what else separates columns, and is never guessed
NO_TABLE = (
    (re.compile(r"<(!doctype|html|\?xml)", re.IGNORECASE), "it is a page of the web or XML; download the file itself"),
    (re.compile(r"version https://git-lfs"), "it is a pointer of Git LFS; run git lfs pull"),
    (re.compile(r"[{\[]\s*[\"{\[]"), "it holds JSON; name it .jsonl or .json"),
)


def above(text: str) -> tuple[int, str | None]:
    """How many lines stand above the heading: blank ones, and the ``sep=;`` of spreadsheets, which is returned."""
    count, delimiter = 0, None
    for line in text.split("\n", LOOKED_AT)[:LOOKED_AT]:
        named = re.fullmatch(r'"?sep=(.)"?', line.rstrip("\r"))
        if named:
            delimiter = named[1]
        elif line.strip():
            break
        count += 1
    return count, delimiter


def hint(text: str, there: Sequence[str], wanted: Sequence[str]) -> str:
    """Why the wanted columns are not there, and what to do, where that is plain; ``text`` may be empty."""
    lines = text.split("\n", LOOKED_AT)[:LOOKED_AT]
    first = lines[0].strip()
    for form, said in NO_TABLE:
        if form.match(first):
            return said
    for number, line in enumerate(lines[1:], 2):
        if any(set(wanted) <= set(_names(line, sign)) for sign in DELIMITERS):
            return f"line {number} names it; remove what stands above"
    for sign in SELDOM:
        if sign in first and set(wanted) <= set(_names(first, sign)):
            return (
                f"its columns are separated by {sign!r}; save it with commas, or, in a study, name that "
                "(data.read.delimiter)"
            )
    missing = [name for name in wanted if name not in there]
    alike = [name for name in there if missing and name.strip("'\"` ").lower() == missing[0].lower()]
    if alike:
        return f"did you mean {alike[0]!r}?"
    return "its first line must name the columns" if first and not set(wanted) & set(there) else ""


def _names(line: str, sign: str) -> list[str]:
    return [name_of(name).strip('"') for name in line.split(sign)]
