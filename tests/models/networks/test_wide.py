"""The linear model inside a policy is one: known n-grams read so far, weighed by idf, their weights added up."""

import math
from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sweepstack.models.networks.policy import ReadingPolicy, Shape
from sweepstack.models.networks.wide import (
    ALONE,
    CLASSES,
    DROPPED,
    LONGEST,
    MIN_TEXTS,
    SCALE,
    Wide,
    hashed_ngrams,
    known_ngrams,
    ngram_codes,
)
from sweepstack.models.settings.trial import Model, Reading

VOCABULARY = 12
HASHED = 8192
BEFORE = 4
Text = list[int]


def ngrams_of(text: Text, longest: int) -> list[tuple[int, ...]]:
    """Those that end in the text, one after the other; before it there are BEFORE, and 0 before that."""
    padded = ([0] * longest + [BEFORE] + text)[-(len(text) + longest - 1) :]
    ends = range(longest - 1, len(padded))
    return [tuple(padded[end - n : end + 1]) for end in ends for n in range(longest)]


def padded(texts: list[Text], width: int) -> torch.Tensor:
    segments = max(-(-len(text) // width) for text in texts)
    rows = [text + [0] * (segments * width - len(text)) for text in texts]
    return torch.tensor(rows, dtype=torch.int32).view(len(texts), segments, width)


def knowing(texts: list[Text], classes: int, longest: int) -> Wide:
    codes, idf = known_ngrams(padded(texts, 3).numpy(), BEFORE, VOCABULARY, longest)
    wide = Wide(VOCABULARY, len(codes), classes, longest)
    wide.know(codes, idf, BEFORE)
    return wide


texts = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=12), min_size=1, max_size=6)


@pytest.mark.parametrize("longest", [2, 3, 4])
@given(warm=texts, text=st.lists(st.integers(1, 4), min_size=1, max_size=12))
def test_it_is_a_linear_model_of_what_was_read_so_far(longest: int, warm: list[Text], text: Text) -> None:
    torch.manual_seed(0)
    wide = knowing(warm, 4, longest).eval()
    counts = Counter(ngram for each in warm for ngram in set(ngrams_of(each, longest)))
    idf = {n: math.log((1 + len(warm)) / (1 + count)) + 1 for n, count in counts.items() if count >= MIN_TEXTS}
    assert len(idf) == len(wide.codes) - 1
    logits = wide(padded([text], 3)).detach().numpy()[0]
    table = wide.table.weight.detach().double().numpy()
    for segment, said in enumerate(logits):
        total, squares = np.zeros(4), 0.0
        for ngram in ngrams_of(text[: 3 * (segment + 1)], longest):
            if ngram in idf:
                code = ngram_codes(torch.tensor([ngram]), torch.tensor(0), VOCABULARY, longest)[0, -1, len(ngram) - 1]
                row = wide.codes.tolist().index(int(code))
                total += idf[ngram] * table[row]
                squares += idf[ngram] ** 2
        np.testing.assert_allclose(said, SCALE * total / np.sqrt(max(squares, 1)), atol=1e-4)


@pytest.mark.parametrize("longest", [2, 3, 4])
def test_each_ngram_has_a_code_of_its_own(longest: int) -> None:
    units = torch.tensor([*product(range(1, VOCABULARY), repeat=longest)][:: 7 if longest == 4 else 1])
    codes = ngram_codes(units, torch.tensor(0), VOCABULARY, longest)
    inside = {n: codes[:, -1, n].unique().tolist() for n in range(longest)}
    begins = {n: codes[:, 0, n].unique().tolist() for n in range(1, longest)}  # another n-gram than the unit alone
    for n, each in inside.items():
        assert len(each) == len({tuple(ngram) for ngram in units[:, longest - 1 - n :].tolist()})
    every = [code for each in (*inside.values(), *begins.values()) for code in each]
    assert len(every) == len(set(every))


def test_of_one_text_or_of_none_it_knows_nothing() -> None:
    wide = knowing([[1, 2, 3]], 2, 3)
    assert len(wide.codes) == 1
    assert torch.equal(wide(padded([[1, 2, 3]], 3)), torch.zeros(1, 1, 2))


def test_words_at_the_beginning_are_words_as_they_are_later() -> None:
    """What comes before a text is a space, and so the n-gram " w" of a first word counts with those of later ones."""
    space, word = BEFORE, 2
    first, later = (
        ngram_codes(torch.tensor([text]), torch.tensor(space), VOCABULARY, 2) for text in ([word], [3, space, word])
    )
    assert torch.equal(first[0, 0], later[0, 2])


def test_some_ngrams_are_left_out_in_training_and_the_rest_counts_more() -> None:
    wide = knowing([[1], [1]], 1, 3)  # each text has three n-grams, of idf 1, of which each may be missing
    torch.nn.init.ones_(wide.table.weight)
    tokens = torch.ones(4000, 1, 1, dtype=torch.int32)
    torch.manual_seed(0)
    kept = wide.train()(tokens).squeeze() * (1 - DROPPED) / SCALE * math.sqrt(3)
    for count, ways in enumerate((1, 3, 3, 1)):
        share = (kept.round() == count).float().mean()
        assert share == pytest.approx(ways * DROPPED ** (3 - count) * (1 - DROPPED) ** count, abs=0.03)
    assert wide.eval()(tokens).unique().tolist() == pytest.approx([3 / math.sqrt(3) * SCALE])


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
    """It knows the n-grams of a text of ones."""
    torch.manual_seed(0)
    reading = reading or Reading()
    codes, idf = known_ngrams(np.ones((2, 3, 5), dtype=np.int32), BEFORE, VOCABULARY, LONGEST[reading.unit])
    shape = Shape(VOCABULARY, classes, len(codes))
    policy = ReadingPolicy(shape, reading, Model.model_validate({"d_model": 16, "heads": 2, **model}))
    if policy.wide is not None:
        policy.wide.know(codes, idf, BEFORE)
    return policy


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
