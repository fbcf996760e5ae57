"""Strict, frozen, and every bound at its edge."""

from typing import Any

import pytest
from pydantic import ValidationError

from sweepstack.models.settings.base import SettingError
from sweepstack.models.settings.data import Data, Folds, Splits
from sweepstack.models.settings.trial import Model, Reading, Train, TrialSettings


def test_defaults_are_valid_and_survive_json() -> None:
    settings = TrialSettings()
    assert TrialSettings.model_validate_json(settings.model_dump_json()) == settings


def test_with_values_changes_what_is_named_and_nothing_else() -> None:
    before = TrialSettings()
    after = before.with_values({"train.lr": 0.1, "train.ppo.clip": 0.3, "reading.cost": 0.0, "device": "cpu"})
    assert (after.train.lr, after.train.ppo.clip, after.device) == (0.1, 0.3, "cpu")
    assert isinstance(after.reading, Reading)
    assert after.reading.cost == 0.0
    assert before == TrialSettings()
    undone = {"train.lr": 3e-3, "train.ppo.clip": 0.2, "reading.cost": 0.01, "device": "auto"}
    assert after.with_values(undone) == before


def test_a_whole_number_is_a_float_and_nothing_else_is_converted() -> None:
    assert TrialSettings().with_values({"train.gamma": 1}).train.gamma == 1.0
    for path, value in (("train.lr", "0.1"), ("train.epochs", 2.0), ("train.epochs", True), ("model.d_model", "64")):
        with pytest.raises(ValidationError):
            TrialSettings().with_values({path: value})


@pytest.mark.parametrize(
    ("path", "inside", "outside"),
    [
        ("train.gamma", [0, 0.5, 1], [-0.01, 1.01]),
        ("train.gae_lambda", [0, 1], [-1e-9, 1.5]),
        ("train.lr", [1e-9, 1e30], [0, -1.0, float("inf"), float("nan")]),
        ("train.batch_size", [1], [0]),
        ("train.step_factor", [0.01, 0.99], [0, 1]),
        ("train.seed", [0, 2**31 - 1], [-1, 2**31]),
        ("train.ppo.entropy", [0, 5.0], [-0.1]),
        ("model.dropout", [0, 0.99], [1, -0.1]),
        ("model.feed_forward", [None, 1, 512], [0, 1.5]),
        ("model.d_model", [4, 128], [0, 3, 66]),  # 66 is not divided by 4 heads
        ("reading.cost", [0, 1], [-0.01, float("nan")]),
        ("reading.segment", [1], [0]),
        ("train.optimizer", ["sgd", "rmsprop"], ["SGD", "lion"]),
        ("train.lr_schedule", ["step"], ["poly"]),
        ("train.momentum", [None, 0, 0.9], [1, -0.1]),
        ("train.beta1", [0, 0.99], [1]),
        ("train.warm_start.beta2", [0, 0.9999], [1]),
        ("train.eps", [1e-12, 1e-5], [0]),
        ("train.lr_min_ratio", [None, 1e-6, 0.5], [0, 1]),
        ("train.lr_schedule", ["inverse_sqrt", "polynomial", "cosine_restarts"], ["cosine_restart"]),
        ("train.power", [0.5, 10], [0, 11]),
        ("train.cycle_growth", [1, 2.5], [0.5, 11]),
        ("train.average", ["none", "ema", "last"], ["swa"]),
        ("train.warm_start.average_decay", [0.5, 0.9999], [0, 1]),
        ("train.average_last", [1], [0]),
        ("train.lr_scaling", ["none", "sqrt", "linear"], ["cubic"]),
        ("train.lr_reference", [1, 2048], [0]),
        ("train.ppo.whiten", [True, False, "batch", "minibatch", "none"], ["rollout", 2, None]),
        ("train.ppo.clip_schedule", ["constant", "linear"], ["cosine"]),
        ("train.rloo.entropy_schedule", ["constant", "linear"], ["cosine"]),
        ("train.seconds", [], [0.9]),
    ],
)
def test_bounds(path: str, inside: list[Any], outside: list[Any]) -> None:
    for value in inside:
        TrialSettings().with_values({path: value})
    for value in outside:
        with pytest.raises(ValidationError):
            TrialSettings().with_values({path: value})


def test_settings_are_frozen_and_unknown_keys_refused() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Train().lr = 1.0  # type: ignore[misc]
    with pytest.raises(ValidationError, match="learning_rate"):
        Train.model_validate({"learning_rate": 0.1})


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValidationError, match="heads must divide d_model, but got heads=3, d_model=16"):
        Model(d_model=16, heads=3)


def test_splits_leave_a_tenth_for_warm() -> None:
    assert Splits(policy=0.5, valid=0.2, blend=0.2).policy == 0.5
    with pytest.raises(ValidationError, match=r"leave at least 0.1 for warm, but they sum to 0.95"):
        Splits(policy=0.55, valid=0.2, blend=0.2)


