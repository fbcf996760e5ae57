"""Words of byte-pair tokens: in which word of a source each token ends, and how far a number of words reaches."""

import unicodedata
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sweepstack.models.data.bpe import PADDING, SIGN, SPECIAL

SPACE, LETTER, MARK, SINGLE = range(4)  # single: a sign of a script without spaces, each of which is a word


def word_tables(entries: Sequence[str]) -> Tensor:
    """(V, 3) of a byte-pair encoding's entries: the kinds of the first and the last character, and how many words of
    segmenter.py one has: runs of letters, runs of other marks, and single signs."""
    rows = []
    for place, entry in enumerate(entries):
        kinds = [kind_of(character) for character in entry] if place >= len(SPECIAL) else [SINGLE] * (place > 0)
        rows.append((kinds[0], kinds[-1], words_in(kinds)) if kinds else (SPACE, SPACE, 0))
    return torch.tensor(rows)


def last_words(sources: Tensor, tables: Tensor) -> Tensor:
    """(B, S): the 0-based word in which each token ends; a token that goes on with a word is of the same one, and
    padding of the last. ``tables``: see :func:`word_tables`."""
    first, last, words = tables[sources].unbind(-1)
    before = torch.nn.functional.pad(last[:, :-1], (1, 0))
    goes_on = (first == before) & ((first == LETTER) | (first == MARK))
    return (words - goes_on.long()).cumsum(1).sub(1).clamp(min=0)


def readable(sources: Tensor, segments: Tensor, most: int) -> Tensor:
    """(B, S): the tokens that are read in ``most`` segments; ``segments`` (B, S): the one in which each token ends.

    A token longer than everything that may be read is read all the same: there has to be one.
    """
    return (sources != PADDING) & ((segments < most) | (segments <= segments[:, :1]))


def as_far_as_read(sources: NDArray[np.int32], entries: Sequence[str], segment: int, most: int) -> NDArray[np.int32]:
    """(rows, S): the same with padding for tokens that are not :func:`readable` in segments of ``segment`` words."""
    tokens = torch.from_numpy(sources)
    segments = last_words(tokens.long(), word_tables(entries)) // segment
    return np.where(readable(tokens, segments, most).numpy(), sources, np.int32(PADDING))


def words_in(kinds: Sequence[int]) -> int:
    before = [None, *kinds]
    runs = sum(kind in (LETTER, MARK) and kind != other for other, kind in zip(before, kinds, strict=False))
    return runs + kinds.count(SINGLE)


def kind_of(character: str) -> int:
    if SIGN.match(character):
        return SINGLE
    category = unicodedata.category(character)
    if category[0] in "LM" or category in ("Nd", "Pc"):
        return LETTER
    return SPACE if character.isspace() else MARK
