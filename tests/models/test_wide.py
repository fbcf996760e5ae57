"""The linear model inside a policy is one: a weight for every unit and n-gram read so far, over the root of length."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.models.policy import ReadingPolicy, Shape
from sweepstack.models.settings import Model, Reading
from sweepstack.models.wide import ALONE, CLASSES, DROPPED, HASHED, LONGEST, SCALE, Wide, hashed_ngrams

VOCABULARY = 12


def by_hand(wide: Wide, text: list[int]) -> np.ndarray:
    """The logits after reading ``text``, n-gram by n-gram."""
    table = wide.table.weight.detach().double().numpy()
    total = np.zeros(table.shape[1])
    for end, unit in enumerate(text):
        total += table[unit]
        before, earlier = (text[end - back] if end >= back else 0 for back in (1, 2))
        pair = unit * 31_337 + before * 7_919
        total += table[VOCABULARY + (pair ^ pair >> 13) % HASHED]
        if wide.longest == 3:
            triple = pair * 31_337 + earlier * 104_729
            total += table[VOCABULARY + HASHED + (triple ^ triple >> 13) % HASHED]
    return SCALE * total / np.sqrt(len(text))


@pytest.mark.parametrize("longest", [2, 3])
@given(text=st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=12))
def test_it_is_a_linear_model_of_what_was_read_so_far(longest: int, text: list[int]) -> None:
    torch.manual_seed(0)
    wide = Wide(VOCABULARY, 4, longest).eval()
    segments = -(-len(text) // 3)
    tokens = torch.tensor(text + [0] * (3 * segments - len(text)), dtype=torch.int32).view(1, segments, 3)
    logits = wide(tokens).detach().numpy()
    for segment in range(segments):
        np.testing.assert_allclose(logits[0, segment], by_hand(wide, text[: 3 * (segment + 1)]), atol=1e-4)


def test_some_ngrams_are_left_out_in_training_and_the_rest_counts_more() -> None:
    wide = Wide(VOCABULARY, 1, 3)
    torch.nn.init.ones_(wide.table.weight)
    tokens = torch.ones(4000, 1, 1, dtype=torch.int32)  # of one unit: three n-grams, of which each may be missing
    torch.manual_seed(0)
    kept = wide.train()(tokens).squeeze() * (1 - DROPPED) / SCALE
    for count, ways in enumerate((1, 3, 3, 1)):
        share = (kept.round() == count).float().mean()
        assert share == pytest.approx(ways * DROPPED ** (3 - count) * (1 - DROPPED) ** count, abs=0.03)
    assert wide.eval()(tokens).unique().tolist() == pytest.approx([3 * SCALE])


def test_ngrams_are_spread_over_the_table() -> None:
    """Of 40 · 40 pairs, or of as many triples, about as many meet in a row as would by chance."""
    units = torch.arange(1, 41)
    flat = torch.stack([units.repeat(40), units.repeat_interleave(40)], dim=1)
    flat = torch.cat([torch.full((1600, 1), 7), flat], dim=1)
    expected = HASHED * (1 - (1 - 1 / HASHED) ** 1600)
    for ngrams in hashed_ngrams(flat, 3, HASHED):
        last = ngrams[:, -1]
        assert 0 <= int(last.min()) <= int(last.max()) < HASHED
        assert len(last.unique()) > 0.9 * expected


def make(classes: int, reading: Reading | None = None, **model: object) -> ReadingPolicy:
    torch.manual_seed(0)
    shape = Shape(VOCABULARY, classes)
    return ReadingPolicy(shape, reading or Reading(), Model.model_validate({"d_model": 16, "heads": 2, **model}))


@pytest.mark.parametrize("unit", LONGEST)
def test_a_policy_begins_without_it(unit: str) -> None:
    policy = make(3, Reading.model_validate({"unit": unit})).eval()
    states = policy.states(torch.ones(2, 3, 5, dtype=torch.int32))
    assert states.shape == (2, 3, policy.state_size) == (2, 3, 16 + 3)
    assert states[..., 16:].abs().max() == 0
    policy.wide.table.weight.data += 1.0
    moved = policy.states(torch.ones(2, 3, 5, dtype=torch.int32))
    assert torch.equal(moved[..., :16], states[..., :16])
    difference = policy.label_head(moved) - policy.label_head(states)
    torch.testing.assert_close(difference, moved[..., 16:])


def test_too_many_labels_have_none() -> None:
    assert make(CLASSES).wide is not None
    policy = make(CLASSES + 1)
    assert policy.wide is None
    assert policy(torch.ones(2, 3, 5, dtype=torch.int32)).label_logits.shape == (2, 3, CLASSES + 1)


def test_in_training_some_texts_are_left_to_one_of_the_two() -> None:
    """At twice its weight, so that what both say together stays of the same size."""
    policy = make(3, dropout=0.5, word_dropout=0.0)
    with torch.no_grad():
        policy.wide.table.weight += 1.0
        policy.norm.weight.zero_()
        policy.norm.bias.fill_(1.0)
        alone = policy.eval().states(torch.ones(2000, 2, 5, dtype=torch.int32))
        torch.manual_seed(0)
        states = policy.train().states(torch.ones(2000, 2, 5, dtype=torch.int32))
    deep, wide = states[:, 0, 0], states[:, 0, -1] / alone[:, 0, -1]  # of which some n-grams are left out besides
    assert (wide[deep == 2] == 0).all()
    assert wide[deep == 1].mean() == pytest.approx(1, abs=0.05)
    assert wide[deep == 0].mean() == pytest.approx(2, abs=0.1)
    assert (deep == 2).float().mean() == pytest.approx(ALONE, abs=0.04)
    assert (deep == 0).float().mean() == pytest.approx(ALONE, abs=0.04)
