"""A writer of a few weights, drawn with a seed, and sources for it."""

import torch

from sweepstack.models.networks.writer import Shape, Writer
from sweepstack.models.settings.trial import Model

SOURCES = torch.tensor([[5, 6, 7, 8], [9, 4, 0, 0], [7, 7, 7, 0]])


def make(shared: bool = False, layers: int = 2, **settings: object) -> Writer:
    model = Model(d_model=12, layers=layers, heads=3, feed_forward=20, dropout=0.3, **settings)  # type: ignore[arg-type]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        writer = Writer(Shape(11, 11, shared, 8, 40), model)
        for parameter in writer.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
    return writer.eval()
