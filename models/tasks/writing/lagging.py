"""How far a translation that is written while its source is read stays behind it: words, lagging and reading paths.

Average lagging (Ma et al. 2019, arXiv 1810.08398) is the mean number of words by which a reader is ahead of one who
would read evenly, so many words a token that both texts end together. It counts up to the first token that was written
when everything had been read: what follows is not held up by reading any more.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sweepstack.models.data.cleaning import clean
from sweepstack.models.data.source_words import kind_of, words_in


def average_lagging(read: Tensor, lengths: Tensor, words: Tensor) -> Tensor:
    """(B, T), in words: what each token adds to it, so that a row's sum is the average. Read (B, T) of them when each
    was written, lengths (B,) tokens written, at least 1, and words (B,) of each source."""
    step = torch.arange(read.shape[1], device=read.device)
    here = step < lengths[:, None]
    whole = here & (read >= words[:, None])
    last = torch.where(whole.any(1), whole.int().argmax(1), lengths - 1)  # a text may end before everything is read
    counted = step <= last[:, None]
    ahead = read - step * (words / lengths)[:, None]
    return ahead * counted / (last + 1)[:, None]


def wait_k(k: Tensor, steps: int, segments: Tensor) -> Tensor:
    """(B, steps): segments read when each token is written, where ``k`` (B,) are read first and then one a token, of
    ``segments`` (B,)."""
    return torch.minimum(k[:, None] + torch.arange(steps, device=k.device), segments[:, None])


def whole_lagging(texts: Sequence[str]) -> tuple[float, ...]:
    """Of what is written when all of each text has been read: as many words as it has."""
    return tuple(float(words_in([kind_of(character) for character in clean(text)])) for text in texts)
