"""A small task that a tiny policy learns in a second: two topic words, somewhere among words that say nothing."""

import numpy as np

from sweepstack.models.data.labelled import PARTS, Dataset, Part
from sweepstack.models.settings.trial import Model, Reading, Train, TrialSettings, WarmStart

TOPICS = {
    "farm": "wheat corn grain harvest acres",
    "money": "dollar bank rates yen loan",
    "ship": "port sea crew vessel mast",
}
FILLER = "the of said and to a in it"
SIZES = {"warm": 120, "policy": 140, "valid": 80, "blend": 40, "test": 50}
SMALL = TrialSettings(
    reading=Reading(unit="words", segment=2, max_segments=4, cost=0.02),
    model=Model(d_model=16, heads=2, word_dropout=0.1),
    train=Train(warm_start=WarmStart(epochs=5, lr=1e-2, batch_size=16), epochs=3, batch_size=64),
    device="cpu",
)


def topics_dataset(seed: int = 0) -> Dataset:
    """Texts of two to nine words; the labels of test are there, too, for a test to score with."""
    random = np.random.default_rng(seed)
    parts = {}
    for name in PARTS:
        texts, labels = [], np.arange(SIZES[name]) % len(TOPICS)
        for label in labels:
            filler = list(random.choice(FILLER.split(), random.integers(0, 8)))
            topic = list(random.choice(list(TOPICS.values())[label].split(), 2))
            texts.append(" ".join(random.permutation(filler + topic)))
        parts[name] = Part(tuple(texts), labels.astype(np.int64))
    return Dataset(tuple(TOPICS), parts, {**{name: f"{name}{seed}" for name in PARTS}, "content": f"c{seed}"}, ())
