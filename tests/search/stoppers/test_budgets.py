"""Each budget by hand: when it is reached, what counts, and how a wall time is shared out."""

from collections.abc import Callable
from typing import Any

import pytest

from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.stoppers.budgets import (
    BUILDERS_SECONDS,
    SPARE_SECONDS,
    Budgets,
    Ended,
    Stages,
    epoch_seconds,
    may_begin,
    may_go_on,
    planned,
    reached,
    stages,
    without_better,
)

Make = Callable[..., TrialRecord]


def found(records: list[TrialRecord], epochs: int = 4, **budgets: Any) -> Ended | None:
    return reached(Budgets(**{"trials": 10, **budgets}), records, lambda number: epochs)


def by(ended: Ended | None) -> str | None:
    return None if ended is None else ended.budget


def test_trials_count_whatever_became_of_them_but_not_those_by_hand(make_record: Make) -> None:
    records = [make_record(0, [0.5]), make_record(1, [], "failed"), make_record(2, [0.4], "running")]
    records.append(make_record(3, [0.6], attributes={"by_hand": True}))
    assert found(records, trials=4) is None
    assert found(records, trials=3) == Ended("trials", "3 trials")


def test_total_epochs_reserve_what_running_trials_may_still_take(make_record: Make) -> None:
    records = [make_record(0, [0.5] * 4), make_record(1, [0.1], "pruned"), make_record(2, [0.4], "running")]
    assert found(records, total_epochs=10) is None, "4 + 1 + 1 are spent and 3 reserved"
    assert found(records, total_epochs=9) == Ended("total_epochs", "6 epochs of 9, in 3 of 10 trials")
    by_hand = make_record(3, [0.5] * 4, attributes={"by_hand": True})
    assert found([*records, by_hand], total_epochs=10) is None


@pytest.mark.parametrize(("metric", "target", "reaches"), [("reward", 0.7, True), ("reward", 0.71, False)])
def test_a_target_is_reached_by_any_trial_that_did_not_fail(
    make_record: Make, metric: str, target: float, reaches: bool
) -> None:
    records = [make_record(0, [0.5, 0.7, 0.6], "pruned"), make_record(1, [0.9], "failed")]
    assert (by(found(records, metric=metric, target=target)) == "target") is reaches
    assert by(found([make_record(0, [0.9], attributes={"by_hand": True})], target=0.8)) == "target"
    line = "trial 0 came to .700 (target .700) in 2 of 10 trials"
    assert not reaches or found(records, target=target) == Ended("target", line)


def test_a_target_below_is_reached_from_above(make_record: Make) -> None:
    record = make_record(0, [0.3])
    assert by(found([record], metric="log_loss", target=0.3)) == "target"
    assert found([record], metric="log_loss", target=0.29) is None


def test_patience_counts_trials_that_ended_after_the_best_one(make_record: Make) -> None:
    values = [0.5, 0.8, 0.8, 0.7, 0.1]
    records = [make_record(n, [v], ended=1000.0 + n) for n, v in enumerate(values)]
    assert without_better(records, "reward") == 3, "an equal one is not better"
    assert found(records, patience=4) is None
    assert found(records, patience=3) == Ended("patience", "3 trials without a better one, in 5 of 10 trials")
    failed = make_record(5, [], "failed", ended=1010.0)
    assert without_better([*records, failed], "reward") == 4
    better = make_record(6, [0.9], "running")
    assert without_better([*records, failed, better], "reward") == 0, "the best one still runs"


def test_patience_ends_a_search_that_only_fails(make_record: Make) -> None:
    records = [make_record(n, [], "failed", ended=1000.0 + n) for n in range(3)]
    assert by(found(records, patience=3)) == "patience"
    assert found(records, patience=4) is None


def test_the_first_that_is_reached_is_named(make_record: Make) -> None:
    records = [make_record(n, [0.9 - n / 10], ended=1000.0 + n) for n in range(4)]
    assert by(found(records, trials=4, patience=3, total_epochs=4, target=0.9)) == "target"
    assert by(found(records, trials=4, patience=3, total_epochs=4)) == "patience"
    assert by(found(records, trials=4, total_epochs=4)) == "total_epochs"


def timed(make_record: Make, number: int, seconds: list[float], state: str = "complete") -> TrialRecord:
    record = make_record(number, [0.5] * len(seconds), state)
    for report, each in zip(record.reports, seconds, strict=True):
        report["seconds"] = each
    return record


def test_an_epoch_is_the_median_of_those_that_wait_for_no_start(make_record: Make) -> None:
    assert epoch_seconds([]) == 0
    assert epoch_seconds([timed(make_record, 0, [9.0])]) == 9
    assert epoch_seconds([timed(make_record, 0, [9.0])], start=6.0) == 3
    assert epoch_seconds([timed(make_record, 0, [2.0])], start=6.0) == 2, "its start was there already"
    assert epoch_seconds([timed(make_record, 0, [9.0, 2.0]), timed(make_record, 1, [8.0, 1.0, 3.0])]) == 2


def test_stages_by_hand(make_record: Make) -> None:
    records = [timed(make_record, 0, [8.0, 2.0, 2.0, 2.0]), timed(make_record, 1, [4.0], "pruned")]
    found = stages(records, epochs=4, workers=2, refits=3, start=6.0, controls_left=3, builders=None)
    whole = 6 + 4 * 2
    assert found == Stages(
        trial=(14 + 4) / 2, whole=whole, epoch=2, control=2 * whole, refits=2 * whole, builders=BUILDERS_SECONDS
    )
    assert found.kept == 4 * whole + BUILDERS_SECONDS + SPARE_SECONDS
    assert stages(records, epochs=4, workers=2, refits=0, start=6.0, controls_left=0, builders=9.0).builders == 9
    chain = stages(records, epochs=4, workers=2, refits=7, chained=4, start=6.0, controls_left=0, builders=None)
    assert chain.refits == (4 + 2) * whole, "two workers cannot shorten a chain"


def test_a_trial_begins_only_if_a_typical_one_fits() -> None:
    plan = Stages(trial=10, whole=12, epoch=3, control=12, refits=20, builders=6)
    until = 100 - plan.kept
    assert may_begin(100, until - 10, plan)
    assert not may_begin(100, until - 9.9, plan)
    assert may_go_on(100, until - 3, plan, [{}])
    assert not may_go_on(100, until - 2.9, plan, [{}])
    own = [{"seconds": 30.0}, {"seconds": 5.0}]
    assert may_go_on(100, until - 5, plan, own)
    assert not may_go_on(100, until - 4.9, plan, own), "its own epochs are longer"


def test_the_plan_is_one_line() -> None:
    plan = Stages(trial=10, whole=12, epoch=3, control=0, refits=20, builders=6)
    assert (
        planned(100, plan, 3)
        == "of 1 min 40 s the trials had 1 min 12 s; kept: 20 s for 3 refits, 6 s for the builders"
    )
    plan = Stages(trial=10, whole=12, epoch=3, control=12, refits=0, builders=6)
    assert planned(10, plan, 0) == "of 10 s the trials had 0 s; kept: 12 s for the control, 6 s for the builders"
