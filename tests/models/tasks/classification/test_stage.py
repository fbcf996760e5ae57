"""The two second stages of a reading classifier: what they learn from, and what they keep."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sweepstack.models.data.encoding import TaskData
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions, metrics
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.tasks.classification.checkpoint import load_member
from sweepstack.models.tasks.classification.stage import ControlStage, PolicyStage

Topics = SimpleNamespace
CONDITION = {"condition": [0.0, 0.2]}


def settings_of(topics: Topics, **values: object) -> TrialSettings:
    return topics.settings.with_values({name.replace("__", "."): value for name, value in values.items()})


def trained(stage: PolicyStage | ControlStage, epochs: int = 2) -> list[dict[str, float]]:
    reports: list[dict[str, float]] = []
    for epoch in range(epochs):
        reports.append({**stage.train(epoch, reports), **stage.score()})
    return reports


@pytest.mark.parametrize("kind", [PolicyStage, ControlStage])
def test_a_policy_for_an_interval_of_costs_reads_less_where_reading_costs_more(
    topics: Topics, tmp_path: Path, kind: type[PolicyStage] | type[ControlStage]
) -> None:
    """The checkpoint can be asked for any cost in it, and says of the middle what was stored."""
    algorithm = "ppo" if kind is PolicyStage else "supervised"
    settings = settings_of(
        topics,
        reading__cost=CONDITION,
        train__algorithm=algorithm,
        train__lr=3e-2,
        train__batch_size=32,
        train__epochs=6,
    )
    stage = kind(settings, topics.data, topics.starts, "reward", None)
    trained(stage, 6)
    stage.keep(tmp_path)
    member = load_member(tmp_path / "checkpoint")
    texts, labels = topics.dataset.parts["test"].inputs, topics.dataset.parts["test"].labels
    assert member.conditioned
    read = [metrics(member.read(texts, cost), labels, Costs(0.0))["segments"] for cost in (0.0, 0.1, 0.2)]
    assert read[0] > read[2]
    assert read[0] >= read[1] >= read[2]
    stored, _ = Predictions.load(tmp_path / "predictions" / "test.safetensors")
    np.testing.assert_array_equal(member.read(texts).stops(), stored.stops())


def test_a_policy_for_one_cost_cannot_be_asked_for_another(topics: Topics, tmp_path: Path) -> None:
    stage = PolicyStage(topics.settings, topics.data, topics.starts, "reward", None)
    trained(stage, 1)
    stage.keep(tmp_path)
    assert not load_member(tmp_path / "checkpoint").conditioned


def test_counts_are_over_all_epochs(topics: Topics) -> None:
    """140 texts, each played twice; batches of 40 episodes are 20 texts: seven updates an epoch."""
    settings = settings_of(topics, train__algorithm="rloo", train__rloo__samples=2, train__batch_size=40)
    reports = trained(PolicyStage(settings, topics.data, topics.starts, "reward", None))
    assert [r["episodes"] for r in reports] == [280, 560]
    assert [r["updates"] for r in reports] == [7, 14]
    assert [r["rollouts"] for r in reports] == [7, 14]


def test_costs_of_wrong_answers_are_what_it_answers_by(topics: Topics) -> None:
    """The first class is never far wrong, and anything else may cost 9: it is the answer wherever there is a doubt."""
    matrix = np.array([[0, 9, 9], [0.1, 0, 9], [0.1, 9, 0]], dtype=np.float32)
    data: TaskData = dataclasses.replace(topics.data, costs=matrix)
    settings = settings_of(topics, train__lr=1e-2, train__batch_size=32)
    first: list[float] = []
    for own in (data, topics.data):
        stage = PolicyStage(settings, own, topics.starts, "reward", None)
        trained(stage, 2)
        said = stage._predict("valid")
        costs = Costs(0.02, own.costs)
        first.append(float((said.answers(costs) == 0).mean()))
    assert first[0] > first[1] + 0.05


def test_training_alone_is_made_in_the_settings_precision(topics: Topics) -> None:
    """A bundle predicts in float32, and so does a trial: its predictions are those of the bundle."""
    settings = settings_of(topics, precision="float32", train__freeze="none")
    stage = PolicyStage(settings, topics.data, topics.starts, "reward", None)
    seen: list[str] = []
    with stage._training():
        seen.append(stage._policy.precision)
    stage._settings = settings.model_copy(update={"precision": "bfloat16"})
    with stage._training():
        seen.append(stage._policy.precision)
    seen.append(stage._policy.precision)
    assert seen == ["float32", "bfloat16", "float32"]
    assert torch.get_default_dtype() == torch.float32
