"""Average lagging against values worked out by hand, and where the words of a source end among its tokens."""

import pytest
import torch

from sweepstack.models.data.bpe import SPECIAL
from sweepstack.models.data.source_words import last_words, word_tables
from sweepstack.models.tasks.writing.lagging import average_lagging, wait_k, whole_lagging


@pytest.mark.parametrize(
    ("read", "length", "words", "expected"),
    [
        ([4, 4, 4], 3, 4, 4.0),  # everything first: as many as there are
        ([1, 2, 3, 4], 4, 4, 1.0),  # wait-1 of equal length
        ([2, 3, 4, 4], 4, 4, 2.0),  # wait-2: (2 + (3 − 1) + (4 − 2)) / 3
        ([1, 2, 4, 4], 4, 4, 4 / 3),  # (1 + (2 − 1) + (4 − 2)) / 3
        ([2, 4, 4, 4, 4, 4, 4, 4], 8, 4, 2.75),  # half a word a token: (2 + (4 − .5)) / 2
        ([1, 1], 2, 4, 0.0),  # ended before everything was read: (1 + (1 − 2)) / 2
    ],
)
def test_average_lagging_is_what_it_is_by_hand(read: list[int], length: int, words: int, expected: float) -> None:
    padded = torch.tensor([[*read, 0], [1] * (len(read) + 1)])
    found = average_lagging(padded, torch.tensor([length, 1]), torch.tensor([words, 1])).sum(1)
    assert found.tolist() == pytest.approx([expected, 1.0])


def test_wait_k_reads_k_first_and_then_one_a_token() -> None:
    path = wait_k(torch.tensor([1, 2, 9]), 4, torch.tensor([3, 5, 4]))
    assert path.tolist() == [[1, 2, 3, 3], [2, 3, 4, 5], [4, 4, 4, 4]]


def test_a_word_ends_where_the_next_one_begins_and_signs_are_words_of_their_own() -> None:
    entries = [*SPECIAL, " in", "ter", " (", ")", "中文", "文", " ", "%d", " a1", "!?"]
    place = {entry: i for i, entry in enumerate(entries)}
    tables = word_tables(entries)
    assert tables[:, 2].tolist() == [0, 1, 1, 1, 1, 1, 1, 1, 2, 1, 0, 2, 1, 1]
    texts = {
        (" in", "ter", " in"): [0, 0, 1],
        (" (", "ter", ")", "!?"): [0, 1, 2, 2],  # marks that stand together are one word
        ("中文", "文", "ter"): [1, 2, 3],  # a token of two signs is read with the second
        (" in", " ", " in"): [0, 0, 1],
        (" in", "%d"): [0, 2],
    }
    for text, expected in texts.items():
        assert last_words(torch.tensor([[place[each] for each in text] + [0]]), tables)[0, :-1].tolist() == expected


def test_who_has_read_everything_lags_by_as_many_words_as_there_are() -> None:
    assert whole_lagging(["Open the file (%d).", "打开 file", ""]) == (6.0, 3.0, 0.0)
