"""The seeds of a setting that is trained again: what a repetition has of its own, in a trial where they race."""

from collections.abc import Collection, Mapping
from typing import Any

from sweepstack.models.settings.trial import TrialSettings

SEED, START_SEED = "train.seed", "train.warm_start.seed"
SEEDS = 2**31


def settings_of_repetition(settings: TrialSettings, searched: Collection[str], repetition: int) -> TrialSettings:
    """The settings with the seeds of a repetition (from 0): those that are no searched setting count on from theirs."""
    seeds = {SEED: settings.train.seed}
    if settings.environment is None:
        seeds[START_SEED] = settings.train.warm_start.seed
    return settings.with_values(
        {path: (seed + repetition) % SEEDS for path, seed in seeds.items() if path not in searched}
    )


def with_start(values: Mapping[str, Any], settings: TrialSettings) -> dict[str, Any]:
    """The values of one of its trials with the seed of the start, which an environment has not."""
    return dict(values) if settings.environment is not None else {**values, START_SEED: values[SEED]}
