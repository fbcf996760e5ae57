"""Rates, batch sizes and counts are functions of the epoch and the reports before it."""

import pytest

from sweepstack.models.second_stage import batch_size_of, rates, so_far
from sweepstack.models.settings import Train


def test_the_epochs_rates_are_one_schedule() -> None:
    train = Train(lr=0.5, lr_schedule="linear", epochs=4)
    found = [rate for epoch in range(4) for rate in rates(train, epoch, 3)]
    assert found == pytest.approx([0.5 * (1 - step / 12) for step in range(12)])


def test_counts_go_on_from_the_last_report() -> None:
    assert so_far([], updates=3) == {"updates": 3.0}
    assert so_far([{"updates": 1.0}, {"updates": 5.0}], updates=3, rollouts=2) == {"updates": 8.0, "rollouts": 2.0}


def test_a_batch_size_follows_the_reports_where_it_is_to() -> None:
    assert batch_size_of(Train(batch_size=7), [{"reward": 1.0}], "reward") == 7
    train = Train(batch_size="adaptive", batch_range=(16, 64))
    rising, falling = ([{"reward": r, "log_loss": r} for r in rewards] for rewards in ((1.0, 2.0), (2.0, 1.0)))
    assert [batch_size_of(train, reports, "reward") for reports in ([], rising, falling)] == [16, 16, 32]
    assert [batch_size_of(train, reports, "log_loss") for reports in (rising, falling)] == [32, 16]
