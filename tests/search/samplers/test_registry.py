"""One contract over all samplers: a point is a function of the ledger, no point is had twice, and stopped and failed
trials count for what they are."""

import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState

from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.samplers import gp
from sweepstack.search.samplers.points import key
from sweepstack.search.samplers.random import RANDOM_TRIALS
from sweepstack.search.samplers.registry import SAMPLERS, make_sampler, points_of
from sweepstack.search.study.axes import SpaceError
from sweepstack.search.study.search_section import ONE_OBJECTIVE, Search
from sweepstack.search.study.space import Space

optuna.logging.set_verbosity(optuna.logging.WARNING)


def parse(**axes: Any) -> Space:
    return Space.parse({f"train.{name}": axis for name, axis in axes.items()}, TrialSettings())


SPACE = parse(
    lr={"log": [3e-4, 3e-2], "points": 2},
    gamma={"near_one": [0.9, 0.9999], "points": 2},
    value_lambda={"range": [0.5, 1.0], "points": 1},
    epochs={"int": [2, 3]},
    batch_size={"int_log": [64, 512], "points": 1},
    freeze=["none", "encoder"],
    algorithm=[
        "a2c",
        {
            "ppo": {
                "train.ppo.clip": {"range": [0.1, 0.3], "points": 1},
                "train.lr_schedule": ["constant", {"step": {"train.step_every": {"int": [1, 4]}}}],
            }
        },
    ],
)
CHOICES = parse(lr_schedule=["constant", "linear", "cosine"], freeze=["none", "encoder"], epochs={"int": [1, 2]})
SMALL = {
    "one number": parse(lr={"log": [3e-4, 3e-2], "points": 12}),
    "one whole number": parse(epochs={"int": [1, 12]}),
    "one choice": parse(seed=list(range(12))),
    "choices": CHOICES,
}
TRIALS = RANDOM_TRIALS + 5  # two in 15 fail: enough are left for every model to be asked


LR, EPOCHS, GAMMA = "train.lr", "train.epochs", "train.gamma"
NASTY: list[tuple[str, str, list[Any]]] = [
    (GAMMA, "near_one", [0.9, 0.9999999999999999]),
    (GAMMA, "near_one", [0.9, 1 - 1e-12]),
    (GAMMA, "near_one", [0.99, 0.99 + 1e-15]),
    (GAMMA, "near_one", [0.0, 1.0]),
    (GAMMA, "near_one", [1 - 2e-12, 1 - 1e-12]),
    (LR, "log", [5e-324, 1.0]),
    (LR, "log", [1e-100, 1e100]),
    (LR, "log", [1e-300, 1e300]),
    (LR, "log", [1.0, 1.0000000000000002]),
    (LR, "log", [1.0, 1 + 2e-9]),
    (LR, "range", [5e-324, 1e-322]),
    (LR, "range", [0.1, 0.1 + 2e-16]),
    (LR, "range", [1e-300, 1e100]),
    (LR, "range", [1.0, 1.7e308]),
    (LR, "range", [2**53, 2**53 + 1]),
    (LR, "log", [1, 10**400]),
    (LR, "log", [1e-3, math.nan]),
    (LR, "range", [1e-3, math.inf]),
    (EPOCHS, "int", [1, 2**31 - 1]),
    (EPOCHS, "int", [2**53, 2**53 + 2]),
    (EPOCHS, "int_log", [1, 2**31 - 1]),
    (EPOCHS, "int_log", [1, 10**400]),
    (EPOCHS, "int", [2**31 - 2, 2**31 - 1]),
    (EPOCHS, "int_log", [2**31 - 2, 2**31 - 1]),
    (EPOCHS, "int", [3, 3]),
]


