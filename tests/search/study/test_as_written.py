"""What a refusal says of how a value is written that was meant."""

from typing import Any

import pytest
from pydantic import ValidationError

from sweepstack.search.study.as_written import nearest_word
from sweepstack.search.study.messages import refusal
from sweepstack.search.study.study import Study

BASE = {"name": "x", "task": "classification", "data": {"train": "/x.jsonl"}}


def refused(key: str, value: Any) -> str:
    tree: dict[str, Any] = {**BASE, "data": dict(BASE["data"])}  # type: ignore[call-overload]
    section, _, leaf = key.rpartition(".")
    node = tree
    for name in section.split(".") if section else ():
        node = node.setdefault(name, {})
    node[leaf] = value
    with pytest.raises(ValidationError) as caught:
        Study.model_validate(tree)
    path, line = refusal(caught.value, Study)
    assert path == key
    return line


@pytest.mark.parametrize(
    ("value", "way_out"),
    [
        ("1h", "3600"),
        ("1h 30min", "5400"),
        ("0.5 d", "43200"),
        ("10 min", "600"),
        ("1:30:00", "5400"),
        ("60s", "60"),
        ("60", "60, without quotes"),
        ("1,000", "1000, or 1.000 with a point"),
    ],
)
def test_wall_time_says_its_unit(value: str, way_out: str) -> None:
    line = f"must be a number of seconds, but got {value!r}; write {way_out}"
    assert refused("search.wall_time", value) == line


@pytest.mark.parametrize(
    ("key", "value", "way_out"),
    [
        ("search.keep.disk_gb", "500 MB", "write 0.5"),
        ("search.keep.disk_gb", "2TB", "write 2000"),
        ("ensembles.budget.size_mb", "1GB", "write 1000"),
        ("ensembles.budget.latency_ms", "0.2 s", "write 200"),
        ("search.trials", [16], "write 16, without brackets"),
        ("search.trials", "20k", "write 20000"),
        ("search.trials", "20'000", "write 20000"),
        ("search.trials", "\uff11\uff16", "write 16, in plain digits"),
        ("search.trials", "None", "leave it out"),
        ("search.trials", None, "leave it out"),
        ("search.trials", "16x", "write digits alone"),
        ("search.seed", "2026-12-01", "write digits alone"),
        ("train.lr", "1e\u22123", "write 1e-3, in plain digits"),
        ("train.lr", "1/1000", "write 0.001"),
        ("train.lr", "10^-3", "write 0.001"),
        ("train.lr", [1e-3, 1e-2], "values to try stand under space, as in space: {train.lr: …}"),
        ("train.lr", {"log": [1e-3, 1e-2]}, "values to try stand under space, as in space: {train.lr: …}"),
        ("model.init", ["he", "normal"], "values to try stand under space, as in space: {model.init: …}"),
        ("search.sampler", "TPE", "did you mean tpe?"),
        ("device", "GPU", "did you mean cuda?"),
        ("version", "1", "write 1, without quotes"),
        ("compile", 1, "write true"),
        ("train", None, "put keys under it, or leave it out"),
        ("train", [{"lr": 1}, {"epochs": 2}], "take the dashes away"),
        ("train", "lr:3", "a space is missing behind the colon of lr"),
        ("data", "x.csv", "write data: {train: x.csv}"),
        ("ensembles.builders", "average", "write [average], in brackets"),
        ("search.stopper", "ASHA", "did you mean asha?"),
        ("search.stopper", None, "did you mean none?"),
    ],
)  # fmt: skip
def test_the_way_out(key: str, value: Any, way_out: str) -> None:
    assert refused(key, value).endswith(f"; {way_out}")


@pytest.mark.parametrize("value", ["auto", True, {"a": 1}, "1.5 parsec", "inf"])
def test_nothing_is_made_up_of_what_is_no_number(value: object) -> None:
    line = refused("search.wall_time", value)
    assert "; write" not in line or line.endswith("; write digits alone")


def test_a_count_has_a_bound() -> None:
    assert refused("search.trials", 10**20) == f"must be below 2147483648, but got {10**20}"
    assert refused("search.target", float("nan")) == "must be finite, but got nan; leave it out"


@pytest.mark.parametrize("key", ["data.input", "data.target", "data.group", "data.train", "data.test"])
def test_a_name_is_not_empty(key: str) -> None:
    assert refused(key, " ") == "must be a name or a path, but got ' '; give one"


def test_a_path_with_escapes_of_double_quotes_says_so() -> None:
    line = refused("data.train", "C:\temp\new.csv")
    assert line == (
        "holds a character that is not shown, 'C:\\temp\\new.csv', as a backslash in double quotes makes one; write / "
        "for it, or take single quotes"
    )


def test_a_word_that_is_none_has_no_nearest() -> None:
    assert nearest_word("zebra", ["auto", "cpu"]) is None
    assert nearest_word("F1", ["reward", "f1_macro", "f1_micro"]) == "f1_macro"
