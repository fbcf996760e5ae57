import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.report.effects import effects, importances, known_to, trend
from sweepstack.search.study.axes import Choice, Interval
from sweepstack.search.study.space import Space
from sweepstack.search.study.study import Study

Make = Callable[..., TrialRecord]


def space_of(make_study: Callable[..., Study], spec: dict[str, Any]) -> Space:
    study = make_study(space=spec)
    return Space.of(study.space, study.trial_settings())[0]


def test_values_lie_on_the_scale_that_they_were_searched_on(
    make_study: Callable[..., Study], make_record: Make
) -> None:
    space = space_of(
        make_study,
        {"train.lr": {"log": [1e-4, 1e-1]}, "train.gamma": {"near_one": [0.9, 0.9999]}, "train.batch_size": [64, 128]},
    )
    settings = [
        {"train.lr": 1e-3, "train.gamma": 0.99, "train.batch_size": 128},
        {"train.lr": 1e-2, "train.gamma": 0.999, "train.batch_size": 64},
    ]
    lr, gamma, batch = effects([make_record(n, [0.8], settings=s) for n, s in enumerate(settings)], space)
    assert lr.positions() == pytest.approx([-3, -2])
    assert gamma.positions() == pytest.approx([2, 3])
    assert batch.positions().tolist() == [1, 0]


def test_only_trials_with_a_result_and_the_setting_count(study: Study, space: Space, make_record: Make) -> None:
    records = [
        make_record(0, [0.8]),
        make_record(1, [0.7], "pruned"),
        make_record(2, [0.9], "failed"),
        make_record(3, [0.9], "running"),
        make_record(4, [0.9], settings={"train.lr": 9.0}),
        make_record(5),
    ]
    found = effects(records, space)
    assert {effect.numbers for effect in found} == {(0, 1)}
    assert found[0].complete.tolist() == [True, False]
    assert effects(records[:1], space) == []


def test_a_choice_knows_the_type_of_its_values() -> None:
    space = Space.parse({"train.batch_size": [1, 2]}, Study.model_validate(MINIMAL).trial_settings())
    (axis,) = space.axes
    assert isinstance(axis, Choice)
    assert known_to(axis, 1)
    assert not known_to(axis, True)
    assert not known_to(axis, None)
    assert not known_to(Interval("train.lr", "log", 1e-3, 1e-2), "0.005")


MINIMAL = {"name": "x", "task": "classification", "data": {"train": "builtin:languages"}}


def test_the_trend_of_a_constant_is_that_constant() -> None:
    found = trend(np.linspace(0, 1, 9), np.full(9, 0.7))
    assert found is not None
    assert found[1] == pytest.approx(np.full(60, 0.7))
    assert (found[0][0], found[0][-1]) == (0, 1)


def test_a_trend_rises_with_the_scores_and_needs_enough_trials() -> None:
    found = trend(np.arange(10.0), np.arange(10.0))
    assert found is not None
    assert (np.diff(found[1]) > 0).all()
    assert trend(np.arange(7.0), np.arange(7.0)) is None
    assert trend(np.zeros(10), np.arange(10.0)) is None


def test_the_setting_that_decides_is_the_important_one(make_study: Callable[..., Study], make_record: Make) -> None:
    space = space_of(
        make_study,
        {"train.lr": {"log": [1e-4, 1e-1]}, "train.gamma": {"near_one": [0.9, 0.9999]}, "train.seed": [0, 1]},
    )
    rng = np.random.default_rng(0)
    records = []
    for number in range(30):
        lr, gamma = 10 ** rng.uniform(-4, -1), 1 - 10 ** rng.uniform(-4, -1)
        settings = {"train.lr": lr, "train.gamma": gamma, "train.seed": number % 2}
        records.append(make_record(number, [0.9 - 0.1 * -math.log10(1 - gamma)], settings=settings))
    shares = importances(records, space, 1)
    assert next(iter(shares)) == "train.gamma"
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["train.gamma"] > 0.8


def test_the_bounds_themselves_can_be_weighed(make_study: Callable[..., Study], make_record: Make) -> None:
    space = space_of(make_study, {"train.gamma": {"near_one": [0.9, 0.9999]}, "train.epochs": {"int": [1, 4]}})
    records = [
        make_record(n, [0.8 + n / 100], settings={"train.gamma": (0.9, 0.9999)[n % 2], "train.epochs": 1 + n % 4})
        for n in range(12)
    ]
    assert set(importances(records, space, 1)) == {"train.gamma", "train.epochs"}


def test_few_trials_or_equal_scores_have_no_importances(study: Study, space: Space, make_record: Make) -> None:
    assert importances([make_record(n, [0.8 + n / 100]) for n in range(7)], space, 1) == {}
    assert importances([make_record(n, [0.8]) for n in range(20)], space, 1) == {}
    assert importances([], space, -1) == {}
