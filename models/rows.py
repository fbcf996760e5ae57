"""Reading a file of rows: JSON lines, CSV, TSV, Parquet, or a folder saved by Hugging Face datasets.

Whatever cannot be read is one DataError that names the file, the line and the way out.
"""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepstack.models.cleaning import name_of
from sweepstack.models.errors import DataError

LONGEST_FIELD = 1 << 30  # characters in a field of a CSV file; Python's own limit, 131,072, is a long document
FORMATS = ".jsonl .csv .tsv .parquet, a folder saved by Hugging Face datasets, or builtin:NAME"


@dataclass(frozen=True)
class Rows:
    """Columns of a data file: inputs and targets as texts, and groups where the study names a column for them."""

    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    groups: tuple[str, ...] | None
    source: str  # for messages

    def __len__(self) -> int:
        return len(self.inputs)


def read_rows(path: Path, input_column: str, target_column: str, group_column: str | None) -> Rows:
    """Rows whose targets are labels; raises DataError."""
    return _read(path, input_column, target_column, group_column, label_of)


def read_pairs(path: Path, input_column: str, target_column: str, group_column: str | None) -> Rows:
    """Rows whose targets are texts; raises DataError."""
    return _read(path, input_column, target_column, group_column, text_of)


def _read(
    path: Path,
    input_column: str,
    target_column: str,
    group_column: str | None,
    target_of: Callable[[Any, Path, str, int], str],
) -> Rows:
    wanted = [input_column, target_column, *([group_column] if group_column else [])]
    columns = read_columns(path, wanted)
    inputs = [text_of(value, path, input_column, row) for row, value in enumerate(columns[input_column], 1)]
    targets = [target_of(value, path, target_column, row) for row, value in enumerate(columns[target_column], 1)]
    groups = None
    if group_column:
        groups = tuple(label_of(value, path, group_column, row) for row, value in enumerate(columns[group_column], 1))
    return Rows(tuple(inputs), tuple(targets), groups, str(path))


def read_inputs(path: Path, column: str) -> list[str]:
    """One column of texts, for prediction: there an empty text is a text like any other."""
    values = read_columns(path, [column])[column]
    return [value if value == "" else text_of(value, path, column, row) for row, value in enumerate(values, 1)]


def read_columns(path: Path, wanted: Sequence[str]) -> dict[str, list[Any]]:
    """The wanted columns of a file, as many values each as there are rows; raises DataError."""
    if not path.exists():
        raise DataError(f"{path}: no such file; data.train and data.test take {FORMATS}")
    try:
        if path.is_dir():
            columns = _arrow_folder(path, wanted)
        elif path.suffix == ".jsonl":
            columns = _json_lines(path, wanted)
        elif path.suffix in (".csv", ".tsv"):
            columns = _separated(path, "," if path.suffix == ".csv" else "\t") or {name: [] for name in wanted}
        elif path.suffix == ".parquet":
            columns = _parquet(path, wanted)
        else:
            raise DataError(f"{path}: a file of type {path.suffix or 'no name'} is not known; use {FORMATS}")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    for name in wanted:
        if name not in columns:
            there = ", ".join(map(str, columns)) or "none"
            raise DataError(f"{path} has no column {name!r}; there are {there} (data.input and data.target name them)")
    if not columns[wanted[0]]:
        raise DataError(f"{path} is empty: it has no rows; give a file with some")
    return columns


def _json_lines(path: Path, wanted: Sequence[str]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    rows: list[tuple[int, dict[str, Any]]] = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path} line {number} is not JSON ({error}); mend or remove it") from error
            if not isinstance(row, dict):
                raise DataError(
                    f"{path} line {number} is not a JSON object but {line.strip()[:40]!r}; mend or remove it"
                )
            rows.append((number, row))
    if not rows:
        return {name: [] for name in wanted}
    for name in wanted:
        if not any(name in row for _, row in rows):
            return {key: [] for key in rows[0][1]}  # the column is missing altogether
        for number, row in rows:
            if name not in row:
                raise DataError(f"{path} line {number} has no {name!r}; mend or remove it")
        columns[name] = [row[name] for _, row in rows]
    return columns


def _separated(path: Path, delimiter: str) -> dict[str, list[Any]]:
    csv.field_size_limit(LONGEST_FIELD)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            heading = next(reader, [])
            rows = [(reader.line_num, row) for row in reader if row]
        except csv.Error as error:
            raise DataError(f"{path} line {reader.line_num} cannot be read ({error}); mend or remove it") from error
    for number, row in rows:
        if len(row) != len(heading):
            raise DataError(
                f"{path} line {number} has {len(row)} values for {len(heading)} columns; mend it, or quote its text"
            )
    return {name: [row[i] for _, row in rows] for i, name in enumerate(heading)}


def _parquet(path: Path, wanted: Sequence[str]) -> dict[str, list[Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        if missing := set(wanted) - set(file.schema_arrow.names):
            return {name: [] for name in file.schema_arrow.names if name not in missing}
        return dict(file.read(columns=list(wanted)).to_pydict())  # other columns may hold images
    except pyarrow.ArrowException as error:
        raise DataError(f"{path} is not a Parquet file ({str(error).splitlines()[0]}); write it again") from error


def _arrow_folder(path: Path, wanted: Sequence[str]) -> dict[str, list[Any]]:
    """What ``Dataset.save_to_disk`` writes: state.json names Arrow stream files, dataset_info.json the classes."""
    import pyarrow

    state = path / "state.json"
    if (path / "dataset_dict.json").exists():
        raise DataError(f"{path} holds several data sets; name one of its folders, as in {path / 'train'}")
    if not state.exists():
        raise DataError(
            f"{path} is a folder without state.json: not one that Hugging Face datasets saved; use {FORMATS}"
        )
    try:
        names = [entry["filename"] for entry in json.loads(state.read_text(encoding="utf-8"))["_data_files"]]
        tables = []
        for name in names:
            with pyarrow.OSFile(str(path / Path(name).name)) as file:
                tables.append(pyarrow.ipc.open_stream(file).read_all())
        table = pyarrow.concat_tables(tables)
        there = [name for name in wanted if name in table.column_names]
        if len(there) < len(wanted):
            return {name: [] for name in table.column_names}
        info = path / "dataset_info.json"
        features = (json.loads(info.read_text(encoding="utf-8")).get("features") or {}) if info.exists() else {}
        columns = dict(table.select(there).to_pydict())
        for name in there:
            if names := features.get(name, {}).get("names"):  # a ClassLabel: stored as places in this list
                columns[name] = [
                    names[v] if isinstance(v, int) and 0 <= v < len(names) else None for v in columns[name]
                ]
        return columns
    except (ValueError, KeyError, TypeError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read as a saved data set ({error}); save it again") from error


def text_of(value: Any, path: Path, column: str, row: int) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{path} row {row}: {column!r} must be a text, but got {_shown(value)}; mend or remove the row")
    return value


def label_of(value: Any, path: Path, column: str, row: int) -> str:
    """A class is a name, clean as cleaning.py has it: whole numbers and booleans are taken by how they are written."""
    if isinstance(value, str | int | bool) and (name := name_of(str(value))):
        return name
    if isinstance(value, float) and value.is_integer():  # a column of whole numbers in which one is missing
        return str(int(value))
    raise DataError(f"{path} row {row}: {column!r} must be a label, but got {_shown(value)}; mend or remove the row")


def _shown(value: Any) -> str:
    return "nothing" if value is None or value == "" or value != value else repr(value)[:40]
