"""Where axes are live: an axis that some choices make dead is asked for only beside the others."""

import itertools
from collections.abc import Mapping
from typing import Any

import optuna
import pytest

from sweepstack.models.settings.live import dead_settings
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.samplers.points import ALWAYS, groups, key
from sweepstack.search.samplers.registry import SAMPLERS, make_sampler
from sweepstack.search.study.axes import SpaceError
from sweepstack.search.study.conditions import Conditions, words
from sweepstack.search.study.search_section import Search
from sweepstack.search.study.space import Space, settings_of

optuna.logging.set_verbosity(optuna.logging.ERROR)
BASE = TrialSettings()
STEP = {"train.step_factor": [0.1, 0.5], "train.lr_schedule": ["step", "cosine"], "train.seed": [0, 1]}


def of(spec: Mapping[str, Any], **values: Any) -> tuple[Space, tuple[str, ...]]:
    return Space.of(spec, BASE.with_values({f"train.{name}": value for name, value in values.items()}))


def test_an_axis_that_one_choice_makes_dead_is_asked_for_beside_the_others() -> None:
    space, notes = of(STEP)
    assert notes == ("searched only with train.lr_schedule: step: train.step_factor",)
    assert space.grid() == [
        {"train.lr_schedule": "step", "train.seed": seed, "train.step_factor": factor}
        for seed in (0, 1)
        for factor in (0.1, 0.5)
    ] + [{"train.lr_schedule": "cosine", "train.seed": seed} for seed in (0, 1)]
    assert space.size() == 6, "and not 8, two of which would be trained twice"
    assert {where for where in groups(space) if where != ALWAYS} == {frozenset([(("train.lr_schedule", "'step'"),)])}


def test_rules_of_several_choices() -> None:
    space, notes = of(
        {
            "train.gae_lambda": [0.8, 0.9],
            "train.lambda_alpha": [None, 0.5],
            "train.algorithm": ["ppo", "a2c", "rloo"],
            "train.ppo.minibatch": [64, 128],
            "train.batch_size": [64, 256],
        }
    )
    assert notes == (
        "searched only with train.algorithm: ppo or a2c and train.lambda_alpha: null: train.gae_lambda",
        "searched only with train.algorithm: ppo or a2c: train.lambda_alpha",
        "searched only with train.algorithm: ppo and train.batch_size: 256: train.ppo.minibatch",
    )
    # ppo: (2 λ + 1 α) · (1 batch without + 1 with 2 minibatches), a2c: 3 · 2 batches, rloo: 2 batches
    assert space.size() == len(space.grid()) == 3 * 3 + 3 * 2 + 2


def test_what_a_choice_brings_can_make_other_axes_dead() -> None:
    """The schedule exists under PPO alone; with A2C it is the study's own, cosine, under which no factor matters."""
    brings = {
        "train.algorithm": ["a2c", {"ppo": {"train.lr_schedule": ["step", "wsd"]}}],
        "train.step_factor": [0.1, 0.5],
    }
    space, notes = of(brings)
    assert notes == ("searched only with train.algorithm: ppo and train.lr_schedule: step: train.step_factor",)
    assert len(space.grid()) == 1 + 2 + 1
    assert len(of(brings, lr_schedule="step")[0].grid()) == 2 + 2 + 1


def test_two_choices_may_each_bring_what_the_other_decides() -> None:
    space, _ = of(
        {
            "train.algorithm": ["a2c", {"ppo": {"train.step_factor": [0.1, 0.5]}}],
            "train.lr_schedule": ["cosine", {"step": {"train.ppo.clip": [0.1, 0.3]}}],
        }
    )
    assert sorted(len(point) for point in space.grid()) == [2, 2, 2, 4, 4, 4, 4]


def test_an_interval_is_dead_where_its_whole_length_is() -> None:
    assert of({"train.ppo.minibatch": {"int": [256, 512]}})[1] == (
        "left out of the space: train.ppo.minibatch (it is not below batch_size)",
    )
    assert of({"train.ppo.minibatch": {"int": [255, 512]}})[1] == ()
    assert of({"train.epochs": {"int": [2, 8]}, "train.step_factor": [0.1, 0.5]}, lr_schedule="step", step_every=8)[
        1
    ] == ("left out of the space: train.step_factor (lr never drops where step_every is not below epochs)",)
    assert (
        of({"train.epochs": {"int": [2, 8]}, "train.step_factor": [0.1, 0.5]}, lr_schedule="step", step_every=7)[1]
        == ()
    )


def test_a_fixed_value_decides_like_a_setting() -> None:
    assert of({"train.lr_schedule": "cosine", "train.step_factor": [0.1, 0.5]}, lr_schedule="step")[1] == (
        "left out of the space: train.step_factor (only lr_schedule step uses them)",
    )
    assert of({"train.lr_schedule": "step", "train.step_factor": [0.1, 0.5]})[1] == ()


