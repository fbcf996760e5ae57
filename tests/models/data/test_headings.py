"""What stands above the heading of a table, and files whose first line is none."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from sweepstack.models.data.file_formats import read_table
from sweepstack.models.data.headings import above, hint
from sweepstack.models.errors import DataError

BODY = "text,label\na b,x\nc d,y\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (BODY, (0, None)),
        ("\n  \n" + BODY, (2, None)),
        ("sep=;\r\n" + BODY, (1, ";")),
        ('"sep=|"\n' + BODY, (1, "|")),
        ("", (1, None)),
    ],
)
def test_what_stands_above(text: str, found: tuple[int, str | None]) -> None:
    assert above(text) == found


@pytest.mark.parametrize("head", ["\n\n", "sep=,\r\n\r\n", " \n\t\n"])
def test_it_is_passed_over_and_lines_are_counted_with_it(tmp_path: Path, head: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes((head + BODY + "one\n").encode())
    table = read_table(path, ["text", "label"])
    assert table.columns == {"text": ["a b", "c d"], "label": ["x", "y"]}
    assert list(table.numbers) == [4, 5]
    assert table.bad == {6: "1 value for 2 columns"}


@pytest.mark.parametrize(
    ("text", "there", "said"),
    [
        (
            "<!DOCTYPE html><html>",
            ["<!DOCTYPE html><html>"],
            "it is a page of the web or XML; download the file itself",
        ),
        ("version https://git-lfs.github.com/spec/v1\noid", [], "it is a pointer of Git LFS; run git lfs pull"),
        ('{"text": "a"}', [], "it holds JSON; name it .jsonl or .json"),
        ("# made in 2026\n" + BODY, ["# made in 2026"], "line 2 names it; remove what stands above"),
        ("text^label\n", ["text^label"], "its columns are separated by '^'; save it with commas, or, in a study, name"),
        ("Text,Label\n", ["Text", "Label"], "did you mean 'Text'?"),
        ("'text','label'\n", ["'text'", "'label'"], "did you mean \"'text'\"?"),
        ("a b,x\n", ["a b", "x"], "its first line must name the columns"),
        ("text,lable\n", ["text", "lable"], ""),
        ("", [], ""),
    ],
)
def test_why_a_column_is_not_there(text: str, there: Sequence[str], said: str) -> None:
    found = hint(text, there, ["text", "label"])
    assert found.startswith(said) if said else found == ""


@pytest.mark.parametrize(
    "text",
    [
        "text,label\n" + "a b,x,\nc d,y,,\n",  # delimiters at the end of rows alone
        "text,label,\n" + "a b,x\nc d,y\n",  # or of the heading alone
        BODY + "\x1a",  # the end of a file of DOS
    ],
)
def test_what_says_nothing_at_the_end_is_no_value(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    table = read_table(path, ["text", "label"])
    assert {name: table.columns[name] for name in ("text", "label")} == {"text": ["a b", "c d"], "label": ["x", "y"]}
    assert table.bad == {}


def test_the_heading_once_more_is_no_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(BODY + BODY)
    assert read_table(path, ["text", "label"]).bad == {4: "the heading once more"}
    path.write_text("text\ntext\n")  # of a single column it may be a text
    assert read_table(path, ["text"]).columns == {"text": ["text"]}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"PAR1\x15\x04", "is a Parquet file; name it .parquet"),
        ("a.csv", b"%PDF-1.4\n", "is a PDF file; save its text"),
        ("a.csv", b"SQLite format 3\0", "is a SQLite database; export the table as CSV"),
        ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1", "is a file of an office program; save the sheet as CSV"),
        ("a.csv", b'text,label\n"a \\"b\\" c",x\n', ""),
        ("a.json", b'{"data": [{"text": "a"}]}', "is one object, whose 'data' holds the rows; save that list alone"),
        ("a.json", b'{"text": {"0": "a"}, "label": {"0": "x"}}', "holds columns; save it by rows"),
        ("a.jsonl", b'{\n "text": "a"\n}\n{\n "text": "b"\n}\n', "has objects over several lines; write each on one"),
    ],
)
def test_files_of_another_kind_are_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    if not said:
        found = read_table(path, ["text", "label"]).bad
        assert found == {2: "a quotation mark inside quotation marks that is not doubled"}
        return
    with pytest.raises(DataError) as caught:
        read_table(path, ["text", "label"])
    assert f"{path} {said}" in str(caught.value)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_a_list_over_several_lines_is_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text('[\n{"text": "a", "label": 1},\n{"text": "b", "label": 2}\n]\n')
    assert read_table(path, ["text", "label"]).columns == {"text": ["a", "b"], "label": [1, 2]}


@pytest.mark.parametrize(("name", "delimiter"), [("a.tab", "\t"), ("a.psv", "|")])
def test_other_tables_of_text(tmp_path: Path, name: str, delimiter: str) -> None:
    path = tmp_path / name
    path.write_text(BODY.replace(",", delimiter))
    assert read_table(path, ["text", "label"]).columns == {"text": ["a b", "c d"], "label": ["x", "y"]}


def test_a_fifo_is_never_opened(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(DataError, match="is no regular file; copy what it gives into a file"):
        read_table(tmp_path / "a.csv", ["text"])
