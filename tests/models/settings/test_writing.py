"""The section `writing`: its bounds, what it means, and what else a task that writes may and may not have."""

from typing import Any

import pytest
from pydantic import ValidationError

from sweepstack.models.settings.base import SettingError
from sweepstack.models.settings.rewards import KINDS, PATH, parse_reward
from sweepstack.models.settings.trial import Reading, TrialSettings
from sweepstack.models.settings.writing import Writing

TRANSLATION = TrialSettings(task="translation")


def refused(**tree: Any) -> tuple[str, str]:
    """The path and the line of the first error."""
    with pytest.raises(ValidationError) as caught:
        TrialSettings.model_validate({"task": "translation", **tree})
    detail = caught.value.errors()[0]
    problem = detail.get("ctx", {}).get("error")
    return getattr(problem, "path", ".".join(map(str, detail["loc"]))), str(problem or detail["msg"])


@pytest.mark.parametrize("task", ["translation", "generation"])
def test_a_writing_task_has_defaults_of_its_own(task: str) -> None:
    settings = TrialSettings(task=task)
    assert settings.writes
    assert settings.writing == Writing()
    assert settings.reading == "off"
    assert (settings.model.d_model, settings.model.layers, settings.model.feed_forward) == (160, 2, 512)
    assert (settings.train.lr, settings.train.freeze, settings.train.dropout) == (1e-4, "none", False)
    assert (settings.train.warm_start.epochs, settings.train.warm_start.lr_schedule) == (60, "linear")
    assert TrialSettings.model_validate_json(settings.model_dump_json()) == settings
    assert TRANSLATION.with_values({"writing.decode.beam": 8}).writing == Writing.model_validate(
        {"decode": {"beam": 8}}
    )


def test_other_tasks_do_not_write() -> None:
    assert not TrialSettings().writes
    assert TrialSettings().writing is None
    with pytest.raises(ValidationError, match="is for translation and generation, but task is classification"):
        TrialSettings.model_validate({"writing": {}})
    assert refused(writing=None) == ("writing", "must be a mapping of keys to values, but got null; leave it out")


@pytest.mark.parametrize(
    ("path", "inside", "outside"),
    [
        ("vocabulary", [8, 3000, {"source": 8}, {"source": 100, "target": 50}], [7, 3.5, True, "many", {"sources": 9}]),
        ("max_source", [2, 512], [1, 0, 2.5]),
        ("max_target", [2, 512], [1]),
        ("increments", [True], [1, "yes"]),
        ("decode", [{"beam": 1, "candidates": 1}, {"length_penalty": 0}], [{"beam": 0}, {"length_penalty": -1}]),
        ("sample", [{"temperature": 0.1, "top_k": 5, "top_p": 0.5}], [{"temperature": 0}, {"top_p": 0}, {"top_p": 2}]),
    ],
)
def test_bounds(path: str, inside: list[Any], outside: list[Any]) -> None:
    for value in inside:
        TRANSLATION.with_values({f"writing.{path}": value})
    for value in outside:
        with pytest.raises(ValidationError):
            TRANSLATION.with_values({f"writing.{path}": value})


def test_candidates_come_from_the_beam() -> None:
    line = refused(writing={"decode": {"beam": 2}})[1]
    assert "candidates must be at most beam, but got candidates=4, beam=2; raise beam" in line


def test_one_vocabulary_or_two() -> None:
    assert Writing(vocabulary=2000).shared
    assert not Writing().shared
    assert Writing.model_validate({"vocabulary": {"source": 100}}).vocabulary.target == 3000  # type: ignore[union-attr]
    assert "must be a number of entries, or {source: 4000, target: 3000}" in refused(writing={"vocabulary": "many"})[1]


@pytest.mark.parametrize(
    ("tree", "path", "line"),
    [
        ({"train": {"algorithm": "exact"}}, "train.algorithm", "exact needs the outcome of every action"),
        ({"reading": {"unit": "tokens"}}, "reading.unit", "must be words under task translation, but got tokens"),
        ({"reading": {"cost": {"condition": [0.0, 0.1]}}}, "reading.cost", "must be one number"),
        ({"task": "generation", "reading": {}}, "reading", "must be off under task generation"),
        (
            {"reading": {}, "writing": {"decode": {"beam": 4}}},
            "writing.decode.beam",
            "must be 1 where a translation is",
        ),
        ({"reading": {}, "writing": {"increments": True}}, "writing.increments", "must be false where"),
        ({"reading": {}, "train": {"freeze": "none"}}, "train.freeze", "must be encoder where"),
        ({"reading": {}, "train": {"dropout": True}}, "train.dropout", "must be false where"),
        ({"reading": {}, "train": {"ppo": {"cross_entropy": 0.3}}}, "train.ppo.cross_entropy", "must be 0.0 where"),
    ],
)
def test_what_no_writer_can_do_is_refused(tree: dict[str, Any], path: str, line: str) -> None:
    found, said = refused(**tree)
    assert found == path
    assert said.startswith(line)


