"""Episodes by hand, how often they are sampled, and what they are worth."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sweepstack.models.errors import TrainingError
from sweepstack.models.policy import PolicyOutput
from sweepstack.models.reading import Texts, log_probs_of, roll_out

SURE = 50.0  # a logit that leaves no doubt


@dataclass
class Table:
    """An actor that says what stands in its tables: (rows, S, K), (rows, S), (rows, S)."""

    label_logits: Tensor
    read_logits: Tensor
    values: Tensor
    samples_labels: bool = False

    def everywhere(self, rows: Tensor) -> PolicyOutput:
        return PolicyOutput(self.label_logits[rows], self.read_logits[rows], self.values[rows])

    def at(self, rows: Tensor, episode: Tensor, step: Tensor) -> PolicyOutput:
        return PolicyOutput(*(table[rows[episode], step] for table in self.everywhere(torch.arange(len(self.values)))))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_three_episodes_by_hand() -> None:
    """Row 0 reads once and answers rightly, row 1 answers at once and wrongly, row 2 would read beyond its end."""
    read = torch.tensor([[SURE, -SURE, SURE], [-SURE, SURE, SURE], [SURE, SURE, SURE]])
    labels = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])[:, None, :].repeat(1, 3, 1)  # always label 1
    texts = Texts(torch.tensor([1, 0, 1]), torch.tensor([3, 3, 2]), 0.25)
    episodes = roll_out(Table(labels, read, torch.ones(3, 3)), torch.arange(3), texts, seeded())
    assert episodes.answers.tolist() == [1, 1, 1]
    assert episodes.stops.tolist() == [1, 0, 1]
    assert episodes.rewards.tolist() == [[-0.25, 1, 0], [0, 0, 0], [-0.25, 1, 0]]
    assert episodes.taken.tolist() == [[True, True, False], [True, False, False], [True, True, False]]
    assert list(zip(episodes.episode.tolist(), episodes.step.tolist(), strict=True)) == [
        (0, 0),
        (0, 1),
        (1, 0),
        (2, 0),
        (2, 1),
    ]
    assert episodes.answered.tolist() == [False, True, True, False, True]
    assert episodes.free.tolist() == [True, True, True, True, False]  # at a text's end there is nothing to choose
    assert episodes.log_probs.tolist() == pytest.approx([0.0] * 5, abs=1e-6)


def test_reading_is_sampled_as_often_as_the_policy_says() -> None:
    n = 20_000
    read = torch.tensor([0.5, -1.0, 0.0]).repeat(n, 1)
    actor = Table(torch.zeros(n, 3, 2), read, torch.zeros(n, 3))
    texts = Texts(torch.zeros(n, dtype=torch.long), torch.full((n,), 3), 0.01)
    stops = roll_out(actor, torch.arange(n), texts, seeded()).stops
    first, second = (1 / (1 + math.exp(-x)) for x in (0.5, -1.0))
    expected = [1 - first, first * (1 - second), first * second]
    for stop, share in enumerate(expected):
        assert (stops == stop).float().mean().item() == pytest.approx(share, abs=0.012)  # 3.4 standard errors


def test_labels_are_sampled_or_the_likeliest_is_taken() -> None:
    n = 20_000
    logits = torch.tensor([0.7, 0.2, 0.1]).log().repeat(n, 1, 1)
    texts = Texts(torch.zeros(n, dtype=torch.long), torch.ones(n, dtype=torch.long), 0.0)
    for samples_labels, shares in ((True, [0.7, 0.2, 0.1]), (False, [1.0, 0.0, 0.0])):
        actor = Table(logits, torch.zeros(n, 1), torch.zeros(n, 1), samples_labels)
        episodes = roll_out(actor, torch.arange(n), texts, seeded())
        got = torch.bincount(episodes.answers, minlength=3) / n
        assert got.tolist() == pytest.approx(shares, abs=0.012)
        assert torch.equal(episodes.rewards[:, 0], (episodes.answers == 0).float())


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
    for stop in range(segments):
        step = torch.arange(stop + 1)
        output = table.at(torch.tensor([0]), torch.zeros_like(step), step)
        for label in range(3 if samples_labels else 1):
            answers = torch.full_like(step, label)
            log_probs = log_probs_of(output, step == stop, step < segments - 1, answers, samples_labels)
            total += log_probs.sum().exp().item()
    assert total == pytest.approx(1.0, abs=1e-5)


def test_a_seed_gives_the_same_episodes_whatever_was_drawn_globally() -> None:
    actor = Table(torch.zeros(50, 4, 3), torch.zeros(50, 4), torch.zeros(50, 4), samples_labels=True)
    texts = Texts(torch.zeros(50, dtype=torch.long), torch.full((50,), 4), 0.01)
    first = roll_out(actor, torch.arange(50), texts, seeded(3))
    torch.rand(7)
    again, other = (roll_out(actor, torch.arange(50), texts, seeded(seed)) for seed in (3, 4))
    assert torch.equal(first.stops, again.stops)
    assert torch.equal(first.answers, again.answers)
    assert not torch.equal(first.stops, other.stops)


@pytest.mark.parametrize("where", ["label_logits", "read_logits", "values"])
def test_what_is_not_a_number_is_said(where: str) -> None:
    actor = Table(torch.zeros(2, 3, 2), torch.zeros(2, 3), torch.zeros(2, 3), samples_labels=True)
    getattr(actor, where)[1, 1] = math.nan
    texts = Texts(torch.zeros(2, dtype=torch.long), torch.full((2,), 3), 0.01)
    with pytest.raises(TrainingError, match=r"not a number any more; lower train\.lr"):
        roll_out(actor, torch.arange(2), texts, seeded())
