"""Every format gives the same rows; what cannot be read is one line that names the file, the line and the way out."""

import csv
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sweepstack.models.data.cleaning import clean
from sweepstack.models.data.tables import Rows, read_inputs, read_rows, typed
from sweepstack.models.errors import DataError
from sweepstack.models.settings.data import Read

INPUTS = ['a, "quoted" one', "two\nlines", "tab\there", "γ 我"]
TARGETS = ["x", "y", "x", "3"]


def jsonl(path: Path, columns: dict[str, list[Any]]) -> Path:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def separated(delimiter: str) -> Callable[[Path, dict[str, list[Any]]], Path]:
    def write(path: Path, columns: dict[str, list[Any]]) -> Path:
        with path.open("w", encoding="utf-8-sig", newline="") as file:  # as spreadsheets write it, with a mark first
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
        return path

    return write


def parquet(path: Path, columns: dict[str, list[Any]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet

    pa.parquet.write_table(pa.table(columns), path)
    return path


def arrow_folder(path: Path, columns: dict[str, list[Any]], names: dict[str, list[str]] | None = None) -> Path:
    """As Dataset.save_to_disk writes it: two Arrow streams, the state that names them, and the classes."""
    import pyarrow as pa

    path.mkdir()
    table = pa.table(columns)
    for i, part in enumerate((table.slice(0, 1), table.slice(1))):
        with pa.OSFile(str(path / f"data-{i}.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(part)
    files = [{"filename": f"data-{i}.arrow"} for i in range(2)]
    (path / "state.json").write_text(json.dumps({"_data_files": files}), encoding="utf-8")
    features = {name: {"names": each, "_type": "ClassLabel"} for name, each in (names or {}).items()}
    (path / "dataset_info.json").write_text(json.dumps({"features": features}), encoding="utf-8")
    return path


FORMATS = {
    "rows.jsonl": jsonl,
    "rows.csv": separated(","),
    "rows.tsv": separated("\t"),
    "rows.parquet": parquet,
    "folder": arrow_folder,
}


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(params=FORMATS)
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[dict[str, list[Any]]], Path]:
    return lambda columns: FORMATS[request.param](tmp_path / request.param, columns)


Write = Callable[[dict[str, list[Any]]], Path]


def test_every_format_gives_the_same_rows(write: Write) -> None:
    path = write({"text": INPUTS, "other": ["-"] * 4, "label": TARGETS, "speaker": ["s", "s", "t", "t"]})
    expected = Rows(tuple(INPUTS), tuple(TARGETS), ("s", "s", "t", "t"), str(path))
    assert read_rows(path, "text", "label", "speaker") == expected
    assert read_rows(path, "text", "label", None).groups is None
    assert read_inputs(path, "text") == INPUTS


def test_a_missing_column_is_named_with_those_that_there_are(write: Write) -> None:
    path = write({"text": INPUTS, "label": TARGETS})
    assert refusal(lambda: read_rows(path, "text", "topic", None)) == (
        f"{path} has no column 'topic'; there are text, label (data.input and data.target name them)"
    )


def test_an_empty_text_is_refused_to_train_on_and_read_to_predict(write: Write) -> None:
    path = write({"text": ["a", "", "b"], "label": ["x", "y", "x"]})
    assert "1 of 3 rows cannot be used: 1 with no text in 'text' (" in refusal(
        lambda: read_rows(path, "text", "label", None)
    )
    assert read_inputs(path, "text") == ["a", "", "b"]


def test_a_file_without_rows_is_empty(write: Write) -> None:
    path = write({"text": [], "label": []})
    assert "empty: it has no rows" in refusal(lambda: read_rows(path, "text", "label", None))


@pytest.mark.parametrize("write", ["rows.parquet", "folder", "rows.jsonl"], indirect=True)
def test_labels_of_other_types_are_taken_by_how_they_are_written(write: Write) -> None:
    path = write({"text": ["a", "b"], "label": [10, 2]})
    assert read_rows(path, "text", "label", None).targets == ("10", "2")


def test_labels_that_look_alike_are_one_clean_class(tmp_path: Path) -> None:
    labels = ["é", "e\u0301", "é ", "\té\n", "\u202eé\x00", "a\ud83d", "a?"]
    path = jsonl(tmp_path / "a.jsonl", {"text": list("abcdefg"), "label": labels})
    assert read_rows(path, "text", "label", None).targets == ("é",) * 5 + ("a?",) * 2


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        (None, "no label in 'label'"),
        ("", "no label in 'label'"),
        (" ", "no label in 'label'"),
        ("\u200b\x00", "no label in 'label'"),
        (float("nan"), "no label in 'label'"),
        (1.5, "a number in 'label', which is no label"),
        ([1], "a list in 'label', which is no label"),
        ({}, "a mapping in 'label', which is no label"),
        ("x" * 1001, "a label of more than 1,000 characters in 'label'"),
    ],
)
def test_what_is_no_label(tmp_path: Path, label: object, shown: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"text": ["a", "b"], "label": ["x", label]})
    example = f"{label}; " if "which is" in shown else ""
    assert refusal(lambda: read_rows(path, "text", "label", None)) == (
        f"{path}: 1 of 2 rows cannot be used: 1 with {shown} ({example}line 2); "
        "mend or remove them, or leave them out with "
        "data.read.on_bad_rows: drop"
    )


