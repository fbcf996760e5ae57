import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sweepstack.ensembles.bundles.bundle import Bundle, load
from sweepstack.models.errors import BundleError, DataError, InputError, StorageError
from sweepstack.search import predict as predicting
from sweepstack.search.predict import inputs, predict, texts_of_lines

TEXTS = ["cat dog, cow", "red", "seven five one", 'the "owl"', "schwarz grün 黒", ""]


@pytest.fixture(scope="module")
def folder(finished_run: Path) -> Path:
    return finished_run / "bundle"


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return load(folder)


def write_table(path: Path, texts: list[str]) -> Path:
    frame = pd.DataFrame({"id": range(len(texts)), "text": texts})
    match path.suffix:
        case ".jsonl":
            frame.to_json(path, orient="records", lines=True, force_ascii=False)
        case ".csv":
            frame.to_csv(path, index=False)
        case ".tsv":
            frame.to_csv(path, index=False, sep="\t")
        case ".parquet":
            frame.to_parquet(path)
    return path


def records(lines: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_each_row_of_a_table_has_a_line_even_an_empty_text(
    suffix: str, folder: Path, bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = predict(folder, str(write_table(tmp_path / f"texts{suffix}", TEXTS)), None)
    assert summary == {"texts": len(TEXTS), "predictions": "-"}
    found = records(capsys.readouterr().out)
    for record, reading in zip(found, bundle.read(TEXTS), strict=True):
        assert set(record) == {"label", "probability", "probabilities", "segments"}
        assert (record["label"], record["segments"]) == (reading.label, reading.segments)
        assert record["probabilities"] == pytest.approx(reading.probabilities, abs=1e-6)
        assert record["probability"] == max(record["probabilities"].values())
        assert sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["texts.txt", "texts"])
def test_any_other_file_is_plain_text_a_text_a_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("cat dog\n\n  \nred, blue\tgreen\nseven", encoding="utf-8")
    assert list(inputs(str(path), "text")) == ["cat dog", "", "", "red, blue\tgreen", "seven"]


LINES = ["cat dog", "", "red", "", "", "one", ""]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("lines.txt", "cat dog\n\nred\n\n\none\n\n"),
        ("one.csv", "text\ncat dog\n\nred\n\n\none\n\n"),
        ("quoted.csv", 'text\ncat dog\n""\nred\n""\n""\none\n""\n'),
        ("two.csv", "id,text\n1,cat dog\n2,\n3,red\n\n5,\n6,one\n7,\n"),
        ("two.tsv", "id\ttext\n1\tcat dog\n2\t\n3\tred\n\n5\t\n6\tone\n7\t\n"),
        ("UPPER.CSV", "ID,Text,text\n1,x,cat dog\n2,x,\n3,x,red\n4,x,\n5,x,\n6,x,one\n7,x,\n"),
        ("excel.csv", "id;text\r\n1;cat dog\r\n2;\r\n3;red\r\n4;\r\n5;\r\n6;one\r\n7;\r\n"),
        ("rows.jsonl", '{"text": "cat dog"}\n\n{"text": "red"}\n{"text": null}\n{}\n{"text": "one"}\n{"text": ""}\n'),
        ("rows.json", '["cat dog", "", "red", null, "", "one", null]'),
        ("objects.JSON", json.dumps([{"text": text or None} for text in LINES])),
    ],
)
def test_there_are_as_many_predictions_as_lines(
    name: str, content: str, folder: Path, bundle: Bundle, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode())
    predict(folder, str(path), tmp_path / "out")
    found = records((tmp_path / "out").read_text(encoding="utf-8"))
    assert [record["label"] for record in found] == bundle.predict(LINES)


@pytest.mark.parametrize("suffix", [".xlsx", ".XLS", ".gz", ".feather", ".pdf"])
def test_what_is_neither_table_nor_text_is_refused(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"a{suffix}").write_bytes(b"PK text")
    with pytest.raises(DataError, match=f"files of type {suffix} are not read; "):
        inputs(str(tmp_path / f"a{suffix}"), "text")