class QuickGP(optuna.samplers.GPSampler):
    """Looks for the best place less thoroughly, in a tenth of the time."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._n_preliminary_samples, self._n_local_search = 64, 3


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gp, "GPSampler", QuickGP)


@pytest.fixture(params=sorted(SAMPLERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def study(
    name: str, storage: Any = None, space: Space = SPACE, directions: Sequence[str] = ("maximize",), **search: Any
) -> optuna.Study:
    return optuna.create_study(
        study_name="trials",
        storage=storage,
        sampler=make_sampler(Search(sampler=name, **search), space),
        directions=directions,
        load_if_exists=True,
    )


def reward(params: dict[str, Any]) -> float:
    """Best is γ high, a learning rate of 0.003, and PPO."""
    below, lr = params.get("1-train.gamma", 0.1), params.get("train.lr", 0.01)
    numbers = [v for v in params.values() if isinstance(v, int | float)]
    return -10 * float(below) - abs(float(lr) - 3e-3) * 30 + ("train.ppo.clip" in params) + 1e-3 * sum(numbers)


def tell(study: optuna.Study, trial: FrozenTrial) -> None:
    """A reward that depends on the point alone; every third trial is stopped, every fifth of the others fails."""
    values = [reward(trial.params)] * len(study.directions)
    if trial.number % 3 == 2:
        study._storage.set_trial_intermediate_value(trial._trial_id, 1, values[0])
        study.tell(trial.number, state=TrialState.PRUNED)
    elif trial.number % 5 == 4:
        study.tell(trial.number, state=TrialState.FAIL)
    else:
        study.tell(trial.number, values)


def ask(study: optuna.Study, space: Space = SPACE) -> FrozenTrial:
    trial = study.ask()
    space.suggest(trial)
    return study._storage.get_trial(trial._trial_id)


def ask_and_tell(study: optuna.Study, trials: int, space: Space = SPACE, workers: int = 1) -> list[dict[str, Any]]:
    """``workers`` trials run at a time; the one that began first ends first."""
    for _ in range(trials):
        ask(study, space)
        running = study.get_trials(states=(TrialState.RUNNING,))
        if len(running) >= workers:
            tell(study, running[0])
    return [trial.params for trial in study.get_trials()]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_restart_continues_the_sequence(name: str, workers: int) -> None:
    """Which under two workers leaves a trial running."""
    undisturbed = ask_and_tell(study(name), TRIALS, workers=workers)
    storage = optuna.storages.InMemoryStorage()
    for trials in (2, 3, 3, 1, 1, 1, 1, 1):
        restarted = ask_and_tell(study(name, storage), trials, workers=workers)
    assert restarted == undisturbed
    assert len(set(map(key, undisturbed))) == TRIALS, "no trial repeats another"


def test_every_value_is_in_its_axis_and_no_trial_has_what_does_not_exist(name: str) -> None:
    asked = study(name)
    ask_and_tell(asked, TRIALS, workers=2)
    for trial in asked.get_trials():
        for parameter, distribution in trial.distributions.items():
            assert distribution._contains(distribution.to_internal_repr(trial.params[parameter]))
        assert ("train.ppo.clip" in trial.params) == (trial.params["train.algorithm"] == "ppo")
        assert ("train.step_every" in trial.params) == (trial.params.get("train.lr_schedule") == "step")
    nested = sum("train.step_every" in trial.params for trial in asked.get_trials())
    assert 0 < nested < TRIALS


@pytest.mark.parametrize("given", [1, 3, 7])
def test_a_half_asked_trial_goes_on_with_the_values_it_would_have_had(name: str, given: int) -> None:
    undisturbed = ask_and_tell(study(name), TRIALS)
    storage = optuna.storages.InMemoryStorage()
    killed = study(name, storage)
    ask_and_tell(killed, TRIALS - 1)
    trial = killed.ask()
    Space(SPACE.axes[:given]).suggest(trial)
    again = optuna.trial.Trial(study(name, storage), trial._trial_id)
    SPACE.suggest(again)
    assert again.params == undisturbed[-1]


def test_the_seed_decides(name: str) -> None:
    assert ask_and_tell(study(name, seed=1), 6) != ask_and_tell(study(name, seed=2), 6)


@pytest.mark.parametrize("kind", SMALL)
def test_a_small_space_is_searched_to_its_end_before_anything_repeats(name: str, kind: str) -> None:
    space = SMALL[kind]
    points = ask_and_tell(study(name, space=space), 12, space, workers=2)
    assert len(set(map(key, points))) == 12
    if name != "grid" and kind != "one number":  # one more: nothing else is left
        points = ask_and_tell(study(name, space=space), 13, space)
        assert len(set(map(key, points))) == 12


@pytest.mark.parametrize(("state", "values"), [(TrialState.PRUNED, (5.0, 5e6)), (TrialState.FAIL, (-5.0, 5e6))])
def test_a_stopped_or_failed_trial_is_no_success_whatever_it_had(
    name: str, state: TrialState, values: tuple[float, float]
) -> None:
    """How far above the completed ones it was at its end makes no difference."""
    asked = []
    for value in values:
        told = study(name)
        ask_and_tell(told, TRIALS)
        trial = ask(told)
        told._storage.set_trial_intermediate_value(trial._trial_id, 1, value)
        told.tell(trial.number, state=state)
        asked.append([ask(told).params, ask(told).params])
    assert asked[0] == asked[1]


def test_a_value_in_the_ledger_counts(name: str) -> None:
    """Where a sampler learns, it must not be from the mirror image."""
    asked = []
    for direction in ("maximize", "minimize"):
        asked.append(ask_and_tell(study(name, directions=(direction,)), TRIALS + (8 if name == "nsga2" else 0)))
    assert (asked[0] == asked[1]) == (name in ("random", "grid", "qmc"))


def test_what_was_made_by_hand_takes_no_place(name: str) -> None:
    """The grid's points and the places of the Sobol sequence are those that they would be without it."""
    plain, with_hand = study(name), study(name)
    by_hand = {"train.lr": 1e-3}
    ask(with_hand)
    with_hand.enqueue_trial(by_hand, user_attrs={"by_hand": True})
    assert ask(with_hand).params["train.lr"] == 1e-3
    ask(with_hand)
    ask(plain), ask(plain)
    if name in ("grid", "qmc"):
        assert with_hand.get_trials()[2].params == plain.get_trials()[1].params
    assert with_hand.get_trials()[0].params == plain.get_trials()[0].params


