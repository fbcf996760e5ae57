"""A trial in an environment goes on exactly where it was killed, keeps its best epoch, and learns."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from counting import Counting
from gymnasium.spaces import Box
from safetensors.torch import load_file

from sweepstack.models import checksums
from sweepstack.models.errors import BundleError, StudyError
from sweepstack.models.settings.tasks import METRICS
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.tasks.gymnasium.checkpoint import load_agent
from sweepstack.models.tasks.gymnasium.stage import EnvironmentStage
from sweepstack.models.tasks.trainers import new_trainer
from sweepstack.models.training.trainer import Parent, Trainer

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {
    "epochs": 3,
    "lr": 3e-3,
    "batch_size": 32,
    "ppo": {"epochs": 2, "minibatch": 16},
    "env": {"copies": 2, "steps": 96, "eval_episodes": 3},
}
KINDS: dict[str, dict[str, Any]] = {
    "ppo": {},
    "reinforce": {"train.algorithm": "reinforce"},
    "reinforce without a value": {"train.algorithm": "reinforce", "train.reinforce.baseline": "mean"},
    "a2c": {"train.algorithm": "a2c"},
    "trpo": {"train.algorithm": "trpo"},
    "normalised": {"train.env.normalize": True},
    "a reference": {"train.ppo.kl": 0.1, "train.ppo.kl_target": 1e-3, "train.ppo.value_warmup": 4},
    "adaptive": {"train.batch_size": "adaptive", "train.batch_range": (16, 64)},
    "a noise scale": {"train.batch_size": "noise_scale", "train.batch_range": (16, 64)},
    "a schedule": {"train.lr_schedule": "cosine", "train.optimizer": "schedule_free"},
    "λ by length": {"train.lambda_alpha": 0.5},
    "scaled rewards": {"train.env.normalize_reward": True},
    "an average of steps": {"train.average": "ema"},
    "an average of epochs": {"train.average": "last", "train.average_last": 2},
    "schedules": {
        "train.ppo.entropy": 0.1,
        "train.ppo.entropy_schedule": "linear",
        "train.ppo.clip_schedule": "linear",
        "train.ppo.whiten": "minibatch",
        "train.beta2": 0.99,
    },
    "no decay of biases": {"train.weight_decay": 0.1, "train.decay_all": False},
}
Report = dict[str, float]


def trial(
    folder: Path, values: dict[str, Any] | None = None, task: str = "gym:CartPole-v1", parent: Parent | None = None
) -> Trainer:
    settings = TrialSettings(task=task, train=SMALL).with_values(values or {})
    return new_trainer(settings, None, folder / "starts", folder, "reward", parent=parent)


def finish(trainer: Trainer) -> list[Report]:
    """The reports but for how long each took."""
    while len(trainer.reports) < trainer.settings.train.epochs:
        trainer.step()
    return [{name: value for name, value in report.items() if name != "seconds"} for report in trainer.reports]


def kept(folder: Path) -> dict[str, str]:
    """Hashes by path; but those of what holds seconds: the reports, and what says their hash."""
    timed = (folder / "state.json", folder / "SHA256SUMS")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path not in timed]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_goes_on_exactly_from_the_end_of_every_epoch(tmp_path: Path, kind: str) -> None:
    undisturbed = trial(tmp_path / "whole", KINDS[kind])
    for epoch in (1, 2):
        undisturbed.step()
        shutil.copytree(tmp_path / "whole", tmp_path / str(epoch))
    expected, files = finish(undisturbed), kept(tmp_path / "whole")
    for epoch in (1, 2):
        again = trial(tmp_path / str(epoch), KINDS[kind])
        assert len(again.reports) == epoch
        torch.rand(5)  # a process that has drawn other numbers before
        assert finish(again) == expected
        assert kept(tmp_path / str(epoch)) == files


@pytest.mark.parametrize("kind", KINDS)
def test_a_lineage_of_trials_is_one_trial(tmp_path: Path, kind: str) -> None:
    """Each begins in the folder of the one before: the same reports, weights and moments of what was seen."""
    expected, files = finish(trial(tmp_path / "whole", KINDS[kind])), kept(tmp_path / "whole")
    parent, reports = None, []
    for epoch in range(3):
        folder = tmp_path / str(epoch)
        child = trial(folder, KINDS[kind], parent=parent)
        child.step()
        reports += [{name: value for name, value in child.reports[0].items() if name != "seconds"}]
        parent = Parent(folder, epoch + 1)
    assert reports == expected
    assert kept(tmp_path / "2")["resume-3.safetensors"] == files["resume-3.safetensors"]


@pytest.mark.parametrize("task", ["gym:CartPole-v1", "gym:Pendulum-v1", "gym:FrozenLake-v1", "gym:Blackjack-v1"])
def test_a_report_says_what_was_played_and_what_it_came_to(tmp_path: Path, task: str) -> None:
    first, *_, last = finish(trial(tmp_path, task=task))
    assert set(METRICS) < set(last)
    assert {"policy_loss", "value_loss", "entropy", "kl", "clip_fraction", "grad_noise", "updates"} < set(last)
    assert (first["decisions"], last["decisions"]) == (96, 288)
    assert (first["rollouts"], last["rollouts"]) == (3, 9)
    assert last["updates"] == 9 * 4
    assert last["batch_size"] == 32
    if task == "gym:CartPole-v1":
        assert last["episodes"] > 3
        assert 8 < last["train_reward"] < 100
        assert last["reward"] == last["length"]
    if task == "gym:Pendulum-v1":
        assert "train_reward" not in first, "no episode of 200 steps has ended in 48"
        assert last["length"] == 200


def test_trials_depend_on_their_seed_and_are_scored_alike(tmp_path: Path) -> None:
    one, same, other = (
        finish(trial(tmp_path / name, {"train.seed": seed})) for name, seed in zip("abc", (0, 0, 1), strict=True)
    )
    assert one == same
    assert one != other


def test_the_best_epoch_is_kept_as_a_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    trainer = trial(tmp_path)
    reports = finish(trainer)
    best = max(range(3), key=lambda epoch: reports[epoch]["reward"])
    again = trial(tmp_path / "again", {"train.epochs": best + 1, "train.lr_schedule": "constant"})
    finish(again)
    assert kept(tmp_path / "again" / "checkpoint") == kept(tmp_path / "checkpoint")
    trainer.close(finished=True)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint", "again"}
    files = {path.name for path in (tmp_path / "checkpoint").iterdir()}
    assert files == {"weights.safetensors", "config.json", "SHA256SUMS"}


@pytest.mark.parametrize("task", ["gym:CartPole-v1", "gym:Pendulum-v1", "gym:FrozenLake-v1"])
def test_a_checkpoint_acts_as_the_policy_was_scored(tmp_path: Path, task: str) -> None:
    trainer = trial(tmp_path, {"train.epochs": 1, "train.env.normalize": True}, task)
    (report,) = finish(trainer)
    agent = load_agent(tmp_path / "checkpoint")
    assert agent.environment == task.removeprefix("gym:")
    assert "moments.mean" in load_file(tmp_path / "checkpoint" / "weights.safetensors")
    player = EnvironmentStage(trainer.settings, "reward")._player
    played = player._copies
    returns = []
    for seed in seeds_of(player):
        environment, total, over = played.environments[0], 0.0, False
        observation, _ = environment.reset(seed=seed)
        while not over:
            observation, reward, terminated, truncated, _ = environment.step(agent.act(observation))
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    assert sum(returns) / len(returns) == pytest.approx(report["reward"])


def seeds_of(player: Any) -> list[int]:
    """What the player resets with when it scores."""
    found: list[int] = []
    play = player._copies.play
    player._copies.play = lambda choose, seeds: (found.extend(seeds), play(choose, seeds))[1]
    player.score(3)
    return found


def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="holds no policy that can be loaded"):
        load_agent(tmp_path)
    finish(trial(tmp_path, {"train.epochs": 1}))
    config = tmp_path / "checkpoint" / "config.json"
    content = json.loads(config.read_text())
    for changes, error in (
        ({"kind": "policy"}, BundleError),
        ({"interface": {"observation": 5, "actions": 2, "continuous": False}}, BundleError),
        ({"environment": "Nowhere-v0"}, StudyError),
    ):
        checksums.put(config.parent, {config.name: json.dumps({**content, **changes})})
        with pytest.raises(error) as caught:
            load_agent(tmp_path / "checkpoint")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("actions", "most"), [(None, 9.0), (Box(-1, 1, (2,), np.float64), 9.0)])
def test_any_registered_environment_can_be_played_and_learned(tmp_path: Path, actions: Any, most: float) -> None:
    """The last of three actions brings most, or the upper bound of both numbers: 3 a step, three steps long."""
    gymnasium.register("Counting-v0", entry_point=Counting, kwargs={"actions": actions})
    try:
        reports = finish(trial(tmp_path, {"train.lr": 0.03, "train.epochs": 6, "train.seed": 1}, "gym:Counting-v0"))
    finally:
        del gymnasium.registry["Counting-v0"]
    assert reports[-1]["length"] == 3
    assert reports[-1]["reward"] == pytest.approx(most, abs=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "a2c", "trpo", "reinforce"])
def test_balancing_is_learned_within_15_000_decisions(tmp_path: Path, algorithm: str) -> None:
    """A policy that has learned nothing balances for about 9 steps by its likeliest action, 22 at random."""
    one_step = algorithm in ("a2c", "reinforce")
    train = {
        "algorithm": algorithm,
        "gamma": 0.98,
        "gae_lambda": 0.8,
        "value_lambda": 0.8,
        "lr": 5e-3 if one_step else 1e-3,
        "batch_size": 64 if one_step else 256,
        "epochs": 3,
        "ppo": {"epochs": 20, "minibatch": 256},
        "env": {"steps": 4_992, "eval_episodes": 20},
    }
    settings = TrialSettings(task="gym:CartPole-v1", train=train)
    reports = finish(new_trainer(settings, None, tmp_path, tmp_path, "reward"))
    assert max(report["reward"] for report in reports) > 100
    assert reports[-1]["train_reward"] > 45, "and when actions are sampled, twice as long as at random"
