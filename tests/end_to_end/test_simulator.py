"""studies/benchmarks/simulator.py on a table of two settings, whose replays are worked out by hand."""

import importlib.util
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.study.search_section import Search
from sweepstack.search.study.space import Space

PATH = Path(__file__).parents[2] / "studies" / "benchmarks" / "simulator.py"
SPACE = {"train.lr": {"log": [1e-4, 1e-2]}, "train.lr_schedule": ["constant", "linear"]}


@pytest.fixture(scope="module")
def simulator() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("simulator", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["simulator"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["simulator"]


@pytest.fixture
def table(simulator: ModuleType) -> Any:
    """Two settings, two seeds, two epochs of one and of two seconds; the second setting fails in its second epoch."""
    return simulator.Table(
        space=Space.parse(SPACE, TrialSettings()),
        settings=[
            {"train.lr": 1e-3, "train.lr_schedule": "constant"},
            {"train.lr": 1e-4, "train.lr_schedule": "linear"},
        ],
        valid=np.array([[[0.5, 0.6], [0.4, 0.3]], [[0.9, math.nan], [0.8, math.nan]]]),
        test=np.array([[[0.1, 0.2], [0.3, 0.4]], [[0.7, math.nan], [0.9, math.nan]]]),
        seconds=np.array([[[1.0, 2.0]] * 2] * 2),
    )


class Scripted:
    """Hands out ``points`` and lets each trial go on for its number of epochs."""

    def __init__(self, *points: tuple[dict[str, Any], int]) -> None:
        self._points = points
        self._next = 0
        self.reports: list[tuple[int, int, float]] = []

    def ask(self) -> tuple[int, dict[str, Any]] | None:
        if self._next == len(self._points):
            return None
        self._next += 1
        return self._next - 1, self._points[self._next - 1][0]

    def report(self, number: int, epoch: int, value: float) -> bool:
        self.reports.append((number, epoch, value))
        return epoch < self._points[number][1]

    def close(self) -> None: ...


def test_a_setting_is_worth_the_mean_over_seeds_of_test_at_its_best_epoch_on_valid(table: Any) -> None:
    # Seed 0 of the first setting is best after epoch 2 and seed 1 after epoch 1; a failed epoch is never the best.
    np.testing.assert_allclose(table.worth, [[(0.1 + 0.3) / 2, (0.2 + 0.3) / 2], [0.8, 0.8]])


@pytest.mark.parametrize(
    ("point", "row"),
    [
        ({"train.lr": 1.1e-4, "train.lr_schedule": "constant"}, 0),  # the choice counts before the distance
        ({"train.lr": 9e-3, "train.lr_schedule": "linear"}, 1),
    ],
)
def test_a_point_takes_the_curves_of_the_nearest_setting_of_the_same_choices(
    table: Any, point: dict[str, Any], row: int
) -> None:
    assert table.nearest(point) == row


def test_distances_are_in_the_scale_of_the_axis(simulator: ModuleType) -> None:
    space = Space.parse({"train.lr": {"log": [1e-4, 1e-2]}, "train.gamma": {"near_one": [0.9, 0.999]}}, TrialSettings())
    rows = [{"train.lr": 1e-4, "train.gamma": 0.99}, {"train.lr": 1e-2, "train.gamma": 0.99}]
    numbers = np.zeros((2, 1, 1))
    table = simulator.Table(space, rows, numbers, numbers, numbers)
    np.testing.assert_allclose(table._places, [[0, 0.5], [1, 0.5]])
    assert table.nearest({"train.lr": 9e-4, "train.gamma": 0.99}) == 0  # below 1e-3, the middle of a log axis
    assert table.nearest({"train.lr": 1.1e-3, "train.gamma": 0.99}) == 1


def test_the_clock_gives_each_worker_one_trial_at_a_time(simulator: ModuleType, table: Any) -> None:
    first, second = table.settings
    searcher = Scripted((first, 2), (second, 1), (first, 2))
    replayed = simulator.replay(table, searcher, workers=2)
    # Trial 0 has seed 0 and reports at 1 s and 3 s, trial 1 seed 1 at 1 s; then trial 2, of seed 0, at 2 s and 4 s.
    assert searcher.reports == [(0, 1, 0.5), (1, 1, 0.8), (2, 1, 0.5), (0, 2, 0.6), (2, 2, 0.6)]
    np.testing.assert_allclose(replayed.times, [1, 1])
    np.testing.assert_allclose(replayed.worth, [0.2, 0.8])
    assert replayed.trials == 3
    assert replayed.time_to(0.2) == 1
    assert replayed.time_to(0.81) == math.inf


def test_our_stopper_is_asked_by_the_ledger_and_told_the_truth(simulator: ModuleType, table: Any) -> None:
    search = Search.model_validate({"sampler": "random", "stopper": {"asha": {}}})
    alone = simulator.Table(table.space, table.settings[:1], table.valid[:1], table.test[:1], table.seconds[:1])
    searcher = simulator.Ours(search, alone, trials=4, seed=0)
    replayed = simulator.replay(alone, searcher, workers=1)
    # At the only rung seeds 0 and 1 alternate between .5, which is never beaten, and .4, which always is.
    assert [record.state for record in searcher._sweep.trials()] == ["complete", "pruned", "complete", "pruned"]
    np.testing.assert_allclose(replayed.times, [1, 3])
    searcher.close()


def test_a_failed_trial_fails_in_our_ledger_and_in_rays_study(simulator: ModuleType, table: Any) -> None:
    failing = simulator.Table(table.space, table.settings[1:], table.valid[1:], table.test[1:], table.seconds[1:])
    ours = simulator.Ours(Search.model_validate({"stopper": "none"}), failing, trials=1, seed=0)
    simulator.replay(failing, ours, workers=1)
    assert [record.state for record in ours._sweep.trials()] == ["failed"]
    ours.close()
    rays = simulator.Rays(4, failing, trials=1, seed=0)
    simulator.replay(failing, rays, workers=1)
    assert [trial.state for trial in rays._search._ot_study.trials] == [TrialState.FAIL]


def test_rays_search_is_told_that_a_stopped_trial_is_complete(simulator: ModuleType, table: Any) -> None:
    alone = simulator.Table(table.space, table.settings[:1], table.valid[:1], table.test[:1], table.seconds[:1])
    searcher = simulator.Rays(4, alone, trials=2, seed=0)
    simulator.replay(alone, searcher, workers=1)
    told = searcher._search._ot_study.trials
    # .4 is below the third quartile of what stood at the rung, .5 alone, so trial 1 is stopped after one epoch.
    assert [(trial.state, trial.value) for trial in told] == [(TrialState.COMPLETE, 0.6), (TrialState.COMPLETE, 0.4)]


def test_quartiles_count_a_search_that_never_got_there(simulator: ModuleType) -> None:
    assert simulator.quartiles([4.0, 1.0, math.inf, 2.0]) == (2.0, 4.0, math.inf)


def test_the_recorded_table_can_be_read_and_is_large_enough(simulator: ModuleType) -> None:
    table = simulator.Table.load(simulator.TABLE)
    settings, seeds, epochs = table.valid.shape
    assert settings >= 300
    assert seeds >= 3
    assert epochs == 8
    assert set(table.space.paths()) == set(table.settings[0])
    assert simulator.TABLE.stat().st_size < 2**20
    taken = [table.nearest(row) for row in table.settings[:50]]
    assert taken == list(range(50))  # a recorded setting is nearest to itself