def test_nan_is_nothing(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"text": ["a", "b"], "label": np.array([1.0, np.nan])})  # type: ignore[dict-item]
    assert "1 with no label in 'label' (row 2)" in refusal(lambda: read_rows(path, "text", "label", None))


@pytest.mark.parametrize("value", [True, 0, 12])
def test_whole_numbers_and_booleans_are_names(tmp_path: Path, value: object) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"text": ["a"], "label": [value]})
    assert read_rows(path, "text", "label", None).targets == (str(value),)


def test_class_labels_of_a_saved_data_set_are_looked_up(tmp_path: Path) -> None:
    names = {"label": ["neg", "pos"]}
    path = arrow_folder(tmp_path / "d", {"text": ["a", "b", "c"], "label": [1, 0, 1]}, names)
    assert read_rows(path, "text", "label", None).targets == ("pos", "neg", "pos")
    unlabelled = arrow_folder(tmp_path / "e", {"text": ["a", "b"], "label": [1, -1]}, names)
    assert "1 with no label in 'label' (row 2)" in refusal(lambda: read_rows(unlabelled, "text", "label", None))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "a.jsonl",
            '{"text": "a", "label": "x"}\n\n{"text": ',
            "1 of 2 rows cannot be used: 1 with no JSON (Expecting value) (line 3)",
        ),
        ("a.jsonl", '{"text": "a", "label": "x"}\n["b"]', "1 with JSON that is no object (line 2)"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b"}', "1 with no label in 'label' (line 2)"),
        ("a.jsonl", "", "a.jsonl is empty"),
        ("a.jsonl", " \n\n", "a.jsonl is empty"),
        ("a.csv", "text,label\na,x\nb", "1 with 1 value for 2 columns (line 3)"),
        ("a.csv", "text,label\na, b,x\n", "1 with 3 values for 2 columns (line 2)"),
        ("a.csv", 'text,label\na,x\n"b,y\n', "1 with a quotation mark that is never closed (line 3)"),
        ("a.csv", "text,label\n", "a.csv is empty"),
        ("a.csv", "", "a.csv is empty"),
        ("a.parquet", "no parquet at all", "a.parquet is not a Parquet file"),
        ("a.txt", "text", "a.txt: files of type .txt are not read; use .jsonl .json .csv"),
        ("noending", "text", "files without a type in their name are not read"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: str, words: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert words in refusal(lambda: read_rows(path, "text", "label", None))


def test_line_17_is_named(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"t{i}", "label": "x"}) for i in range(30)]
    lines[16] = lines[16][:-1]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    message = refusal(lambda: read_rows(tmp_path / "a.jsonl", "text", "label", None))
    assert "1 of 30 rows cannot be used: 1 with no JSON" in message
    assert "(line 17)" in message