def test_a_trial_that_waits_is_nobody_elses(name: str) -> None:
    waits = study(name, space=CHOICES)
    first = ask_and_tell(study(name, space=CHOICES), 1, CHOICES)[0]
    waits._storage.create_new_trial(
        waits._study_id,
        optuna.trial.create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": first}),
    )
    trial = optuna.trial.Trial(waits, waits._storage.create_new_trial(waits._study_id))
    CHOICES.suggest(trial)
    assert trial.params != first


def test_several_objectives(name: str) -> None:
    if name in ONE_OBJECTIVE:
        pytest.skip("refused in a study file")
    both = ("maximize", "minimize")
    undisturbed = ask_and_tell(study(name, directions=both), TRIALS, workers=2)
    storage = optuna.storages.InMemoryStorage()
    for trials in (9, 3, 1):
        restarted = ask_and_tell(study(name, storage, directions=both), trials, workers=2)
    assert restarted == undisturbed


def test_the_grid_visits_every_point_once() -> None:
    size = 2 * 2 * 2 * 2 * (1 + 1 * (1 + 4))  # lr × γ × epochs × freeze × (a2c, or clip × (constant, step × 4))
    search = Search(sampler="grid")
    assert SPACE.size() == len(points_of(search, SPACE) or ()) == size
    visited = ask_and_tell(study("grid"), size)
    assert len(set(map(key, visited))) == size
    assert sum("train.step_every" in point for point in visited) == 16 * 4


def test_how_many_trials_can_differ() -> None:
    assert points_of(Search(sampler="random"), SPACE) is None
    assert points_of(Search(), Space(())) == [{}], "where nothing is searched one trial says it all"
    assert points_of(Search(), parse(freeze=["none"])) == [{"train.freeze": "none"}]
    assert len(points_of(Search(), CHOICES) or ()) == 12


def test_a_sobol_sequence_is_even_in_every_parameter_and_pair() -> None:
    """Of 16 points one lies in each sixteenth of an axis, and one in each cell of 4 × 4."""
    space = parse(gamma={"range": [0.0, 1.0]}, value_lambda={"range": [0.0, 1.0]})
    points = [tuple(params.values()) for params in ask_and_tell(study("qmc", space=space), 16, space)]
    for axis in (0, 1):
        assert {int(point[axis] * 16) for point in points} == set(range(16))
    assert {(int(a * 4), int(b * 4)) for a, b in points} == set(itertools.product(range(4), repeat=2))


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes", "nsga2", "bayes"])
def test_what_learns_beats_random(name: str) -> None:
    """The best of so many on a bowl, mean over seeds: at most half as far from the top."""
    trials = {"gp": 14, "bayes": 20, "nsga2": 100}.get(name, 40)
    space = parse(value_lambda={"range": [0.0, 1.0]}, lr={"log": [1e-4, 1e-1]})

    def best(sampler: str, seed: int) -> float:
        asked = study(sampler, space=space, seed=seed)
        for _ in range(trials):
            trial = asked.ask()
            space.suggest(trial)
            x, y = trial.params["train.value_lambda"], trial.params["train.lr"]

            asked.tell(trial, -((x - 0.7) ** 2) - ((math.log10(y) + 2.2) / 3) ** 2)
        return -asked.best_value

    seeds = range(2 if name == "gp" else 4)
    learned, drawn = (sum(best(sampler, seed) for seed in seeds) / len(seeds) for sampler in (name, "random"))
    assert learned < drawn / 2


