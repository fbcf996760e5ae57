"""Batches hold every row once; their pieces keep to a budget; their sizes follow from what was reported."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.models.optim.batching import (
    POOL,
    UNTOLD,
    batch_candidates,
    batches_by_length,
    batches_by_tokens,
    gradient_noise,
    micro_batches,
    next_batch_size,
)

LENGTHS = st.lists(st.integers(1, 16), min_size=0, max_size=200).map(lambda each: np.array(each, dtype=np.int64))


@given(lengths=LENGTHS, size=st.integers(1, 50), seed=st.integers(0, 99))
def test_every_row_stands_in_one_batch_once(lengths: np.ndarray, size: int, seed: int) -> None:
    batches = list(batches_by_length(lengths, size, seed))
    assert sorted(row for batch in batches for row in batch.tolist()) == list(range(len(lengths)))
    # As many batches as supervised.steps_in counts, so that the learning-rate schedule spans them.
    assert len(batches) == -(-len(lengths) // size)
    assert sorted(map(len, batches), reverse=True)[:-1] == [size] * (len(batches) - 1)


def test_texts_of_like_length_are_together() -> None:
    """256 rows of lengths 1 to 8 in batches of 32 are one pool: a batch holds few lengths, not eight."""
    lengths = np.random.default_rng(0).integers(1, 9, 32 * POOL)
    spread = [int(np.ptp(lengths[batch])) for batch in batches_by_length(lengths, 32, 0)]
    assert sum(spread) <= 7  # sorted, each boundary between two lengths lies in at most one batch


def test_a_seed_repeats_itself_and_another_gives_another_order() -> None:
    lengths = np.ones(40, dtype=np.int64)
    first, again, other = (np.concatenate(list(batches_by_length(lengths, 8, seed))).tolist() for seed in (1, 1, 2))
    assert first == again != other


@given(
    lengths=LENGTHS.filter(len),
    rows=st.data(),
    width=st.integers(1, 5),
    budget=st.one_of(st.none(), st.integers(1, 300)),
)
def test_pieces_hold_each_row_once_within_the_budget(
    lengths: np.ndarray, rows: st.DataObject, width: int, budget: int | None
) -> None:
    index = np.array(rows.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, unique=True)), dtype=np.int64)
    pieces = micro_batches(index, lengths, width, budget)
    assert sorted(np.concatenate(pieces).tolist()) == sorted(index.tolist())
    assert all(len(piece) for piece in pieces)
    if budget is None:
        assert [piece.tolist() for piece in pieces] == [index.tolist()]
        return
    assert all(len(piece) == 1 or len(piece) * lengths[piece].max() * width <= budget for piece in pieces)
    for before, after in pairwise(pieces):  # none could have taken one row more
        assert (len(before) + 1) * lengths[after[0]] * width > budget


def test_pieces_by_hand() -> None:
    """At 12 tokens, two a segment: three rows of one or two segments, then one of three and one, too long, of seven."""
    lengths = np.array([3, 1, 7, 2, 2])
    pieces = micro_batches(np.arange(5), lengths, 2, 12)
    assert [piece.tolist() for piece in pieces] == [[1, 3, 4], [0], [2]]


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [
        (1, (1,)),
        (3, (1,)),
        (8, (1, 2)),
        (140, (4, 8, 16, 32)),
        (1645, (32, 64, 128, 256)),
        (3000, (64, 128, 256, 512)),
        (1_000_000, (16384, 32768, 65536, 131072)),
    ],
)
def test_candidates(rows: int, sizes: tuple[int, ...]) -> None:
    assert batch_candidates(rows) == sizes


@given(st.integers(4, 10**7))
def test_candidates_leave_four_updates_an_epoch_and_twice_the_largest_would_not(rows: int) -> None:
    assert rows / batch_candidates(rows)[-1] >= 4 > rows / (2 * batch_candidates(rows)[-1])


def test_no_rows_have_no_candidates() -> None:
    with pytest.raises(ValueError, match="at least one row, but got rows=0"):
        batch_candidates(0)


@pytest.mark.parametrize(
    ("values", "size"),
    [
        ([], 64),
        ([0.5], 64),
        ([0.5, 0.6, 0.7], 64),
        ([0.5, 0.5], 128),  # as good is no improvement
        ([0.5, 0.6, 0.55], 128),
        ([0.5, 0.4, 0.45], 256),  # better than the one before, but not than the best
        ([0.5, 0.4, 0.6], 128),  # it does not shrink again
        ([0.5, 0.4, 0.4, 0.4, 0.4], 300),
    ],
)
def test_adaptive_doubles_on_a_plateau(values: list[float], size: int) -> None:
    assert next_batch_size("adaptive", [{}] * len(values), values, 64, 300) == size


@pytest.mark.parametrize(
    ("scales", "size"),
    [
        ([], 64),
        ([90.0], 64),  # below √2 · 64
        ([91.0], 128),
        ([5000.0], 128),  # twice at most
        ([5000.0, 5000.0], 256),
        ([5000.0] * 9, 1024),
        ([0.0], 64),
        ([5000.0, 5000.0, 10.0], 128),  # and half
        ([200.0, 200.0, 300.0], 256),
    ],
)
def test_noise_scale_is_followed(scales: list[float], size: int) -> None:
    reports = [{"noise_scale": scale} for scale in scales]
    assert next_batch_size("noise_scale", reports, [0.0] * len(scales), 64, 1024) == size


def test_without_a_measurement_the_size_stays() -> None:
    assert next_batch_size("noise_scale", [{"noise_scale": 500.0}, {}], [0.0, 0.0], 64, 1024) == 128


@given(
    scales=st.lists(st.floats(0, 1e12), max_size=12),
    bounds=st.tuples(st.integers(1, 2000), st.integers(1, 2000)).map(sorted),
)
def test_sizes_keep_within_their_bounds_and_move_by_a_factor_of_two(scales: list[float], bounds: list[int]) -> None:
    low, high = bounds
    reports = [{"noise_scale": scale} for scale in scales]
    for kind in ("adaptive", "noise_scale"):
        sizes = [next_batch_size(kind, reports[:n], scales[:n], low, high) for n in range(len(scales) + 1)]
        assert sizes[0] == low
        assert all(low <= size <= high for size in sizes)
        assert all(after <= 2 * before and before <= 2 * after + 1 for before, after in pairwise(sizes))


def test_gradient_noise_by_hand() -> None:
    """Pieces of 1, 1 and 2 samples with means 0, 4 and 2: ĝ = 2; (1·4 + 1·4 + 2·0) / 2 = 4; 2² − 4/4 = 3."""
    noise = gradient_noise(torch.tensor([[0.0], [4.0], [2.0]]), [1, 1, 2])
    assert [float(each) for each in noise] == pytest.approx([4.0, 3.0, 4 / 3])


def test_gradient_noise_of_a_known_covariance() -> None:
    """Samples of N(μ, diag(σ²)): variance Σσ², squared norm |μ|², without bias, whatever the pieces' sizes."""
    random = torch.Generator().manual_seed(0)
    deviations = torch.linspace(0.1, 2.0, 30)
    true = torch.full((30,), 0.4)
    sizes = [4, 8, 8, 16, 3]
    found = []
    for _ in range(2000):
        pieces = [(true + deviations * torch.randn(n, 30, generator=random)).mean(0) for n in sizes]
        found.append(torch.stack(gradient_noise(torch.stack(pieces), sizes)[:2]))
    variance, squared_norm = torch.stack(found).mean(0).tolist()
    assert variance == pytest.approx(float(deviations.square().sum()), rel=0.02)  # 44.2; four standard errors: 1.7%
    assert squared_norm == pytest.approx(0.4**2 * 30, rel=0.02)  # 4.8


