"""``sweepstack predict``: texts in, JSON lines out, a batch at a time, so that files of any size and pipes work."""

import io
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepstack.ensembles import load
from sweepstack.models.checksums import bundle_around
from sweepstack.models.data.cleaning import name_of, printable
from sweepstack.models.data.file_formats import is_table, refuse_no_file, refuse_no_text
from sweepstack.models.data.missing_files import not_there
from sweepstack.models.data.tables import read_inputs
from sweepstack.models.data.text_files import lines_of
from sweepstack.models.errors import DataError, InputError
from sweepstack.models.files import check_output, write_atomic
from sweepstack.search.report.terminal import json_line

if TYPE_CHECKING:
    from sweepstack.ensembles.bundles.bundle import Bundle, Reading
    from sweepstack.ensembles.bundles.writing_bundle import WritingBundle, Written

BATCH = 256
JSON_OBJECT = re.compile(r'\s*\{\s*("(?:[^"\\]|\\.)*"\s*:|\}\s*$)')  # how one begins: `{hello}` is a text


Say = Callable[[Sequence[str]], Iterable[dict[str, Any]]]
"""A record for each text of a batch."""


def predict(
    bundle_folder: Path,
    source: str,
    out: Path | None,
    cost: float | None = None,
    coverage: float | None = None,
    candidates: int | None = None,
    *,
    force: bool = False,
) -> dict[str, Any]:
    """Writes a line for each text of ``source`` (a path, or ``-``): of a classifier ``{label, probability,
    probabilities, segments}``, of a writer ``{text, score}``, and of one that writes while it reads ``lagging``, too:
    the words by which it stayed behind.

    A table is read by the bundle's input column. Standard input is JSON lines if it begins with a JSON object, else
    plain text, a text a line. A line, a row or a cell without anything is an empty text, so that there are as many
    predictions as lines or rows; a writer writes nothing for it, with the score null.

    With ``out`` the file appears when it is whole; one that exists is replaced with ``force`` alone, see
    :func:`check_output`. ``cost`` and ``coverage``: see Bundle.read; with a coverage a line
    also has ``set``, its labels, and ``abstain`` where that is not a single one, and standard error says so where no
    coverage is guaranteed. ``candidates``: how many texts of a writer a line also has, best first. ``cut`` is true
    where a source is longer than the writer reads. Returns how many texts were read and where they went. Raises
    InputError where the bundle has no use for what is asked, and DataError where a writer is given nothing to read.
    """
    from sweepstack.ensembles.bundles.bundle import Bundle

    if out is not None:
        _check_out(out, source, force=force)
    bundle = load(bundle_folder)
    if isinstance(bundle, Bundle):
        say = _classifier(bundle, cost, coverage, candidates)
    else:
        say = _writer(bundle, cost, coverage, candidates)
    texts = iter(inputs(source, bundle.input_column))
    count = 0
    written: list[str] = []
    encoding = "utf-8" if out else sys.stdout.encoding
    while batch := list(itertools.islice(texts, BATCH)):
        records = "".join(json_line(record, encoding) for record in say(batch))
        if out:
            written.append(records)
        else:
            sys.stdout.write(records)
            sys.stdout.flush()
        count += len(batch)
    if count == 0 and not isinstance(bundle, Bundle):
        raise DataError(f"{_named(source)} has no text to read; give at least one")
    if out:
        _check_out(out, source, force=force)  # somebody may have made it meanwhile
        write_atomic(out, "".join(written))
    return {"texts": count, "predictions": str(out) if out else "-"}


def _check_out(out: Path, source: str, *, force: bool) -> None:
    """Raises InputError where the predictions would destroy something; a bundle is refused with one file more."""
    if (around := bundle_around(out)) is not None:
        raise InputError(
            f"-o {out} lies in the bundle {around}, which would be refused from then on; name another file"
        )
    check_output(out, force=force, source=_stdin() if source == "-" else Path(source))


