"""A frozen Transformer's cached states say what the whole policy says, and each actor learns what it should."""

import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sweepstack.models.networks.policy import PolicyOutput, ReadingPolicy
from sweepstack.models.tasks.classification import actors
from sweepstack.models.tasks.classification.actors import FrozenActor, WholeActor, freeze, frozen_parts
from sweepstack.models.tasks.classification.checkpoint import load_policy, predict
from sweepstack.models.tasks.classification.episodes import choices
from sweepstack.models.tasks.classification.supervised import ensure_start

ROWS = torch.tensor([5, 0, 17, 3, 64])


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors, "_kept", type(actors._kept)())


@pytest.fixture
def policy(topics: SimpleNamespace) -> Iterator[ReadingPolicy]:
    """A start whose READ and value heads look at something."""
    policy, _ = load_policy(ensure_start(topics.settings, topics.data, topics.starts), torch.device("cpu"))
    torch.manual_seed(0)
    for head in (policy.read_head, policy.value_head):
        torch.nn.init.normal_(head[-1].weight, std=0.5)
    return policy


def frozen(policy: ReadingPolicy, topics: SimpleNamespace, learns_labels: bool = False) -> FrozenActor:
    parts = frozen_parts(policy, topics.data, "start")
    return FrozenActor(policy, parts, topics.data.parts["policy"], learns_labels)


@pytest.mark.parametrize("learns_labels", [False, True])
def test_frozen_and_whole_say_the_same_everywhere(
    policy: ReadingPolicy, topics: SimpleNamespace, learns_labels: bool
) -> None:
    part = topics.data.parts["policy"]
    longest = int(part.n_segments[ROWS.numpy()].max())
    expected = policy(torch.from_numpy(part.tokens[ROWS.numpy(), :longest]))
    for actor in (frozen(policy, topics, learns_labels), WholeActor(policy, part)):
        for got, want in zip(actor.everywhere(ROWS, None), expected, strict=True):
            there = torch.arange(longest) < torch.from_numpy(part.n_segments)[ROWS, None]
            torch.testing.assert_close(got[there], want[there], atol=1e-5, rtol=1e-5)


def test_at_picks_the_decisions_asked_for(policy: ReadingPolicy, topics: SimpleNamespace) -> None:
    """Those of episodes in any order, some not at all, some twice."""
    episode, step = torch.tensor([3, 0, 0, 2, 2, 3]), torch.tensor([0, 1, 0, 1, 1, 0])
    for actor in (frozen(policy, topics), WholeActor(policy, topics.data.parts["policy"])):
        everywhere = actor.everywhere(ROWS, None)
        for got, table in zip(actor.at(ROWS, None, episode, step), everywhere, strict=True):
            torch.testing.assert_close(got, table[episode, step], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "learning"),
    [
        ("frozen", {"read_head", "value_head"}),
        ("learns labels", {"read_head", "value_head", "label_head"}),
        (
            "whole",
            {"read_head", "value_head", "label_head", "tokens", "encoder", "decoder", "norm", "positions", "steps"}
            | {"wide"},
        ),
    ],
)
def test_what_a_loss_reaches(policy: ReadingPolicy, topics: SimpleNamespace, kind: str, learning: set[str]) -> None:
    part = topics.data.parts["policy"]
    actor = WholeActor(policy, part) if kind == "whole" else frozen(policy, topics, kind == "learns labels")
    output: PolicyOutput = actor.at(ROWS, None, torch.tensor([0, 1]), torch.tensor([0, 1]))
    loss = output.label_logits[:, 0].sum() + output.values.sum() + output.read_logits.sum()
    torch.autograd.backward(loss)
    reached = {name.split(".")[0] for name, p in policy.named_parameters() if p.grad is not None}
    assert reached == learning


