"""Dead settings: the rules by hand, and a small training that a dead setting does not change and a live one does."""

import pytest

from sweepstack.models.live_settings import RULES, dead_settings, leaves
from sweepstack.models.settings import Reading, TrialSettings

BASE = TrialSettings()


def test_every_rule_speaks_of_settings_that_there_are() -> None:
    for rule in RULES:
        for path in rule.settings.split():
            assert any(leaf.startswith(path) if path.endswith(".") else leaf == path for leaf in leaves()), path


def test_what_is_dead_by_default() -> None:
    dead = dead_settings(BASE)
    assert {path for path in dead if path.startswith("train.warm_start.")} == {
        f"train.warm_start.{name}"
        for name in (
            *("step_every", "step_factor", "power", "cycles", "cycle_growth", "decay", "lr_reference"),
            *("momentum", "nesterov", "average_decay", "average_last"),
        )
    }
    assert dead["train.ppo.kl_target"] == "kl is 0"
    assert dead["train.env.copies"] == "is for environments, task gym:ENV"
    live = {"train.lr", "train.gamma", "train.gae_lambda", "train.ppo.clip", "train.ppo.minibatch", "reading.cost"}
    assert not live & set(dead)


@pytest.mark.parametrize(
    ("values", "path", "reason"),
    [
        ({"train.lambda_alpha": 1.0}, "train.gae_lambda", "lambda_alpha sets λ"),
        ({"train.batch_size": 128}, "train.ppo.minibatch", "it is not below batch_size"),
        ({"train.batch_size": "adaptive", "train.ppo.minibatch": 1024}, "train.ppo.minibatch", "not below batch_size"),
        ({"train.lr_schedule": "step", "train.step_every": 8}, "train.step_factor", "lr never drops"),
        ({"train.algorithm": "reinforce"}, "train.value_lambda", "no value is learned"),
        ({"train.algorithm": "a2c", "train.a2c.value_coef": 0.0}, "train.value_loss", "no value is learned"),
        ({"train.algorithm": "supervised", "train.optimizer": "lbfgs"}, "train.max_grad_norm", "lbfgs clips no"),
        ({"train.reward": "constant"}, "reading.cost", "all trials are scored by one"),
        ({"train.optimizer": "sgd"}, "train.beta1", "only Adam and its relatives use them"),
        ({"train.optimizer": "sgd"}, "train.eps", "only rmsprop, Adam"),
        ({}, "train.momentum", "only sgd and rmsprop"),
        ({"train.optimizer": "rmsprop"}, "train.nesterov", "only sgd"),
        ({"train.optimizer": "sgd", "train.momentum": 0}, "train.nesterov", "momentum is 0"),
        ({}, "train.power", "only lr_schedule polynomial"),
        ({"train.lr_schedule": "cyclic"}, "train.cycle_growth", "only lr_schedule cosine_restarts"),
        ({"train.lr_schedule": "cosine_restarts", "train.cycles": 1}, "train.cycle_growth", "there is one cycle"),
        ({"train.lr_schedule": "constant"}, "train.lr_min_ratio", "lr is constant"),
        ({}, "train.lr_reference", "lr_scaling is none"),
        ({}, "train.decay_all", "no weight decays"),
        ({"train.warm_start.weight_decay": 0.0}, "train.warm_start.decay_all", "no weight decays"),
        ({"train.average": "last"}, "train.average_decay", "only average ema"),
        ({"train.average": "ema"}, "train.average_last", "only average last"),
        ({}, "train.ppo.entropy_schedule", "entropy is 0"),
        ({"train.algorithm": "a2c", "train.a2c.entropy": 0.1}, "train.ppo.clip_schedule", "a2c does not use them"),
    ],
)
def test_what_other_settings_make_dead(values: dict[str, object], path: str, reason: str) -> None:
    assert reason in dead_settings(BASE.with_values(values))[path]


def test_what_other_settings_bring_to_life() -> None:
    alive = {
        "train.beta2": {"train.optimizer": "schedule_free"},
        "train.eps": {"train.optimizer": "rmsprop"},
        "train.momentum": {"train.optimizer": "rmsprop"},
        "train.nesterov": {"train.optimizer": "sgd"},
        "train.power": {"train.lr_schedule": "polynomial"},
        "train.cycles": {"train.lr_schedule": "cosine_restarts"},
        "train.cycle_growth": {"train.lr_schedule": "cosine_restarts"},
        "train.lr_min_ratio": {"train.lr_schedule": "one_cycle"},
        "train.lr_reference": {"train.lr_scaling": "sqrt"},
        "train.decay_all": {"train.algorithm": "supervised"},
        "train.warm_start.decay_all": {},
        "train.average_decay": {"train.average": "ema"},
        "train.average_last": {"train.average": "last"},
        "train.ppo.entropy_schedule": {"train.ppo.entropy": 0.1},
        "train.ppo.clip_schedule": {},
        "train.ppo.whiten": {},
    }
    for path, values in alive.items():
        assert path not in dead_settings(BASE.with_values(values)), path
    playing = TrialSettings(task="gym:CartPole-v1")
    assert "train.env.normalize_reward" not in dead_settings(playing)


def test_a_classifier_that_cannot_read_on_takes_one_decision() -> None:
    for reading in ("off", Reading(max_segments=1)):
        dead = dead_settings(TrialSettings(reading=reading))
        assert dead["train.gamma"] == dead["train.value_lambda"] == "an episode is one decision, so they cannot matter"
    writes = TrialSettings(task="translation")
    assert "train.gamma" not in dead_settings(writes), "a text has many tokens"
