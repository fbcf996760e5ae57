"""What a task has of its own: defaults that suit it, and the settings of other tasks that say nothing of it.

Tasks are of three families: classification, whose defaults are those of the settings themselves; *writing*, which is
translation and generation; and environments. One table of defaults and one of foreign settings stand for each.

Defaults of an environment are near those of PPO in stable-baselines3, which people who tune γ and λ there compare with,
spread over ``env.copies``: 2,048 decisions a rollout, ten passes of minibatches of 64, two tanh layers of 64. Two of
them differ: Adam's ε is 1e-8, there 1e-5 (``eps``), and advantages are whitened over a rollout, there over a minibatch
(``ppo.whiten``).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel

Family = Literal["classification", "writing", "environment"]
PREFIX = "gym:"
WRITING_TASKS = ("translation", "generation")

DEFAULTS: dict[Family, dict[str, Any]] = {
    "classification": {},
    "writing": {
        "reading": "off",
        "writing": {},
        "model": {
            "d_model": 160,
            "layers": 2,
            "heads": 4,
            "feed_forward": 512,
            "dropout": 0.25,  # a few thousand pairs are read sixty times
            "word_dropout": 0.0,
        },
        "train": {
            "warm_start": {
                "epochs": 60,
                "lr": 3e-3,
                "lr_schedule": "linear",
                "lr_warmup": 0.05,
                "beta2": 0.98,  # at its high rate a longer memory of squared gradients lags (arXiv 1706.03762)
                "lr_reference": 1500,  # tokens, too
                "weight_decay": 0.01,
                "label_smoothing": 0.1,
                "token_budget": 1500,  # a batch of so many tokens; see settings.Descent
            },
            "freeze": "none",
            "epochs": 4,
            "lr": 1e-4,  # at three times as much policy optimisation takes away what the start has learned,
            "value_lr": 3e-3,  # and a value that no start has learned explains nothing
            "batch_size": 64,
            "label_smoothing": 0.1,
            "ppo": {"cross_entropy": 0.3},  # the share that was best in Wu et al. 2018, arXiv 1808.08866
        },
    },
    "environment": {
        "reading": "off",
        "model": {"d_model": 64, "layers": 2, "heads": 1, "activation": "tanh", "init": "orthogonal"},
        "train": {
            "optimizer": "adam",
            "lr": 3e-4,
            "lr_schedule": "constant",
            "max_grad_norm": 0.5,
            "batch_size": 2048,
            "batch_range": (256, 4096),
            "lr_reference": 256,
            "gamma": 0.99,
            "gae_lambda": 0.95,
            "value_lambda": 0.95,
            "reinforce": {"baseline": "value"},  # or nothing says what comes after a rollout
            "ppo": {"epochs": 10, "minibatch": 64},
            "trpo": {"value_epochs": 10, "minibatch": 64},
        },
    },
}
"""Of a trial's sections."""

WHILE_READING: dict[str, Any] = {
    "reading": {"segment": 1, "max_segments": 48, "cost": 0.01},
    "writing": {"decode": {"beam": 1, "candidates": 1}},
    "train": {
        "freeze": "encoder",  # the translator: whether to read on is what is learned
        "epochs": 4,
        "lr": 3e-2,  # of a head of a few hundred weights, which a rollout moves little
        "value_lr": None,
        "batch_size": 64,
        "ppo": {"cross_entropy": 0.0},
    },
}
"""Of translation that is written while its source is read, before those of its family."""

SPLITS = {"policy": 0.05, "valid": 0.05, "blend": 0.05}  # most pairs go to the start, which all else builds on
STUDY_DEFAULTS: dict[str, dict[str, Any]] = {
    "translation": {"data": {"input": "source", "target": "target", "splits": SPLITS}, "search": {"metric": "chrf"}},
    "generation": {"data": {"input": "prompt", "target": "response", "splits": SPLITS}, "search": {"metric": "chrf"}},
}
"""By task, of the sections of a study that a trial does not see."""

AT_ONCE: dict[str, Any] = {
    "data": {"splits": {"folds": 5, "policy": 0.1}},  # each row teaches and is held out: a few thousand are few
    "train": {
        "warm_start": {"batch_size": 32},
        "algorithm": "supervised",  # where nothing is decided but the label, policy optimisation pays nothing
        "freeze": "none",
        "epochs": 1,
        "lr": 3e-4,
    },
    "search": {"stopper": "none"},
    "ensembles": {
        "library": ["trials", "linear", "naive_bayes", "char_linear"],
        "builders": ["average", "selection", {"stacking": {"top": 8}}],
    },
}
"""Of the study of a classifier that reads each text at once and does not name an algorithm of policy optimisation."""

STARTS: dict[str, Any] = {
    "space": {"train.warm_start.seed": list(range(16))},
    "search": {"sampler": "grid", "trials": 3},
}
"""Beside it, where the study names no space: members from different starts are what is worth searching."""