def test_folds_take_the_place_of_shares() -> None:
    data = Data.model_validate({"train": "a.jsonl", "splits": {"folds": 5}})
    assert data.splits == Folds(folds=5, policy=0.375, test=None)
    assert data.folds == 5
    assert Data.model_validate(data.model_dump()) == data
    assert Data(train="a.jsonl").folds == 1


@pytest.mark.parametrize(
    ("splits", "line"),
    [
        ({"folds": 1}, "greater than or equal to 2"),
        ({"folds": 21}, "less than or equal to 20"),
        ({"folds": 2.5}, "valid integer"),
        ({"folds": 3, "policy": 0.95}, "policy must leave at least 0.1 of a fold's rows for warm, but got 0.95"),
        ({"folds": 3, "valid": 0.1, "blend": 0.1}, "take the place of valid and blend, but got valid and blend, too"),
    ],
)
def test_impossible_folds_are_refused(splits: dict[str, float], line: str) -> None:
    with pytest.raises(ValidationError, match=line):
        Data.model_validate({"train": "a.jsonl", "splits": splits})


def test_folds_are_not_for_tasks_that_write() -> None:
    folds, shares = (Data.model_validate({"train": "a", "splits": splits}) for splits in ({"folds": 3}, {"valid": 0.2}))
    for task in ("translation", "generation"):
        shares.check(task)
        with pytest.raises(SettingError, match=f"is not available under task {task}, but got 3; take shares") as caught:
            folds.check(task)
        assert caught.value.path == "data.splits.folds"
    folds.check("classification")


def test_reading_can_be_off() -> None:
    assert TrialSettings(reading="off").reading == "off"
    with pytest.raises(ValidationError):
        TrialSettings.model_validate({"reading": "on"})


def test_data_needs_a_source() -> None:
    assert Data(train="a.jsonl").input == "text"
    with pytest.raises(ValidationError, match="train"):
        Data.model_validate({})


@pytest.mark.parametrize(
    ("train", "path"),
    [({"dropout": True}, "train.dropout"), ({"ppo": {"cross_entropy": 0.3}}, "train.ppo.cross_entropy")],
)
def test_what_would_change_nothing_is_refused(train: dict[str, Any], path: str) -> None:
    """Under a frozen Transformer nothing drops and no label learns; where everything trains, or in a plain classifier
    whose labels learn, the same is fine."""
    with pytest.raises(ValidationError) as caught:
        TrialSettings.model_validate({"train": train})
    assert caught.value.errors()[0]["ctx"]["error"].path == path
    TrialSettings.model_validate({"train": {**train, "freeze": "none"}})
    TrialSettings.model_validate({"train": {**train, "algorithm": "supervised"}})


@pytest.mark.parametrize(
    ("train", "path", "line"),
    [
        ({"batch_size": 30}, "train.batch_size", "must be a multiple of train.rloo.samples, 4, but got 30; take 32"),
        ({"batch_size": 2}, "train.batch_size", "4, but got 2; take 4"),
        ({"batch_size": "noise_scale", "batch_range": [10, 64]}, "train.batch_range", "but got 10; take 8"),
        ({"batch_size": "adaptive", "batch_range": [8, 63]}, "train.batch_range", "but got 63; take 64"),
    ],
)
def test_a_batch_of_rloo_holds_whole_texts(train: dict[str, Any], path: str, line: str) -> None:
    with pytest.raises(ValidationError, match=line) as caught:
        TrialSettings.model_validate({"train": {"algorithm": "rloo", **train}})
    assert caught.value.errors()[0]["ctx"]["error"].path == path
    TrialSettings.model_validate({"train": {"algorithm": "reinforce", **train}})
    TrialSettings.model_validate({"train": {"algorithm": "rloo", "batch_size": 32, "batch_range": [10, 63]}})


@pytest.mark.parametrize("average", ["ema", "last"])
def test_what_averages_by_itself_is_not_averaged_again(average: str) -> None:
    line = f"average must be none with optimizer schedule_free, which averages by itself, but got {average}"
    with pytest.raises(ValidationError, match=line) as caught:
        TrialSettings.model_validate({"train": {"warm_start": {"optimizer": "schedule_free", "average": average}}})
    assert caught.value.errors()[0]["loc"] == ("train", "warm_start")


def test_a_writers_start_has_a_shorter_memory_and_counts_tokens() -> None:
    start = TrialSettings(task="translation").train.warm_start
    assert (start.beta1, start.beta2, start.lr_reference) == (0.9, 0.98, 1500)
    assert TrialSettings().train.warm_start.beta2 == 0.999


def test_an_adaptive_weight_of_the_divergence_begins_above_0() -> None:
    """A weight of 0 stays 0 whatever it is multiplied by."""
    target = {"train.ppo.kl_target": 0.05}
    with pytest.raises(
        ValidationError, match=r"must be above 0 where kl_target adapts it, but got kl=0, kl_target=0\.05"
    ):
        TrialSettings().with_values(target)
    assert TrialSettings().with_values({**target, "train.ppo.kl": 0.1}).train.ppo.kl_target == 0.05
    TrialSettings().with_values({**target, "train.algorithm": "a2c"})  # which has no such weight
