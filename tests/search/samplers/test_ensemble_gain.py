"""Predictions made by hand lie where trials would leave them; the ledger is a real one."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions
from sweepstack.models.settings.base import SettingError
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.execution.sweep import open_sweep
from sweepstack.search.ledger.ledger import Ledger
from sweepstack.search.samplers.ensemble_gain import EnsembleGain
from sweepstack.search.study.search_section import Search
from sweepstack.search.study.space import Space

LABELS = np.arange(40) % 2
BEGAN = datetime(2026, 1, 1)
SPACE = Space.of({"train.lr": {"log": [1e-4, 1e-1]}}, TrialSettings())[0]


def knows(share: float, begin: float = 0.0) -> Predictions:
    """Sure and right about a share of the rows, beginning at ``begin``; elsewhere a little wrong."""
    place = np.arange(40) / 40
    known = (place >= begin) & (place < begin + share)
    of_label = np.where(known, 0.9, 0.45)
    zero = np.where(LABELS == 0, of_label, 1 - of_label)
    probabilities = np.stack([zero, 1 - zero], axis=1)[:, None].astype(np.float32)
    return Predictions(probabilities, np.ones((40, 1), dtype=np.float32), np.ones(40, dtype=np.int64))


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., list[FrozenTrial]]:
    """Complete trials that ended one after the other, with these predictions."""

    def make(said: list[Predictions], states: list[TrialState] | None = None, rows_hash: str = "v") -> Any:
        trials = []
        for number, each in enumerate(said):
            each.save(tmp_path / str(number) / "predictions" / "valid.safetensors", rows_hash)
            state = TrialState.COMPLETE if states is None else states[number]
            trial = create_trial(
                state=state,
                value=0.5 if state == TrialState.COMPLETE else None,
                params={"x": 0.1 * number},
                distributions={"x": FloatDistribution(0, 10)},
                intermediate_values={1: 0.4, 2: 0.5},
            )
            trial.number = number
            trial.datetime_complete = BEGAN + timedelta(seconds=number) if state.is_finished() else None
            trials.append(trial)
        return trials

    return make


def gain(tmp_path: Path) -> EnsembleGain:
    return EnsembleGain(LABELS, "v", Objective("accuracy", Costs()), lambda number: tmp_path / str(number))


def test_a_copy_is_worth_nothing_and_what_errs_differently_much(made: Callable[..., Any], tmp_path: Path) -> None:
    trials = made([knows(0.5), knows(0.5), knows(0.5, begin=0.5), knows(0.25)])
    found = gain(tmp_path).gains(trials)
    assert found == pytest.approx({0: 0.5, 1: 0.0, 2: 0.5, 3: 0.0})


def test_one_trial_alone_is_worth_what_it_is_better_than_the_best_other(
    made: Callable[..., Any], tmp_path: Path
) -> None:
    assert gain(tmp_path).gains(made([knows(0.5)])) == {0: 0.0}
    assert gain(tmp_path).gains(made([knows(0.5), knows(0.25)])) == pytest.approx({0: 0.25, 1: 0.0})


def test_after_a_restart_the_values_are_the_same(made: Callable[..., Any], tmp_path: Path) -> None:
    said = [knows(0.2 + 0.02 * i, begin=(0.3 * i) % 0.7) for i in range(12)]
    trials = made(said)
    going_on = gain(tmp_path)
    for count in range(1, 12):
        going_on.gains(trials[:count])
    assert going_on.gains(trials) == gain(tmp_path).gains(trials)


def test_what_a_sampler_sees(made: Callable[..., Any], tmp_path: Path) -> None:
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.FAIL, TrialState.COMPLETE]
    trials = made([knows(0.5), knows(0.5, begin=0.5), knows(0.1), knows(0.1), knows(0.1)], states)
    (tmp_path / "4" / "predictions" / "valid.safetensors").unlink()
    told = {trial.number: trial for trial in gain(tmp_path)(trials)}
    assert sorted(told) == [0, 1, 2, 3], "without its predictions nobody knows what a trial is worth"
    assert told[0].value == pytest.approx(0.5)
    assert told[1].intermediate_values == {2: pytest.approx(0.5)}, "it was stopped after two epochs"
    assert [told[n].state for n in range(4)] == states[:4]
    assert trials[0].value == 0.5, "the ledger's own are left alone"
    assert trials[1].intermediate_values == {1: 0.4, 2: 0.5}


def test_predictions_of_other_rows_do_not_count(made: Callable[..., Any], tmp_path: Path) -> None:
    assert gain(tmp_path).gains(made([knows(0.5)], rows_hash="other")) == {}


def test_the_sampler_learns_from_gains_and_the_ledger_keeps_the_reward(tmp_path: Path) -> None:
    """Low rates give a good trial again and again, high ones less good trials that err differently."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def run(name: str, metric: str) -> list[float]:
        search = Search(sampler="tpe", stopper="none", trials=60, metric=metric)
        worth = None if metric == "reward" else gain(tmp_path / name)
        with Ledger.open(tmp_path / f"{name}.log") as ledger:
            sweep = open_sweep(ledger, "trials", space=SPACE, search=search, epochs=1, worth=worth)
            while (trial := sweep.ask()) is not None:
                lr = trial.settings["train.lr"]
                begin = 0.0 if lr < 1e-2 else 0.6 + 0.1 * (trial.number % 4)
                said = knows(0.6 if begin == 0 else 0.1, begin)
                said.save(tmp_path / name / str(trial.number) / "predictions" / "valid.safetensors", "v")
                reward = 0.8 if begin == 0 else 0.55
                sweep.report(trial.number, 1, {"reward": reward})
                sweep.complete(trial.number)
            records = sweep.trials()
        assert {record.value for record in records} <= {0.8, 0.55}, "the leaderboard shows the reward"
        return [record.settings["train.lr"] for record in records][20:]

    by_reward = np.mean([lr > 1e-2 for lr in run("reward", "reward")])
    by_gain = np.mean([lr > 1e-2 for lr in run("gain", "ensemble_gain")])
    assert by_gain > by_reward + 0.2


@pytest.mark.parametrize(
    ("changes", "key", "line"),
    [
        ({"sampler": "random"}, "search.sampler", "random does not learn from all trials anew"),
        ({"seeds": 2}, "search.seeds", "does not go with search.metric ensemble_gain; take 1"),
        ({"metric_per": "seconds"}, "search.metric_per", "leave it out"),
        ({"stopper": {"pbt": {}}}, "search.stopper", "use none, asha"),
    ],
)
def test_what_does_not_go_with_it_is_refused(changes: dict[str, Any], key: str, line: str) -> None:
    search = Search(**{"metric": "ensemble_gain", **changes})
    assert (search.objective, search.objectives) == ("reward", ("reward",))
    assert "the sampler looks for what improves the ensemble" in search.notes()[0]
    with pytest.raises(SettingError, match=line) as error:
        search.check((), ("reward",), of_texts=True)
    assert error.value.path == key
    for of_texts, folds in ((False, 1), (True, 3)):
        with pytest.raises(SettingError):
            Search(metric="ensemble_gain").check((), ("reward",), of_texts=of_texts, folds=folds)
    Search(metric="ensemble_gain").check((), ("reward",), of_texts=True)
