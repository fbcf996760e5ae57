"""Steps with a cache equal teacher forcing, whichever texts are picked, repeated or left out on the way."""

import pytest
import torch
from tiny_writer import SOURCES, make
from torch import Tensor

from sweepstack.models.data.bpe import BEGIN
from sweepstack.models.networks.writer import Writer

STEPS = 37  # beyond two doublings of the buffers


def texts(n: int, seed: int = 1) -> Tensor:
    """(n, STEPS), beginning with BEGIN."""
    drawn = torch.randint(3, 11, (n, STEPS), generator=torch.Generator().manual_seed(seed))
    drawn[:, 0] = BEGIN
    return drawn


def forced(writer: Writer, sources: Tensor, targets: Tensor) -> Tensor:
    """The states that the last token of each text leads to, in one pass."""
    return writer.states(writer.encode(sources), targets)[:, -1]


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sources", [SOURCES, SOURCES[:1]], ids=["padded", "whole"])
@torch.no_grad()
def test_each_step_equals_teacher_forcing(sources: Tensor) -> None:
    writer, targets = make(), texts(len(sources))
    whole = writer.states(writer.encode(sources), targets)
    cache = writer.begin(writer.encode(sources))
    for t in range(STEPS):
        states, cache = writer.step(cache, targets[:, t])
        close(states, whole[:, t])


@pytest.mark.parametrize(
    "picks",
    [
        [[1, 0, 2]],
        [[0, 0, 1, 1, 2, 2], [1, 0, 2, 3, 5, 4]],  # two of each, which change places
        [[0, 0, 1, 1, 2, 2], [0, 1, 4, 5], [3, 2]],  # a source is done
        [[0, 0, 1, 1, 2, 2], [0, 1, 2, 5], [3, 0, 2]],  # texts end one by one
        [[2], [0, 0, 0], [2, 1]],
        [[0, 1, 2, 0, 1, 2], [5, 4, 3, 2, 1, 0]],  # those of a source do not lie side by side
    ],
)
@torch.no_grad()
def test_what_is_left_goes_on_as_if_it_had_been_alone(picks: list[list[int]]) -> None:
    writer = make()
    cache = writer.begin(writer.encode(SOURCES))
    sources, taken = SOURCES, torch.full((3, 1), BEGIN)
    states, cache = writer.step(cache, taken[:, -1])
    for turn, picked in enumerate(picks):
        rows = torch.tensor(picked)
        sources, taken, cache = sources[rows], taken[rows], cache.select(rows)
        for t in range(7):  # so that some of them fill the first buffer
            more = torch.randint(3, 11, (len(rows), 1), generator=torch.Generator().manual_seed(10 * turn + t))
            taken = torch.cat([taken, more], dim=1)
            states, cache = writer.step(cache, taken[:, -1])
            close(states, forced(writer, sources, taken))


@torch.no_grad()
def test_texts_can_be_picked_before_the_first_step() -> None:
    writer, rows = make(), torch.tensor([0, 0, 2, 2])
    cache = writer.begin(writer.encode(SOURCES)).select(rows)
    states, _ = writer.step(cache, torch.full((4,), BEGIN))
    close(states, forced(writer, SOURCES[rows], torch.full((4, 1), BEGIN)))


@torch.no_grad()
def test_hypotheses_of_one_source_share_what_is_kept_of_it() -> None:
    writer = make()
    cache = writer.begin(writer.encode(SOURCES))
    wide = cache.select(torch.arange(3).repeat_interleave(4))
    assert wide.source[0] is cache.source[0]
    assert wide.select(torch.tensor([3, 2, 1, 0, 4, 5, 6, 7, 11, 11, 11, 8])).source[0] is cache.source[0]
    assert wide.select(torch.tensor([0, 1, 4])).source[0].shape[1] == 3  # unequal numbers: one for each text
    assert wide.select(torch.tensor([0, 1, 9, 10])).source[0].shape[1] == 2
