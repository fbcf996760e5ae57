import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.models.batching import POOL, batches_by_length

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
