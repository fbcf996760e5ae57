"""Tables as text: the delimiter is found by the heading, and quotation marks quote where that is proved."""

import csv
import io
from collections.abc import Sequence

import pytest

from sweepstack.models.data.separated import delimiter_of, records_of


def quoted(rows: Sequence[Sequence[str]], delimiter: str, how: int = csv.QUOTE_MINIMAL) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, quoting=how).writerows(rows)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (
            'text\tlabel\n"I came\tpos\nnothing here\tneg\nI saw"\tpos\n',
            [['"I came', "pos"], ["nothing here", "neg"], ['I saw"', "pos"]],
        ),
        ('text\tlabel\n"Hello" he said\tx\n', [['"Hello" he said', "x"]]),
        ('text\tlabel\n"Hello"\tx\n', [['"Hello"', "x"]]),
        ('text\tlabel\n5" disk\tx\n""\ty\n', [['5" disk', "x"], ['""', "y"]]),
        ('label\ttext\r\nx\t"\r\ny\tb"\r\n', [["x", '"'], ["y", 'b"']]),
        ('text\tlabel\n"a\tx\nb\ty\nc\tx\td\ne"\ty\n', [['"a', "x"], ["b", "y"], ['e"', "y"]]),
    ],
)
def test_tabs_and_no_quoting(text: str, rows: list[list[str]]) -> None:
    found = records_of(text, "\t")
    assert (found.rows, found.quoted) == (rows, False)


def test_150_rows_stay_150() -> None:
    lines = [f'"I came {i}\tpos' if i % 3 == 0 else f'I saw {i}"\tneg' for i in range(150)]
    assert len(records_of("\n".join(["text\tlabel", *lines, ""]), "\t").rows) == 150


@pytest.mark.parametrize("how", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize(
    "values",
    [
        ["two\nlines"],
        ["a\ttab"],
        ['he said ""'],
        ['"'],
        ["three\nlines\nhere", "b"],
        ['a "quoted" one', "plain"],
        ["\r"],
    ],
)
def test_a_program_that_quotes_is_known_by_it(values: list[str], how: int) -> None:
    rows = [[value, "x"] for value in values]
    for heading, each in ((["text", "label"], rows), (["label", "text"], [row[::-1] for row in rows])):
        found = records_of(quoted([heading, *each], "\t", how), "\t")
        assert (found.heading, found.rows, found.bad) == (heading, each, {})
        assert found.quoted


def test_what_is_wrong_with_a_row_is_said_by_its_line_and_the_others_are_read() -> None:
    text = 'text,label\n"two\nlines",x\nb\n"c" d,x\n\ne,x,y\nf,x\n"g,x\nh,y\n'
    found = records_of(text, ",")
    assert found.rows == [["two\nlines", "x"], ["f", "x"], ["h", "y"]]
    assert found.lines == [2, 8, 10]
    assert found.bad == {
        4: "1 value for 2 columns",
        5: "a quotation mark inside quotation marks that is not doubled",
        7: "3 values for 2 columns",
        9: "a quotation mark that is never closed",
    }


def test_a_heading_with_spaces_after_its_commas() -> None:
    found = records_of('text, label\n"a, b", "x"\nc, y\n', ",")
    assert found.rows == [["a, b", "x"], ["c", "y"]]


def test_a_blank_line_is_a_row_where_it_is_asked_for() -> None:
    for text, row in (("text\na\n\nb\n\n", [""]), ("text,label\na,x\n\nb,y\n\n", ["", ""])):
        assert len(records_of(text, ",").rows) == 2
        found = records_of(text, ",", blank=True)
        assert found.rows[1] == found.rows[3] == row
        assert found.lines == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("heading", "usual", "wanted", "delimiter"),
    [
        ("text,label", ",", ["text", "label"], ","),
        ("text;label", ",", ["text", "label"], ";"),
        ('"text";"label"', ",", ["text", "label"], ";"),
        ("id; text ;label", ",", ["text", "label"], ";"),
        ("text\tlabel", ",", ["text", "label"], "\t"),
        ("text|label", ",", ["text"], "|"),
        ("text,label", "\t", ["text"], ","),
        ("text", ",", ["text"], ","),
        ("a;b;c", ",", ["text"], ";"),
        ("text;label,x", ",", ["text"], ";"),
        ("", ",", ["text"], ","),
    ],
)
def test_the_delimiter_is_the_one_by_which_the_heading_has_the_columns(
    heading: str, usual: str, wanted: list[str], delimiter: str
) -> None:
    assert delimiter_of(f"{heading}\n", usual, wanted) == delimiter
