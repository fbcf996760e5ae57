"""Rewards as they are made in a worker, the one of a classifier's bundle among them."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import cloudpickle

from sweepstack.ensembles import load
from sweepstack.models.errors import StudyError
from sweepstack.search.execution.writing_reward import RewardOf, check_reward, reward_of
from sweepstack.search.study.study import Study


def study_of(reward: Any) -> Study:
    tree = {"name": "x", "task": "generation", "data": {"train": "/x.jsonl"}, "writing": {"reward": reward}}
    return Study.model_validate(tree)


def classifier(bundle: Path, label: str) -> dict[str, Any]:
    return {"bundle": str(bundle), "label": label}


def test_a_bundle_rewards_by_the_probability_of_its_label(finished_run: Path) -> None:
    spec = {"classifier": {**classifier(finished_run / "bundle", "number"), "weight": 0.5}, "repetition": 0.25}
    made = pickle.loads(pickle.dumps(RewardOf(spec)))  # as Ray sends it
    texts = ["seven two", "cat dog", ""]
    wanted = load(finished_run / "bundle").predict_proba(texts)[:, 2]
    got = made("en")(["a prompt"] * 3, None, texts)
    assert got == pytest.approx(0.5 * wanted + 0.25 * np.array([1, 1, 0]))
    assert got[0] > got[1] + 0.2
    sent = cloudpickle.dumps(made("en"))  # as it is when it judges a soup
    assert len(sent) < 10_000, "a bundle stays where it is"
    assert cloudpickle.loads(sent)([""] * 3, None, texts) == pytest.approx(got)


@pytest.mark.parametrize(
    ("label", "folder", "words"),
    [
        ("number", "nowhere", r"writing\.reward\.classifier\.bundle: .*nowhere"),
        ("fish", "bundle", r"writing\.reward\.classifier\.label: .* has the labels animal, colour, number, but got "),
    ],
)
def test_a_bundle_that_is_not_there_or_has_no_such_label_is_refused_in_one_line(
    label: str, folder: str, words: str, finished_run: Path
) -> None:
    study = study_of({"classifier": classifier(finished_run / folder, label)})
    with pytest.raises(StudyError, match=words) as caught:
        check_reward(study)
    assert "\n" not in str(caught.value)


def test_a_function_that_cannot_be_imported_is_refused() -> None:
    with pytest.raises(StudyError, match="no_such_module:polite cannot be imported"):
        check_reward(study_of({"function": "no_such_module:polite"}))


def test_a_reward_without_a_bundle_needs_none_and_classification_has_none(study: Study) -> None:
    assert reward_of(study) is None
    check_reward(study)
    made = reward_of(study_of("chrf"))
    assert made is not None
    assert made("en")(["x"], ["the cat"], ["the cat"]).tolist() == [1.0]


def test_the_bundles_path_is_made_absolute_from_where_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies, work = tmp_path / "studies", tmp_path / "work"
    studies.mkdir()
    work.mkdir()
    text = "task: generation\ndata: {train: a.jsonl}\nwriting: {reward: {classifier: {bundle: ../runs/b, label: x}}}\n"
    (studies / "s.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(work)
    own = Study.load(studies / "s.yaml").writing
    assert own is not None
    assert own.reward["classifier"]["bundle"] == str(tmp_path / "runs" / "b")
    other = Study.load(studies / "s.yaml", ["writing.reward.classifier.bundle=c"]).writing
    assert other is not None
    assert other.reward["classifier"] == {"bundle": str(work / "c"), "label": "x"}