def test_what_a_writer_can_do_is_not() -> None:
    reads = TrialSettings.model_validate({"task": "translation", "reading": {"cost": 0.02}})
    assert reads.reading == Reading(unit="words", segment=1, max_segments=48, cost=0.02)
    assert (reads.train.freeze, reads.train.ppo.cross_entropy, reads.writing and reads.writing.decode.beam) == (
        "encoder", 0.0, 1,
    )  # fmt: skip
    assert TrialSettings.model_validate(reads.model_dump()) == reads
    TRANSLATION.with_values({"train.freeze": "encoder", "train.dropout": True, "train.ppo.cross_entropy": 0.3})


@pytest.mark.parametrize(
    ("spec", "terms"),
    [
        ("chrf", {"chrf": (1.0, {})}),
        ({"chrf": 0.7, "bleu": None}, {"chrf": (0.7, {}), "bleu": (1.0, {})}),
        (
            {"length": {"low": 3, "high": 12, "weight": 0.3}, "matches": "^[A-Z]"},
            {"length": (0.3, {"low": 3, "high": 12}), "matches": (1.0, {"pattern": "^[A-Z]"})},
        ),
        ({"function": "rewards:polite", "repetition": -1}, {"function": (1.0, {"name": "rewards:polite"}),
         "repetition": (-1.0, {})}),
        ({"classifier": {"bundle": "/b", "label": "joy"}}, {"classifier": (1.0, {"bundle": "/b", "label": "joy"})}),
    ],
)  # fmt: skip
def test_rewards_are_names_with_weights_and_options(spec: Any, terms: dict[str, Any]) -> None:
    assert {term.name: (term.weight, dict(term.options)) for term in parse_reward(spec)} == terms
    assert Writing(reward=spec).rewards == parse_reward(spec)


def test_a_reward_is_known_to_need_references_or_not() -> None:
    assert not Writing().reference_free
    assert not Writing(reward={"length": {"low": 1, "high": 2}, "bleu": 1}).reference_free
    assert Writing(reward={"length": {"low": 1, "high": 2}, "matches": "x"}).reference_free


@pytest.mark.parametrize(
    ("spec", "path", "line"),
    [
        ("rouge", PATH, f"must name one or more of {', '.join(KINDS)}, but got 'rouge'"),
        (3, PATH, "must be a reward's name, or names with weights or options, but got 3"),
        ({}, PATH, "must be a reward's name"),
        ("length", f"{PATH}.length", "needs low and high, but low is missing"),
        ({"chrf": 0}, f"{PATH}.chrf", "needs a weight that is a number and not 0, but got 0"),
        ({"chrf": "much"}, f"{PATH}.chrf", "needs a weight that is a number and not 0, but got 'much'"),
        ({"chrf": {"beta": 3}}, f"{PATH}.chrf", "has the options weight, but got 'beta'"),
        ({"matches": "("}, f"{PATH}.matches.pattern", "is no regular expression (missing ), unterminated subpattern"),
        ({"length": {"low": 0, "high": 4}}, f"{PATH}.length.low", "must be a number of words, at least 1, but got 0"),
        ({"length": {"low": 9, "high": 4}}, f"{PATH}.length", "needs low <= high, but got low=9, high=4"),
        ({"function": "polite"}, f"{PATH}.function.name", "must be module:function, my_rewards:polite say"),
        ({"classifier": {"bundle": "/b"}}, f"{PATH}.classifier", "needs bundle and label, but label is missing"),
        ({"classifier": {"bundle": "/b", "label": ""}}, f"{PATH}.classifier.label", "must be text, but got ''"),
    ],
)
def test_impossible_rewards_are_refused_by_their_key(spec: Any, path: str, line: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_reward(spec)
    assert caught.value.path == path
    assert str(caught.value).startswith(line)
    assert refused(writing={"reward": spec})[0] == path
