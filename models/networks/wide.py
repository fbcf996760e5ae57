"""The linear model inside a policy: a weight for every label and every n-gram of units that *warm* has more than once.

A linear model learns from a few thousand texts what a Transformer needs many more for, and the two err differently.
Their logits add up to one model ("Wide & Deep", Cheng et al. 2016, arXiv:1606.07792). As in the linear baseline a rare
n-gram counts more than a common one (inverse document frequency), and a text's n-grams have length one together.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sweepstack.models.networks.precision import autocast

LONGEST = {"words": 2, "characters": 4, "tokens": 2}  # units in an n-gram: four letters gained .004 over three
MIN_TEXTS = 2  # an n-gram of one text teaches little but that text: half as large without them, and as good
SCALE = 10.0  # what multiplies its weights, and so the learning rate that it shares with the Transformer
DROPPED = 0.3  # share of the n-grams that are left out in training: it overfits otherwise
CLASSES = 64  # at most: with more labels its table would outgrow the Transformer
ALONE = 0.3  # share of the texts that one of the two, wide or deep, has to answer without the other in training
NONE = 2**63 - 1  # the last code of all, which no n-gram has


def hashed_ngrams(flat: Tensor, longest: int, rows: int) -> Iterator[Tensor]:
    """Of token ids (B, T): the pair that ends at each place, then the triple, as one of ``rows``; each (B, T)."""
    ngram = flat
    for back, factor in zip(range(1, longest), (7_919, 104_729), strict=False):
        ngram = ngram * 31_337 + F.pad(flat, (back, 0))[:, :-back] * factor
        yield (ngram ^ (ngram >> 13)) % rows


def ngram_codes(flat: Tensor, before: Tensor, vocab_size: int, longest: int) -> Tensor:
    """Of token ids (B, T): a number for each n-gram that ends at each place, (B, T, longest).

    No two n-grams share one while ``longest · vocab_size**longest`` stays below 2⁶³. A text comes after ``before``, a
    scalar, and that after nothing but 0.
    """
    unit = torch.cat([before.expand(len(flat), 1), flat], dim=1)
    ngram, codes = unit, [unit * longest]
    for n in range(1, longest):
        ngram = F.pad(ngram, (1, 0))[:, :-1] * vocab_size + unit
        codes.append(ngram * longest + n)
    return torch.stack([each[:, 1:] for each in codes], dim=-1)


def known_ngrams(tokens: NDArray[np.int32], before: int, vocab_size: int, longest: int) -> tuple[Tensor, Tensor]:
    """Of texts (rows, S, W): the codes of all n-grams that at least MIN_TEXTS of them have, sorted, and what each
    counts, ln((1 + rows) / (1 + rows with it)) + 1; both (n-grams,). ``before``: see :func:`ngram_codes`."""
    flat = torch.from_numpy(tokens.reshape(len(tokens), -1)).long()
    codes = ngram_codes(flat, torch.tensor(before), vocab_size, longest).masked_fill((flat == 0)[..., None], NONE)
    of_text = np.sort(codes.flatten(1).numpy(), axis=1)
    first = np.diff(of_text, axis=1, prepend=-1) != 0
    found, counts = np.unique(of_text[first & (of_text != NONE)], return_counts=True)
    often = counts >= MIN_TEXTS
    idf = np.log((1 + len(tokens)) / (1 + counts[often])) + 1
    return torch.from_numpy(found[often]), torch.from_numpy(idf.astype(np.float32))


class Wide(nn.Module):
    """``ngrams``: how many it knows; which ones, :meth:`know` says, or a checkpoint. Until then it says nothing."""

    codes: Tensor  # (ngrams + 1,), sorted: row i of the table is that of codes[i]; the last stands for no n-gram
    idf: Tensor  # (ngrams + 1,)
    before: Tensor  # scalar: the unit that a text comes after; without it a first word would begin otherwise

    def __init__(self, vocab_size: int, ngrams: int, classes: int, longest: int, dropped: float = DROPPED) -> None:
        super().__init__()
        self.vocab_size, self.longest, self.dropped = vocab_size, longest, dropped
        self.table = nn.Embedding(ngrams + 1, classes)
        self.register_buffer("codes", torch.full((ngrams + 1,), NONE))
        self.register_buffer("idf", torch.zeros(ngrams + 1))
        self.register_buffer("before", torch.tensor(0))

    def reset(self) -> None:
        """It begins by saying nothing."""
        nn.init.zeros_(self.table.weight)

    def know(self, codes: Tensor, idf: Tensor, before: int) -> None:
        """As :func:`known_ngrams` gives them."""
        self.before.fill_(before)
        self.codes[:-1] = codes
        self.idf[:-1] = idf

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, S, W), 0 being padding → logits (B, S, K), of all that was read up to each segment.

        The weights of the n-grams read so far, each times its idf, over the root of the sum of their idf's squares.
        """
        b, s, w = tokens.shape
        flat = tokens.reshape(b, s * w).long()
        codes = ngram_codes(flat, self.before, self.vocab_size, self.longest)  # (B, T, longest)
        rows = torch.searchsorted(self.codes, codes)
        known = (self.codes[rows] == codes) & (flat != 0)[..., None]
        idf = torch.where(known, self.idf[rows], 0.0)
        counted = idf
        if self.training and self.dropped:
            kept = torch.rand(rows.shape, device=rows.device) >= self.dropped
            counted = idf * (kept / (1 - self.dropped))
        with autocast("float32", tokens.device):
            weights = (self.table(rows) * counted[..., None]).sum(2)  # (B, T, K)
            sums = torch.cat([weights, idf.square().sum(2, keepdim=True)], dim=-1)
            # A product with a triangle, and not cumsum, which on a GPU may add up in any order.
            so_far = torch.ones(s, s, device=tokens.device).tril() @ sums.view(b, s, w, -1).sum(2)  # (B, S, K + 1)
        logits: Tensor = so_far[..., :-1] * (SCALE / so_far[..., -1:].clamp(min=1).sqrt())  # an idf is at least 1
        return logits