METRICS = ("reward", "reward_std", "length")
"""Of the evaluated episodes of an environment: the mean return, its standard deviation, and the mean number of
decisions."""

OF_ENVIRONMENTS = ("train.env",)
OF_WRITERS = ("writing", "train.value_lr")
OF_CLASSIFIERS = (
    "data.costs",
    "data.text",
    "model.word_dropout",
    "model.read_head",
    "train.class_weights",
    "train.warm_start.class_weights",
    "train.warm_start.batch_size",  # of texts, where a writer's start counts tokens
)
OF_TEXTS = (
    "data",
    "reading",
    "writing",
    "model.heads",
    "model.feed_forward",
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
    "train.value_lr",
    "train.ppo.cross_entropy",
    "precision",
    "compile",
    "ensembles",
)
FOREIGN: dict[Family, tuple[str, ...]] = {
    "classification": (*OF_ENVIRONMENTS, *OF_WRITERS),
    "writing": (*OF_ENVIRONMENTS, *OF_CLASSIFIERS),
    "environment": OF_TEXTS,
}
"""Sections and settings that say nothing of a task of that family."""


def is_environment(task: object) -> bool:
    return isinstance(task, str) and task.startswith(PREFIX)


def is_writing(task: object) -> bool:
    return task in WRITING_TASKS


def family(task: object) -> Family:
    """Of ``task``, also where it is no task: that is for others to refuse."""
    if is_environment(task):
        return "environment"
    return "writing" if is_writing(task) else "classification"


def foreign_to(task: object) -> tuple[str, ...]:
    return FOREIGN[family(task)]


def is_foreign(path: str, task: object) -> bool:
    """Whether the setting ``path`` belongs to what is foreign to ``task``."""
    return any(f"{path}.".startswith(f"{each}.") for each in foreign_to(task))


def say_foreign(path: str, task: object) -> str:
    """What is said of the foreign setting ``path`` that is given all the same."""
    if is_environment(task):
        return f"is for texts, and task {task} plays an environment; take it out"
    if any(f"{path}.".startswith(f"{each}.") for each in OF_ENVIRONMENTS):
        return f"is for environments, task {PREFIX}ENV; take it out"
    if is_writing(task):
        return f"is for classification, and task {task} writes texts; take it out"
    return f"is for tasks that write, {' and '.join(WRITING_TASKS)}; take it out"


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
    """The raw ``tree`` of a trial's settings, with the defaults of its task where it says nothing."""
    own = DEFAULTS[family(tree.get("task"))]
    return _merged(tree, _merged(WHILE_READING, own) if writes_while_reading(tree) else own)


def writes_while_reading(tree: Mapping[str, Any]) -> bool:
    """Whether the raw ``tree`` is of a task that writes and has a ``reading`` that is not off."""
    return is_writing(tree.get("task")) and isinstance(tree.get("reading"), Mapping | BaseModel)


def with_study_defaults(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The raw ``tree`` of a whole study, with the defaults of its task where it says nothing."""
    task = tree.get("task")
    own = STUDY_DEFAULTS.get(task, {}) if isinstance(task, str) else {}
    if answers_at_once(tree):
        own = AT_ONCE if "space" in tree else _merged(STARTS, AT_ONCE)
    if writes_while_reading(tree):
        own = {**own, "search": {"metric": "reward"}}  # the one that what is read counts in
    if "data" not in tree:  # which is missing, and that is said of it
        own = {section: values for section, values in own.items() if section != "data"}
    elif _named_folds(tree["data"]) or (answers_at_once(tree) and _names_splits(tree["data"])):
        # which take the place of shares, and are spoken of as they are
        own = {**own, "data": {key: value for key, value in own.get("data", {}).items() if key != "splits"}}
    return _merged(with_defaults(tree), own)


def answers_at_once(tree: Mapping[str, Any]) -> bool:
    """Whether the raw ``tree`` of a study is of a classifier that has AT_ONCE as its defaults."""
    if family(tree.get("task")) != "classification" or tree.get("reading") != "off":
        return False
    train, space = tree.get("train", {}), tree.get("space", {})
    named = train.get("algorithm", "supervised") if isinstance(train, Mapping) else "supervised"
    return named == "supervised" and not (isinstance(space, Mapping) and "train.algorithm" in space)


def _names_splits(data: Any) -> bool:
    return not isinstance(data, Mapping) or "splits" in data


def _named_folds(data: Any) -> bool:
    splits = data.get("splits") if isinstance(data, Mapping) else None
    return isinstance(splits, Mapping) and "folds" in splits


def _merged(tree: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**defaults, **tree}
    for key, default in defaults.items():
        if isinstance(default, Mapping) and isinstance(merged[key], Mapping):
            merged[key] = _merged(tree.get(key, {}), default)
    return merged