def _stdin() -> int | None:
    """Its descriptor; None where it has none."""
    try:
        return sys.stdin.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _classifier(bundle: "Bundle", cost: float | None, coverage: float | None, candidates: int | None) -> Say:
    if candidates is not None:
        raise InputError(f"--candidates is for bundles that write, and {bundle.folder} gives labels; leave it out")
    if coverage is not None and bundle.calibration is not None and bundle.calibration.caveat:
        print(f"--coverage: {bundle.calibration.caveat}", file=sys.stderr)
    return lambda texts: map(_record, bundle.read(texts, cost, coverage))


def _record(reading: "Reading") -> dict[str, Any]:
    record: dict[str, Any] = {
        "label": reading.label,
        "probability": round(reading.probability, 6),
        "probabilities": {name: round(p, 6) for name, p in reading.probabilities.items()},
        "segments": reading.segments,
    }
    if reading.labels is not None:
        record |= {"set": list(reading.labels)} | ({} if len(reading.labels) == 1 else {"abstain": True})
    return record


def _writer(bundle: "WritingBundle", cost: float | None, coverage: float | None, candidates: int | None) -> Say:
    for flag, value in (("--cost", cost), ("--coverage", coverage)):
        if value is not None:
            raise InputError(f"{flag} is for bundles that answer with labels, but {bundle.folder} writes; leave it out")
    if candidates is not None and candidates < 1:
        raise InputError(f"--candidates must be at least 1, but got {candidates}")

    def say(texts: Sequence[str]) -> list[dict[str, Any]]:
        written = iter(bundle.write([text for text in texts if text.strip()], candidates or 1))
        nothing: dict[str, Any] = {"text": "", "score": None} | ({} if candidates is None else {"candidates": []})
        return [_text_record(next(written), candidates) if text.strip() else nothing for text in texts]

    return say


def _text_record(written: "Written", candidates: int | None) -> dict[str, Any]:
    record: dict[str, Any] = {"text": written.text, "score": round(written.score, 6)}
    if candidates is not None:
        record["candidates"] = [{"text": text, "score": round(score, 6)} for text, score in written.candidates]
    if written.lagging is not None:
        record["lagging"] = round(written.lagging, 3)
    return record | ({"cut": True} if written.cut else {})


def _named(source: str) -> str:
    return "standard input" if source == "-" else source


def _say(note: str) -> None:
    print(f"sweepstack: {printable(note)}", file=sys.stderr)


def inputs(source: str, column: str) -> Iterable[str]:
    """The texts of a file or of standard input (``-``); raises DataError with the line that cannot be read."""
    if source == "-":
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(encoding="utf-8-sig", errors="strict", newline="\n")  # whatever the locale is
        return texts_of_lines(sys.stdin, "standard input", column)
    path = Path(source)
    if is_table(path):
        return read_inputs(path, column, _say, f"the bundle reads {column!r}; name the column of texts so")
    if not path.exists():
        raise DataError(not_there(path, "a file of texts, or - for standard input"))
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a file in it, or a folder saved by Hugging Face datasets")
    refuse_no_file(path, "give it as standard input, with - in place of its name")
    refuse_no_text(path)
    return texts_of_lines(lines_of(path, _say), str(path), column)


def texts_of_lines(lines: Iterable[str], name: str, column: str) -> Iterator[str]:
    """A text for each line, also for one without anything; or, where the first that has something is a JSON object, the
    value of ``column`` in each JSON line."""
    as_json: bool | None = None
    for number, line in enumerate(_decoded(lines, name), start=1):
        text = line.rstrip("\r\n")
        if not text.strip():
            yield ""
            continue
        if as_json is None:
            as_json = JSON_OBJECT.match(text) is not None
            cells = [name_of(each) for each in re.split(r"[,;\t|]", text)]
            if not as_json and column in cells and len(cells) > 1:
                _say(
                    f"{name} is read as plain text, although its first line names {column!r}; name a table .csv or .tsv"
                )
        if as_json:
            try:
                value = json.loads(text)[column]
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise DataError(
                    f'{name} line {number} is not a JSON object with "{column}" ({type(error).__name__}); '
                    "mend or remove it"
                ) from error
            if not isinstance(value, str | None):
                raise DataError(f'{name} line {number}: "{column}" must be a text, but got {value!r}')
            text = value or ""
        yield text


def _decoded(lines: Iterable[str], name: str) -> Iterator[str]:
    try:
        yield from lines
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
