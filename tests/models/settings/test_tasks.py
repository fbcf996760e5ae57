"""Every family of tasks has defaults of its own, and nothing that only another one has."""

from typing import Any

import pytest
from pydantic import ValidationError

from sweepstack.models.settings.tasks import (
    DEFAULTS,
    FOREIGN,
    OF_ENVIRONMENTS,
    SPLITS,
    STUDY_DEFAULTS,
    Family,
    family,
    given_foreign,
    is_environment,
    is_foreign,
    say_foreign,
    with_defaults,
    with_study_defaults,
    without_foreign,
)
from sweepstack.models.settings.trial import TrialSettings

TASK = "gym:CartPole-v1"
TASKS: dict[Family, str] = {"classification": "classification", "writing": "translation", "environment": TASK}


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


@pytest.mark.parametrize("kind", ["writing", "environment"])
def test_what_is_left_out_has_the_tasks_defaults(kind: Family) -> None:
    resolved = flat(TrialSettings(task=TASKS[kind]).model_dump())
    for path, value in flat(DEFAULTS[kind]).items():
        assert resolved[path] == value, path
    assert flat(TrialSettings().model_dump())["train.lr"] == 3e-3


def test_tasks_have_families() -> None:
    tasks = ["classification", "translation", "generation", TASK, "summary", None, ["translation"]]
    found = [family(task) for task in tasks]
    assert found == ["classification", "writing", "writing", "environment", *["classification"] * 3]


def test_a_study_has_the_columns_and_the_metric_of_its_task() -> None:
    tree = with_study_defaults({"task": "generation", "data": {"train": "x", "input": "ask"}, "search": {"trials": 3}})
    assert tree["data"] == {"train": "x", "input": "ask", "target": "response", "splits": SPLITS}
    assert tree["search"] == {"trials": 3, "metric": "chrf"}
    assert tree["train"]["lr"] == 1e-4
    assert with_study_defaults({"task": "translation"}).get("data") is None, "missing data stay missing"
    assert with_study_defaults({"task": "classification", "data": {}}) == {"task": "classification", "data": {}}
    assert with_study_defaults({"task": ["a"]}) == {"task": ["a"]}
    assert STUDY_DEFAULTS["translation"]["data"] == {"input": "source", "target": "target", "splits": SPLITS}


def test_what_is_given_stays_and_its_neighbours_have_their_defaults() -> None:
    settings = TrialSettings(task=TASK, train={"lr": 1e-2, "ppo": {"epochs": 1}}, model={"layers": 1})
    assert (settings.train.lr, settings.train.ppo.epochs, settings.model.layers) == (1e-2, 1, 1)
    assert (settings.train.gamma, settings.train.ppo.minibatch, settings.model.activation) == (0.99, 64, "tanh")
    again = settings.with_values({"train.gamma": 0.9})
    assert again.train.lr == 1e-2
    assert again.environment == "CartPole-v1"
    assert with_defaults({"task": TASK, "train": 3, "model": None})["train"] == 3, (
        "what is no mapping is left to be refused"
    )


def test_texts_are_no_environments() -> None:
    assert TrialSettings().environment is None
    assert [is_environment(task) for task in (TASK, "gym:", "classification", None, 3)] == [True, True] + [False] * 3


@pytest.mark.parametrize("task", ["gym:", "gymnasium:CartPole-v1", "CartPole-v1", "classify", ""])
def test_another_task_is_refused(task: str) -> None:
    with pytest.raises(ValidationError, match="must be classification, translation, generation or gym:ENV"):
        TrialSettings(task=task)


@pytest.mark.parametrize(("kind", "path"), [(kind, path) for kind, paths in FOREIGN.items() for path in paths])
def test_what_is_foreign_is_found_and_left_out(kind: Family, path: str) -> None:
    task = TASKS[kind]
    tree: dict[str, Any] = {"task": task, "train": {"lr": 1.0}, "model": {"layers": 1}}
    node, (*parents, leaf) = tree, path.split(".")
    for name in parents:
        node = node.setdefault(name, {})
    node[leaf] = None
    assert list(given_foreign(tree)) == [path]
    assert path not in flat(without_foreign(tree, task))
    assert without_foreign(tree, task)["train"]["lr"] == 1.0
    assert is_foreign(path, task)
    assert is_foreign(f"{path}.deeper", task)
    assert not is_foreign(f"{path}_more", task)
    assert any(not is_foreign(path, other) for other in TASKS.values())


@pytest.mark.parametrize(
    ("path", "task", "line"),
    [
        ("data", TASK, f"is for texts, and task {TASK} plays an environment; take it out"),
        ("train.env", "translation", "is for environments, task gym:ENV; take it out"),
        ("train.env.copies", "classification", "is for environments, task gym:ENV; take it out"),
        ("data.costs", "generation", "is for classification, and task generation writes texts; take it out"),
        ("writing.decode", "classification", "is for tasks that write, translation and generation; take it out"),
    ],
)
def test_what_is_said_of_it(path: str, task: str, line: str) -> None:
    assert say_foreign(path, task) == line


def test_environments_are_foreign_to_texts() -> None:
    assert list(given_foreign({"task": "classification", "train": {"env": {}}})) == list(OF_ENVIRONMENTS)
    assert is_foreign("train.env.copies", "classification")
    assert not is_foreign("train.env.copies", TASK)
    assert list(given_foreign({"train": 3, "task": "classification"})) == []


@pytest.mark.parametrize("algorithm", ["supervised", "exact", "rloo"])
def test_algorithms_that_need_more_than_an_environment_gives_are_refused(algorithm: str) -> None:
    with pytest.raises(ValidationError, match=rf"{algorithm} needs .*; use reinforce, a2c, ppo or trpo"):
        TrialSettings(task=TASK, train={"algorithm": algorithm})


def test_a_rollout_is_a_multiple_of_the_copies() -> None:
    with pytest.raises(ValidationError, match=r"multiple of train\.env\.copies, 6, but got 100; take 96"):
        TrialSettings(task=TASK, train={"batch_size": 100, "env": {"copies": 6}})
    with pytest.raises(ValidationError, match="but got 3; take 8"):
        TrialSettings(task=TASK, train={"batch_size": 3})
    TrialSettings(task=TASK, train={"batch_size": "adaptive", "env": {"copies": 6}})
