import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from topic_words import topics_dataset

from sweepstack.models.data.encoding import encode
from sweepstack.models.data.labelled import Dataset, Part, load_dataset
from sweepstack.models.data.refit_rows import all_but_test
from sweepstack.models.settings.data import Data
from sweepstack.models.settings.trial import Reading


def rows(dataset: Dataset, *names: str) -> Counter[tuple[str, int]]:
    return Counter(
        row
        for name in names
        for row in zip(dataset.parts[name].inputs, dataset.parts[name].labels.tolist(), strict=True)
    )


def test_every_row_but_those_of_test_is_trained_on_once() -> None:
    data = topics_dataset()
    whole = all_but_test(data)
    assert rows(whole, "warm", "policy") == rows(data, "warm", "policy", "valid", "blend")
    assert list(whole.parts) == ["warm", "policy", "valid", "test"]
    for name in ("valid", "test"):
        assert whole.parts[name] is data.parts[name]
        assert whole.hashes[name] == data.hashes[name]
    for name in ("warm", "policy", "content"):
        assert whole.hashes[name] != data.hashes[name]
    assert all_but_test(data).hashes == whole.hashes
    assert whole.classes == data.classes


@pytest.mark.parametrize(
    ("sizes", "warm"),
    [
        ((50, 30, 10, 10), 60),  # 5/8 of 100: 60 is nearer than 50 or 70
        ((30, 50, 10, 10), 40),
        ((20, 20, 30, 10), 50),  # half of 80: 50 or 30 are equally near, and valid goes to warm first
        ((80, 4, 8, 8), 96),
    ],
)
def test_parts_are_added_whole_and_keep_the_proportion_as_well_as_they_can(
    sizes: tuple[int, int, int, int], warm: int
) -> None:
    data = topics_dataset()
    parts = {
        name: Part(tuple(f"{name} {row}" for row in range(size)), np.zeros(size, dtype=np.int64))
        for name, size in zip(("warm", "policy", "valid", "blend"), sizes, strict=True)
    }
    whole = all_but_test(replace(data, parts={**parts, "test": data.parts["test"]}))
    assert (len(whole.parts["warm"].labels), len(whole.parts["policy"].labels)) == (warm, sum(sizes) - warm)


def test_under_folds_the_rows_stand_where_another_fold_has_them(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = ({"text": f"text {i}", "label": "ab"[i % 2], "group": f"g{i // 2}"} for i in range(120))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    given = {"train": str(path), "group": "group", "splits": {"folds": 3, "policy": 0.4}}
    data = load_dataset(Data.model_validate(given), Reading(unit="characters", segment=2, max_segments=12))
    whole = all_but_test(data)
    assert not whole.folds
    assert rows(whole, "warm", "policy") == rows(data, "out_of_fold")
    total = len(data.parts["out_of_fold"].labels)
    assert len(whole.parts["policy"].labels) == pytest.approx(
        0.4 * total, abs=0.1 * total
    )  # of its 51 groups: a standard deviation of .04
    groups = [{int(text.split()[1]) // 2 for text in whole.parts[name].inputs} for name in ("warm", "policy")]
    assert not groups[0] & groups[1], "no group straddles the two"
    assert whole.hashes["test"] == data.hashes["test"]


def test_under_folds_twins_go_where_the_one_is_that_another_fold_trains_on(tmp_path: Path) -> None:
    """A text that stands twice is held out by one fold, and both rows are in the same part of the other fold."""
    path = tmp_path / "rows.jsonl"
    lines = [{"text": f"text {i // 2:02}" + " " * (i % 2), "label": "ab"[i // 2 % 2]} for i in range(120)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    data = load_dataset(
        Data.model_validate({"train": str(path), "splits": {"folds": 3}}),
        Reading(unit="characters", segment=2, max_segments=12),
    )
    whole = all_but_test(data)
    units = [whole.parts[name].units.tolist() for name in ("warm", "policy")]
    assert not set(units[0]) & set(units[1])
    assert sorted(units[0] + units[1]) == sorted(data.parts["out_of_fold"].units.tolist())
    assert all(found.count(unit) == 2 for found in units for unit in found)


@pytest.mark.parametrize(
    ("unit", "splits", "vocabulary", "words", "seed"),
    [("words", {}, 60, 3, 3), ("words", {"folds": 3}, 60, 4, 3), ("tokens", {}, 30, 4, 0)],
)
def test_a_reader_of_all_rows_tells_those_of_test_apart_from_what_is_trained_on(
    tmp_path: Path, unit: Literal["words", "tokens"], splits: dict[str, int], vocabulary: int, words: int, seed: int
) -> None:
    """Its vocabulary is none that the parts were read by, and may lack words that those have."""
    texts = [" ".join(f"w{n}" for n in row) for row in np.random.default_rng(seed).geometric(0.02, (500, words))]
    path = tmp_path / "rows.jsonl"
    lines = (json.dumps({"text": text, "label": "ab"[i % 2]}) + "\n" for i, text in enumerate(texts))
    path.write_text("".join(lines), encoding="utf-8")
    reading = Reading(unit=unit, segment=2, max_segments=2)
    data = Data.model_validate({"train": str(path), "splits": splits, "text": {"vocabulary": vocabulary}})
    whole = encode(all_but_test(load_dataset(data, reading)), reading)
    where: dict[bytes, set[str]] = {}
    for name in ("warm", "policy", "test"):
        for row in whole.parts[name].tokens:
            where.setdefault(row.tobytes().rstrip(b"\0"), set()).add(name)
    assert all(len(names) == 1 for names in where.values())