@pytest.mark.slow
def test_another_process_asks_for_the_same(tmp_path: Path) -> None:
    """From the journal file, under another order of sets."""
    program = (
        "import json, sys; import test_registry as t; import optuna\n"
        "points, t.gp.GPSampler = {}, t.QuickGP\n"
        "for name in sorted(t.SAMPLERS):\n"
        "    file = optuna.storages.journal.JournalFileBackend(f'{sys.argv[1]}/{name}')\n"
        "    asked = t.study(name, optuna.storages.JournalStorage(file))\n"
        "    if sys.argv[2] == 'first': t.ask_and_tell(asked, t.TRIALS, workers=2)\n"
        "    else: points[name] = t.ask(asked).params\n"
        "print(json.dumps(points))\n"
    )

    def run(what: str, hash_seed: str, folder: Path) -> Any:
        env = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parent)}
        command = [sys.executable, "-c", program, str(folder), what]
        return json.loads(subprocess.run(command, env=env, capture_output=True, check=True, text=True).stdout)

    asked = []
    for hash_seed in ("1", "2"):
        folder = tmp_path / hash_seed
        folder.mkdir()
        run("first", hash_seed, folder)
        asked.append(run("next", f"{hash_seed}0", folder))
    assert asked[0] == asked[1]


def try_out(name: str, path: str, kind: str, bounds: list[Any]) -> bool:
    """Whether the bounds are taken; then as many trials as a model needs are asked for, and hold them."""
    try:
        space = Space.parse({path: {kind: bounds, "points": 12}, "train.seed": [0, 1]}, TrialSettings())
    except SpaceError:
        return False
    asked = study(name, space=space)
    for number in range(RANDOM_TRIALS + 3):
        trial = asked.ask()
        at = space.suggest(trial)[path]
        low, high = bounds
        below, above = (1, 1) if kind == "near_one" else (abs(low), abs(high))  # 1 − x is kept to 15 places
        assert low - 1e-15 * below <= at <= high + 1e-15 * above
        TrialSettings().with_values({path: at})
        asked.tell(trial, float(number % 5))
    return True


@pytest.mark.parametrize("bounds", NASTY, ids=str)
def test_bounds_are_refused_at_once_or_taken_by_every_sampler(name: str, bounds: tuple[str, str, list[Any]]) -> None:
    try_out(name, *bounds)


def test_which_bounds_are_refused() -> None:
    taken = [bounds for bounds in NASTY if try_out("random", *bounds)]
    assert taken == [NASTY[place] for place in (1, 4, 6, 9, 12, 18, 20, 22, 23)]


@pytest.mark.parametrize("kind", ["range", "log", "near_one", "int", "int_log"])
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bounds_are_refused_at_once_or_taken(kind: str, data: st.DataObject) -> None:
    whole, near = kind.startswith("int"), kind == "near_one"
    of = st.integers(1, 2**60) if whole else st.floats(0, 1) if near else st.floats(allow_nan=True)
    low, high = data.draw(of), data.draw(of)
    name = data.draw(st.sampled_from(["random", "tpe", "cmaes", "nsga2", "qmc", "grid", "bayes"]))
    try_out(name, EPOCHS if whole else GAMMA if near else LR, kind, [low, high])


def test_samplers_print_nothing(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Not even where the same point has been tried twice."""
    asked = study(name, space=CHOICES)
    for _ in range(RANDOM_TRIALS + 3):
        trial = asked.ask()
        CHOICES.suggest(trial)
        asked.tell(trial, reward(trial.params))
        if trial.number % 4 == 0:
            asked.add_trial(asked.get_trials()[-1])
    assert capfd.readouterr() == ("", "")
