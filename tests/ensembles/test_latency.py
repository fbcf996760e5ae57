import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.builders import make
from sweepstack.ensembles.choose import Choice, choose
from sweepstack.ensembles.latency import TEXTS, WARM_UP, latency_ms, measured, size_mb
from sweepstack.ensembles.objective import Objective
from sweepstack.ensembles.store import Library, Member


def test_size_is_of_all_files_below(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"0" * 1_500_000)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "y").write_bytes(b"0" * 500_000)
    assert size_mb([tmp_path / "a", tmp_path / "b"]) == pytest.approx(2.0)


def test_latency_is_the_median_of_single_texts() -> None:
    calls: list[list[str]] = []

    def read(batch: list[str]) -> None:
        calls.append(batch)
        time.sleep(0.2 if len(calls) == 5 else 0.002)  # one outlier must not count

    assert 2 <= latency_ms(read, [f"text {i}" for i in range(50)]) < 50
    assert all(len(batch) == 1 for batch in calls)
    assert len(calls) == WARM_UP + TEXTS


def test_each_member_is_loaded_once_and_every_row_measured(
    keyword_members: list[Member], synthetic: SimpleNamespace
) -> None:
    stack, labels = synthetic.stack([3.0, 3.0], rows=60, classes=3)
    library = Library(tuple(keyword_members), stack)
    choice: Choice = choose(library, labels, library, labels, [make("average"), make("selection")], Objective())
    loaded: list[Path] = []

    def load(folder: Path) -> object:
        from sweepstack.models.checkpoints import load_member

        loaded.append(folder)
        return load_member(folder)

    rows = measured(choice, keyword_members, ["a b a", "b"], load)  # type: ignore[arg-type]
    assert len(loaded) == len(set(loaded)) <= 2
    assert [row.name for row in rows] == [row.name for row in choice.rows]
    assert all((row.latency_ms or 0) > 0 for row in rows)
    both = next(row for row in rows if len(row.members) == 2)
    assert both.size_mb == pytest.approx(size_mb([member.checkpoint for member in keyword_members]))
    assert np.isfinite([row.size_mb or np.nan for row in rows]).all()