def test_a_file_in_another_encoding_is_read_and_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"text": "é", "label": "x"}'.encode("latin-1"))
    found = read_rows(tmp_path / "a.jsonl", "text", "label", None)
    assert found.inputs == ("é",)
    assert found.notes == ("a.jsonl is read as cp1252, as it is not UTF-8",)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "gone.jsonl: no such file; check the path, which may be .jsonl .json .csv" in refusal(
        lambda: read_rows(tmp_path / "gone.jsonl", "text", "label", None)
    )


def test_folders_that_are_no_data_set(tmp_path: Path) -> None:
    assert "is a folder without state.json" in refusal(lambda: read_rows(tmp_path, "text", "label", None))
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "gone.arrow"}]}', encoding="utf-8")
    assert str(tmp_path) in refusal(lambda: read_rows(tmp_path, "text", "label", None))
    (tmp_path / "state.json").write_text("{}", encoding="utf-8")
    assert "cannot be read as a saved data set" in refusal(lambda: read_rows(tmp_path, "text", "label", None))
    (tmp_path / "dataset_dict.json").touch()
    assert "holds several data sets; name one of its folders" in refusal(
        lambda: read_rows(tmp_path, "text", "label", None)
    )


def test_a_state_cannot_name_files_outside_of_its_folder(tmp_path: Path) -> None:
    path = arrow_folder(tmp_path / "d", {"text": ["a", "b"], "label": ["x", "y"]})
    files = [{"filename": "../d/data-0.arrow"}, {"filename": "/elsewhere/data-1.arrow"}]
    (path / "state.json").write_text(json.dumps({"_data_files": files}), encoding="utf-8")
    assert read_rows(path, "text", "label", None).inputs == ("a", "b")


def test_a_field_of_a_csv_may_be_a_long_document(tmp_path: Path) -> None:
    path = separated(",")(tmp_path / "a.csv", {"text": ["word " * 40_000, "b"], "label": ["x", "y"]})
    assert len(read_rows(path, "text", "label", None).inputs[0]) == 200_000


TYPES = {
    "int": ([1, 0, 10], [1, 0, 10]),
    "int with one missing": ([1.0, 0.0, 10.0], [1, 0, 10]),
    "bool": ([True, False, True], [True, False, True]),
    "text": (["1", "x", "3"], ["1", "x", "3"]),
    "codes": (["01", "1", "2"], ["01", "1", "2"]),
}


@pytest.mark.parametrize("of", TYPES)
def test_labels_keep_their_type_and_are_the_same_in_every_format(of: str, write: Write) -> None:
    given, wanted = TYPES[of]
    found = read_rows(write({"text": ["a", "b", "c"], "label": given}), "text", "label", None)
    back = [typed(name, found.label_type) for name in found.targets]
    assert list(map(repr, back)) == list(map(repr, wanted))
    assert found.notes == ()


def test_labels_of_several_types_are_texts_and_that_is_said(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"text": ["a", "b", "c"], "label": [1, "1", True]})
    found = read_rows(path, "text", "label", None)
    assert (found.targets, found.label_type) == (("1", "1", "True"), "text")
    assert found.notes == ("the labels of a.jsonl are of several types (bool, int, text): taken as texts",)


def test_labels_that_look_alike_are_said(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"text": list("abcd"), "label": ["pos", "pos ", "Pos", "neg"]})
    assert read_rows(path, "text", "label", None).notes == (
        "labels of a.jsonl that differ in gaps, composed letters or characters that are not shown are one: "
        "'pos' and 'pos '",
        "labels of a.jsonl that differ in case are different classes: 'pos' and 'Pos'",
    )


def messy(path: Path) -> Path:
    """120 rows in Latin-1 with semicolons: 8 have no text, 9 others no label, 2 others a value too many."""
    lines = ["id;text;label"]
    for i in range(120):
        text, label = "" if i % 15 == 0 else f"Stück {i}", "" if i % 13 == 7 else "ab"[i % 2]
        lines.append(f"{i};{text};{label}" + (";x" if i in (2, 3) else ""))
    path.write_bytes("\r\n".join([*lines, ""]).encode("latin-1"))
    return path


