"""Dead settings: the rules by hand, and a small training that a dead setting does not change and a live one does."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sweepstack.models.data.encoding import encode
from sweepstack.models.settings.live import RULES, dead_settings, leaves
from sweepstack.models.settings.trial import Reading, TrialSettings
from sweepstack.models.tasks.trainers import new_trainer

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
        ({"train.ppo.value_coef": 0.0}, "train.ppo.value_clip", "no value is learned"),
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


OTHERS: dict[str, Any] = {
    "train.lr": 5e-3,
    "train.lr_schedule": "linear",
    "train.lr_warmup": 0.5,
    "train.step_every": 1,
    "train.step_factor": 0.1,
    "train.cycles": 1,
    "train.decay": 0.6,
    "train.weight_decay": 0.1,
    "train.max_grad_norm": 1e-3,
    "train.label_smoothing": 0.3,
    "train.class_weights": "balanced",
    "train.token_budget": 60,
    "train.reward": "constant",
    "train.freeze": "none",
    "train.dropout": True,
    "train.batch_size": 32,
    "train.batch_range": (8, 16),
    "train.gamma": 0.7,
    "train.gae_lambda": 0.3,
    "train.value_lambda": 0.3,
    "train.lambda_alpha": 0.4,
    "train.value_loss": "huber",
    "train.reinforce.baseline": "none",
    "train.reinforce.whiten": True,
    "train.reinforce.entropy": 0.5,
    "train.reinforce.value_coef": 0.1,
    "train.rloo.samples": 2,
    "train.a2c.whiten": False,
    "train.a2c.value_coef": 0.1,
    "train.ppo.epochs": 2,
    "train.ppo.minibatch": 16,
    "train.ppo.clip": 1e-3,
    "train.ppo.value_clip": 1e-4,
    "train.ppo.whiten": False,
    "train.ppo.entropy": 0.5,
    "train.ppo.value_coef": 0.1,
    "train.ppo.kl": 1.0,
    "train.ppo.target_kl": 1e-5,
    "train.ppo.value_warmup": 2,
    "train.ppo.cross_entropy": 0.5,
    "train.trpo.max_kl": 0.1,
    "train.trpo.minibatch": 16,
    "train.trpo.value_epochs": 1,
    "train.warm_start.step_factor": 0.1,
    "train.warm_start.cycles": 1,
    "train.warm_start.decay": 0.6,
    "train.seed": 1,
    "reading.cost": 0.2,
}
"""By path, another value than the usual one."""
BASES: dict[str, dict[str, Any]] = {
    "ppo": {},
    "ppo with steps": {"train.lr_schedule": "step", "train.step_every": 1, "train.lambda_alpha": 0.5},
    "ppo in one pass": {"train.ppo.epochs": 1, "train.ppo.minibatch": 64, "train.lr_schedule": "cyclic"},
    "ppo without a value": {"train.ppo.value_coef": 0.0, "train.step_every": 3, "train.lr_schedule": "step"},
    "ppo of everything": {"train.freeze": "none", "train.ppo.cross_entropy": 0.3, "train.lr_schedule": "wsd"},
    "ppo for a constant": {"train.reward": "constant"},
    "ppo by its noise": {
        "train.batch_size": "noise_scale",
        "train.batch_range": (16, 128),
        "train.ppo.minibatch": 8,
    },
    "reinforce": {"train.algorithm": "reinforce"},
    "a2c without a value": {"train.algorithm": "a2c", "train.a2c.value_coef": 0.0},
    "reinforce with a value": {"train.algorithm": "reinforce", "train.reinforce.baseline": "value"},
    "rloo of everything": {"train.algorithm": "rloo", "train.freeze": "none"},
    "a2c": {"train.algorithm": "a2c"},
    "trpo": {"train.algorithm": "trpo", "train.trpo.minibatch": 64},
    "exact": {"train.algorithm": "exact"},
    "supervised": {"train.algorithm": "supervised"},
    "supervised by lbfgs": {"train.algorithm": "supervised", "train.optimizer": "lbfgs"},
    "one decision": {"reading": Reading(segment=4, max_segments=1).model_dump()},
}


@pytest.mark.parametrize("base", ["ppo", *(pytest.param(name, marks=pytest.mark.slow) for name in list(BASES)[1:])])
def test_a_dead_setting_changes_nothing_and_a_live_one_does(
    base: str, topics: SimpleNamespace, tmp_path: Path, one_thread: None
) -> None:
    common = {"train.epochs": 2, "train.batch_size": 64, "train.ppo.minibatch": 32, "train.trpo.minibatch": 32}
    settings = topics.settings.with_values({**common, **BASES[base]})
    usual = outcome(settings, topics, tmp_path / "usual")
    wrong = {}
    for place, (path, value) in enumerate(OTHERS.items()):
        try:
            changed = settings.with_values({path: value})
        except ValueError:  # refused beside the others
            continue
        if changed == settings:
            continue
        dead = path in dead_settings(settings) and path in dead_settings(changed)
        same = usual == outcome(changed, topics, tmp_path / str(place))
        if same != dead:
            wrong[path] = "dead, but it changes something" if dead else "live, but it changes nothing"
    assert wrong == {}


def outcome(settings: TrialSettings, topics: SimpleNamespace, folder: Path) -> tuple[bytes, float]:
    """Every weight, and the reward, after all epochs; a READ always has the same cost in scores."""
    data = topics.data
    if isinstance(settings.reading, Reading) and settings.reading.max_segments == 1:
        data = encode(topics.dataset, settings.reading)
    trainer = new_trainer(settings, data, topics.starts, folder, "reward", cost=0.05)
    for _ in range(settings.train.epochs):
        report = trainer.step()
    weights = torch.cat([p.detach().flatten() for p in trainer.stage().trained.values()])
    return weights.numpy().tobytes(), report["reward"]