def test_encoding_and_delimiter_are_said(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_bytes("id;text\n1;grün\n".encode("latin-1"))
    (tmp_path / "a.txt").write_bytes("grün\nschön".encode("utf-16"))
    assert list(inputs(str(tmp_path / "a.csv"), "text")) == ["grün"]
    assert list(inputs(str(tmp_path / "a.txt"), "text")) == ["grün", "schön"]
    assert capsys.readouterr().err.splitlines() == [
        "sweepstack: a.csv is read as cp1252, as it is not UTF-8",
        "sweepstack: the columns of a.csv are separated by semicolons",
        "sweepstack: a.txt is read as utf-16, as it is not UTF-8",
    ]


def test_standard_input_is_json_lines_or_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "".join(json.dumps({"id": 1, "text": text}) + "\n" for text in TEXTS)
    for given, wanted in (
        (rows, TEXTS),
        ("\n" + rows, ["", *TEXTS]),
        ('{"text": "a"}\n\n{"text": null}\n{"text": "b"}\n', ["a", "", "", "b"]),
        ("a\r\n\r\nb\n\n", ["a", "", "b", ""]),
        ("{hello}\n{'text': 'b'}\n", ["{hello}", "{'text': 'b'}"]),
        ('{"a", "b"} is a set\n', ['{"a", "b"} is a set']),
        ("cat\ndog\n", ["cat", "dog"]),
        ('one {"text": 1}\n{two\n', ['one {"text": 1}', "{two"]),
        ("", []),
    ):
        monkeypatch.setattr(sys, "stdin", io.StringIO(given))
        assert list(inputs("-", "text")) == wanted


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"text": "half', "line 17 is not a JSON object"),
        ("plain words", "line 17 is not a JSON object"),
        ('["cat"]', "line 17 is not a JSON object"),
        ('{"txt": "cat"}', 'line 17 is not a JSON object with "text"'),
        ('{"text": ' + "[" * 100_000, "line 17 is not a JSON object"),
        ('{"text": 3}', 'line 17: "text" must be a text, but got 3'),
    ],
)
def test_a_bad_line_of_standard_input_is_named(line: str, words: str) -> None:
    lines = ['{"text": "cat"}\n'] * 16 + [line + "\n"]
    with pytest.raises(DataError, match=words) as caught:
        list(texts_of_lines(lines, "standard input", "text"))
    assert str(caught.value).startswith("standard input line 17")
    assert "\n" not in str(caught.value)


