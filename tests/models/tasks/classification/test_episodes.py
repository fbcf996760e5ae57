"""Episodes by hand, how often they are sampled, and what they are worth."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import Parameter

from sweepstack.models.errors import TrainingError
from sweepstack.models.networks.policy import PolicyOutput
from sweepstack.models.tasks.classification.episodes import ReadingPlayer, ReadingRollout, Texts, choices

SURE = 50.0  # a logit that leaves no doubt


@dataclass
class Table:
    """An actor that says what stands in its tables: (rows, S, K), (rows, S), (rows, S)."""

    label_logits: Tensor
    read_logits: Tensor
    values: Tensor
    samples_labels: bool = False

    def everywhere(self, rows: Tensor, cost: Tensor | None) -> PolicyOutput:
        self.told = cost
        return PolicyOutput(self.label_logits[rows], self.read_logits[rows], self.values[rows])

    def at(self, rows: Tensor, cost: Tensor | None, episode: Tensor, step: Tensor) -> PolicyOutput:
        self.told = cost
        tables = self.label_logits, self.read_logits, self.values
        return PolicyOutput(*(table[rows[episode], step] for table in tables))

    def value_parameters(self) -> Sequence[Parameter]:
        return []


def roll_out(actor: Table, rows: Tensor, texts: Texts, random: torch.Generator, samples: int = 1) -> ReadingRollout:
    return ReadingPlayer(actor, texts, 1.0).roll_out(rows, samples, random)


def stops_of(rollout: ReadingRollout) -> Tensor:
    return rollout.taken.sum(1) - 1


def answers_of(rollout: ReadingRollout) -> Tensor:
    """(B,): the last action of each episode."""
    return rollout.actions[rollout.step == stops_of(rollout)[rollout.row]]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_three_episodes_by_hand() -> None:
    """Row 0 reads once and answers rightly, row 1 answers at once and wrongly, row 2 would read beyond its end."""
    read = torch.tensor([[SURE, -SURE, SURE], [-SURE, SURE, SURE], [SURE, SURE, SURE]])
    labels = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])[:, None, :].repeat(1, 3, 1)  # always label 1
    texts = Texts(torch.tensor([1, 0, 1]), torch.tensor([3, 3, 2]), (0.25, 0.25))
    episodes = roll_out(Table(labels, read, torch.ones(3, 3)), torch.arange(3), texts, seeded())
    assert stops_of(episodes).tolist() == [1, 0, 1]
    assert episodes.rewards.tolist() == [[-0.25, 1, 0], [0, 0, 0], [-0.25, 1, 0]]
    assert episodes.taken.tolist() == [[True, True, False], [True, False, False], [True, True, False]]
    assert list(zip(episodes.row.tolist(), episodes.step.tolist(), strict=True)) == [
        (0, 0),
        (0, 1),
        (1, 0),
        (2, 0),
        (2, 1),
    ]
    assert episodes.actions.tolist() == [1, 0, 0, 1, 0]  # 1 is READ where the best label is what is answered
    assert episodes.free.tolist() == [True, True, True, True, False]  # at a text's end there is nothing to choose
    assert episodes.log_probs.tolist() == pytest.approx([0.0] * 5, abs=1e-6)


def test_reading_is_sampled_as_often_as_the_policy_says() -> None:
    n = 20_000
    read = torch.tensor([0.5, -1.0, 0.0]).repeat(n, 1)
    actor = Table(torch.zeros(n, 3, 2), read, torch.zeros(n, 3))
    texts = Texts(torch.zeros(n, dtype=torch.long), torch.full((n,), 3), (0.01, 0.01))
    stops = stops_of(roll_out(actor, torch.arange(n), texts, seeded()))
    first, second = (1 / (1 + math.exp(-x)) for x in (0.5, -1.0))
    expected = [1 - first, first * (1 - second), first * second]
    for stop, share in enumerate(expected):
        assert (stops == stop).float().mean().item() == pytest.approx(share, abs=0.012)  # 3.4 standard errors


def test_labels_are_sampled_or_the_likeliest_is_taken() -> None:
    n = 20_000
    logits = torch.tensor([0.7, 0.2, 0.1]).log().repeat(n, 1, 1)
    texts = Texts(torch.zeros(n, dtype=torch.long), torch.ones(n, dtype=torch.long), (0.0, 0.0))
    for samples_labels, shares in ((True, [0.7, 0.2, 0.1]), (False, [1.0, 0.0, 0.0])):
        actor = Table(logits, torch.zeros(n, 1), torch.zeros(n, 1), samples_labels)
        episodes = roll_out(actor, torch.arange(n), texts, seeded())
        got = episodes.rewards[:, 0].mean().item()  # 0 is right
        assert got == pytest.approx(shares[0], abs=0.012)
        if samples_labels:
            counts = torch.bincount(answers_of(episodes), minlength=3) / n
            assert counts.tolist() == pytest.approx(shares, abs=0.012)
            assert torch.equal(episodes.rewards[:, 0], (answers_of(episodes) == 0).float())


@given(st.integers(1, 5), st.integers(0, 99), st.booleans())
def test_the_episodes_that_a_text_can_have_sum_to_one(segments: int, seed: int, samples_labels: bool) -> None:
    """exp of the summed log-probabilities over every stop (and, where labels are sampled, every label)."""
    random = seeded(seed)
    table = Table(
        torch.randn((1, segments, 3), generator=random),
        3 * torch.randn((1, segments), generator=random),
        torch.zeros(1, segments),
    )
    total = 0.0
    read_action = 3 if samples_labels else 1
    for stop in range(segments):
        step = torch.arange(stop + 1)
        output = table.at(torch.tensor([0]), None, torch.zeros_like(step), step)
        for label in range(read_action):
            actions = torch.where(step == stop, label, read_action)
            log_probs = choices(output, step < segments - 1, samples_labels).log_prob(actions)
            total += log_probs.sum().exp().item()
    assert total == pytest.approx(1.0, abs=1e-5)


def test_a_seed_gives_the_same_episodes_whatever_was_drawn_globally() -> None:
    actor = Table(torch.zeros(50, 4, 3), torch.zeros(50, 4), torch.zeros(50, 4), samples_labels=True)
    texts = Texts(torch.zeros(50, dtype=torch.long), torch.full((50,), 4), (0.01, 0.01))
    first = roll_out(actor, torch.arange(50), texts, seeded(3))
    torch.rand(7)
    again, other = (roll_out(actor, torch.arange(50), texts, seeded(seed)) for seed in (3, 4))
    assert torch.equal(first.taken, again.taken)
    assert torch.equal(first.actions, again.actions)
    assert not torch.equal(first.taken, other.taken)


@pytest.mark.parametrize("where", ["label_logits", "read_logits", "values"])
def test_what_is_not_a_number_is_said(where: str) -> None:
    actor = Table(torch.zeros(2, 3, 2), torch.zeros(2, 3), torch.zeros(2, 3), samples_labels=True)
    getattr(actor, where)[1, 1] = math.nan
    texts = Texts(torch.zeros(2, dtype=torch.long), torch.full((2,), 3), (0.01, 0.01))
    with pytest.raises(TrainingError, match=r"not a number any more; lower train\.lr"):
        roll_out(actor, torch.arange(2), texts, seeded())


def test_an_answer_is_worth_what_the_matrix_says() -> None:
    """Label 1 is likelier, but where 0 is right it costs 9: the better answer is 0, and what it earns stands there."""
    logits = torch.tensor([0.4, 0.6]).log().repeat(2, 1, 1)
    worth = torch.tensor([[1.0, -8.0], [0.0, 1.0]])  # (right, answered)
    texts = Texts(torch.tensor([0, 1]), torch.ones(2, dtype=torch.long), (0.0, 0.0), worth=worth)
    actor = Table(logits, torch.zeros(2, 1), torch.zeros(2, 1))
    assert roll_out(actor, torch.arange(2), texts, seeded()).rewards[:, 0].tolist() == [1.0, 0.0]
    plain = dataclasses.replace(texts, worth=None)
    assert roll_out(actor, torch.arange(2), plain, seeded()).rewards[:, 0].tolist() == [0.0, 1.0]


def test_a_cost_of_reading_is_drawn_for_each_text_and_told() -> None:
    """Between .1 and .3, the same for all episodes of a text; the READs of an episode cost just that."""
    n = 500
    actor = Table(torch.zeros(n, 3, 2), torch.full((n, 3), SURE), torch.zeros(n, 3))
    texts = Texts(torch.zeros(n, dtype=torch.long), torch.full((n,), 3), (0.1, 0.3), told=True)
    rollout = roll_out(actor, torch.arange(n), texts, seeded(), samples=2)
    assert rollout.costs.min().item() >= 0.1
    assert rollout.costs.max().item() <= 0.3
    assert rollout.costs.mean().item() == pytest.approx(0.2, abs=0.01)
    assert torch.equal(actor.told, rollout.costs)
    assert torch.equal(rollout.rewards[:, 0], -rollout.costs[rollout.group])
    ReadingPlayer(actor, texts, 1.0).evaluate(rollout, torch.arange(4))
    assert torch.equal(actor.told, rollout.costs)
    untold = dataclasses.replace(texts, told=False)
    roll_out(actor, torch.arange(n), untold, seeded())
    assert actor.told is None


def test_a_constant_reward_pays_for_nothing_and_punishes_nothing() -> None:
    actor = Table(torch.zeros(20, 3, 2), torch.zeros(20, 3), torch.zeros(20, 3), samples_labels=True)
    texts = Texts(torch.zeros(20, dtype=torch.long), torch.full((20,), 3), (0.5, 0.5), constant=True)
    rollout = roll_out(actor, torch.arange(20), texts, seeded())
    assert rollout.rewards.sum(1).tolist() == [1.0] * 20


def test_labels_that_learn_are_scored_by_cross_entropy_too() -> None:
    """−ln P(right), where labels are sampled; ln 4 for one of four, weighed 3 by its class."""
    actor = Table(torch.zeros(2, 1, 4), torch.zeros(2, 1), torch.zeros(2, 1), samples_labels=True)
    weights = torch.tensor([1.0, 3.0, 1.0, 1.0])
    texts = Texts(torch.tensor([0, 1]), torch.ones(2, dtype=torch.long), (0.0, 0.0), class_weights=weights)
    player = ReadingPlayer(actor, texts, 1.0)
    rollout = player.roll_out(torch.arange(2), 1, seeded())
    said = player.evaluate(rollout, torch.arange(2)).cross_entropy
    assert said is not None
    assert said.tolist() == pytest.approx([math.log(4), 3 * math.log(4)])
    fixed = ReadingPlayer(dataclasses.replace(actor, samples_labels=False), texts, 1.0)
    assert fixed.evaluate(fixed.roll_out(torch.arange(2), 1, seeded()), torch.arange(2)).cross_entropy is None


@given(st.integers(1, 30), st.integers(1, 60), st.integers(0, 9))
def test_pieces_hold_every_decision_once_within_the_budget(rows: int, budget: int, seed: int) -> None:
    random = seeded(seed)
    lengths = torch.randint(1, 5, (rows,), generator=random)
    actor = Table(torch.zeros(rows, 4, 2), torch.zeros(rows, 4), torch.zeros(rows, 4))
    texts = Texts(torch.zeros(rows, dtype=torch.long), lengths, (0.0, 0.0), width=2, token_budget=budget)
    player = ReadingPlayer(actor, texts, 1.0)
    rollout = player.roll_out(torch.randperm(rows, generator=random), 2, random)
    index = torch.randperm(len(rollout.row), generator=random)
    pieces = player.pieces(rollout, index)
    assert sorted(torch.cat(list(pieces)).tolist()) == list(range(len(rollout.row)))
    for piece in pieces:
        played = rollout.texts[rollout.group[rollout.row[piece]].unique()]
        tokens = len(played) * int(lengths[played].max()) * 2
        assert tokens <= budget or len(played) == 1


@pytest.mark.parametrize("samples", [1, 3])
def test_a_rollout_keeps_to_the_budget_and_is_the_same_as_without(samples: int) -> None:
    """Thirty tokens at a time, of texts of one to four segments of two; a text has eight at most."""
    random, rows = seeded(3), 40
    lengths = torch.randint(1, 5, (rows,), generator=random)
    tables = (torch.randn((rows, 4, *more), generator=random) for more in ((3,), (), ()))

    class Counted(Table):
        most = 0

        def everywhere(self, rows: Tensor, cost: Tensor | None) -> PolicyOutput:
            longest = int(lengths[rows].max())
            self.most = max(self.most, len(rows) * longest * 2)
            return PolicyOutput(*(table[:, :longest] for table in super().everywhere(rows, cost)))

    actor = Counted(*tables, samples_labels=True)
    whole = Texts(torch.zeros(rows, dtype=torch.long), lengths, (0.1, 0.1), width=2)
    batch = torch.randperm(rows, generator=random)
    expected, without = roll_out(actor, batch, whole, seeded(), samples), actor.most
    actor.most = 0
    got = roll_out(actor, batch, dataclasses.replace(whole, token_budget=30), seeded(), samples)
    assert without == 40 * 4 * 2
    assert 8 < actor.most <= 30
    for name in ("rewards", "taken", "actions", "log_probs", "row", "step"):
        assert torch.equal(getattr(got, name), getattr(expected, name))
    assert torch.equal(got.values[got.taken], expected.values[got.taken])
