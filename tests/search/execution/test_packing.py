"""Whether trials share workers is decided by the study: by what it asks for, how many trials there are and of what
shapes."""

from pathlib import Path
from typing import Any

import pytest

from sweepstack.models.files import write_json
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.training.packing import PACKING_FILE
from sweepstack.search.execution.packing import WIDEST, WIDEST_OF_LEARNERS, packing_of, shapes
from sweepstack.search.study.search_section import Search
from sweepstack.search.study.space import Space

SETTINGS = TrialSettings.model_validate({"task": "gym:CartPole-v1"})
LR: dict[str, Any] = {"train.lr": {"log": [1e-4, 1e-2]}}


def packing(
    folder: Path, spec: dict[str, Any], settings: TrialSettings = SETTINGS, trials: int = 16, **search: Any
) -> Any:
    space = Space.parse(spec, settings)
    return packing_of(Search(**search), space, settings, folder, trials=trials, slots=2)


def test_off_and_one_and_racing_seeds_are_a_worker_for_every_trial(tmp_path: Path) -> None:
    for search in ({"packing": "off"}, {"packing": 1}, {"packing": 4, "seeds": 2}):
        assert packing(tmp_path, LR, **search) is None


def test_a_number_is_taken_at_its_word(tmp_path: Path) -> None:
    found = packing(tmp_path, LR, trials=2, packing=5)
    assert found.width() == 5
    assert not found.together.measures


@pytest.mark.parametrize(("sampler", "widest"), [("random", WIDEST), ("tpe", WIDEST_OF_LEARNERS)])
def test_auto_goes_by_what_was_measured_and_spares_a_sampler_that_learns(
    tmp_path: Path, sampler: str, widest: int
) -> None:
    found = packing(tmp_path, LR, sampler=sampler)
    assert found.width() == 1
    assert (found.together.widest, found.together.measures) == (widest, True)
    write_json(tmp_path / PACKING_FILE, {"width": 3})
    assert found.width() == 3


@pytest.mark.parametrize(
    ("spec", "settings", "trials"),
    [
        (LR, SETTINGS, 3),
        ({**LR, "model.d_model": [16, 32, 64, 128]}, SETTINGS, 8),
        ({**LR, "train.ppo.value_clip": {"range": [0.1, 0.3]}}, SETTINGS, 100),
        (LR, SETTINGS.with_values({"train.algorithm": "trpo"}), 100),
        (LR, TrialSettings(), 100),  # a text's trials would depend on who is beside them
    ],
)
def test_auto_does_not_even_measure_where_it_cannot_pay(
    tmp_path: Path, spec: dict[str, Any], settings: TrialSettings, trials: int
) -> None:
    assert packing(tmp_path, spec, settings, trials) is None


def test_shapes_are_counted_over_what_trials_may_not_differ_in() -> None:
    spec = {**LR, "train.batch_size": [64, 128], "train.lr_schedule": ["constant", "cosine"], "train.seed": [0, 1, 2]}
    assert shapes(Space.parse(spec, SETTINGS).axes) == 2


def test_trials_are_alike_by_the_values_that_matter(tmp_path: Path) -> None:
    shape = packing(tmp_path, LR).shape
    assert shape({"train.lr": 1e-3}) == shape({"train.lr": 3e-3, "train.gamma": 0.9})
    assert shape({"train.batch_size": 64}) != shape({"train.batch_size": 128})
    assert shape({"train.algorithm": "trpo"}) is None
