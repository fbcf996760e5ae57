"""The formats of data files: each becomes the same table of the columns that are wanted."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweepstack.models.data.cleaning import name_of
from sweepstack.models.data.headings import above, hint
from sweepstack.models.data.missing_files import not_there
from sweepstack.models.data.separated import NAMES, delimiter_of, records_of
from sweepstack.models.data.text_files import encoding_of, is_broken, read_as, read_text
from sweepstack.models.errors import DataError

FORMATS = ".jsonl .json .csv .tsv .parquet, a folder saved by Hugging Face datasets, or builtin:NAME"
USUAL = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".psv": "|"}
JSON_LINES = (".jsonl", ".ndjson")
TABLES = (*USUAL, *JSON_LINES, ".json", ".parquet")
NO_TEXT = {  # files that are often given, and what to do with them
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as CSV, in UTF-8"),
    **dict.fromkeys((".gz", ".zip", ".bz2", ".xz", ".zst", ".tar", ".tgz", ".7z"), "unpack it first"),
    **dict.fromkeys((".feather", ".arrow", ".orc", ".avro", ".pkl", ".pickle", ".npy", ".npz"), "save it as Parquet"),
    **dict.fromkeys((".pdf", ".docx", ".doc", ".odt"), "save its text as .txt"),
}
NAMED_BY = "data.input and data.target name them"


@dataclass
class Table:
    """Columns by name, and what became of rows that have no values."""

    source: str  # the file's name
    columns: dict[str, list[Any]]
    numbers: Sequence[int]  # (rows,): where each stands in the file, from 1
    counted: str = "row"  # what they count: "row", or "line" of a file of text
    bad: dict[int, str] = field(default_factory=dict)  # by such a number: what is wrong with a row that has no values
    notes: tuple[str, ...] = ()  # how the file was read
    hint: str = ""  # why a wanted column may not be there
    untyped: bool = False  # whether a value is the text that stands there, and no number or truth value


def suffix_of(path: Path) -> str:
    return path.suffix.lower()


def is_table(path: Path) -> bool:
    """Whether it is a file of rows and columns, by its name, or a data set that was saved as a folder."""
    return (path / "state.json").exists() if path.is_dir() else suffix_of(path) in TABLES


def refuse_no_text(path: Path) -> None:
    """Raises DataError where a file is of a format that is neither a table nor text."""
    if way_out := NO_TEXT.get(suffix_of(path)):
        raise DataError(f"{path}: files of type {path.suffix} are not read; {way_out}")


def refuse_no_file(path: Path, way_out: str) -> None:
    """Raises DataError where reading ``path`` would wait for others or never end, as of a FIFO or a device."""
    if not path.is_file():
        raise DataError(f"{path} is no regular file; {way_out}")


def read_table(
    path: Path,
    wanted: Sequence[str],
    encoding: str | None = None,
    delimiter: str | None = None,
    *,
    blank: bool = False,
    named_by: str = NAMED_BY,
) -> Table:
    """The wanted columns of a file; raises DataError. ``encoding`` and ``delimiter`` are found out where they are None.
    ``blank``: whether a line without anything is a row, whose values are missing; ``named_by``: where the names of the
    columns come from, for messages."""
    if not path.exists():
        raise DataError(not_there(path, FORMATS))
    if not path.is_dir():
        refuse_no_file(path, "copy what it gives into a file")
    try:
        table = _of_format(path, wanted, encoding, delimiter, blank)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); mend that, or write it again") from error
    for name in wanted:
        if name not in table.columns:
            there = ", ".join(map(str, table.columns)) or "none"
            more = table.hint or hint("", list(map(str, table.columns)), wanted)
            raise DataError(f"{path} has no column {name!r}; there are {there[:300]} ({named_by}){more and '; '}{more}")
    if not len(table.numbers) and not table.bad:
        raise DataError(f"{path} is empty: it has no rows; give a file with some")
    return table


def _of_format(path: Path, wanted: Sequence[str], encoding: str | None, delimiter: str | None, blank: bool) -> Table:
    suffix = suffix_of(path)
    if path.is_dir():
        return _arrow_folder(path, wanted)
    if suffix == ".parquet":
        return _parquet(path, wanted)
    if suffix not in TABLES:
        refuse_no_text(path)
        kind = f"files of type {path.suffix}" if path.suffix else "files without a type in their name"
        raise DataError(f"{path}: {kind} are not read; use {FORMATS}")
    found = encoding or encoding_of(path)
    text = read_text(path, found)
    notes = [] if encoding or found == "utf-8" else [read_as(path, found)]
    if suffix in USUAL:
        table = _separated(path, text, wanted, delimiter, blank)
    elif (whole := _whole_json(path, text, wanted)) is not None:
        table = _json_array(path, whole, wanted)
    else:
        table = _json_lines(path, text, wanted, blank)
    table.notes = (*notes, *table.notes)
    return table


def _separated(path: Path, text: str, wanted: Sequence[str], given: str | None, blank: bool) -> Table:
    if not text.strip():
        return Table(path.name, {name: [] for name in wanted}, [], "line", untyped=True)
    usual, whole = USUAL[suffix_of(path)], text
    skipped, named = above(text)
    if skipped:
        text = text.split("\n", skipped)[-1]
    given = given or named
    delimiter = given or delimiter_of(text, usual, wanted)
    records = records_of(text, delimiter, blank=blank, first=skipped + 1)
    places = _places(path, records.heading, wanted)
    columns = {name: [row[place] for row in records.rows] if name in wanted else [] for name, place in places.items()}
    notes = []
    if delimiter not in (usual, given):
        notes.append(f"the columns of {path.name} are separated by {NAMES[delimiter]}")
    if records.quoted:
        notes.append(f"quotation marks in {path.name} quote, as every row shows that has some")
    missing = "" if places.keys() >= set(wanted) else hint(whole, list(places), wanted)
    return Table(path.name, columns, records.lines, "line", records.bad, tuple(notes), missing, untyped=True)


def _places(path: Path, names: Iterable[Any], wanted: Sequence[str]) -> dict[str, int]:
    """Where the columns stand, by their names: a wanted one as it is written, or but for gaps and the like. Raises
    DataError where one of them is there twice."""
    written = list(map(str, names))
    clean = list(map(name_of, written))
    places: dict[str, int] = {}
    for name, place in zip(clean, range(len(clean)), strict=True):
        places.setdefault(name, place)
    for name in wanted:
        found = [place for place, each in enumerate(written) if each == name]
        found = found or [place for place, each in enumerate(clean) if each == name_of(name)]
        if len(found) > 1:
            raise DataError(f"{path} has {len(found)} columns named {name!r}; rename or remove the others")
        if found:
            places.pop(clean[found[0]], None)
            places[name] = found[0]
    return dict(sorted(places.items(), key=lambda each: each[1]))


def _json_lines(path: Path, text: str, wanted: Sequence[str], blank: bool) -> Table:
    rows: list[dict[str, Any]] = []
    table = Table(path.name, {}, [], "line")
    numbers = []
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        if not line.strip():
            if blank and text:
                rows.append({})
                numbers.append(number)
            continue
        row, problem = ({}, "bytes that are not UTF-8") if is_broken(line) else _json_object(line, wanted)
        if problem:
            table.bad[number] = problem
        else:
            rows.append(row)
            numbers.append(number)
    table.numbers = numbers
    table.columns = _columns_of(path, rows, wanted)
    return table


def _json_object(line: str, wanted: Sequence[str]) -> tuple[dict[str, Any], str]:
    """The object of a line, or what is wrong with it."""
    twice: set[str] = set()

    def of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice.update(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        return found

    try:
        row = json.loads(line, object_pairs_hook=of_pairs)
    except ValueError as error:
        return {}, f"no JSON ({str(error).partition(':')[0]})"
    except RecursionError:
        return {}, "JSON that is nested too deeply"
    if not isinstance(row, dict):
        return {}, "JSON that is no object"
    if twice.intersection(wanted):
        return {}, f"{min(twice.intersection(wanted))!r} twice"
    return row, ""


def _whole_json(path: Path, text: str, wanted: Sequence[str]) -> list[Any] | None:
    """The list that a file is, which may go over many lines; None where it is JSON lines. Raises DataError where it is
    one object over many lines, or one of columns."""
    begin = text.lstrip()[:1]
    lines = text.strip().count("\n")
    if begin not in ("[", "{") or (begin == "{" and lines and _json_object(text.lstrip().split("\n", 1)[0], ())[0]):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        if begin == "[" and suffix_of(path) == ".json":
            reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).partition(";")[0]
            raise DataError(f"{path} is not JSON ({reason}); mend it") from error
        if begin == "{" and lines and text.lstrip().split("\n", 1)[0].strip() in ("{", '{"'):
            raise DataError(
                f"{path} has objects over several lines; write each on one line, or a list of them"
            ) from error
        return None
    if isinstance(found, list):
        return found
    lists = [name for name, value in found.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if lists:
        raise DataError(f"{path} is one object, whose {lists[0]!r} holds the rows; save that list alone")
    if any(isinstance(found.get(name), dict | list) for name in wanted):
        raise DataError(f"{path} holds columns; save it by rows, as pandas does with to_json(orient='records')")
    return [found] if lines else None


def _json_array(path: Path, rows: list[Any], wanted: Sequence[str]) -> Table:
    """Objects; where a single column is wanted, the texts themselves, too."""
    table = Table(path.name, {}, [])
    if len(wanted) == 1 and rows and not any(isinstance(row, dict) for row in rows):
        rows = [{wanted[0]: row} for row in rows]
    table.bad = {number: "JSON that is no object" for number, row in enumerate(rows, 1) if not isinstance(row, dict)}
    table.numbers = [number for number in range(1, len(rows) + 1) if number not in table.bad]
    table.columns = _columns_of(path, [row for row in rows if isinstance(row, dict)], wanted)
    return table


def _columns_of(path: Path, rows: Sequence[dict[str, Any]], wanted: Sequence[str]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    if not names:  # every row is bad, or blank
        return {name: [None] * len(rows) for name in wanted}
    keys, order = list(names), _places(path, names, wanted)
    return {name: [row.get(keys[place]) for row in rows] if name in wanted else [] for name, place in order.items()}


def _parquet(path: Path, wanted: Sequence[str]) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = file.schema_arrow.names
        places = _places(path, names, wanted)
        there = {name: names[places[name]] for name in wanted if name in places}
        table = file.read(columns=list(there.values()))  # other columns may hold images
    except pyarrow.ArrowException as error:
        raise DataError(
            f"{path} is not a Parquet file ({str(error).splitlines()[0].partition('.')[0]}); write it again"
        ) from error
    columns = {name: table.column(there[name]).to_pylist() if name in there else [] for name in places}
    return Table(path.name, columns, range(1, file.metadata.num_rows + 1))


def _arrow_folder(path: Path, wanted: Sequence[str]) -> Table:
    """What ``Dataset.save_to_disk`` writes: state.json names Arrow stream files, dataset_info.json the classes."""
    import pyarrow

    state = path / "state.json"
    if (path / "dataset_dict.json").exists():
        raise DataError(f"{path} holds several data sets; name one of its folders, as in {path / 'train'}")
    if not state.exists() and (parts := sorted(path.glob("part-*"))):
        raise DataError(f"{path} is a folder of parts, such as {parts[0].name}; join them into one file and name that")
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
        info = path / "dataset_info.json"
        features = (json.loads(info.read_text(encoding="utf-8")).get("features") or {}) if info.exists() else {}
        columns: dict[str, list[Any]] = {}
        for name, place in _places(path, table.column_names, wanted).items():
            columns[name] = table.column(place).to_pylist() if name in wanted else []
            classes = features.get(table.column_names[place], {}).get("names")
            if classes and name in wanted:  # a ClassLabel: stored as places in this list
                columns[name] = [
                    classes[v] if isinstance(v, int) and 0 <= v < len(classes) else None for v in columns[name]
                ]
        return Table(path.name, columns, range(1, table.num_rows + 1))
    except (ValueError, KeyError, TypeError, RecursionError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read as a saved data set ({error}); save it again") from error
