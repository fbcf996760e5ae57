"""What objectives and seeds do not go with, each refused in a line before anything starts."""

from typing import Any

import pytest
from pydantic import ValidationError

from sweepstack.search.study.messages import refusal
from sweepstack.search.study.study import Study

BASE: dict[str, Any] = {"name": "x", "task": "classification", "data": {"train": "/x.jsonl"}}


def refused(**changes: Any) -> tuple[str, str]:
    with pytest.raises(ValidationError) as caught:
        Study.model_validate({**BASE, **changes})
    return refusal(caught.value, Study)


@pytest.mark.parametrize(
    ("search", "key", "line"),
    [
        ({"metric": ["seconds", "reward"]}, "search.metric", "must have seconds last: trials are ranked and stopped"),
        ({"metric": "seconds"}, "search.metric", "must be one of reward, accuracy"),
        ({"metric": ["reward", "reward"]}, "search.metric", "must name one metric, or several once each"),
        ({"metric": ["reward", "seconds"], "sampler": "cmaes"}, "search.sampler", "cmaes takes one objective, but "),
        ({"metric": ["reward", "seconds"], "sampler": "bayes"}, "search.sampler", "bayes takes one objective, but "),
        ({"metric": ["reward", "segments"], "metric_per": "seconds"}, "search.metric_per", "weighs the gain in one "),
        ({"metric_per": "seconds", "sampler": "grid"}, "search.metric_per", "has no use under the grid sampler"),
        ({"seeds": 2, "stopper": "pbt"}, "search.seeds", "must be 1 under pbt"),
        ({"seeds": 0}, "search.seeds", "must be at least 1, but got 0"),
    ],
)
def test_what_does_not_go_together_is_refused(search: dict[str, Any], key: str, line: str) -> None:
    found = refused(search=search)
    assert found[0] == key
    assert found[1].startswith(line)


def test_a_seed_that_is_searched_cannot_be_repeated_over() -> None:
    key, line = refused(search={"seeds": 2}, space={"train.seed": [0, 1]})
    assert key == "search.seeds"
    assert "take it out of one of them" in line


def test_objectives_are_ordered_and_one_alone_is_a_word() -> None:
    study = Study.model_validate({**BASE, "search": {"metric": ["reward", "segments", "seconds"]}})
    assert (study.search.objectives, study.search.objective) == (("reward", "segments", "seconds"), "reward")
    assert Study.model_validate({**BASE, "search": {"metric": ["accuracy"]}}).search.metric == "accuracy"
    played = {"name": "x", "task": "gym:CartPole-v1", "search": {"metric": ["reward", "seconds"]}}
    assert Study.model_validate(played).search.objectives == ("reward", "seconds")


def test_that_a_stopper_knows_one_objective_is_said() -> None:
    several = {"metric": ["reward", "seconds"]}
    (note,) = Study.model_validate({**BASE, "search": several}).search.notes()
    assert note.startswith("search.stopper judges by reward alone")
    assert Study.model_validate({**BASE, "search": {**several, "stopper": "none"}}).search.notes() == ()
    assert Study.model_validate(BASE).search.notes() == ()
