"""Axes: what they suggest, what their grid is, and which are refused before a launch."""

import math
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from sweepstack.models.settings.live import leaves
from sweepstack.models.settings.trial import Reading, Train, TrialSettings
from sweepstack.search.study.axes import SpaceError
from sweepstack.search.study.space import Space, settings_of, with_candidates

BASE = TrialSettings()
STEPS = {
    "train.lr_schedule": ["constant", {"step": {"train.step_every": {"int": [1, 3]}, "train.step_factor": [0.1, 0.5]}}]
}


def parse(spec: dict[str, Any], base: TrialSettings = BASE) -> Space:
    return Space.parse(spec, base)


def asked(space: Space, trials: int = 40) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(trials):
        space.suggest(study.ask())
    return study


def test_each_kind_is_the_distribution_that_it_says() -> None:
    space = parse(
        {
            "train.lr": {"log": [1e-4, 1e-2]},
            "model.dropout": {"range": [0, 0.5]},
            "train.gamma": {"near_one": [0.9, 0.9999]},
            "train.ppo.epochs": {"int": [1, 8]},
            "train.ppo.minibatch": {"int_log": [16, 256]},
            "train.warm_start.seed": [0, 1, 2],
        }
    )
    distributions = asked(space, 1).trials[0].distributions
    assert distributions == {
        "train.lr": FloatDistribution(1e-4, 1e-2, log=True),
        "model.dropout": FloatDistribution(0.0, 0.5),
        "1-train.gamma": FloatDistribution(0.0001, 0.1, log=True),
        "train.ppo.epochs": IntDistribution(1, 8),
        "train.ppo.minibatch": IntDistribution(16, 256, log=True),
        "train.warm_start.seed": CategoricalDistribution([0, 1, 2]),
    }


@settings(deadline=None, max_examples=50)
@given(low=st.floats(0.0, 0.99), gap=st.floats(1e-4, 0.009))
def test_near_one_stays_between_its_bounds_and_the_ledger_gives_gamma_back(low: float, gap: float) -> None:
    high = low + gap
    space = parse({"train.gamma": {"near_one": [low, high]}})
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)).ask()
    suggested = space.suggest(trial)
    assert settings_of(trial.params) == suggested
    assert low - 1e-12 <= suggested["train.gamma"] <= high + 1e-12
    assert TrialSettings().with_values(suggested).train.gamma == suggested["train.gamma"]


def test_settings_of_a_choice_exist_only_with_it() -> None:
    for trial in asked(parse(STEPS)).trials:
        own = {"train.step_every", "train.step_factor"}
        assert own & set(trial.params) == (own if trial.params["train.lr_schedule"] == "step" else set())


