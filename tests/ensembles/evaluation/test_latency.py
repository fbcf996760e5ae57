import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from sweepstack.ensembles.builders.registry import make
from sweepstack.ensembles.combinations.text_combination import TextCombination
from sweepstack.ensembles.evaluation.choose import choose
from sweepstack.ensembles.evaluation.latency import (
    BATCH,
    REPEATS,
    WARM_UP,
    Meter,
    TextMeter,
    batch_latency_ms,
    latency_ms,
    size_mb,
)
from sweepstack.ensembles.members.library import Library, Member
from sweepstack.ensembles.scoring.objective import Objective


def test_size_is_of_all_files_below(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"0" * 1_500_000)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "y").write_bytes(b"0" * 500_000)
    assert size_mb([tmp_path / "a", tmp_path / "b"]) == pytest.approx(2.0)


def test_latency_is_the_mean_over_texts_of_their_quickest_readings() -> None:
    calls: list[list[str]] = []

    def read(batch: list[str]) -> None:
        calls.append(batch)
        time.sleep(0.2 if len(calls) == WARM_UP + 2 else 0.03 if batch == ["long"] else 0.002)

    texts = ["short", "long", "short", "short"]
    assert 9 <= latency_ms(read, texts) < 20  # (30 + 3 · 2) / 4; the one reading of 200 ms does not count
    assert all(len(batch) == 1 for batch in calls)
    assert len(calls) == WARM_UP + REPEATS * len(texts)


def test_latency_of_a_batch_is_of_one_of_its_texts() -> None:
    calls: list[list[str]] = []

    def read(batch: list[str]) -> None:
        calls.append(batch)
        time.sleep(0.032)

    assert 1 <= batch_latency_ms(read, ["a", "b", "c"]) < 2
    assert len(calls) == 1 + REPEATS
    assert all(len(batch) == BATCH and set(batch) == {"a", "b", "c"} for batch in calls)


def test_each_member_is_loaded_once_and_every_row_measured(
    keyword_members: list[Member], synthetic: SimpleNamespace
) -> None:
    stack, labels = synthetic.stack([3.0, 3.0], rows=60, classes=3)
    library = Library(tuple(keyword_members), stack)
    loaded: list[Path] = []

    def load(folder: Path) -> object:
        from sweepstack.models.tasks.classification.checkpoint import load_member

        loaded.append(folder)
        return load_member(folder)

    meter = Meter(keyword_members, ["a b a", "b"], load)  # type: ignore[arg-type]
    choice = choose(library, labels, library, labels, [make("average"), make("selection")], Objective(), measure=meter)
    assert len(loaded) == len(set(loaded)) <= 2
    assert all((row.latency_ms or 0) > 0 and (row.latency_32_ms or 0) > 0 for row in choice.rows)
    both = next(row for row in choice.rows if len(row.members) == 2)
    assert both.size_mb == pytest.approx(size_mb([member.checkpoint for member in keyword_members]))
    assert any(row.front for row in choice.rows)


def test_what_writes_is_measured_too(small_writers: SimpleNamespace) -> None:
    from sweepstack.models.tasks.writing.checkpoint import load_writing_member

    loaded: list[Path] = []

    def load(folder: Path) -> object:
        loaded.append(folder)
        return load_writing_member(folder, "cpu")

    meter = TextMeter(small_writers.members, ["one two", "four"], load)  # type: ignore[arg-type]
    options = {"utility": "chrf", "language": "zh", "counts": [2, 2]}
    risk = meter(TextCombination("minimum_bayes_risk", (0, 3), options))
    alone = meter(TextCombination("single", (0,), {"counts": [2]}))
    assert len(loaded) == 2
    assert risk.size_mb == size_mb([small_writers.members[place].checkpoint for place in (0, 3)]) > alone.size_mb
    assert risk.latency_ms > alone.latency_ms > alone.latency_32_ms > 0