def test_a_bad_line_of_a_file_is_named_and_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "cat"}\n' * 16 + '{"text": "half\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"1 with no JSON .*\(line 17\)"):
        predict(folder, str(path), tmp_path / "out.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["texts.jsonl"]


def test_a_missing_column_is_told_with_those_there_are(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text("id,phrase\n1,cat\n", encoding="utf-8")
    with pytest.raises(DataError, match="no column 'text'; there are id, phrase"):
        predict(folder, str(path), None)


@pytest.mark.parametrize(
    ("name", "line"), [("nowhere.txt", "no such file"), ("nowhere.jsonl", "no such file"), (".", "is a folder")]
)
def test_what_is_no_file_is_refused(name: str, line: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=line):
        predict(folder, str(tmp_path / name), None)


def test_a_file_that_is_not_text_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "picture.txt"
    path.write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(DataError, match=r"picture.txt is a picture; give a file of texts$"):
        predict(folder, str(path), None)


def test_standard_input_is_utf8_whatever_the_locale_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def given(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="latin-1"))

    given("schwarz grün\n黒\n".encode("utf-8-sig"))
    assert list(inputs("-", "text")) == ["schwarz grün", "黒"]
    given("schwarz grün\n".encode("latin-1"))
    with pytest.raises(DataError, match="standard input is not UTF-8"):
        list(inputs("-", "text"))


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text('{"text": "cat\u2028dog"}\n{"text": "red"}\n', encoding="utf-8")
    assert list(inputs(str(path), "text")) == ["cat\u2028dog", "red"]


def test_half_a_surrogate_pair_is_a_text_too(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "cat \\ud83d dog"}\n', encoding="utf-8")
    assert predict(folder, str(path), tmp_path / "out")["texts"] == 1


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        predict(tmp_path, "-", None)


def test_a_file_of_predictions_is_whole_or_absent(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_table(tmp_path / "texts.jsonl", TEXTS)
    out = tmp_path / "deep" / "out.jsonl"
    assert predict(folder, str(source), out) == {"texts": len(TEXTS), "predictions": str(out)}
    assert capsys.readouterr().out == ""
    before = out.read_text(encoding="utf-8")
    assert len(records(before)) == len(TEXTS)
    bad = tmp_path / "bad.txt"
    bad.write_text('{"text": "cat"}\n' * 300 + "{\n", encoding="utf-8")  # past the first batch
    with pytest.raises(DataError, match="line 301"):
        predict(folder, str(bad), out, force=True)
    assert out.read_text(encoding="utf-8") == before
    assert [path.name for path in out.parent.iterdir()] == ["out.jsonl"]
    with pytest.raises(InputError, match="Not a directory; name another file"):
        predict(folder, str(source), source / "out.jsonl")
    with pytest.raises(StorageError, match="cannot write"):
        predict(folder, str(source), Path("/proc/out.jsonl"))


def test_more_than_a_batch_gives_the_same_in_the_same_order(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{word} {other}" for word in ("cat", "red", "one", "fox", "blue") for other in ("dog", "two", "pink")]
    source = write_table(tmp_path / "texts.jsonl", texts)
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    assert predict(folder, str(source), whole)["texts"] == 15
    monkeypatch.setattr(predicting, "BATCH", 4)
    assert predict(folder, str(source), pieces)["texts"] == 15
    for one, other in zip(records(whole.read_text()), records(pieces.read_text()), strict=True):
        assert one["label"] == other["label"]
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)


def test_a_pipe_is_answered_before_it_ends(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What has been read in whole batches is on standard output before the next line is asked for."""
    answered: list[int] = []

    def lines() -> Any:
        for _ in range(2 * predicting.BATCH):
            yield "cat dog\n"
        answered.append(len(capsys.readouterr().out.splitlines()))

    monkeypatch.setattr(sys, "stdin", lines())
    assert predict(folder, "-", None)["texts"] == 2 * predicting.BATCH
    assert answered == [2 * predicting.BATCH]


def test_no_text_is_no_prediction(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert predict(folder, "-", tmp_path / "out")["texts"] == 0
    assert (tmp_path / "out").read_bytes() == b""


def test_with_a_coverage_each_line_has_a_set_and_says_where_it_abstains(
    folder: Path, bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(write_table(tmp_path / "texts.jsonl", TEXTS))
    coverage = 0.8
    predict(folder, source, None, coverage=coverage)
    printed = capsys.readouterr()
    found = records(printed.out)
    assert bundle.calibration is not None
    caveat = bundle.calibration.caveat
    assert printed.err == (f"--coverage: {caveat}\n" if caveat else "")
    assert [record["set"] for record in found] == [list(labels) for labels in bundle.predict_set(TEXTS, coverage)]
    for record in found:
        assert record.get("abstain", False) is (len(record["set"]) != 1)
        ordered = sorted(record["set"], key=lambda label: -record["probabilities"][label])
        assert record["set"] == ordered
        assert record["set"][0] == max(record["probabilities"], key=record["probabilities"].__getitem__)
    with pytest.raises(InputError, match=r"coverage 0.9999 needs at least 9999 rows"):
        predict(folder, source, None, coverage=0.9999)


@pytest.fixture(scope="module")
def writing_folder(written_ensembles: Path) -> Path:
    return written_ensembles / "bundle"


def test_a_bundle_that_writes_has_a_text_a_line_and_candidates_where_they_are_asked_for(
    writing_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = ["open the file", "close the new window", "print " * 30]
    table = tmp_path / "sources.jsonl"
    table.write_text("".join(json.dumps({"source": text}) + "\n" for text in sources), encoding="utf-8")
    assert predict(writing_folder, str(table), None) == {"texts": 3, "predictions": "-"}
    plain = records(capsys.readouterr().out)
    assert [set(record) for record in plain] == [{"text", "score"}, {"text", "score"}, {"text", "score", "cut"}]
    assert plain[2]["cut"] is True, "a source that is longer than the writers read"
    predict(writing_folder, str(table), tmp_path / "out.jsonl", candidates=2)
    found = records((tmp_path / "out.jsonl").read_text(encoding="utf-8"))
    for record, before in zip(found, plain, strict=True):
        assert {**before, "candidates": record["candidates"]} == record
        assert record["candidates"][0] == {"text": record["text"], "score": record["score"]}
        assert 1 <= len(record["candidates"]) <= 2
        scores = [each["score"] for each in record["candidates"]]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"cost": 0.1}, "--cost is for bundles that answer with labels, but"),
        ({"coverage": 0.9}, "--coverage is for bundles that answer with labels, but"),
        ({"candidates": 0}, "--candidates must be at least 1, but got 0"),
    ],
)
def test_what_a_writer_has_no_use_for_is_refused(flags: dict[str, Any], words: str, writing_folder: Path) -> None:
    with pytest.raises(InputError, match=words):
        predict(writing_folder, "-", None, **flags)


def test_a_classifier_has_no_candidates(folder: Path) -> None:
    with pytest.raises(InputError, match=r"--candidates is for bundles that write, and .* gives labels; leave it out"):
        predict(folder, "-", None, candidates=3)


def test_where_there_is_nothing_to_read_nothing_is_written(
    writing_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "sources.jsonl"
    table.write_text('{"source": "open"}\n{"source": ""}\n', encoding="utf-8")
    assert predict(writing_folder, str(table), tmp_path / "written.jsonl")["texts"] == 2
    found = records((tmp_path / "written.jsonl").read_text(encoding="utf-8"))
    assert found[0]["text"]
    assert found[1] == {"text": "", "score": None}
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(DataError, match="standard input has no text to read"):
        predict(writing_folder, "-", tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_a_closed_standard_output_and_a_folder_as_output() -> None:
    for tail, code, said in ((">&-", 2, "no-bundle is no folder"), ("-o new/", 2, "-o new/ is the name of a folder")):
        command = f"{sys.executable} -m sweepstack.search.cli predict no-bundle no-file {tail}"
        done = subprocess.run(["bash", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (code, True, False)