def test_whatever_is_suggested_is_a_valid_trial() -> None:
    space = parse(
        {**STEPS, "train.gamma": {"near_one": [0.5, 0.999]}, "model.d_model": {"int": [4, 6]}, "model.heads": [1]}
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        values = space.suggest(study.ask())
        tree = BASE.with_values(values).model_dump()
        for path, value in values.items():
            section, *rest = path.split(".")
            assert tree[section][rest[0]] == value


def test_the_grid_by_hand() -> None:
    space = parse(
        {
            "train.lr": {"log": [1e-4, 1e-2], "points": 3},
            "model.dropout": {"range": [0.0, 0.4], "points": 3},
            "train.gamma": {"near_one": [0.9, 0.999], "points": 3},
            "train.ppo.epochs": {"int": [1, 3]},
            "train.ppo.minibatch": {"int_log": [1, 4], "points": 5},
            "train.gae_lambda": {"near_one": [0.9, 0.999], "points": 1},
        }
    )
    lr, dropout, gamma, epochs, minibatch, lam = [axis.values() for axis in space.axes]  # type: ignore[union-attr]
    assert lr == pytest.approx([1e-4, 1e-3, 1e-2])
    assert (lr[0], lr[-1]) == (1e-4, 1e-2), "the bounds themselves"
    assert dropout == pytest.approx([0, 0.2, 0.4])
    assert gamma == pytest.approx([0.001, 0.01, 0.1])
    assert epochs == [1, 2, 3]
    assert minibatch == [1, 2, 3, 4], "1, 1.4, 2, 2.8, 4 rounded, each once"
    assert lam == pytest.approx([0.01]), "a single point is the middle"
    assert space.size() == len(space.grid()) == 3 * 3 * 3 * 3 * 4


def test_conditional_points_stand_in_the_grid_only_where_they_exist() -> None:
    space = parse({**STEPS, "train.batch_size": [64, 128]})
    grid = space.grid()
    assert len(grid) == space.size() == 2 * (1 + 3 * 2)
    assert {"train.batch_size": 64, "train.lr_schedule": "constant"} in grid
    assert all(("train.step_every" in point) == (point["train.lr_schedule"] == "step") for point in grid)


def test_the_order_of_the_grid_is_that_of_the_paths_not_of_the_file() -> None:
    axes = {"train.batch_size": [64, 128], "train.optimizer": ["adam", "sgd"]}
    assert parse(axes).grid() == parse(dict(reversed(axes.items()))).grid()


def test_gamma_and_lambda_are_left_out_where_an_episode_is_one_decision() -> None:
    spec = {
        "train.lr": [1e-3, 1e-2],
        "train.gamma": {"near_one": [0.9, 0.99]},
        "train.gae_lambda": [0.9, 0.95],
        "train.ppo.clip": [0.1, 0.2],
    }
    for reading in ("off", Reading(max_segments=1)):
        space, notes = Space.of(spec, TrialSettings(reading=reading))
        assert space.paths() == ("train.lr", "train.ppo.clip")
        assert notes == (
            "left out of the space: train.gamma, train.gae_lambda (an episode is one decision, so they cannot matter)",
        )
    space, notes = Space.of(spec, TrialSettings(train=Train(algorithm="supervised")))
    assert space.paths() == ("train.lr",)
    assert notes == (
        "left out of the space: train.gamma, train.gae_lambda, train.ppo.clip (supervised training does not use them)",
    )
    assert Space.of(spec, BASE) == (parse(spec), ())
    assert Space.of({"train.lr": [1.0]}, TrialSettings(reading="off"))[1] == (), "nothing left out, nothing said"


def test_what_hangs_on_a_choice_can_be_left_out_too() -> None:
    space = parse({"train.freeze": ["none", {"encoder": {"train.gamma": [0.9, 1.0], "train.ppo.clip": [0.1]}}]})
    assert space.without("train.gamma").paths() == ("train.freeze", "train.ppo.clip")
    assert space.paths() == ("train.freeze", "train.gamma", "train.ppo.clip")


def test_everything_in_model_and_train_can_be_searched() -> None:
    assert {"train.lr", "train.ppo.clip", "train.warm_start.seed", "model.dropout", "reading.cost"} <= set(leaves())
    assert not {"train", "train.ppo", "reading.segment", "data.seed"} & set(leaves())


def test_heads_and_width_are_tried_together() -> None:
    parse({"model.d_model": [30, 60], "model.heads": [3, 5]})  # neither fits the other's default
    with pytest.raises(SpaceError, match="heads must divide d_model, but got heads=8, d_model=60"):
        parse({"model.d_model": [32, 60], "model.heads": [4, 8]})
    with pytest.raises(SpaceError, match="heads must divide d_model, but got heads=4, d_model=33"):
        parse({"model.d_model": {"int": [32, 64]}})


REFUSED: dict[str, tuple[Any, str]] = {
    "log of zero": ({"train.lr": {"log": [0, 0.1]}}, r"train\.lr: log needs bounds above 0, but got \[0, 0\.1\]"),
    "log below zero": ({"train.lr": {"log": [-1.0, 0.1]}}, "bounds above 0"),
    "int_log of zero": ({"train.ppo.epochs": {"int_log": [0, 4]}}, "bounds above 0"),
    "reversed": ({"train.lr": {"range": [0.2, 0.1]}}, r"lo < hi, but got \[0\.2, 0\.1\]"),
    "empty": ({"train.lr": {"range": [0.1, 0.1]}}, "lo < hi"),
    "gamma of one": ({"train.gamma": {"near_one": [0.9, 1.0]}}, r"below 1, but got \[0\.9, 1\.0\]; lower 1\.0"),
    "three bounds": ({"train.lr": {"log": [1, 2, 3]}}, r"two numbers \[lo, hi\], but got \[1, 2, 3\]"),
    "words as bounds": ({"train.lr": {"log": ["a", "b"]}}, "two numbers"),
    "infinite": ({"train.lr": {"log": [1.0, math.inf]}}, "two numbers"),
    "true as a bound": ({"train.ppo.epochs": {"int": [True, 4]}}, "two whole numbers"),
    "fraction as an int": ({"train.ppo.epochs": {"int": [1, 2.5]}}, "two whole numbers"),
    "unknown kind": ({"train.lr": {"lin": [0, 1]}}, "must have one of range, log, near_one, int, int_log.*but got lin"),
    "two kinds": ({"train.lr": {"log": [1, 2], "range": [1, 2]}}, "must have one of"),
    "no points": ({"train.lr": {"log": [1, 2], "points": 0}}, "of at least 1 and at most 100,000, but got 0"),
    "nothing": ({"train.lr": None}, "must be a value, a list of values or .*, but got null"),
    "a wrong fixed value": ({"train.lr": -1}, "must be above 0, but got -1"),
    "around beyond": ({"train.lr": {"log": [1e-4, 1e-2], "around": 0.1}}, "between 0.0001 and 0.01, but got 0.1"),
    "around no number": ({"train.epochs": {"int": [2, 8], "around": 2.5}}, "between 2 and 8, but got 2.5"),
    "no values": ({"train.lr": []}, "at least one value"),
    "twice": ({"train.lr": [0.1, 0.2, 0.1]}, "0.1 stands there twice"),
    "list as a value": ({"train.lr": [[0.1]]}, r"words or numbers, but got \[0\.1\]"),
    "null": ({"train.lr": [None]}, "must be a number, but got null"),
    "odd condition": ({"train.lr_schedule": [{"step": 3}]}, r"\{value: \{path: axis\}\}"),
    "unknown path": ({"train.gama": [0.9]}, r"train\.gama: is not a setting .*nearest: train\.gamma"),
    "a section": ({"train.ppo": [1]}, "is a section, and settings are searched one by one; name one, as in train.ppo."),
    "not a path": ({3: [1]}, "is not a setting"),
    "unknown inner path": ({"train.lr_schedule": [{"step": {"train.step": [1]}}]}, "is not a setting"),
    "value of another type": (
        {"train.batch_size": [64, "many"]}, "must be an integer, adaptive or noise_scale, but got 'many'",
    ),
    "value out of bounds": ({"train.gamma": [0.9, 1.5]}, "must be at most 1, but got 1.5"),
    "bound out of bounds": ({"model.dropout": {"range": [0, 1]}}, "must be below 1, but got 1"),
    "range of an integer": ({"train.batch_size": {"range": [64, 128]}}, "must be an integer, but got 64.0"),
    "unknown word": ({"train.lr_schedule": ["cosin"]}, "did you mean cosine"),
    "inner bound": ({"train.lr_schedule": [{"step": {"train.step_every": {"int": [0, 2]}}}]}, "at least 1, but got 0"),
    "one path, two axes": (
        {"train.lr": [0.1], "train.freeze": [{"none": {"train.lr": {"log": [0.1, 0.2]}}}]},
        "is searched twice in different ways",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_impossible_axis_is_refused(name: str) -> None:
    spec, message = REFUSED[name]
    with pytest.raises(SpaceError, match=message.split(": ", 1)[-1]) as caught:
        parse(spec)
    path = str(next(iter(spec)))
    assert caught.value.path.startswith("space.")
    assert path in caught.value.path or name in ("inner bound", "unknown inner path")


def test_a_grid_needs_points_and_has_a_limit() -> None:
    with pytest.raises(SpaceError, match="needs points: n beside log"):
        parse({"train.lr": {"log": [1e-3, 1e-2]}}).grid()
    with pytest.raises(SpaceError, match="1,000,000,000 points, more than 100,000"):
        parse({"train.seed": {"int": [1, 10**9]}}).grid()


def test_the_cost_of_reading_needs_reading() -> None:
    parse({"reading.cost": {"log": [1e-3, 1e-1]}})
    with pytest.raises(SpaceError, match="cannot be searched where reading is off"):
        parse({"reading.cost": [0.1]}, TrialSettings(reading="off"))


@pytest.mark.parametrize(
    ("algorithm", "void"),
    [
        ("exact", {"train.gae_lambda", "train.value_loss", "train.ppo.clip", "train.trpo.max_kl"}),
        ("rloo", {"train.gae_lambda", "train.value_loss", "train.ppo.clip", "train.trpo.max_kl"}),
        ("reinforce", {"train.gae_lambda", "train.value_loss", "train.ppo.clip", "train.trpo.max_kl"}),
        ("a2c", {"train.ppo.clip", "train.trpo.max_kl"}),
        ("ppo", {"train.trpo.max_kl"}),
        ("trpo", {"train.ppo.clip"}),
    ],
)
def test_what_an_algorithm_does_not_use_is_left_out_and_said(algorithm: str, void: set[str]) -> None:
    spec = {
        "train.lr": [1e-3, 1e-2],
        "train.gamma": [0.9, 1.0],
        "train.gae_lambda": [0.9, 0.95],
        "train.value_loss": ["mse", "huber"],
        "train.ppo.clip": [0.1, 0.2],
        "train.trpo.max_kl": [0.01, 0.02],
    }
    space, notes = Space.of(spec, BASE.with_values({"train.algorithm": algorithm}))
    assert set(spec) - set(space.paths()) == void
    assert notes[0].endswith(f"({algorithm} does not use them)")
    assert notes[1:] == (
        ("left out of the space: train.value_loss (no value is learned)",)
        if void & {"train.value_loss"} and algorithm == "reinforce"
        else ()
    )
    searched = Space.of({**spec, "train.algorithm": ["ppo", "trpo"]}, BASE)
    assert set(searched[0].paths()) == {*spec, "train.algorithm"}, "where it is searched, every setting may matter"


def test_batch_sizes_can_be_derived_from_the_data() -> None:
    spec = {"train.batch_size": "auto", "train.lr": [1e-3]}
    few, many = (Space.of(with_candidates(spec, rows, BASE), BASE)[0].grid() for rows in (300, 30_000))
    assert [point["train.batch_size"] for point in few] == [8, 16, 32, 64]
    assert max(point["train.batch_size"] for point in many) > 64
    assert "train.batch_size" in parse(spec).paths(), "valid before the data is known"
    with pytest.raises(SpaceError, match="must be a number, but got 'auto'"):
        parse({"train.lr": "auto"})


@pytest.mark.parametrize(
    ("algorithm", "samples", "sizes"),
    [
        ("rloo", 4, [32, 64, 128, 256]),  # episodes of 8 to 64 texts, which leave four steps of an epoch of 300
        ("rloo", 3, [24, 48, 96, 192]),
        (["ppo", "rloo"], 3, [9, 18, 33, 66]),
        (["ppo", {"rloo": {"train.rloo.whiten": [True, False]}}], 4, [8, 16, 32, 64]),
        ("ppo", 3, [8, 16, 32, 64]),
    ],
)
def test_derived_batch_sizes_count_episodes_of_whole_texts(algorithm: Any, samples: int, sizes: list[int]) -> None:
    searched = {"train.algorithm": algorithm} if isinstance(algorithm, list) else {}
    values = {} if searched else {"train.algorithm": algorithm, "train.batch_size": samples * 8}
    base = BASE.with_values({**values, "train.rloo.samples": samples})
    spec = with_candidates({"train.batch_size": "auto", **searched}, 300, base)
    assert spec["train.batch_size"] == sizes
    Space.of(spec, base)


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (
            {"train.algorithm": ["ppo", "rloo"], "train.batch_size": [64, 66]},
            "counts episodes and must be a multiple of train.rloo.samples, 4, but got 66; take 64",
        ),
        (
            {"train.algorithm": ["ppo", {"rloo": {"train.rloo.samples": [4, 5]}}], "train.batch_size": [64]},
            "multiple of train.rloo.samples, 5, but got 64; take 65",
        ),
        (
            {"train.optimizer": ["adamw", "schedule_free"], "train.average": ["none", "last"]},
            "average must be none with optimizer schedule_free, which averages by itself, but got last",
        ),
    ],
)
def test_values_that_do_not_fit_each_other_are_refused(spec: dict[str, Any], line: str) -> None:
    with pytest.raises(SpaceError, match=line):
        parse(spec)


def test_an_environments_episodes_have_many_decisions() -> None:
    settings = TrialSettings(task="gym:CartPole-v1", reading="off")
    spec = {"train.gamma": [0.9, 0.99], "train.gae_lambda": [0.8, 0.9]}
    space, notes = Space.of(spec, settings)
    assert (space.paths(), notes) == (("train.gamma", "train.gae_lambda"), ())
