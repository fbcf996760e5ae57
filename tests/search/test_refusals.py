"""The nearest key, the refusal of what is not built yet, and the wording of pydantic's errors."""

from typing import Any

import pytest
from pydantic import ValidationError

from sweepstack.search.refusals import key_paths, nearest_key, path_of, refusal, refuse_later, unknown_key
from sweepstack.search.study import Study

KNOWN = list(key_paths(Study))
BASE = {"name": "x", "task": "classification", "data": {"train": "/x.jsonl"}}


def refused(**changes: Any) -> tuple[str, str]:
    with pytest.raises(ValidationError) as caught:
        Study.model_validate({**BASE, **changes})
    return refusal(caught.value, Study)


def test_key_paths_reach_into_every_part() -> None:
    assert {"train.warm_start.seed", "reading.cost", "search.stopper.asha.reduction", "data.splits.test"} <= set(KNOWN)
    assert len(KNOWN) == len(set(KNOWN))


@pytest.mark.parametrize(
    ("parent", "leaf", "nearest"),
    [
        ("train", "lr_shedule", "train.lr_schedule"),
        ("train", "learning_rate", "train.lr"),
        ("train", "lambda", "train.gae_lambda"),
        ("", "serch", "search"),
        ("", "lr", "train.lr"),
        ("", "gamma", "train.gamma"),
        ("", "splits", "data.splits"),
        ("search", "n_trials", "search.trials"),
        ("data", "label", "data.target"),
        ("search", "cost", "reading.cost"),
        ("train.ppo", "clipping", "train.ppo.clip"),
    ],
)
def test_the_nearest_key_is_the_one_that_was_meant(parent: str, leaf: str, nearest: str) -> None:
    assert nearest_key(parent, leaf, KNOWN) == nearest


def test_an_unknown_key_says_value_nearest_and_allowed() -> None:
    line = unknown_key("search.stopper.asha.rungs", 3, Study)
    assert line == (
        "search.stopper.asha.rungs (with the value 3) is not a key of a study; "
        "nearest: search.stopper.asha.reduction; search.stopper.asha has min_epochs, reduction"
    )
    assert unknown_key("ensembles.budget.x", 3, Study).endswith("ensembles.budget has members, size_mb, latency_ms")


def test_an_unknown_key_is_told_before_what_it_caused() -> None:
    path, line = refused(data={"trian": "x.jsonl", "seed": -1})
    assert path == "data.trian"
    assert "nearest: data.train" in line
    assert line.endswith("(and 2 more)")


@pytest.mark.parametrize(
    ("changes", "path", "line"),
    [
        ({"train": {"lr": 0}}, "train.lr", "must be above 0, but got 0"),
        ({"train": {"lr": "1e-3"}}, "train.lr", "must be a number, but got '1e-3'"),
        ({"train": {"lr": float("inf")}}, "train.lr", "must be finite, but got inf"),
        ({"train": {"gamma": 1.5}}, "train.gamma", "must be at most 1, but got 1.5"),
        ({"train": {"epochs": True}}, "train.epochs", "must be an integer, but got true"),
        ({"train": {"epochs": None}}, "train.epochs", "must be an integer, but got null"),
        ({"train": 3}, "train", "must be a mapping of keys to values, but got 3"),
        ({"train": {"lr_schedule": "cosin"}}, "train.lr_schedule",
         "must be constant, linear, polynomial, exponential, inverse_time, inverse_sqrt, step, cosine, "
         "cosine_restarts, one_cycle, wsd or cyclic, but got 'cosin'; did you mean cosine?"),
        ({"model": {"dropout": 1}}, "model.dropout", "must be below 1, but got 1"),
        ({"search": {"trials": "many"}}, "search.trials", "must be an integer, but got 'many'"),
        ({"search": {"trials": 0}}, "search.trials", "must be at least 1, but got 0"),
        ({"search": {"concurrency": "fast"}}, "search.concurrency", "must be auto or an integer, but got 'fast'"),
        ({"search": {"metric": "f1"}}, "search.metric",
         "must be one of reward, accuracy, accuracy_full, segments, log_loss, precision_macro, precision_micro, "
         "precision_weighted, recall_macro, recall_micro, recall_weighted, f1_macro, f1_micro, f1_weighted, "
         "calibration_error or ensemble_gain, but got 'f1'"),
        ({"ensembles": {"library": []}}, "ensembles.library", "must name at least one, but got []"),
        ({"ensembles": {"library": "linear"}}, "ensembles.library", "must be a list, but got 'linear'"),
        ({"ensembles": {"library": ["trials", 3]}}, "ensembles.library[1]",
         "must be trials, linear, supervised, naive_bayes, char_linear or memory, but got 3"),
        ({"ensembles": {"builders": ["average", {"stacking": {"topp": 3}}]}}, "ensembles.builders[1]",
         "stacking has the options top, c, learner, but got 'topp'"),
        ({"name": 3}, "name", "must be text (in quotes, if it looks like a number), but got 3"),
        ({"version": 2}, "version", "must be 1, but got 2"),
        ({"reading": False}, "reading",
         "must be off or {unit: words, segment: 5, max_segments: 16, cost: 0.01}, but got false"),
        ({"reading": {"segment": 0}}, "reading.segment", "must be at least 1, but got 0"),
    ],
)  # fmt: skip
def test_rules_are_said_in_the_words_of_a_study_file(changes: dict[str, Any], path: str, line: str) -> None:
    assert refused(**changes) == (path, line)


def test_a_long_value_is_cut() -> None:
    _, line = refused(name=["x" * 100])
    assert line.endswith("...")
    assert len(line) < 150


def test_union_members_are_no_part_of_a_path() -> None:
    assert path_of(("reading", "<mapping>", "cost")) == "reading.cost"
    assert path_of(("ensembles", "builders", 1)) == "ensembles.builders[1]"


@pytest.mark.parametrize(
    ("tree", "path", "line"),
    [
        ({"search": {"storage": "sqlite:///x.db"}}, "search.storage", "search.storage sqlite:///x.db is not"),
    ],
)  # fmt: skip
def test_what_comes_later_is_refused_as_not_available(tree: dict[str, Any], path: str, line: str) -> None:
    found = refuse_later(tree)
    assert found is not None
    assert found[0] == path
    assert found[1].startswith(line)


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"task": "translation"},
        {"task": "generation", "writing": {"reward": "chrf"}},
        {"task": "classification", "search": None, "ensembles": 3, "space": []},
        {"search": {"seeds": 1, "storage": None, "stopper": {"asha": {}}, "sampler": "tpe"}},
        {"search": {"stopper": "halving"}, "task": ["translate"]},
        {
            "ensembles": {"builders": ["selection", {"stacking": {}}], "budget": {"size_mb": 5}},
            "data": {"splits": {"policy": 0.3}},
        },
    ],
)
def test_what_is_there_or_plainly_wrong_is_left_to_the_models(tree: dict[str, Any]) -> None:
    assert refuse_later(tree) is None
