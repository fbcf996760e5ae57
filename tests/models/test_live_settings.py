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
        f"train.warm_start.{name}" for name in ("step_every", "step_factor", "cycles", "decay")
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
    ],
)
def test_what_other_settings_make_dead(values: dict[str, object], path: str, reason: str) -> None:
    assert reason in dead_settings(BASE.with_values(values))[path]


def test_a_classifier_that_cannot_read_on_takes_one_decision() -> None:
    for reading in ("off", Reading(max_segments=1)):
        dead = dead_settings(TrialSettings(reading=reading))
        assert dead["train.gamma"] == dead["train.value_lambda"] == "an episode is one decision, so they cannot matter"
    writes = TrialSettings(task="translation")
    assert "train.gamma" not in dead_settings(writes), "a text has many tokens"
