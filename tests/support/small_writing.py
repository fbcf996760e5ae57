"""A small task of translation that a tiny writer learns in a second: words into signs, each a token, one for one."""

import numpy as np

from sweepstack.models.data.pairs import PairDataset, PairPart, WritingData, encode_pairs
from sweepstack.models.settings.trial import TrialSettings

SIGNS = {"one": "甲", "two": "乙", "three": "丙", "four": "丁"}
SIZES = {"warm": 150, "policy": 40, "valid": 24, "blend": 16, "test": 20}
SMALL = TrialSettings.model_validate(
    {
        "task": "translation",
        "device": "cpu",
        "precision": "float32",
        "writing": {
            "vocabulary": {"source": 60, "target": 8},
            "max_source": 12,
            "max_target": 8,
            "decode": {"beam": 2, "candidates": 2},
        },
        "model": {"d_model": 16, "layers": 1, "heads": 2, "feed_forward": 32, "dropout": 0.05},
        "train": {
            "warm_start": {"epochs": 24, "lr": 1e-2, "token_budget": 100},
            "epochs": 3,
            "batch_size": 20,
            "lr": 1e-3,
            "ppo": {"epochs": 2, "minibatch": 10},
        },
    }
)


def pairs_dataset(seed: int = 0) -> PairDataset:
    """Of one to five words; the references of test are there, too, for a test to score with."""
    random = np.random.default_rng(seed)
    parts = {}
    for name, size in SIZES.items():
        words = [list(random.choice(list(SIGNS), random.integers(1, 6))) for _ in range(size)]
        parts[name] = PairPart(
            tuple(" ".join(each) for each in words), tuple("".join(SIGNS[word] for word in each) for each in words)
        )
    return PairDataset(parts, {**{name: f"{name}{seed}" for name in SIZES}, "content": f"c{seed}"}, ())


def pairs_data(seed: int = 0) -> WritingData:
    assert SMALL.writing is not None
    return encode_pairs(pairs_dataset(seed), SMALL.writing)
