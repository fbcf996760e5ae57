"""``sweepstack predict``: texts in, JSON lines out, a batch at a time, so that files of any size and pipes work."""

import io
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepstack.ensembles import load
from sweepstack.models.errors import DataError
from sweepstack.models.files import write_atomic
from sweepstack.models.rows import read_inputs

if TYPE_CHECKING:
    from sweepstack.ensembles.bundle import Reading

BATCH = 256
TABLES = {".jsonl", ".csv", ".tsv", ".parquet"}


def predict(
    bundle_folder: Path, source: str, out: Path | None, cost: float | None = None, coverage: float | None = None
) -> dict[str, Any]:
    """Writes ``{label, probability, probabilities, segments}`` a line for each text of ``source`` (a path, or ``-``).

    A table is read by the bundle's input column. Standard input is JSON lines if it begins with ``{``, else plain text,
    a text a line. With ``out`` the file appears when it is whole. ``cost`` and ``coverage``: see Bundle.read; with a
    coverage a line also has ``set``, its labels, and ``abstain`` where that is not a single one.
    Returns how many texts were read and where they went.
    """
    bundle = load(bundle_folder)
    texts = iter(inputs(source, bundle.input_column))
    count = 0
    written: list[str] = []
    while batch := list(itertools.islice(texts, BATCH)):
        records = "".join(
            json.dumps(_record(reading), ensure_ascii=False) + "\n" for reading in bundle.read(batch, cost, coverage)
        )
        if out:
            written.append(records)
        else:
            sys.stdout.write(records)
            sys.stdout.flush()
        count += len(batch)
    if out:
        write_atomic(out, "".join(written))
    return {"texts": count, "predictions": str(out) if out else "-"}


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


def inputs(source: str, column: str) -> Iterable[str]:
    """The texts of a file or of standard input (``-``); raises DataError with the line that cannot be read."""
    if source == "-":
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(encoding="utf-8-sig", errors="strict")  # whatever the locale is
        return texts_of_lines(sys.stdin, "standard input", column)
    path = Path(source)
    if path.suffix in TABLES:
        return read_inputs(path, column)
    if not path.is_file():
        raise DataError(f"{path}: no such file; give a file of texts, or - for standard input")
    return _texts_of_file(path, column)


def _texts_of_file(path: Path, column: str) -> Iterator[str]:
    with path.open(encoding="utf-8-sig") as lines:
        yield from texts_of_lines(lines, str(path), column)


def texts_of_lines(lines: Iterable[str], name: str, column: str) -> Iterator[str]:
    """A text a line; or, where the first line begins with ``{``, the value of ``column`` in each JSON line."""
    as_json: bool | None = None
    for number, line in enumerate(_decoded(lines, name), start=1):
        text = line.rstrip("\n")
        if not text.strip():
            continue
        if as_json is None:
            as_json = text.lstrip().startswith("{")
        if as_json:
            try:
                text = json.loads(text)[column]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f'{name} line {number} is not a JSON object with "{column}" ({type(error).__name__}); '
                    "mend or remove it"
                ) from error
            if not isinstance(text, str):
                raise DataError(f'{name} line {number}: "{column}" must be a text, but got {text!r}')
        yield text


def _decoded(lines: Iterable[str], name: str) -> Iterator[str]:
    try:
        yield from lines
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
