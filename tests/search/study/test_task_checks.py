"""What only another kind of task has is refused by its key, in one line, before anything starts."""

from typing import Any

import pytest
from pydantic import ValidationError

from sweepstack.search.study.messages import refusal
from sweepstack.search.study.study import Study

BASE: dict[str, Any] = {"name": "x", "task": "translation", "data": {"train": "/x.jsonl"}}


def refused(**changes: Any) -> tuple[str, str]:
    with pytest.raises(ValidationError) as caught:
        Study.model_validate({**BASE, **changes})
    return refusal(caught.value, Study)


@pytest.mark.parametrize(
    ("changes", "key", "line"),
    [
        ({"reading": {}, "ensembles": {"builders": ["average"]}}, "ensembles.builders", "must be [] where a source"),
        ({"reading": {}, "space": {"reading.cost": [0.1, 0.2]}}, "space.reading.cost", "cannot be searched where"),
        ({"reading": {"unit": "characters"}}, "reading.unit", "must be words under task translation"),
        ({"task": "generation", "reading": {"segment": 2}}, "reading", "must be off under task generation"),
        ({"search": {"metric": "ensemble_gain"}}, "search.metric", "ensemble_gain is for labels; use one of reward, "),
        ({"search": {"metric": "accuracy"}}, "search.metric", "must be one of reward, bleu, chrf, log_loss, length"),
        ({"search": {"packing": 3}}, "search.packing", "must be auto or off under task translation"),
        ({"ensembles": {"distill": {}}}, "ensembles.distill", "makes a student of labels"),
        ({"ensembles": {"library": ["trials", "naive_bayes"]}}, "ensembles.library[1]", "naive_bayes is not for"),
        ({"data": {"train": "/x.jsonl", "splits": {"folds": 3}}}, "data.splits.folds", "is not available under task"),
        ({"data": {"train": "/x.jsonl", "text": {"stem": "english"}}}, "data.text", "is for classification"),
        ({"train": {"env": {"copies": 2}}}, "train.env", "is for environments"),
        ({"train": {"algorithm": "exact"}}, "train.algorithm", "exact needs the outcome of every action"),
        ({"space": {"model.word_dropout": [0.1]}}, "space.model.word_dropout", "is for classification"),
        ({"writing": {"reward": "rouge"}}, "writing.reward", "must name one or more of chrf, bleu, "),
        ({"writing": {"reward": {"matches": "("}}}, "writing.reward.matches.pattern", "is no regular expression"),
        ({"task": "classification", "writing": {}}, "writing", "is for tasks that write"),
        ({"task": "classification", "search": {"metric": "chrf"}}, "search.metric", "must be one of reward, accuracy"),
        (
            {"task": "classification", "ensembles": {"builders": ["minimum_bayes_risk"]}},
            "ensembles.builders[0]",
            "minimum_bayes_risk is not for classification",
        ),
    ],
)
def test_what_is_for_another_task_is_refused(changes: dict[str, Any], key: str, line: str) -> None:
    found = refused(**changes)
    assert found[0] == key
    assert line in found[1]
    assert "\n" not in found[1]


@pytest.mark.parametrize("packing", ["auto", "off"])
def test_trials_of_writers_are_trained_one_by_one(packing: str) -> None:
    assert Study.model_validate({**BASE, "search": {"packing": packing}}).search.packing == packing


def test_translation_may_read_and_is_then_searched_by_what_reading_leaves_of_the_reward() -> None:
    study = Study.model_validate({**BASE, "reading": {"cost": 0.02}})
    assert (study.search.metric, study.ensembles.builders, study.metrics[-1]) == ("reward", [], "lagging")
    assert study.space["train.lr"] == {"log": [3e-3, 1e-1]}
    assert Study.model_validate(study.model_dump()) == study
    assert Study.model_validate(BASE).metrics[-1] != "lagging"
