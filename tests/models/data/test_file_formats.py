"""What a table is by its name, and what is not read at all; the rows themselves are in test_rows.py."""

import json
from pathlib import Path

import pytest

from sweepstack.models.data.file_formats import is_table, read_table
from sweepstack.models.errors import DataError


def test_tables_by_their_names(tmp_path: Path) -> None:
    for name in ("a.csv", "a.TSV", "a.jsonl", "a.ndjson", "a.json", "a.Parquet"):
        assert is_table(tmp_path / name)
    assert not is_table(tmp_path / "a.txt")
    assert not is_table(tmp_path)
    (tmp_path / "state.json").touch()
    assert is_table(tmp_path)


@pytest.mark.parametrize("name", ["a.xlsx", "a.CSV.GZ", "a.pkl", "a.docx"])
def test_other_files_are_refused_with_the_way_out(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"files of type \.\w+ are not read; (save|unpack)"):
        read_table(tmp_path / name, ["text"])


def test_where_rows_stand_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,n\n"two\nlines",1\nb,2\n', encoding="utf-8")
    found = read_table(tmp_path / "a.csv", ["text"])
    assert (found.counted, list(found.numbers), found.columns) == (
        "line",
        [2, 4],
        {"text": ["two\nlines", "b"], "n": []},
    )
    (tmp_path / "a.jsonl").write_text('{"text": 1}\n\n[]\n{"text": 2}\n', encoding="utf-8")
    found = read_table(tmp_path / "a.jsonl", ["text"])
    assert (list(found.numbers), found.bad) == ([1, 4], {3: "JSON that is no object"})
    (tmp_path / "a.json").write_text(json.dumps([{"text": 1}, 2, {"text": 3}]), encoding="utf-8")
    found = read_table(tmp_path / "a.json", ["text"])
    assert (found.counted, list(found.numbers), found.bad) == ("row", [1, 3], {2: "JSON that is no object"})


def test_texts_alone_are_a_column(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('["a", null, "b"]', encoding="utf-8")
    assert read_table(tmp_path / "a.json", ["text"]).columns == {"text": ["a", None, "b"]}
