"""Successive halving by hand, and what it must never do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.search.search_settings import ASHA as ASHASettings
from sweepstack.search.search_settings import ASHAStopper
from sweepstack.search.stoppers import ASHA, NoStopper, Stopper, make_stopper

values = st.floats(-10, 10)


def test_rungs_are_powers_of_the_reduction_before_the_last_epoch() -> None:
    assert [ASHA(1, 2).rung(epoch, 8) for epoch in range(1, 9)] == [1, 2, None, 3, None, None, None, None]
    assert [ASHA(2, 3).rung(epoch, 20) for epoch in (1, 2, 3, 6, 18, 20)] == [None, 1, None, 2, 3, None]
    assert ASHA(1, 2).rung(1, 1) is None, "a trial of one epoch has nothing left to stop"


def test_the_best_half_goes_on_and_the_first_always() -> None:
    halving = ASHA(1, 2)
    assert halving.promotes(0.1, [])
    assert not halving.promotes(0.1, [0.2])
    assert halving.promotes(0.3, [0.2])
    assert not halving.promotes(0.2, [0.1, 0.3])  # 3 trials, 1 place
    assert halving.promotes(0.2, [0.1, 0.1, 0.3])  # 4 trials, 2 places
    assert halving.promotes(0.2, [0.2]), "equals go on together"


@given(value=values, others=st.lists(values, max_size=30), reduction=st.integers(2, 5))
def test_asha_keeps_the_best_and_is_monotone(value: float, others: list[float], reduction: int) -> None:
    asha = ASHA(1, reduction)
    if all(value >= other for other in others):
        assert asha.promotes(value, others)
    if asha.promotes(value, others):
        assert asha.promotes(value + 1, others)
        assert sum(other > value for other in others) < max(1, (len(others) + 1) // reduction)


@pytest.mark.parametrize("stopper", [NoStopper(), ASHA(1, 2), ASHA(3, 4)])
@given(epochs=st.integers(1, 50), epoch=st.integers(1, 50))
def test_no_stopper_judges_a_trial_at_its_end(stopper: Stopper, epochs: int, epoch: int) -> None:
    rung = stopper.rung(min(epoch, epochs), epochs)
    assert rung is None or (rung >= 1 and epoch < epochs)


def test_none_lets_everything_run() -> None:
    assert NoStopper().rung(1, 8) is None
    assert NoStopper().promotes(-1e9, [1.0] * 9)


def test_the_study_files_words() -> None:
    assert make_stopper("none") == NoStopper()
    assert make_stopper(ASHAStopper()) == ASHA(1, 2)
    assert make_stopper(ASHAStopper(asha=ASHASettings(min_epochs=2, reduction=3))) == ASHA(2, 3)