def test_all_problems_are_said_at_once_with_counts_and_lines(tmp_path: Path) -> None:
    path = messy(tmp_path / "a.csv")
    assert refusal(lambda: read_rows(path, "text", "label", None)) == (
        f"{path}: 19 of 120 rows cannot be used: 9 with no label in 'label' (lines 9, 22, 35, 48, 61, 74, 87, 100 and "
        "113), 8 with no text in 'text' (lines 2, 17, 32, 47, 62, 77, 92 and 107), 2 with 4 values for 3 columns "
        "(lines 4 and 5); mend or remove them, or leave them out with data.read.on_bad_rows: drop"
    )


def test_bad_rows_are_left_out_where_the_study_wants_it_and_how_the_file_was_read_is_said(tmp_path: Path) -> None:
    found = read_rows(messy(tmp_path / "a.csv"), "text", "label", None, Read(on_bad_rows="drop"))
    assert len(found) == 101
    assert found.inputs[:2] == ("Stück 1", "Stück 4")
    assert found.notes[:2] == (
        "a.csv is read as cp1252, as it is not UTF-8",
        "the columns of a.csv are separated by semicolons",
    )
    assert found.notes[2].startswith("19 of 120 rows of a.csv are left out: 9 with no label in 'label' (lines 9, 22,")


def test_a_file_of_bad_rows_alone_is_refused_all_the_same(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"text": ["", None], "label": ["x", "y"]})
    assert "2 of 2 rows cannot be used" in refusal(
        lambda: read_rows(path, "text", "label", None, Read(on_bad_rows="drop"))
    )


def test_many_bad_rows_are_one_short_line(tmp_path: Path) -> None:
    labels = [f"{i % 50:03}" * 1000 if i % 2 else [i] for i in range(500)]
    path = jsonl(tmp_path / "a.jsonl", {"text": ["a"] * 500, "label": labels})
    message = refusal(lambda: read_rows(path, "text", "label", None))
    assert "500 of 500 rows cannot be used: 250 with a list in 'label', which is no label ([0]; lines 1, 3," in message
    assert "250 with a label of more than 1,000 characters in 'label' (lines 2, 4," in message
    assert len(message) < 1200


def test_encoding_and_delimiter_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("text^label\nпривет^x\nмир^y\n".encode("cp1251"))
    read = Read(encoding="cp1251", delimiter="^")
    found = read_rows(tmp_path / "a.csv", "text", "label", None, read)
    assert (found.inputs, found.notes) == (("привет", "мир"), ())
    assert "nor in a Western encoding" in refusal(lambda: read_rows(tmp_path / "a.csv", "text", "label", None))
    for field, value in (("encoding", "utf-9"), ("encoding", "hex"), ("delimiter", ";;"), ("delimiter", '"')):
        with pytest.raises(ValidationError, match=f"but got '{value}'"):
            Read.model_validate({field: value})
    assert Read(delimiter="tab").delimiter == "\t"


def test_columns_of_one_name_are_refused_and_names_are_clean(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    path = tmp_path / "a.csv"
    path.write_text("text,label,text\na,x,b\n", encoding="utf-8")
    assert "has 2 columns named 'text'; rename or remove" in refusal(lambda: read_rows(path, "text", "label", None))
    path.write_text("text,label,z,z\na,x,b,c\n", encoding="utf-8")
    assert read_rows(path, "text", "label", None).inputs == ("a",)
    path.write_text("\ufeff text , label\na, x\n", encoding="utf-8")
    found = read_rows(path, "text", "label", None)
    assert (found.inputs, found.targets) == (("a",), ("x",))
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["x"]), pa.array(["b"])], names=["text", "label", "text"])
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    assert "has 2 columns named 'text'" in refusal(lambda: read_rows(tmp_path / "a.parquet", "text", "label", None))
    (tmp_path / "a.jsonl").write_text('{"text": "a", "text": "b", "label": "x"}\n', encoding="utf-8")
    assert "1 with 'text' twice (line 1)" in refusal(lambda: read_rows(tmp_path / "a.jsonl", "text", "label", None))


