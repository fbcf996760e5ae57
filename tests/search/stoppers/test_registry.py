"""Each rule by hand, and what none of them must ever do."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.search.stoppers.asha import ASHA
from sweepstack.search.stoppers.base import NoStopper, Stopper
from sweepstack.search.stoppers.hyperband import Hyperband
from sweepstack.search.stoppers.median import Median
from sweepstack.search.stoppers.registry import make_stopper
from sweepstack.search.study.search_section import ASHA as ASHASettings
from sweepstack.search.study.search_section import (
    ASHAStopper,
    HyperbandStopper,
    MedianStopper,
    PBTStopper,
)
from sweepstack.search.study.search_section import Hyperband as HyperbandSettings
from sweepstack.search.study.search_section import Median as MedianSettings

STOPPERS = [NoStopper(), ASHA(1, 2), ASHA(3, 4), Hyperband(9, 1, 3), Hyperband(20, 2, 2), Median(1, 1), Median(2, 4)]
values = st.floats(-10, 10)
curves = st.lists(st.lists(values, max_size=9), max_size=12)


def after_one(*of_all: float) -> dict[int, list[float]]:
    """Trials that have one epoch each."""
    return {number: [value] for number, value in enumerate(of_all)}


def test_rungs_are_powers_of_the_reduction_before_the_last_epoch() -> None:
    assert [ASHA(1, 2).rung(0, epoch, 8) for epoch in range(1, 9)] == [1, 2, None, 3, None, None, None, None]
    assert [ASHA(2, 3).rung(0, epoch, 20) for epoch in (1, 2, 3, 6, 18, 20)] == [None, 1, None, 2, 3, None]
    assert ASHA(1, 2).rung(0, 1, 1) is None, "a trial of one epoch has nothing left to stop"


def test_the_best_half_goes_on_and_the_first_always() -> None:
    halving = ASHA(1, 2)
    assert halving.promotes(0, 1, after_one(0.1))
    assert not halving.promotes(0, 1, after_one(0.1, 0.2))
    assert halving.promotes(0, 1, after_one(0.3, 0.2))
    assert not halving.promotes(0, 1, after_one(0.2, 0.1, 0.3))  # 3 trials, 1 place
    assert halving.promotes(0, 1, after_one(0.2, 0.1, 0.1, 0.3))  # 4 trials, 2 places
    assert halving.promotes(0, 1, after_one(0.2, 0.2)), "equals go on together"
    later = {0: [0.9, 0.1], 1: [0.1, 0.2, 0.9], 2: [0.9], 3: []}
    assert not halving.promotes(0, 2, later), "the epoch's own values count, of those that have come to it"


def test_brackets_are_shared_out_as_in_the_paper() -> None:
    """R = 9, η = 3: s = 2, 1, 0 have 9, ⌈3/2 · 3⌉ = 5 and 3 trials; with R = 81 they are 81, 34, 15, 8 and 5."""
    assert Counter(map(Hyperband(9, 1, 3).bracket, range(170))) == {0: 90, 1: 50, 2: 30}
    assert sorted(Counter(map(Hyperband(81, 1, 3).bracket, range(143))).values()) == [5, 8, 15, 34, 81]
    assert Counter(map(Hyperband(8, 2, 2).bracket, range(11))) == {0: 5, 1: 3, 2: 3}, "a round of 4 + 3 + 3 and one"
    assert {Hyperband(1, 1, 3).bracket(n) for n in range(5)} == {0}


@given(st.integers(1, 30), st.integers(1, 4), st.integers(2, 4), st.integers(1, 200))
def test_every_beginning_of_a_study_is_shared_out_nearly_as_the_whole(
    epochs: int, min_epochs: int, reduction: int, trials: int
) -> None:
    hyperband = Hyperband(epochs, min_epochs, reduction)
    whole = Counter(map(hyperband.bracket, range(10_000)))
    for bracket, count in Counter(map(hyperband.bracket, range(trials))).items():
        assert count == pytest.approx(trials * whole[bracket] / 10_000, abs=len(whole))


def test_each_bracket_begins_a_rung_later_and_the_last_stops_nobody() -> None:
    hyperband = Hyperband(9, 1, 3)
    first = {hyperband.bracket(n): n for n in reversed(range(17))}
    rungs = {b: [hyperband.rung(n, epoch, 9) for epoch in (1, 2, 3, 8, 9)] for b, n in first.items()}
    assert rungs == {0: [1, None, 2, None, None], 1: [None, None, 2, None, None], 2: [None] * 5}


def test_trials_are_compared_within_their_bracket() -> None:
    hyperband = Hyperband(3, 1, 3)  # a round: 3 trials that are judged after the first epoch, 2 that are not
    inside, outside = ([n for n in range(10) if hyperband.bracket(n) == b] for b in (0, 1))
    assert (len(inside), len(outside)) == (6, 4)
    better_elsewhere = {inside[0]: [0.1], **{n: [0.9] for n in outside}}
    assert hyperband.promotes(inside[0], 1, better_elsewhere)
    assert not hyperband.promotes(inside[0], 1, {**better_elsewhere, inside[1]: [0.2]})


def test_the_median_of_running_means_is_what_a_best_value_must_reach() -> None:
    """Others, as means after two epochs: .2, .3, .5, .6, the last without its third epoch; their median is .4."""
    others = {1: [0.1, 0.3], 2: [0.3, 0.3, 0.0], 3: [0.4, 0.6], 4: [0.5, 0.7, 9.0], 5: [99.0]}
    assert Median(1, 4).promotes(0, 2, {**others, 0: [0.4, 0.1]}), "its best so far, not its latest"
    assert Median(1, 4).promotes(0, 2, {**others, 0: [0.1, 0.4, 0.0]})
    assert not Median(1, 4).promotes(0, 2, {**others, 0: [0.39, 0.39, 9.0]}), "nothing after the epoch counts"
    assert Median(1, 5).promotes(0, 2, {**others, 0: [0.0, 0.0]}), "too few to compare with"
    assert [Median(2, 1).rung(0, epoch, 4) for epoch in (1, 2, 3, 4)] == [None, 2, 3, None]


@pytest.mark.parametrize("stopper", STOPPERS, ids=repr)
@given(own=st.lists(values, min_size=1, max_size=9), others=curves, better=st.floats(0, 5))
def test_the_best_goes_on_and_a_better_trial_is_not_treated_worse(
    stopper: Stopper, own: list[float], others: list[list[float]], better: float
) -> None:
    """And failed trials, which have no curve, do not matter."""
    for epoch in range(1, len(own) + 1):
        among = {0: own, **dict(enumerate(others, start=1))}
        goes_on = stopper.promotes(0, epoch, among)
        assert stopper.promotes(0, epoch, {**among, 99: []}) == goes_on
        if goes_on:
            assert stopper.promotes(0, epoch, {**among, 0: [value + better for value in own]})
        assert stopper.promotes(0, epoch, {**among, 0: [100.0] * len(own)})


@pytest.mark.parametrize("stopper", STOPPERS, ids=repr)
@given(number=st.integers(0, 40), epochs=st.integers(1, 50), epoch=st.integers(1, 50))
def test_no_stopper_judges_a_trial_at_its_end(stopper: Stopper, number: int, epochs: int, epoch: int) -> None:
    rung = stopper.rung(number, min(epoch, epochs), epochs)
    assert rung is None or (rung >= 1 and epoch < epochs)


@given(value=values, others=st.lists(values, max_size=30), reduction=st.integers(2, 5))
def test_asha_promotes_no_more_than_its_share(value: float, others: list[float], reduction: int) -> None:
    if ASHA(1, reduction).promotes(0, 1, after_one(value, *others)):
        assert sum(other > value for other in others) < max(1, (len(others) + 1) // reduction)


def test_none_lets_everything_run() -> None:
    assert NoStopper().rung(0, 1, 8) is None
    assert NoStopper().promotes(0, 1, after_one(-math.inf, 1.0))


def test_the_study_files_words() -> None:
    assert make_stopper("none", 8) == NoStopper()
    assert make_stopper(ASHAStopper(), 8) == ASHA(1, 2)
    assert make_stopper(ASHAStopper(asha=ASHASettings(min_epochs=2, reduction=3)), 8) == ASHA(2, 3)
    assert make_stopper(HyperbandStopper(), 8) == Hyperband(8, 1, 3)
    given = HyperbandStopper(hyperband=HyperbandSettings(min_epochs=2, reduction=4))
    assert make_stopper(given, 8) == Hyperband(8, 2, 4)
    assert make_stopper(MedianStopper(), 8) == Median(1, 4)
    assert make_stopper(MedianStopper(median=MedianSettings(min_epochs=3, min_trials=2)), 8) == Median(3, 2)
    assert make_stopper(PBTStopper(), 8) == NoStopper(), "there, children replace what is worse"
