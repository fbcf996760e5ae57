"""Stopped trials count with a lie that is never the best, failed ones not at all."""

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweepstack.search.samplers.history import (
    MOST_MODELLED,
    Told,
    completed,
    median_value,
    most_telling,
    others,
    with_lies,
)

X = {"x": FloatDistribution(0, 1)}


def trial(number: int, state: TrialState, value: Any = None, last: float | None = None) -> FrozenTrial:
    made = create_trial(
        state=state,
        values=value if isinstance(value, list) else None,
        value=None if isinstance(value, list) else value,
        params={"x": 0.5},
        distributions=X,
        intermediate_values={} if last is None else {1: 0.0, 2: last},
    )
    made.number = number
    return made


def told(study: optuna.Study, trials: list[FrozenTrial]) -> dict[int, float | None]:
    return {each.number: each.value for each in with_lies(study, trials)}


COMPLETE = [trial(0, TrialState.COMPLETE, 1.0), trial(1, TrialState.COMPLETE, 3.0), trial(2, TrialState.COMPLETE, 8.0)]


@pytest.mark.parametrize(
    ("direction", "last", "lie"),
    [("maximize", 5.0, 3.0), ("maximize", 2.0, 2.0), ("minimize", 5.0, 5.0), ("minimize", 2.0, 3.0)],
)
def test_a_lie_is_the_worse_of_the_last_value_and_the_median(direction: str, last: float, lie: float) -> None:
    study = optuna.create_study(direction=direction)
    stopped = trial(3, TrialState.PRUNED, last=last)
    assert told(study, [*COMPLETE, stopped]) == {0: 1.0, 1: 3.0, 2: 8.0, 3: lie}
    assert stopped.state == TrialState.PRUNED, "the ledger's own trial is as it was"


def test_without_a_completed_trial_there_is_no_lie() -> None:
    study = optuna.create_study()
    assert told(study, [trial(0, TrialState.PRUNED, last=1.0)]) == {}
    assert told(study, [*COMPLETE, trial(3, TrialState.PRUNED)]) == {0: 1.0, 1: 3.0, 2: 8.0}
    assert median_value([]) is None


def test_with_several_objectives_there_is_no_lie() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    trials = [trial(0, TrialState.COMPLETE, [1.0, 2.0]), trial(1, TrialState.PRUNED, last=1.0)]
    assert [each.number for each in with_lies(study, trials)] == [0]


def test_others_are_those_with_possible_values_that_did_not_fail() -> None:
    study = optuna.create_study()
    for state, x in (("COMPLETE", 0.1), ("FAIL", 0.2), ("COMPLETE", 7.0), ("PRUNED", 0.3), ("RUNNING", 0.4)):
        study.add_trial(
            create_trial(
                state=TrialState[state],
                value=1.0 if state == "COMPLETE" else None,
                params={"x": x},
                distributions={"x": FloatDistribution(0, 9)},
            )
        )
    study.add_trial(create_trial(state=TrialState.RUNNING))
    me = study.ask()
    parameters = {**X, "y": CategoricalDistribution(["a"])}
    assert [each.number for each in others(study, study.trials[me.number], parameters)] == [0, 3, 4]


def test_a_sampler_can_write_to_a_study_only_where_it_may() -> None:
    study = optuna.create_study()
    study.ask()
    for written, found in ((False, {}), (True, {"note": 1})):
        view = Told(study, COMPLETE, written=written)
        view._storage.set_trial_system_attr(0, "note", 1)
        view._storage.set_study_system_attr(0, "note", 1)
        assert study.trials[0].system_attrs == study._storage.get_study_system_attrs(0) == found
        assert view.get_trials(states=(TrialState.COMPLETE,)) == COMPLETE
        assert view.get_trials(states=(TrialState.FAIL,)) == []


def test_what_a_trial_lacks_is_filled_in_beside_it() -> None:
    filled = completed(COMPLETE, lambda each, name: (each.number, name), ["x", "y"])
    assert [each.params for each in filled] == [{"x": 0.5, "y": (n, "y")} for n in range(3)]
    assert COMPLETE[0].params == {"x": 0.5}


@pytest.mark.parametrize(("direction", "best"), [("maximize", 3.0), ("minimize", -3.0)])
def test_of_many_the_best_and_the_latest_are_modelled(direction: str, best: float) -> None:
    study = optuna.create_study(direction=direction)
    values = [best if number in (5, 17) else 0.0 for number in range(3 * MOST_MODELLED)]
    trials = [trial(number, TrialState.COMPLETE, value) for number, value in enumerate(values)]
    running = trial(len(trials), TrialState.RUNNING)
    kept = [each.number for each in most_telling(study, [*trials, running])]
    assert len(kept) == MOST_MODELLED + 1
    assert kept == sorted(kept)
    assert {5, 17, running.number} <= set(kept)
    assert set(kept) >= set(range(len(trials) - MOST_MODELLED * 3 // 4, len(trials)))
    assert most_telling(study, trials[:10]) == trials[:10]