def test_endings_in_capitals_are_endings(tmp_path: Path) -> None:
    for name, format_ in FORMATS.items():
        if name != "folder":
            path = format_(tmp_path / name, {"text": INPUTS, "label": TARGETS}).rename(tmp_path / name.upper())
            assert read_rows(path, "text", "label", None).inputs == tuple(INPUTS)


def test_a_json_array_is_read_like_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"text": "a", "label": "x"}, {"text": "b", "label": "y"}], indent=1), encoding="utf-8")
    assert read_rows(path, "text", "label", None).inputs == ("a", "b")
    jsonl(path, {"text": ["a"], "label": ["x"]})
    assert read_rows(path, "text", "label", None).inputs == ("a",)
    path.write_text('[{"text": "a", "label": "x"}, 3]', encoding="utf-8")
    assert "1 with JSON that is no object (row 2)" in refusal(lambda: read_rows(path, "text", "label", None))
    path.write_text('[{"text": "a"', encoding="utf-8")
    assert "a.json is not JSON (" in refusal(lambda: read_rows(path, "text", "label", None))


@pytest.mark.parametrize("depth", [2_000, 100_000])
def test_deep_nesting_is_a_bad_row_and_no_crash(depth: int, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "label": "x"}\n{"text": ' + "[" * depth + "]" * depth + "}\n", encoding="utf-8")
    assert "1 of 2 rows cannot be used: 1 with " in refusal(lambda: read_rows(path, "text", "label", None))
    path = tmp_path / "a.json"
    path.write_text("[" * depth + "]" * depth, encoding="utf-8")
    refusal(lambda: read_rows(path, "text", "label", None))


@pytest.mark.parametrize("address", ["https://example.org/a.csv", "s3://bucket/a.csv", "hf://datasets/imdb"])
def test_an_address_is_no_file(address: str, tmp_path: Path) -> None:
    said = f"{address} is an address, and data is read from files; download it and name the file"
    assert refusal(lambda: read_rows(Path(address), "text", "label", None)) == said
    assert refusal(lambda: read_rows(tmp_path / address, "text", "label", None)) == said, "as a study has its paths"


@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), min_size=1)
)
def test_texts_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    texts = [text if clean(text).strip() else text + "x" for text in texts]
    folder = tmp_path_factory.mktemp("r")
    columns = {"text": texts, "label": ["x"] * len(texts)}
    for name, format_ in FORMATS.items():
        assert read_rows(format_(folder / name, columns), "text", "label", None).inputs == tuple(texts), name


def test_bad_values_are_counted_by_their_kind_with_an_example(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": number, "label": "x"} for number in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"text": ["a"], "label": "x"}]))
    with pytest.raises(DataError) as caught:
        read_rows(path, "text", "label", None)
    assert (
        "30 with a number in 'text', which is no text (0; lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 20 more), "
        "1 with a list in 'text', which is no text (['a']; line 31)"
    ) in str(caught.value)


def test_whole_decimals_are_labels(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "rows.parquet"
    labels = pyarrow.array([Decimal(0), Decimal(1)], pyarrow.decimal128(10, 0))
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b"], "label": labels}), path)
    rows = read_rows(path, "text", "label", None)
    assert rows.targets == ("0", "1")
    assert rows.label_type == "int"


def test_labels_that_stand_for_nothing_are_said(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\na,x\nb,N/A\nc,N/A\nd,y\n")
    assert read_rows(path, "text", "label", None).notes == (
        "'N/A' (2 rows) of rows.csv count as labels; leave such rows out where a label is missing",
    )
    path.write_text("text,label\na,NA\nb,none\n")  # all labels are such words
    assert read_rows(path, "text", "label", None).notes == ()