def test_contexts_in_words() -> None:
    both = ((("a", 1), ("b", None)), (("a", 2), ("b", None)), (("c", False),))
    assert words(both) == "a: 1 or 2 and b: null, or with c: false"
    assert words((*both, (("d", 1),), (("e", 1),))) == "some values of a, b, c, d, e"


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_no_trial_has_a_setting_that_is_dead_in_it(sampler: str) -> None:
    space, _ = of(
        {
            "train.step_factor": {"range": [0.1, 0.5], "points": 3},
            "train.value_loss": ["mse", "huber"],
            "train.algorithm": ["ppo", "reinforce"],
            "train.lr_schedule": ["step", "cosine"],
            "train.lr": {"log": [1e-3, 1e-2], "points": 2},
        }
    )
    study = optuna.create_study(sampler=make_sampler(Search(sampler=sampler), space), direction="maximize")
    seen = set()
    for _ in range(12):
        trial = study.ask()
        settings = BASE.with_values(space.suggest(trial))
        assert not dead_settings(settings).keys() & settings_of(trial.params).keys()
        seen.add(key(trial.params))
        study.tell(trial, trial.params["train.lr"])
    assert len(seen) == 12
    assert len({len(point) for point in seen}) > 1


@pytest.mark.parametrize("optimizer", [["adamw", "lbfgs"]])
def test_values_that_go_with_no_live_setting_are_still_refused(optimizer: list[str]) -> None:
    with pytest.raises(SpaceError, match="lbfgs works with algorithm supervised only"):
        Space.parse({"train.optimizer": optimizer, "train.algorithm": ["ppo", "supervised"]}, BASE)


def test_a_setting_is_tried_beside_those_that_make_it_live() -> None:
    """A mixed-in loss needs a Transformer that learns, and is refused beside a frozen one."""
    with pytest.raises(SpaceError, match="must be 0 where labels do not learn"):
        Space.parse({"train.ppo.cross_entropy": [0.0, 0.3], "train.freeze": ["none", "encoder"]}, BASE)
    conditions = Conditions(Space.parse({**STEP, "train.epochs": {"int": [1, 2]}}, BASE).axes, BASE)
    assert conditions.beside("train.step_factor") == []  # two epochs, of which a step is two
    conditions = Conditions(Space.parse({**STEP, "train.epochs": {"int": [2, 3]}}, BASE).axes, BASE)
    assert conditions.beside("train.step_factor") == [{"train.lr_schedule": "step", "train.epochs": 3}]


def test_a_rule_may_look_at_a_setting_whose_own_rule_looks_at_its_value() -> None:
    """A clip matters unless one pass takes the whole rollout: with a minibatch of 64 it does not, but of 32."""
    spec = {"train.ppo.clip": [0.1, 0.2], "train.ppo.minibatch": [32, 64], "train.ppo.epochs": [1, 4]}
    space, notes = of(spec, batch_size=64)
    assert notes == (
        "searched only with train.ppo.epochs: 1 and train.ppo.minibatch: 32, or with train.ppo.epochs: 4: "
        "train.ppo.clip",
    )
    assert len(space.grid()) == 2 + 1 + 2 * 2
    dead = {"train.ppo.clip": [0.1, 0.2], "train.ppo.minibatch": [64, 128]}
    space, notes = of({**dead, "train.ppo.epochs": 1}, batch_size=64)
    assert "left out of the space: train.ppo.minibatch (it is not below batch_size)" in notes
    assert space.paths() == ("train.ppo.epochs",), "and the minibatch is the study's own, 128"


def test_a_large_space_of_rules_upon_rules() -> None:
    """As many points as a filter leaves of the plain product, rule by rule."""
    spec: dict[str, Any] = {
        "train.algorithm": ["ppo", "a2c", "reinforce", "trpo"],
        "train.reinforce.baseline": ["mean", "value"],
        "train.lambda_alpha": [None, 0.5],
        "train.gae_lambda": [0.8, 0.9],
        "train.value_loss": ["mse", "huber"],
        "train.ppo.epochs": [1, 4],
        "train.ppo.minibatch": [64, 128],
        "train.ppo.clip": [0.1, 0.2],
        "train.batch_size": [128, 256],
    }
    base = BASE.with_values({"train.ppo.minibatch": 32})
    space = Space.of(spec, base)[0]
    expected = set()
    for values in itertools.product(*spec.values()):
        point = dict(zip(spec, values, strict=True))
        while dead := dead_settings(base.with_values(point)).keys() & point.keys():
            minibatch = {"train.ppo.minibatch"} & dead  # the others are dead whatever it is
            point = {path: value for path, value in point.items() if path not in (dead - minibatch or dead)}
        expected.add(key(point))
    grid = list(map(key, space.grid()))
    assert len(grid) == len(set(grid))
    assert len(grid) == len(expected)


def test_a_target_of_the_divergence_is_searched_beside_weights_above_nought() -> None:
    """It is refused beside a weight of 0, which the study has, but it never stands there."""
    targets = {"train.ppo.kl_target": [0.01, 0.02]}
    with pytest.raises(SpaceError, match="kl"):
        Space.parse(targets, BASE)
    space, notes = of({**targets, "train.ppo.kl": [0.0, 0.1]})
    assert notes == ("searched only with train.ppo.kl: 0.1: train.ppo.kl_target",)
    assert len(space.grid()) == 1 + 2
    for point in space.grid():
        BASE.with_values(point)
    assert of({**targets, "train.ppo.kl": {"log": [1e-2, 1.0]}})[1] == ()
