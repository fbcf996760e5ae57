from collections.abc import Callable
from typing import Any

import pytest

from sweepstack.models.data.pairs import PairDataset, PairPart
from sweepstack.search.report.task_words import languages_of, named, reading_words, writing_words
from sweepstack.search.study.study import Study

ENGLISH = ("Opens the file.", "Name of the sheet", "Print")
CHINESE = ("打开文件。", "工作表名称", "打印")


def written(task: str = "translation", **changes: Any) -> Study:
    return Study.model_validate({"name": "x", "task": task, "data": {"train": "x.jsonl"}, **changes})


def test_what_is_read_at_a_time(make_study: Callable[..., Study]) -> None:
    assert reading_words(make_study(), 14) == "which of 14 languages is it?  reads 2 letters at a time"
    assert reading_words(make_study(reading="off"), None) == "classification  reads each text at once"
    assert reading_words(make_study(reading="off"), None, 240) == "classification  reads up to 240 words at once"
    given = make_study(reading="off", data={"train": "builtin:languages", "text": {"max_words": 64}})
    assert reading_words(given, None, 240).endswith("up to 64 words at once")


def test_what_is_written_and_for_what() -> None:
    assert writing_words(written(), ("en", "zh")) == "translates en → zh  rewarded by chrf"
    assert writing_words(written(), None) == "translates source → target  rewarded by chrf"
    reads = written(reading={"segment": 1}), written(reading={"segment": 3})
    assert [writing_words(study, ("en", "zh")) for study in reads] == [
        "translates en → zh while it reads 1 word at a time  rewarded by chrf",
        "translates en → zh while it reads 3 words at a time  rewarded by chrf",
    ]
    rewards = {"length": {"low": 2, "high": 9}, "repetition": 0.5}
    study = written("generation", writing={"reward": rewards})
    assert writing_words(study, None) == "writes a response  rewarded by length, repetition"


def test_a_columns_own_name_comes_first_and_a_plain_one_gives_way_to_the_language() -> None:
    parts = {"warm": PairPart(ENGLISH, CHINESE)}
    assert languages_of(written(), PairDataset(parts, {}, ())) == ("en", "zh")
    columns = {"data": {"train": "x.jsonl", "input": "de", "target": "simple_de"}}
    assert languages_of(written(**columns), PairDataset(parts, {}, ())) == ("de", "simple_de")


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (CHINESE, "zh"),
        (("ファイルを開く", "印刷する"), "ja"),
        (ENGLISH, "en"),
        (("Öffnet die Datei.", "Drucken"), "target"),
        ((), "target"),
    ],
)
def test_a_language_that_does_not_show_is_not_guessed(texts: tuple[str, ...], said: str) -> None:
    assert named("target", texts) == said
