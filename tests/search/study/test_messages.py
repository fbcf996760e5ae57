"""The nearest key, the refusal of what is not built yet, and the wording of pydantic's errors."""

from typing import Any

import pytest
from pydantic import ValidationError

from sweepstack.search.study.messages import fail, key_paths, nearest_key, path_of, refusal, refuse_later, unknown_key
from sweepstack.search.study.study import Study

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
        ({"train": {"lr": "1e-3"}}, "train.lr", "must be a number, but got '1e-3'; write 1e-3, without quotes"),
        ({"train": {"lr": float("inf")}}, "train.lr", "must be finite, but got inf; leave it out"),
        ({"train": {"gamma": 1.5}}, "train.gamma", "must be at most 1, but got 1.5"),
        ({"train": {"epochs": True}}, "train.epochs", "must be an integer, but got true"),
        ({"train": {"epochs": None}}, "train.epochs", "must be an integer, but got null; leave it out"),
        ({"train": 3}, "train", "must be a mapping of keys to values, but got 3; put keys under it"),
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
         "calibration_error or ensemble_gain, but got 'f1'; did you mean f1_macro?"),
        ({"ensembles": {"library": []}}, "ensembles.library", "must name at least one, but got []"),
        ({"ensembles": {"library": "linear"}}, "ensembles.library",
         "must be a list, but got 'linear'; write [linear], in brackets"),
        ({"ensembles": {"library": ["trials", 3]}}, "ensembles.library[1]",
         "must be trials, linear, supervised, naive_bayes, char_linear or memory, but got 3"),
        ({"ensembles": {"builders": ["average", {"stacking": {"topp": 3}}]}}, "ensembles.builders[1]",
         "stacking has the options top, c, learner, but got 'topp'"),
        ({"name": 3}, "name", "must be text (in quotes, if it looks like a number), but got 3"),
        ({"version": 2}, "version", "must be 1, but got 2"),
        ({"reading": False}, "reading",
         "must be off or {unit: words, segment: 5, max_segments: 16, cost: 0.01}, but got false; write off"),
        ({"reading": {"segment": 0}}, "reading.segment", "must be at least 1, but got 0"),
    ],
)  # fmt: skip
def test_rules_are_said_in_the_words_of_a_study_file(changes: dict[str, Any], path: str, line: str) -> None:
    assert refused(**changes) == (path, line)


def test_a_long_value_is_cut() -> None:
    _, line = refused(name=["x" * 100, "y"])
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


@pytest.mark.parametrize(
    ("changes", "path", "line"),
    [
        ({"ensembles": {"refit": "yes"}}, "ensembles.refit", "must be true or false, but got 'yes'; write true"),
        ({"compile": "Off"}, "compile", "must be true or false, but got 'Off'; write false"),
        ({"compile": "true"}, "compile", "must be true or false, but got 'true'; write true, without quotes"),
        ({"compile": "maybe"}, "compile", "must be true or false, but got 'maybe'"),
        ({"train": {"lr": "0,001"}}, "train.lr", "must be a number, but got '0,001'; write 0.001, with a point"),
        ({"train": {"lr": "1,5e-3"}}, "train.lr", "must be a number, but got '1,5e-3'; write 1.5e-3, with a point"),
        ({"train": {"lr": "1e-3"}}, "train.lr", "must be a number, but got '1e-3'; write 1e-3, without quotes"),
        ({"train": {"lr": "high"}}, "train.lr", "must be a number, but got 'high'"),
        ({"model": {"dropout": "20 %"}}, "model.dropout", "must be a number, but got '20 %'; write 0.2"),
        ({"search": {"trials": "16"}}, "search.trials", "must be an integer, but got '16'; write 16, without quotes"),
        ({"search": {"trials": 1e3}}, "search.trials", "must be an integer, but got 1000.0; write 1000"),
        ({"search": {"trials": "1,000"}}, "search.trials", "must be an integer, but got '1,000'; write 1000"),
        ({"train": {"seed": 2**32 - 1}}, "train.seed", "must be below 2147483648, but got 4294967295"),
        ({"train": {"epochs": 0}}, "train.epochs", "must be at least 1, but got 0"),
        (
            {"data": {"train": "/x.jsonl", "costs": {1: {"a": 2.0}}}},
            "data.costs",
            'its key 1 must be text; write it in quotes, "1"',
        ),
        (
            {"data": {"train": "/x.jsonl", "costs": {"a": {False: 2.0}}}},
            "data.costs.a",
            'its key false must be text; write it in quotes, "false"',
        ),
        (
            {"search": {1: 2}},
            "search",
            "1 is no key: keys are words, such as task or data; take it out, or a comma out of a number (0.001, 1000)",
        ),
    ],
)
def test_the_line_says_how_what_was_meant_is_written(changes: dict[str, Any], path: str, line: str) -> None:
    assert refused(**changes) == (path, line)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("train.learning_rate", "train.lr"),
        ("learning_rate", "train.lr"),
        ("lambda", "train.gae_lambda"),
        ("train.scheduler", "train.lr_schedule"),
        ("reading.read_cost", "reading.cost"),
        ("optimiser.lr", "train.lr"),
    ],
)
def test_the_nearest_setting_of_a_space_is_the_one_that_was_meant(key: str, nearest: str) -> None:
    path, line = refused(space={key: [1, 2]})
    assert (path, line) == (f"space.{key}", f"is not a setting that can be searched; nearest: {nearest}")


@pytest.mark.parametrize("bounds", [["0,001", "0,1"], [0, 1, 0, 1]])
def test_bounds_with_decimal_commas(bounds: list[object]) -> None:
    _, line = refused(space={"train.lr": {"log": bounds}})
    assert line == f"log takes two numbers [lo, hi], but got {bounds!r}; decimals are written with a point, as in 0.001"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"search.trials": 3}, "write it under its section, as in search: {trials: …}"),
        ({"search": {"trials:3": None}}, "a space is missing behind its colon, as in trials: 3"),
        ({"\xa0trials": 3}, "it has spaces or characters that are not shown; write trials anew, behind plain spaces"),
        ({"data": {"train": "/x", "splits": {"train": 0.8}}}, "lower one of those instead"),
    ],
)
def test_a_key_that_is_written_wrongly(changes: dict[str, Any], line: str) -> None:
    assert refused(**changes)[1].endswith(line)


def test_a_key_with_foreign_letters_shows_them() -> None:
    changes: dict[str, Any] = {"se\u0430rch": {}}
    key, line = refused(**changes)
    assert line.startswith("'se\\u0430rch' (with the value {}) is not a key of a study; nearest: search;")
    assert str(fail("s.yaml", key, line)).startswith("s.yaml: 'se\\u0430rch' (with")


def test_keys_in_capitals_have_their_nearest() -> None:
    assert nearest_key("", "TASK", KNOWN) == "task"
    assert nearest_key("search", "wall-time", KNOWN) == "search.wall_time"
