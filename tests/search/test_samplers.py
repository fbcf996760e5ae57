"""One contract over all samplers: a restart, or an interruption between two parameters, changes nothing."""

from typing import Any

import optuna
import pytest

from sweepstack.models.settings import TrialSettings
from sweepstack.search.samplers import SAMPLERS, TPE_RANDOM_TRIALS, make_sampler, most_trials
from sweepstack.search.space import Space

SPACE = Space.parse(
    {
        "train.lr": {"log": [3e-4, 3e-2], "points": 3},
        "train.lr_schedule": ["constant", {"step": {"train.step_every": {"int": [1, 4]}}}],
        "train.gamma": {"near_one": [0.9, 0.9999], "points": 2},
    },
    TrialSettings(),
)
TRIALS = 14


@pytest.fixture(params=sorted(SAMPLERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def study(name: str, storage: Any = None, seed: int = 0) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        study_name="trials",
        storage=storage,
        sampler=make_sampler(name, SPACE, seed),
        direction="maximize",
        load_if_exists=True,
    )


def tell(study: optuna.Study, number: int, settings: dict[str, Any]) -> None:
    """A reward that depends on the settings alone; every third trial is pruned, every fifth fails."""
    reward = settings["train.gamma"] - 10 * settings["train.lr"]
    if number % 5 == 4:
        study.tell(number, state=optuna.trial.TrialState.FAIL)
    elif number % 3 == 2:
        study._storage.set_trial_intermediate_value(study.trials[number]._trial_id, 1, reward)
        study.tell(number, state=optuna.trial.TrialState.PRUNED)
    else:
        study.tell(number, reward)


def ask_and_tell(study: optuna.Study, trials: int) -> list[dict[str, Any]]:
    asked = []
    for _ in range(trials):
        trial = study.ask()
        asked.append(SPACE.suggest(trial))
        tell(study, trial.number, asked[-1])
    return asked


def test_a_restart_continues_the_sequence(name: str) -> None:
    undisturbed = ask_and_tell(study(name), TRIALS)
    storage = optuna.storages.InMemoryStorage()
    restarted = []
    for _ in range(TRIALS // 2):
        restarted += ask_and_tell(study(name, storage), 2)
    assert restarted == undisturbed
    assert len({tuple(settings.values()) for settings in undisturbed}) == TRIALS, "no trial repeats another"


def test_a_half_asked_trial_goes_on_with_the_values_it_would_have_had(name: str) -> None:
    undisturbed = ask_and_tell(study(name), TPE_RANDOM_TRIALS + 4)
    for given in range(3):
        storage = optuna.storages.InMemoryStorage()
        killed = study(name, storage)
        ask_and_tell(killed, len(undisturbed) - 1)
        trial = killed.ask()
        for axis in SPACE.axes[:given]:
            axis.suggest(trial)
        again = optuna.trial.Trial(study(name, storage), trial._trial_id)
        assert SPACE.suggest(again) == undisturbed[-1]


def test_the_seed_decides(name: str) -> None:
    assert ask_and_tell(study(name, seed=1), 6) != ask_and_tell(study(name, seed=2), 6)


def test_the_grid_visits_every_point_once() -> None:
    size = 3 * (1 + 4) * 2  # lr × (constant, or step with four step_every) × γ
    assert SPACE.size() == most_trials("grid", SPACE) == size
    visited = ask_and_tell(study("grid"), size)
    assert len({tuple(sorted(settings.items())) for settings in visited}) == size
    assert sum("train.step_every" in settings for settings in visited) == 3 * 4 * 2


def test_how_many_trials_can_differ() -> None:
    assert most_trials("random", SPACE) is None
    assert most_trials("tpe", Space(())) == 1, "where nothing is searched one trial says it all"


def test_tpe_learns() -> None:
    """Best is γ high and lr low: later trials must be nearer to it than random ones."""
    asked = ask_and_tell(study("tpe"), 60)
    late = sum(settings["train.lr"] for settings in asked[40:]) / 20
    drawn = sum(settings["train.lr"] for settings in ask_and_tell(study("random"), 60)) / 60
    assert late < drawn / 2
