"""Gain by predicted cost: costs are foreseen, from stopped trials too, and of equal scores the cheap one is taken."""

import math
import statistics

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.samplers.cost_aware import TRIALS, full_seconds
from sweepstack.search.samplers.registry import make_sampler
from sweepstack.search.study.search_section import Search
from sweepstack.search.study.space import Space

optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE = Space.parse(
    {
        "train.lr": {"log": [1e-4, 1e-1]},
        "train.ppo.epochs": {"int_log": [1, 32]},  # what a trial costs, and nothing else
        "train.lr_schedule": ["constant", "linear"],
    },
    TrialSettings(),
)
EPOCHS = 4


def search(
    sampler: str, trials: int, storage: optuna.storages.BaseStorage | None = None, *, seed: int = 0, aware: bool = True
) -> optuna.Study:
    """A study of ``trials`` more trials: every third trial is stopped after its first epoch."""
    settings = Search(sampler=sampler, seed=seed, metric_per="seconds" if aware else None)
    study = optuna.create_study(
        study_name="trials", sampler=make_sampler(settings, SPACE), storage=storage, direction="maximize",
        load_if_exists=True,
    )  # fmt: skip
    for _ in range(trials):
        trial = study.ask()
        SPACE.suggest(trial)
        score = -((math.log10(trial.params["train.lr"]) + 2.5) ** 2)
        epochs = 1 if trial.number % 3 == 2 else EPOCHS
        for epoch in range(1, epochs + 1):
            trial.set_user_attr(f"report:{epoch}", {"seconds": float(trial.params["train.ppo.epochs"])})
            trial.report(score - 0.1 * (EPOCHS - epoch), epoch)
        if epochs < EPOCHS:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, score)
    return study


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_where_scores_are_equal_the_cheaper_is_taken(sampler: str) -> None:
    """The median cost of the later trials over four seeds, and still the best is found."""

    def late(aware: bool) -> tuple[float, float]:
        studies = [search(sampler, 26, seed=seed, aware=aware) for seed in range(4)]
        costs = [trial.params["train.ppo.epochs"] for study in studies for trial in study.get_trials()[12:]]
        return statistics.median(costs), statistics.median(study.best_value for study in studies)

    (aware, best), (unaware, _) = late(True), late(False)
    assert aware < unaware
    assert best > -0.1


def test_the_sampler_alone_decides_before_enough_is_known() -> None:
    aware, alone = (search("random", 2 * TRIALS, aware=aware).get_trials() for aware in (True, False))
    same = [a.params == b.params for a, b in zip(aware, alone, strict=True)]
    assert all(same[:TRIALS])
    assert sum(same[TRIALS:]) <= 2, "one in 16 by chance"


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "nsga2"])
def test_a_restart_continues_the_sequence(sampler: str) -> None:
    undisturbed = [trial.params for trial in search(sampler, 14).get_trials()]
    storage = optuna.storages.InMemoryStorage()
    for trials in (9, 2, 3):
        study = search(sampler, trials, storage)
    assert [trial.params for trial in study.get_trials()] == undisturbed


def test_a_stopped_trial_goes_on_to_the_end_as_in_its_last_epoch() -> None:
    def trial(number: int, state: TrialState, seconds: list[float | None], **params: int) -> FrozenTrial:
        reports = [{} if each is None else {"seconds": each} for each in seconds]
        made = create_trial(
            state=state,
            value=1.0 if state == TrialState.COMPLETE else None,
            params={name.replace("_", "."): value for name, value in params.items()},
            distributions={name.replace("_", "."): optuna.distributions.IntDistribution(1, 9) for name in params},
            intermediate_values=dict.fromkeys(range(1, len(seconds) + 1), 0.0),
            user_attrs={f"report:{epoch}": report for epoch, report in enumerate(reports, 1)},
        )
        made.number = number
        return made

    trials = [
        trial(0, TrialState.COMPLETE, [5.0, 1.0, 1.0, 1.0]),
        trial(1, TrialState.PRUNED, [5.0, 2.0]),  # 5 + 2, and two more epochs
        trial(2, TrialState.PRUNED, [3.0], train_epochs=2),  # its own end
        trial(3, TrialState.PRUNED, []),
        trial(4, TrialState.COMPLETE, [None]),
        trial(5, TrialState.RUNNING, [1.0]),
        trial(6, TrialState.FAIL, [1.0]),
    ]
    assert full_seconds(trials) == {0: 8.0, 1: 11.0, 2: 6.0}
