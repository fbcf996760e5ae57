from typing import Any

import pytest
from pydantic import ValidationError

from sweepstack.ensembles.builders.registry import options_of
from sweepstack.ensembles.builders.text_builders import TEXT_BUILDERS
from sweepstack.models.settings.base import SettingError
from sweepstack.search.study.ensembles_section import (
    WRITING_OPTIONS,
    Ensembles,
    refuse_for_answers,
    refuse_for_writing,
    writing_defaults,
)
from sweepstack.search.study.study import Study


def test_the_options_of_builders_of_texts_are_those_of_the_builders() -> None:
    fields = {
        name: {option: field.type for option, field in options_of(builder).items()}
        for name, builder in TEXT_BUILDERS.items()
    }
    assert fields == WRITING_OPTIONS


def test_what_a_study_leaves_out_is_that_of_its_task(writing_study: Study, study: Study) -> None:
    assert writing_study.ensembles.model_dump()["builders"] == writing_defaults()["builders"]
    assert writing_study.ensembles.library == ["trials", "memory", "supervised"]
    assert study.ensembles == Ensembles()
    refuse_for_writing(writing_study.ensembles)
    refuse_for_answers(study.ensembles)
    assert Study.model_validate({**writing_study.model_dump(), "ensembles": {"builders": ["soup"]}}).ensembles == (
        Ensembles(library=["trials", "memory", "supervised"], builders=["soup"])
    )


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        (
            {"builders": ["average", "stacking"]},
            "ensembles.builders[1]",
            "stacking is not for a task that writes",
        ),
        ({"builders": [{"bagging": {"top": 1}}]}, "ensembles.builders[0]", "bagging is not for"),
        ({"builders": ["cascade"]}, "ensembles.builders[0]", "cascade is not for"),
        ({"builders": ["boosting"]}, "ensembles.builders[0]", "average, minimum_bayes_risk, reranker, snapshots, soup"),
        (
            {"library": ["trials", "linear"]},
            "ensembles.library[1]",
            "use one of trials, memory, supervised",
        ),
        ({"refit": True}, "ensembles.refit", "take it out"),
        ({"distill": {}}, "ensembles.distill", "take it out"),
    ],
)
def test_what_says_nothing_of_texts_is_refused_by_its_key(given: dict[str, Any], path: str, words: str) -> None:
    whole = {"library": ["trials"], "builders": ["average"], **given}
    with pytest.raises(SettingError) as refused:
        refuse_for_writing(Ensembles(**whole))
    assert refused.value.path == path
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        ({"builders": ["minimum_bayes_risk"]}, "ensembles.builders[0]", "minimum_bayes_risk is not for classification"),
        ({"builders": [{"average": {"mean": "probabilities"}}]}, "ensembles.builders[0]", "has no option mean"),
        ({"library": ["memory"]}, "ensembles.library[0]", "memory is not for classification"),
    ],
)
def test_what_says_nothing_of_labels_is_refused_by_its_key(given: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(SettingError) as refused:
        refuse_for_answers(Ensembles(**given))
    assert refused.value.path == path
    assert words in str(refused.value)


def test_a_study_is_refused_before_anything_starts(writing_study: Study) -> None:
    tree = writing_study.model_dump()
    for given in ({"builders": ["boosting"]}, {"refit": True}, {"library": ["linear"]}):
        with pytest.raises(ValidationError):
            Study.model_validate({**tree, "ensembles": given})
    tree = {"name": "small", "task": "classification", "data": {"train": "builtin:languages"}}
    with pytest.raises(ValidationError, match="reranker is not for classification"):
        Study.model_validate({**tree, "ensembles": {"builders": ["reranker"]}})
