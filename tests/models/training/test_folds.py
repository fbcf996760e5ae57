"""A trial under folds: what is held out is predicted by a policy that has not seen it, what is new by all of them."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sweepstack.models.data.encoding import encode
from sweepstack.models.data.labelled import OUT_OF_FOLD, Dataset, _hashes, _together
from sweepstack.models.errors import BundleError
from sweepstack.models.files import read_json, write_json
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import (
    Predictions,
    answer_above,
    fit_threshold,
    mean_of,
    metrics,
    one_after_another,
)
from sweepstack.models.settings.trial import Condition
from sweepstack.models.tasks.classification.checkpoint import load_member
from sweepstack.models.tasks.trainers import make_trainer, new_trainer
from sweepstack.models.training.fold_checkpoint import fold_folders
from sweepstack.models.training.folds import nested_thresholds
from sweepstack.models.training.parts import TrainerLike
from sweepstack.models.training.trainer import Trainer

FOLDS = 3
KINDS: dict[str, dict[str, Any]] = {
    "ppo": {"train.lr": 1e-2, "train.epochs": 2},
    "supervised": {"train.algorithm": "supervised", "train.batch_size": 32, "train.lr": 3e-3, "train.epochs": 2},
}


def folded(make: Callable[[int], Dataset]) -> Dataset:
    """Three folds of the topics; what two of them hold out, the third is trained on."""
    blocks = [make(seed).parts["valid"] for seed in (5, 6, 7)]
    test = make(0).parts["test"]
    folds = []
    for k, held_out in enumerate(blocks):
        one, other = (block for i, block in enumerate(blocks) if i != k)
        parts = {"warm": one, "policy": other, "valid": held_out, "test": test}
        folds.append(Dataset(make(0).classes, parts, _hashes(parts, make(0).classes), ()))
    return _together(tuple(folds), [])


@pytest.fixture(scope="module")
def world(topics: SimpleNamespace) -> SimpleNamespace:
    dataset = folded(topics.make)
    data = encode(dataset, topics.settings.reading)
    return SimpleNamespace(dataset=dataset, data=data, settings=topics.settings, starts=topics.starts)


def trainer_in(world: SimpleNamespace, folder: Path, values: dict[str, Any]) -> TrainerLike:
    return make_trainer(world.settings.with_values(values), world.data, world.starts, folder, "reward")


def finish(trainer: TrainerLike, epochs: int) -> list[dict[str, float]]:
    """The reports but for how long each took."""
    while len(trainer.reports) < epochs:
        trainer.step()
    return [{name: value for name, value in report.items() if name != "seconds"} for report in trainer.reports]


def kept(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "parts.json"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module", params=KINDS)
def trained(request: pytest.FixtureRequest, world: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param)
    trainer = trainer_in(world, folder, KINDS[request.param])
    reports = finish(trainer, 2 * FOLDS)
    trainer.close(True)
    return SimpleNamespace(folder=folder, reports=reports, values=KINDS[request.param], kind=request.param)


def test_each_fold_is_a_trial_on_its_own_rows(trained: SimpleNamespace, world: SimpleNamespace, tmp_path: Path) -> None:
    settings = world.settings.with_values(trained.values)
    for k, data in enumerate(world.data.folds):
        alone = new_trainer(settings, data, world.starts, tmp_path / str(k), "reward")
        assert finish(alone, 2) == trained.reports[2 * k : 2 * k + 2]


def test_the_member_is_whole_and_nothing_else_is_left(trained: SimpleNamespace) -> None:
    folders = {f"checkpoint/fold-{k}" for k in (1, 2, 3)}
    files = {
        f"{folder}/{name}" for folder in folders for name in ("config.json", "tokenizer.json", "weights.safetensors")
    }
    sums = {f"{folder}/SHA256SUMS" for folder in (*folders, "checkpoint", "predictions")}
    predictions = {"predictions/out_of_fold.safetensors", "predictions/test.safetensors"}
    assert set(kept(trained.folder)) == files | predictions | sums | {"checkpoint/config.json"}
    assert not [path for path in trained.folder.iterdir() if path.name not in ("checkpoint", "predictions")]


def test_every_training_row_is_predicted_once_by_the_policy_that_has_not_seen_it(
    trained: SimpleNamespace, world: SimpleNamespace
) -> None:
    said, rows_hash = Predictions.load(trained.folder / "predictions" / "out_of_fold.safetensors")
    rows = world.dataset.parts[OUT_OF_FOLD]
    assert rows_hash == world.dataset.hashes[OUT_OF_FOLD]
    assert len(said) == len(rows.inputs)
    for k, folder in enumerate(fold_folders(trained.folder / "checkpoint", FOLDS)):
        own = np.flatnonzero(world.dataset.fold == k)
        alone = load_member(folder).read([rows.inputs[i] for i in own])
        np.testing.assert_allclose(said.rows(own).probabilities, alone.probabilities, atol=1e-5)


def test_the_last_epoch_is_kept_whatever_the_best_was(trained: SimpleNamespace, world: SimpleNamespace) -> None:
    said, _ = Predictions.load(trained.folder / "predictions" / "out_of_fold.safetensors")
    rows = world.dataset.parts[OUT_OF_FOLD]
    for k in range(FOLDS):
        own = world.dataset.fold == k
        got = metrics(said.rows(own), rows.labels[own], Costs(world.settings.read_cost))
        last = trained.reports[2 * k + 1]
        assert got["log_loss"] == pytest.approx(last["log_loss"], abs=1e-6)
        if trained.kind == "ppo":  # the control's rows are answered at a threshold that its report had not yet
            assert got["reward"] == pytest.approx(last["reward"], abs=1e-9)


def test_new_texts_are_read_by_all_folds_as_the_stored_predictions_say(
    trained: SimpleNamespace, world: SimpleNamespace
) -> None:
    stored, rows_hash = Predictions.load(trained.folder / "predictions" / "test.safetensors")
    assert rows_hash == world.dataset.hashes["test"]
    texts = world.dataset.parts["test"].inputs
    member = load_member(trained.folder / "checkpoint")
    read = member.read(texts)
    np.testing.assert_allclose(read.probabilities, stored.probabilities, atol=1e-5)
    np.testing.assert_allclose(read.answer, stored.answer, atol=1e-5)
    each = [load_member(folder).read(texts) for folder in fold_folders(trained.folder / "checkpoint", FOLDS)]
    np.testing.assert_allclose(read.probabilities, sum(one.probabilities for one in each) / 3, atol=1e-6)
    np.testing.assert_allclose(read.answer, sum(one.answer for one in each) / 3, atol=1e-6)


def test_only_a_control_has_a_threshold_and_one_for_all_folds(trained: SimpleNamespace) -> None:
    configs = [read_json(f / "config.json") for f in fold_folders(trained.folder / "checkpoint", FOLDS)]
    thresholds = {config["threshold"] for config in configs}
    assert len(thresholds) == 1
    assert (thresholds == {None}) == (trained.kind == "ppo")


def test_a_control_that_is_asked_for_a_cost_has_the_thresholds_of_all_folds(
    world: SimpleNamespace, tmp_path: Path
) -> None:
    reading = world.settings.reading.model_copy(update={"cost": Condition(condition=(0.0, 0.2))})
    settings = world.settings.with_values(
        {"reading": reading.model_dump(), "train.algorithm": "supervised", "train.epochs": 1}
    )
    data = encode(world.dataset, reading)
    finish(make_trainer(settings, data, tmp_path / "starts", tmp_path, "reward"), FOLDS)
    member = load_member(tmp_path / "checkpoint")
    assert member.conditioned
    tables = [read_json(f / "config.json")["thresholds"] for f in fold_folders(tmp_path / "checkpoint", FOLDS)]
    assert tables[0] == tables[1] == tables[2]
    rows = world.dataset.parts[OUT_OF_FOLD]
    said, _ = Predictions.load(tmp_path / "predictions" / "out_of_fold.safetensors")
    for cost, threshold in (tables[0][0], tables[0][-1]):
        assert threshold == fit_threshold(said.probabilities, said.n_segments, rows.labels, Costs(cost))
    texts = world.dataset.parts["test"].inputs
    free, dear = (member.read(texts, cost).stops().mean() for cost in (0.0, 0.2))
    assert free > dear


@pytest.mark.parametrize("after", [1, 3, 4, 5])
def test_a_trial_that_was_killed_in_any_fold_comes_to_the_same(
    trained: SimpleNamespace, world: SimpleNamespace, tmp_path: Path, after: int
) -> None:
    first = trainer_in(world, tmp_path, trained.values)
    finish(first, after)  # and then never heard of again
    second = trainer_in(world, tmp_path, trained.values)
    assert len(second.reports) == after
    assert finish(second, 2 * FOLDS) == trained.reports
    second.close(True)
    assert kept(tmp_path) == kept(trained.folder)


def test_a_trial_that_was_stopped_early_leaves_nothing_that_could_be_taken_for_a_member(
    world: SimpleNamespace, tmp_path: Path
) -> None:
    trainer = trainer_in(world, tmp_path, KINDS["ppo"])
    finish(trainer, 3)
    trainer.close(False)
    trainer_in(world, tmp_path, KINDS["ppo"]).close(True)
    assert list(tmp_path.iterdir()) == []


def test_a_start_is_shared_by_trials_and_never_by_folds(world: SimpleNamespace, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    for name, lr in (("one", 1e-2), ("two", 2e-2)):
        settings = world.settings.with_values({"train.lr": lr, "train.epochs": 1})
        finish(make_trainer(settings, world.data, starts, tmp_path / name, "reward"), FOLDS)
    assert len([path for path in starts.iterdir() if not path.name.startswith(".")]) == FOLDS


def test_without_folds_it_is_the_trainer_of_one_policy(topics: SimpleNamespace, tmp_path: Path) -> None:
    assert type(make_trainer(topics.settings, topics.data, topics.starts, tmp_path, "reward")) is Trainer


def test_a_threshold_for_a_fold_is_fitted_on_the_others() -> None:
    """Fold 0 is right at once, fold 1 only at its end: each is answered as suits the other."""
    early = np.array([[[0.8, 0.2], [0.9, 0.1]]] * 20, dtype=np.float32)
    late = np.array([[[0.3, 0.7], [0.9, 0.1]]] * 20, dtype=np.float32)
    two = np.full(20, 2)
    raw = [Predictions(p, np.ones((20, 2), dtype=np.float32), two) for p in (early, late)]
    labels, costs = [np.zeros(20, dtype=np.int64)] * 2, Costs(0.1)
    answered, threshold = nested_thresholds(raw, labels, costs)
    own = [fit_threshold(each.probabilities, two, labels[0], costs) for each in raw]
    assert own[0] < 0.8  # answer at once
    assert own[1] > 0.7  # and not at the first segment's .7
    for k in (0, 1):
        np.testing.assert_array_equal(
            answered[k].answer, answer_above(raw[k].probabilities, two, own[1 - k], costs).answer
        )
    both = one_after_another(raw)
    assert threshold == fit_threshold(both.probabilities, both.n_segments, np.concatenate(labels), costs)


def test_folds_that_cut_a_text_differently_are_padded() -> None:
    """Tokenisers of their own: two segments in one, one in the other, whose last one stays."""
    long = Predictions(
        np.array([[[1, 0], [0.5, 0.5]]], dtype=np.float32), np.array([[0.5, 1]], dtype=np.float32), np.array([2])
    )
    short = Predictions(np.array([[[0, 1]]], dtype=np.float32), np.array([[1]], dtype=np.float32), np.array([1]))
    both = mean_of([long, short])
    assert both.probabilities.tolist() == [[[0.5, 0.5], [0.25, 0.75]]]
    assert both.answer.tolist() == [[0.75, 1.0]]
    assert both.n_segments.tolist() == [2]
    assert one_after_another([long, short]).probabilities.tolist() == [[[1, 0], [0.5, 0.5]], [[0, 1], [0, 1]]]


def test_a_checkpoint_that_lacks_a_fold_is_refused(trained: SimpleNamespace, tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"format": 1, "kind": "folds", "folds": 3})
    with pytest.raises(BundleError, match="fold-1 holds no checkpoint"):
        load_member(tmp_path)
    for folds, form in ((1, 1), (10**9, 1), (3, 2)):
        write_json(tmp_path / "config.json", {"format": form, "kind": "folds", "folds": folds})
        with pytest.raises(BundleError, match="holds no checkpoint"):
            load_member(tmp_path)
