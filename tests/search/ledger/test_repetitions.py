from hypothesis import given
from hypothesis import strategies as st

from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.ledger.repetitions import SEEDS, settings_of_repetition

SETTINGS = TrialSettings().with_values({"train.seed": 5, "train.warm_start.seed": 7, "train.lr": 0.01})


def test_a_repetition_counts_on_from_the_settings_own_seeds_and_changes_nothing_else() -> None:
    found = [settings_of_repetition(SETTINGS, (), repetition) for repetition in range(3)]
    assert found[0] == SETTINGS
    assert [(each.train.seed, each.train.warm_start.seed) for each in found] == [(5, 7), (6, 8), (7, 9)]
    assert found[2].with_values({"train.seed": 5, "train.warm_start.seed": 7}) == SETTINGS


def test_a_start_that_is_searched_is_the_settings_own() -> None:
    found = settings_of_repetition(SETTINGS, ("train.lr", "train.warm_start.seed"), 2)
    assert (found.train.seed, found.train.warm_start.seed) == (7, 7)


def test_an_environment_has_no_start() -> None:
    played = TrialSettings(task="gym:CartPole-v1")
    assert settings_of_repetition(played, (), 1).train.warm_start == played.train.warm_start
    assert settings_of_repetition(played, (), 1).train.seed == 1


@given(st.integers(0, SEEDS - 1), st.integers(0, 5))
def test_every_seed_there_is_can_be_repeated(seed: int, repetition: int) -> None:
    settings = SETTINGS.with_values({"train.seed": seed})
    seeds = {settings_of_repetition(settings, (), place).train.seed for place in range(repetition + 1)}
    assert len(seeds) == repetition + 1
