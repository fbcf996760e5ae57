"""Trials whose predictions were made by hand; the ledger is a real one."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.data.labelled import Dataset, Part
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions
from sweepstack.search.execution.sweep import open_sweep
from sweepstack.search.ledger.attributes import LIVE
from sweepstack.search.ledger.ledger import Ledger
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.report.progress import Standing
from sweepstack.search.run.live_ensemble import LiveEnsemble
from sweepstack.search.study.search_section import Search
from sweepstack.search.study.space import Space

Make = Callable[..., TrialRecord]
ROWS = 200
LABELS = np.arange(ROWS) // 2 % 2
DATASET = Dataset(("a", "b"), {"blend": Part(tuple(f"text {i}" for i in range(ROWS)), LABELS)}, {"blend": "h"}, ())


def said(seed: int, rows_hash: str, path: Path, right: float = 0.7) -> None:
    """Right about a random share of the rows, in its own way."""
    of_label = np.where(np.random.default_rng(seed).random(ROWS) < right, 0.9, 0.3)
    zero = np.where(LABELS == 0, of_label, 1 - of_label)
    probabilities = np.stack([zero, 1 - zero], axis=1)[:, None].astype(np.float32)
    ones = np.ones((ROWS, 1), dtype=np.float32)
    Predictions(probabilities, ones, np.ones(ROWS, dtype=np.int64)).save(
        path / "predictions" / "blend.safetensors", rows_hash
    )


@pytest.fixture
def ledger(tmp_path: Path, space: Space) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        open_sweep(ledger, "trials", space=space, search=Search(sampler="random", stopper="none"), epochs=1, trials=1)
        yield ledger


@pytest.fixture
def begin(tmp_path: Path, ledger: Ledger) -> Callable[..., tuple[LiveEnsemble, list[Standing]]]:
    """A live ensemble and the standings that it shows."""

    def make(linear: Path | None = None) -> tuple[LiveEnsemble, list[Standing]]:
        shown: list[Standing] = []
        objective = Objective("accuracy", Costs())

        def folder(record: TrialRecord) -> Path:
            return tmp_path / str(record.number)

        return LiveEnsemble(ledger, DATASET, objective, folder, linear, shown.append), shown

    return make


def test_it_grows_as_trials_end(begin: Any, make_record: Make, ledger: Ledger, tmp_path: Path) -> None:
    live, shown = begin()
    for number in range(6):
        said(number, "h", tmp_path / str(number))
        live.ended(make_record(number, [0.5], "pruned" if number % 2 else "complete"))
    assert shown[0].score == pytest.approx(0.7, abs=0.1)
    assert shown[-1].score > shown[0].score + 0.05
    assert shown[0].members == ("trial-0",)
    assert len(shown[-1].members) > 1
    assert Standing.from_json(ledger.attribute(LIVE)) == shown[-1]


def test_the_best_trial_by_valid_stands_beside_it_on_the_same_rows(
    begin: Any, make_record: Make, tmp_path: Path
) -> None:
    """Trial 1 is the best by valid, .93, and right in .7 of the rows of blend; 0 is better there, which does not count:
    blend is not for choosing trials."""
    for number, right in enumerate((0.9, 0.7, 0.8)):
        said(number, "h", tmp_path / str(number), right)
    records = [make_record(number, [valid]) for number, valid in enumerate((0.91, 0.93, 0.92))]
    accuracies = [
        float((np.random.default_rng(number).random(ROWS) < right).mean()) for number, right in ((0, 0.9), (1, 0.7))
    ]
    live, shown = begin()
    for record in records:
        live.ended(record)
    assert [each.trial for each in shown] == [0, 1, 1]
    assert [each.trial_score for each in shown] == pytest.approx([accuracies[0], accuracies[1], accuracies[1]])
    assert shown[0].rows == "blend"
    again, resumed = begin()
    again.resume(records)
    assert (resumed[0].trial, resumed[0].trial_score) == (1, pytest.approx(accuracies[1]))


def test_what_is_no_member_brings_no_news(begin: Any, make_record: Make, tmp_path: Path) -> None:
    live, shown = begin()
    live.ended(make_record(0, [0.5], "failed"))
    live.ended(make_record(1, [0.5]))  # its predictions are not there
    said(2, "other rows", tmp_path / "2")
    live.ended(make_record(2, [0.5]))
    assert shown == []


def test_the_next_session_goes_on(begin: Any, make_record: Make, tmp_path: Path) -> None:
    records = [make_record(number, [0.5]) for number in range(6)]
    for number in range(6):
        said(number, "h", tmp_path / str(number))
    live, shown = begin()
    for record in records[:3]:
        live.ended(record)
    again, shown_again = begin()
    again.resume(records[:3])
    assert [each.score for each in shown_again] == [pytest.approx(shown[-1].score)]
    for each in (live, again):
        for record in records[3:]:
            each.ended(record)
    assert shown_again[-1] == shown[-1]


def test_where_a_member_is_gone_it_begins_anew(begin: Any, make_record: Make, tmp_path: Path) -> None:
    said(0, "h", tmp_path / "0")
    begin()[0].ended(make_record(0, [0.5]))
    (tmp_path / "0" / "predictions" / "blend.safetensors").unlink()
    again, shown = begin()
    again.resume([make_record(0, [0.5])])
    assert shown == []


def test_the_baseline_comes_in_as_soon_as_it_is_there(begin: Any, make_record: Make, tmp_path: Path) -> None:
    linear = tmp_path / "linear"
    live, shown = begin(linear)
    for number in range(3):
        said(number, "h", tmp_path / str(number), right=0.55)
    live.ended(make_record(0, [0.5]))
    said(9, "h", linear, right=1.0)
    (linear / "result.json").write_text("{}")
    live.ended(make_record(1, [0.5]))
    assert shown[1].score > shown[0].score + 0.2
    assert shown[1].members == ("linear",), "which is no ensemble, and is called by its name"
    live.ended(make_record(2, [0.5]))
    again, resumed = begin(linear)
    again.resume([make_record(number, [0.5]) for number in range(3)])
    assert [each.score for each in resumed] == [pytest.approx(shown[-1].score)]


def test_its_halves_part_no_unit(begin: Any) -> None:
    live, _ = begin()
    assert len(set(live._halves(LABELS)[:4].tolist())) == 2
    units = np.arange(ROWS) // 4
    part = replace(DATASET.parts["blend"], units=units)
    live._dataset = replace(DATASET, parts={"blend": part})
    halves = live._halves(LABELS)
    assert all(len(set(halves[units == unit])) == 1 for unit in range(ROWS // 4))
    assert halves.mean() == 0.5
