"""Files of text that people bring: in which encoding they are, and their lines.

UTF-8 and what begins with a byte-order mark are known for certain. Other files are taken as Windows-1252 or Latin-1,
but only where that can be: in Western texts few letters are beyond ASCII, and three of them hardly ever stand together.
"""

import codecs
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from sweepstack.models.errors import DataError

MARKS = {  # the longer ones first: one of UTF-32 begins like one of UTF-16
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
UNDEFINED = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")  # in Windows-1252
BEYOND = re.compile(rb"[\x80-\xff]+")
WESTERN = 0.3  # the largest share of bytes beyond ASCII that stand three or more together
MOST_NUL = 0.1  # share of the bytes: more of them are UTF-16 without a mark, or no text
HOW = "save it as UTF-8, or, in a study, name its encoding (data.read.encoding)"
OTHER_FILES = (  # how files begin that are no text, and what to do with them
    (b"PAR1", "a Parquet file; name it .parquet"),
    (b"ARROW1", "an Arrow file; save it as Parquet"),
    (b"\xd0\xcf\x11\xe0", "a file of an office program; save the sheet as CSV, in UTF-8"),
    (b"%PDF", "a PDF file; save its text"),
    (b"SQLite format 3", "a SQLite database; export the table as CSV"),
    (b"\x89HDF", "an HDF5 file; save it as Parquet"),
    (b"\x89PNG", "a picture; give a file of texts"),
)
PACKED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # gzip, zip, bzip2, xz, zstandard


def encoding_of(path: Path) -> str:
    """The encoding of a file: utf-8 (which may have a mark), utf-16, utf-32, cp1252 or latin-1.

    A file is UTF-8 where at least half of its lines with bytes beyond ASCII are; the others then hold bytes that are
    none, see :func:`is_broken`. Raises DataError where the file is no text, or in another encoding.
    """
    utf8 = other = nul = size = beyond = together = 0
    undefined = False
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if number == 0 and (mark := next((mark for mark in MARKS if line.startswith(mark)), None)):
                return MARKS[mark]
            if number == 0 and (foreign := next((what for mark, what in OTHER_FILES if line.startswith(mark)), None)):
                raise DataError(f"{path} is {foreign}")
            if number == 0 and line.startswith(PACKED):
                raise DataError(f"{path} is packed, as by gzip or zip (so are the files of spreadsheets); unpack it")
            nul, size = nul + line.count(0), size + len(line)
            if line.isascii():
                continue
            try:
                line.decode()
                utf8 += 1
            except UnicodeDecodeError:
                other += 1
                undefined |= UNDEFINED.search(line) is not None
                runs = [len(run) for run in BEYOND.findall(line)]
                beyond, together = beyond + sum(runs), together + sum(run for run in runs if run > 2)
    if nul > MOST_NUL * size or (nul and other):
        raise DataError(f"{path} is not text: it has NUL bytes, as UTF-16 without a mark has; {HOW}, as in utf-16-le")
    if utf8 >= other:
        return "utf-8"
    if together > WESTERN * beyond:
        raise DataError(f"{path} is not UTF-8, nor in a Western encoding; {HOW}, as in gb18030, shift_jis or cp1251")
    return "latin-1" if undefined else "cp1252"


def read_text(path: Path, encoding: str) -> str:
    """All of a file, its line ends as they are; raises DataError where it is in another encoding than that."""
    try:
        return path.read_bytes().decode(encoding, _errors(encoding)).removeprefix("\ufeff").removesuffix("\x1a")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not {encoding} text (byte {error.start}: {error.reason}); {HOW}") from error
    except UnicodeError as error:  # of encodings that are for names on the web
        raise DataError(f"{path} is not {encoding} text ({error}); {HOW}") from error


def lines_of(path: Path, say: Callable[[str], object] | None = None) -> Iterator[str]:
    """The lines of a file, one after the other; only a line feed ends a line. Raises DataError as
    :func:`encoding_of`, and where a line is broken. ``say`` hears of an encoding that is not UTF-8."""
    encoding = encoding_of(path)
    if say and encoding != "utf-8":
        say(read_as(path, encoding))
    try:
        with path.open(encoding=encoding, errors=_errors(encoding), newline="\n") as file:
            for number, line in enumerate(file, 1):
                if is_broken(line):
                    raise DataError(f"{path} line {number} is not UTF-8 text; mend or remove it")
                text = line.rstrip("\r\n")
                yield text.removeprefix("\ufeff") if number == 1 else text
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not {encoding} text ({error.reason}); {HOW}") from error


def read_as(path: Path, encoding: str) -> str:
    return f"{path.name} is read as {encoding}, as it is not UTF-8"


def is_broken(text: str) -> bool:
    """Whether a piece of a file holds bytes that are not UTF-8."""
    return not text.isascii() and any("\udc80" <= character <= "\udcff" for character in text)


def _errors(encoding: str) -> str:
    return "surrogateescape" if encoding == "utf-8" else "strict"
