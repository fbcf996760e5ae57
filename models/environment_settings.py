"""What a study of an environment has of its own: defaults that suit it, and the settings of texts that it has not.

The defaults are those of PPO in stable-baselines3, which people who tune γ and λ there compare with, spread over
``env.copies``: 2,048 decisions a rollout, ten passes of minibatches of 64, two tanh layers of 64.
"""

from collections.abc import Iterator, Mapping
from typing import Any

PREFIX = "gym:"
DEFAULTS: dict[str, Any] = {
    "model": {"d_model": 64, "layers": 2, "heads": 1, "activation": "tanh", "init": "orthogonal"},
    "train": {
        "optimizer": "adam",
        "lr": 3e-4,
        "lr_schedule": "constant",
        "max_grad_norm": 0.5,
        "batch_size": 2048,
        "batch_range": (256, 4096),
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "value_lambda": 0.95,
        "reinforce": {"baseline": "value"},  # or nothing says what comes after a rollout
        "ppo": {"epochs": 10, "minibatch": 64},
        "trpo": {"value_epochs": 10, "minibatch": 64},
    },
}
METRICS = ("reward", "reward_std", "length")
"""Of the evaluated episodes: the mean return, its standard deviation, and the mean number of decisions."""

OF_TEXTS = (
    "data",
    "reading",
    "model.heads",
    "model.dropout",
    "model.word_dropout",
    "model.read_head",
    "train.warm_start",
    "train.freeze",
    "train.reward",
    "train.dropout",
    "train.label_smoothing",
    "train.class_weights",
    "train.token_budget",
    "train.rloo",
    "train.ppo.cross_entropy",
    "precision",
    "compile",
    "ensembles",
)
"""Sections and settings that say nothing of an environment."""

OF_ENVIRONMENTS = ("train.env",)
"""Settings that say nothing of a text."""


def is_environment(task: object) -> bool:
    return isinstance(task, str) and task.startswith(PREFIX)


def foreign_to(task: object) -> tuple[str, ...]:
    return OF_TEXTS if is_environment(task) else OF_ENVIRONMENTS


def is_foreign(path: str, task: object) -> bool:
    """Whether the setting ``path`` belongs to what is foreign to ``task``."""
    return any(f"{path}.".startswith(f"{each}.") for each in foreign_to(task))


def say_foreign(task: object) -> str:
    """What is said of a foreign setting that is given all the same."""
    if is_environment(task):
        return f"is for texts, and task {task} plays an environment; take it out"
    return f"is for environments, task {PREFIX}ENV; take it out"


def given_foreign(tree: Mapping[str, Any]) -> Iterator[str]:
    """The paths in a study's raw ``tree`` that are foreign to its task."""
    for path in foreign_to(tree.get("task")):
        node: Any = tree
        for name in path.split("."):
            node = node.get(name, ...) if isinstance(node, Mapping) else ...
        if node is not ...:
            yield path


def without_foreign(tree: Mapping[str, Any], task: object, prefix: str = "") -> dict[str, Any]:
    """``tree`` less what is foreign to ``task``."""
    return {
        key: without_foreign(value, task, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in tree.items()
        if f"{prefix}{key}" not in foreign_to(task)
    }


def with_defaults(tree: Mapping[str, Any]) -> dict[str, Any]:
    """``tree`` with DEFAULTS where it says nothing."""
    return _merged(tree, DEFAULTS)


def _merged(tree: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**defaults, **tree}
    for key, default in defaults.items():
        if isinstance(default, Mapping) and isinstance(merged[key], Mapping):
            merged[key] = _merged(tree.get(key, {}), default)
    return merged