def test_predictions_are_those_of_the_policy(policy: ReadingPolicy, topics: SimpleNamespace) -> None:
    for kind in ("frozen", "whole"):
        actor = frozen(policy, topics) if kind == "frozen" else WholeActor(policy, topics.data.parts["policy"])
        for name in ("valid", "blend", "test"):
            expected = predict(policy, topics.data.parts[name])
            got = actor.predict(topics.data, name)
            np.testing.assert_allclose(
                got.probabilities[:, : expected.probabilities.shape[1]], expected.probabilities, atol=1e-5
            )
            np.testing.assert_allclose(got.answer[:, : expected.answer.shape[1]], expected.answer, atol=1e-5)
            np.testing.assert_array_equal(got.n_segments, expected.n_segments)
            np.testing.assert_array_equal(got.stops(), expected.stops())


@pytest.mark.parametrize("kind", ["frozen", "whole"])
def test_evaluation_reads_on_exactly_where_training_is_likelier_to(
    policy: ReadingPolicy, topics: SimpleNamespace, kind: str
) -> None:
    """Whatever the probability of its label is: READ is chosen against its answer, not against one label of several."""
    torch.nn.init.normal_(policy.read_head[-1].weight, std=3.0)
    torch.nn.init.constant_(policy.read_head[-1].bias, -2.5)
    part = topics.data.parts["policy"]
    actor = frozen(policy, topics) if kind == "frozen" else WholeActor(policy, part)
    rows = torch.arange(len(part))
    with torch.no_grad():
        output = actor.everywhere(rows, None)
    free = torch.arange(output.values.shape[1]) < torch.from_numpy(part.n_segments)[:, None] - 1
    probabilities = choices(output, free, actor.samples_labels).probs  # type: ignore[no-untyped-call]  # (rows, S, …)
    reads = probabilities[..., -1] > 0.5
    got = predict(policy, part)
    np.testing.assert_array_equal(got.stops(), reads.int().argmin(1).numpy())
    of_label = probabilities[..., :-1].sum(-1) * output.label_logits.softmax(-1).amax(-1)
    assert bool((~reads & (probabilities[..., -1] > of_label)).any()), "where READ is likelier than any one label"


def test_frozen_states_do_not_depend_on_the_rows_beside(policy: ReadingPolicy, topics: SimpleNamespace) -> None:
    part = topics.data.parts["policy"]
    whole = freeze(policy, part)
    few = freeze(policy, part.rows(ROWS.numpy()))
    for row, n in enumerate(part.n_segments[ROWS.numpy()]):
        torch.testing.assert_close(few.observations[row, :n], whole.observations[ROWS[row], :n], atol=1e-5, rtol=1e-5)


def test_trials_of_one_start_share_its_states_and_others_do_not(policy: ReadingPolicy, topics: SimpleNamespace) -> None:
    data = topics.data
    first = frozen_parts(policy, data, "a")
    assert frozen_parts(policy, data, "a") is first
    assert frozen_parts(policy, data, "b") is not first
    other = dataclasses.replace(data, hashes={**data.hashes, "policy": "another bootstrap sample"})
    assert frozen_parts(policy, other, "a") is not first


def test_the_oldest_states_go_when_there_are_too_many(
    policy: ReadingPolicy, topics: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = frozen_parts(policy, topics.data, "a")
    size = sum(t.nbytes for part in first.values() for t in (part.label_logits, part.observations))
    monkeypatch.setattr(actors, "MAX_BYTES", 2 * size)
    frozen_parts(policy, topics.data, "b")
    assert frozen_parts(policy, topics.data, "a") is first  # used again, so b is the oldest
    frozen_parts(policy, topics.data, "c")
    assert [key[0] for key in actors._kept] == ["a", "c"]
    monkeypatch.setattr(actors, "MAX_BYTES", 0)
    frozen_parts(policy, topics.data, "d")
    assert [key[0] for key in actors._kept] == ["d"]  # the latest always stays


def test_the_arrays_of_an_object_store_cannot_be_written_to(policy: ReadingPolicy, topics: SimpleNamespace) -> None:
    """Nor need they be; torch would warn of it, and a warning fails this test."""
    part = topics.data.parts["policy"]
    locked = dataclasses.replace(part, tokens=part.tokens.copy(), n_segments=part.n_segments.copy())
    locked.tokens.setflags(write=False)
    locked.n_segments.setflags(write=False)
    FrozenActor(policy, {"policy": freeze(policy, locked)}, locked, False).everywhere(ROWS, None)
    WholeActor(policy, locked).everywhere(ROWS, None)