@pytest.mark.parametrize(
    ("gradients", "scale"),
    [
        ([[1.0, 2.0], [1.0, 2.0]], 0.0),  # no noise
        ([[0.0, 0.0], [0.0, 0.0]], 0.0),  # nothing at all
        ([[1.0, 0.0], [-1.0, 0.0]], UNTOLD * 6),  # nothing but noise
    ],
)
def test_gradient_noise_at_its_limits(gradients: list[list[float]], scale: float) -> None:
    assert float(gradient_noise(torch.tensor(gradients), [3, 3]).scale) == pytest.approx(scale)


@pytest.mark.parametrize("sizes", [[3], [3, 3]])
def test_one_piece_tells_no_noise(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="at least two pieces"):
        gradient_noise(torch.ones(1, 4), sizes)


@given(
    lengths=st.lists(st.tuples(st.integers(1, 16), st.integers(1, 16)), max_size=200),
    budget=st.integers(1, 200),
    seed=st.integers(0, 99),
)
def test_batches_by_tokens_keep_to_their_budget(lengths: list[tuple[int, int]], budget: int, seed: int) -> None:
    """Padding included; only a row that is alone may have more. How many batches there are does not depend on a seed,
    so that a learning-rate schedule spans them."""
    sources, targets = np.array(lengths, dtype=np.int64).reshape(-1, 2).T
    batches = batches_by_tokens(sources, targets, budget, seed)
    assert sorted(row for batch in batches for row in batch.tolist()) == list(range(len(lengths)))
    tokens = [len(batch) * int(sources[batch].max() + targets[batch].max()) for batch in batches]
    assert all(count <= budget or len(batch) == 1 for count, batch in zip(tokens, batches, strict=True))
    assert len(batches_by_tokens(sources, targets, budget, seed + 1)) == len(batches)


def test_batches_by_tokens_mix_rows_of_equal_lengths() -> None:
    lengths = np.full(64, 5, dtype=np.int64)
    first, again, other = (batches_by_tokens(lengths, lengths, 80, seed) for seed in (0, 0, 1))
    assert [len(batch) for batch in first] == [8] * 8
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert {frozenset(batch.tolist()) for batch in first}.isdisjoint({frozenset(batch.tolist()) for batch in other})
