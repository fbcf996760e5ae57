"""The linear model inside a policy: a weight for every label and every unit, pair and triple of units read so far.

A linear model learns from a few thousand texts what a Transformer needs many more for, and the two err differently.
Their logits add up to one model ("Wide & Deep", Cheng et al. 2016, arXiv:1606.07792).
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sweepstack.models.precision import autocast

HASHED = 8192  # rows for hashed pairs, and as many for triples
LONGEST = {"words": 2, "characters": 3, "tokens": 2}  # units in an n-gram: as in the linear baseline
SCALE = 10.0  # what multiplies its weights, and so the learning rate that it shares with the Transformer
DROPPED = 0.5  # share of the n-grams that are left out in training: it overfits otherwise
CLASSES = 64  # at most: with more labels its table would outgrow the Transformer
ALONE = 0.3  # share of the texts that one of the two, wide or deep, has to answer without the other in training


def hashed_ngrams(flat: Tensor, longest: int, rows: int) -> Iterator[Tensor]:
    """Of token ids (B, T): the pair that ends at each place, then the triple, as one of ``rows``; each (B, T)."""
    ngram = flat
    for back, factor in zip(range(1, longest), (7_919, 104_729), strict=False):
        ngram = ngram * 31_337 + F.pad(flat, (back, 0))[:, :-back] * factor
        yield (ngram ^ (ngram >> 13)) % rows


class Wide(nn.Module):
    def __init__(self, vocab_size: int, classes: int, longest: int, dropped: float = DROPPED) -> None:
        super().__init__()
        self.vocab_size, self.longest, self.dropped = vocab_size, longest, dropped
        self.table = nn.Embedding(vocab_size + (longest - 1) * HASHED, classes)

    def reset(self) -> None:
        """It begins by saying nothing."""
        nn.init.zeros_(self.table.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, S, W), 0 being padding → logits (B, S, K), of all that was read up to each segment.

        The sum over what was read, divided by the square root of how many units that is: more text makes it surer.
        """
        b, s, w = tokens.shape
        flat = tokens.reshape(b, s * w).long()
        there = flat != 0
        ngrams = enumerate(hashed_ngrams(flat, self.longest, HASHED))
        rows = torch.stack([flat, *(ngram + self.vocab_size + i * HASHED for i, ngram in ngrams)], dim=-1)
        weights = self.table(rows)  # (B, T, longest, K)
        if self.training and self.dropped:
            kept = torch.rand(rows.shape, device=rows.device) >= self.dropped
            weights = weights * (kept / (1 - self.dropped))[..., None]
        weights = weights.sum(2) * there[..., None]  # (B, T, K)
        with autocast("float32", tokens.device):
            # A product with a triangle, and not cumsum, which on a GPU may add up in any order.
            so_far = torch.ones(s, s, device=tokens.device).tril() @ weights.view(b, s, w, -1).sum(2)
        units = there.view(b, s, w).sum(2).cumsum(1).clamp(min=1)
        logits: Tensor = so_far * (SCALE / units.sqrt()[..., None])
        return logits
