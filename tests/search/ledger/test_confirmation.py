"""The confirmation: its seeds are none of the search's, its interval is Student's."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.ledger.confirmation import (
    ON_BLEND,
    Confirmation,
    is_confirmation,
    new_seeds,
    search_of,
    sweep_name,
    winner_of,
)
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.ledger.repetitions import settings_of_repetition, with_start
from sweepstack.search.study.search_section import Search
from sweepstack.search.study.space import Space

SEED, START = "train.seed", "train.warm_start.seed"
STARTS: list[Any] = [
    {},
    {START: [0, 1, 2, 3]},
    {START: {"int": [2, 9]}},
    {"train.lr_schedule": ["constant", {"step": {START: [11, 4]}}]},
]


@given(st.integers(0, 40), st.integers(0, 40), st.integers(2, 6), st.sampled_from(STARTS))
def test_no_seed_of_the_search_is_used_again(seed: int, start: int, seeds: int, spec: dict[str, Any]) -> None:
    settings = TrialSettings().with_values({SEED: seed, START: start})
    space = Space.parse(spec, settings)
    points = new_seeds(settings, space, seeds).grid()
    repeated = [settings_of_repetition(settings, (), place) for place in range(seeds)]
    searched = {0, 1, 2, 3} if isinstance(spec.get(START), list) else set(range(2, 10)) if START in spec else set()
    searched |= {11, 4} if "train.lr_schedule" in spec else set()
    assert len(points) == max(3, seeds)
    assert not {point[SEED] for point in points} & {each.train.seed for each in repeated}
    full = [settings.with_values(with_start(point, settings)) for point in points]
    assert not {each.train.warm_start.seed for each in full} & (
        {each.train.warm_start.seed for each in repeated} | searched
    )
    assert len({each.train.seed for each in full}) == len({each.train.warm_start.seed for each in full}) == len(points)


def test_an_environment_has_new_seeds_of_its_training_alone() -> None:
    played = TrialSettings(task="gym:CartPole-v1")
    points = [with_start(point, played) for point in new_seeds(played, Space(()), 4).grid()]
    assert sorted(point[SEED] for point in points) == [4, 5, 6, 7]
    assert all(set(point) == {SEED} for point in points)


def test_its_trials_are_all_run_once_and_whole() -> None:
    search = Search.model_validate(
        {"seeds": 3, "wall_time": 60, "target": 0.9, "patience": 2, "total_epochs": 9, "metric": ["reward", "seconds"]}
    )
    found = search_of(search)
    assert (found.sampler, found.stopper, found.seeds, found.objective) == ("grid", "none", 1, "reward")
    assert (found.wall_time, found.target, found.patience, found.total_epochs) == (None, None, None, None)


def test_the_interval_is_students(make_record: Callable[..., TrialRecord]) -> None:
    winner = make_record(7, [0.93])
    records = [make_record(0, [0.90]), make_record(1, [0.92]), make_record(2, [0.91]), make_record(3, [0.5], "failed")]
    found = Confirmation.of(winner, records, "reward")
    assert found is not None
    low, high = stats.t.interval(0.95, 2, loc=0.91, scale=stats.sem([0.90, 0.92, 0.91]))
    assert (found.trial, found.searched, found.values) == (7, 0.93, (0.90, 0.92, 0.91))
    assert (found.mean, found.low, found.high) == pytest.approx((0.91, low, high))
    assert (found.rows, found.on_valid, found.removes) == (
        "valid",
        None,
        "the rows that the search used: luck of seeds only",
    )
    assert found.figures() == pytest.approx(
        {"confirmed_valid_reward": 0.91, "confirmed_valid_reward_low": low, "confirmed_valid_reward_high": high}
    )
    played = Confirmation.of(winner, records, "reward", played=True)
    assert played is not None
    assert played.removes == "the episodes that the search used: luck of seeds only"
    assert played.figures()["confirmed_reward"] == pytest.approx(0.91)


def test_scores_on_blend_are_what_it_is_worth_where_all_are_known(make_record: Callable[..., TrialRecord]) -> None:
    """Means .87 on blend and .91 on valid."""
    winner = make_record(7, [0.93])
    records = [
        make_record(n, [valid], attributes={ON_BLEND: blend})
        for n, (valid, blend) in enumerate([(0.90, 0.86), (0.92, 0.89), (0.91, 0.86)])
    ]
    found = Confirmation.of(winner, records, "reward")
    assert found is not None
    low, high = stats.t.interval(0.95, 2, loc=0.87, scale=stats.sem([0.86, 0.89, 0.86]))
    assert (found.rows, found.values, found.searched) == ("blend", (0.86, 0.89, 0.86), 0.93)
    assert (found.mean, found.low, found.high, found.on_valid) == pytest.approx((0.87, low, high, 0.91))
    assert found.figures() == pytest.approx({
        "confirmed_blend_reward": 0.87, "confirmed_blend_reward_low": low, "confirmed_blend_reward_high": high,
        "confirmed_valid_reward": 0.91,
    })  # fmt: skip
    assert found.removes == "blend, without the search's luck of seeds and of rows"
    unscored = Confirmation.of(winner, [*records, make_record(3, [0.5])], "reward")
    assert unscored is not None
    assert unscored.rows == "valid", "no mean over two kinds of rows"


def test_one_seed_has_no_interval_and_none_says_nothing(make_record: Callable[..., TrialRecord]) -> None:
    winner = make_record(7, [0.93])
    found = Confirmation.of(winner, [make_record(0, [0.9])], "reward")
    assert found is not None
    assert (found.mean, found.low, found.high) == (0.9, None, None)
    assert found.figures() == {"confirmed_valid_reward": 0.9}
    assert Confirmation.of(winner, [make_record(0, [0.9], "running")], "reward") is None


def test_a_sweep_is_known_by_the_trial_that_it_confirms() -> None:
    assert winner_of(sweep_name(12)) == 12
    assert [is_confirmation(name) for name in ("trials", "supervised", sweep_name(0))] == [False, False, True]
