"""In which encoding a file is: those that can be told, and those that must be named."""

import gzip
from pathlib import Path

import pytest

from sweepstack.models.data.text_files import encoding_of, lines_of, read_text
from sweepstack.models.errors import DataError

GERMAN = "Grüße aus Köln, schöne Straße\nohne\nfür 5 €\n"
FRENCH = "Élève créée « à Noël »\nça va où\n"
OTHERS = {
    "cp1251": "привет мир,это текст\nещё одна строка\n",
    "koi8-r": "привет мир\nещё одна строка\n",
    "gb18030": "今天天气很好\n我们去公园吧\n",
    "big5": "今天天氣很好\n我們去公園吧\n",
    "shift_jis": "今日はとても良い天気です\n公園へ行きましょう\n",
    "euc_kr": "오늘은 날씨가 좋다\n공원에 가자\n",
    "cp1253": "καλημέρα σε όλους\nτι κάνετε\n",
    "cp1256": "صباح الخير يا صديقي\n",
}


@pytest.mark.parametrize(
    ("text", "encoding", "found"),
    [
        ("plain\n", "ascii", "utf-8"),
        ("", "ascii", "utf-8"),
        (GERMAN, "utf-8", "utf-8"),
        (GERMAN, "utf-8-sig", "utf-8"),
        (GERMAN, "utf-16", "utf-16"),
        (GERMAN, "utf-32", "utf-32"),
        (GERMAN, "cp1252", "cp1252"),
        (FRENCH, "cp1252", "cp1252"),
        (FRENCH, "latin-1", "cp1252"),
        ("y\x81 \nø\n", "latin-1", "latin-1"),
        (OTHERS["gb18030"], "utf-8", "utf-8"),
        (OTHERS["cp1251"], "utf-16", "utf-16"),
    ],
)
def test_encodings_that_can_be_told(text: str, encoding: str, found: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    assert encoding_of(path) == found
    assert read_text(path, found) == text
    assert list(lines_of(path)) == text.split("\n")[:-1]


@pytest.mark.parametrize("encoding", OTHERS)
def test_scripts_that_are_not_western_are_never_taken_for_it(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(
        "".join(f"{i},some id,{line}\n" for i, line in enumerate(OTHERS[encoding].split())).encode(encoding)
    )
    with pytest.raises(
        DataError, match="not UTF-8, nor in a Western encoding; save it as UTF-8, or, in a study, name its encoding"
    ):
        encoding_of(path)
    assert OTHERS[encoding].split()[0] in read_text(path, encoding)


def test_a_broken_line_does_not_make_a_file_western(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(GERMAN.encode() + b"halb \xc3\n")
    assert encoding_of(path) == "utf-8"
    with pytest.raises(DataError, match="line 4 is not UTF-8 text"):
        list(lines_of(path))


@pytest.mark.parametrize("content", [b"\x89PNG\xff\xfe\x00", "UTF-16 without a mark".encode("utf-16-le"), bytes(99)])
def test_what_is_no_text_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"is not text: it has NUL bytes|is a picture"):
        encoding_of(tmp_path / "a.txt")


def test_an_encoding_that_is_named_is_held_to(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("grün".encode("latin-1"))
    with pytest.raises(DataError, match=r"is not ascii text \(byte 2: "):
        read_text(tmp_path / "a.txt", "ascii")


def test_nul_in_utf8_is_a_character_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"some words and a nul \x00 among them, far from a tenth")
    assert encoding_of(tmp_path / "a.txt") == "utf-8"


def test_what_is_packed_is_no_text(tmp_path: Path) -> None:
    for content in (gzip.compress(b"text,label"), b"PK\x03\x04\x14\x00"):
        (tmp_path / "a.csv").write_bytes(content)
        with pytest.raises(DataError, match="is packed, as by gzip or zip"):
            encoding_of(tmp_path / "a.csv")
