import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sweepstack.ensembles.refits import jobs as module
from sweepstack.ensembles.refits.jobs import (
    RefitJob,
    RefitResult,
    Sample,
    checkpoint_hash,
    follow,
    read_result,
    refit,
    refits,
)
from sweepstack.models.data import encoding
from sweepstack.models.data.encoding import TaskData, encode, fitted_rows
from sweepstack.models.data.labelled import load_dataset
from sweepstack.models.errors import TrainingError
from sweepstack.models.files import read_json, write_json
from sweepstack.models.predictions.probabilities import Predictions
from sweepstack.models.settings.data import Data as DataSettings
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.tasks import trainers
from sweepstack.models.tasks.classification import checkpoint as checkpoints

HASHES = {"warm": "1", "policy": "2", "valid": "3", "blend": "4", "test": "5"}


class Data(int):
    """A number in the place of data."""

    folds: tuple["Data", ...] = ()


DATA = Data(100)


class FakeTrainer:
    """The contract of models.trainer.Trainer: state in the folder after each epoch, dropped by close."""

    steps = 0
    fail_at: int | None = None  # a step, counted over all trainers, that is killed
    broken = False

    def __init__(
        self,
        settings: TrialSettings,
        data: Any,
        starts: Path,
        folder: Path,
        metric: str,
        chosen: bool,
        until: int | None,
        reward_of: Any,
    ) -> None:
        self.data, self.starts, self.folder, self.chosen = data, starts, folder, chosen
        self.state = folder / "state.json"
        self.reports: list[dict[str, float]] = read_json(self.state) if self.state.exists() else []

    def step(self) -> dict[str, float]:
        type(self).steps += 1
        if type(self).steps == self.fail_at:
            raise KeyboardInterrupt
        if self.broken:
            raise TrainingError("train_loss is not a number in epoch 1")
        self.starts.mkdir(parents=True, exist_ok=True)
        report = {"epoch": len(self.reports) + 1.0, "data": float(self.data), "chosen": float(self.chosen)}
        self.reports.append(report)
        write_json(self.state, self.reports)
        write_json(self.folder / "checkpoint" / "config.json", report)
        return report

    def close(self, finished: bool) -> None:
        if finished:
            self.state.unlink(missing_ok=True)


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> type[FakeTrainer]:
    class Trainer(FakeTrainer):
        pass

    def resample(data: int, seed: int, weights: Sequence[Any] | None) -> int:
        return data + seed + (0 if weights is None else 1000)

    monkeypatch.setattr(trainers, "make_trainer", Trainer)
    monkeypatch.setattr(encoding, "resample", resample)
    monkeypatch.setattr(module, "_predict_fitted", lambda job, data: None)
    return Trainer


class Now:
    """An executor that works at once and in this thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        result = fn(*args)
        return type("Done", (), {"result": lambda self: result})()


def jobs(folder: Path, members: int = 3) -> list[RefitJob]:
    settings = TrialSettings().with_values({"train.epochs": 2})
    return [RefitJob.of(folder / "refits", HASHES, settings, Sample(seed)) for seed in range(members)]


def test_a_job_is_named_by_all_that_it_depends_on(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    write_json(checkpoint / "config.json", {"a": 1, "threshold": 0.5, "thresholds": None})
    settings, weights = TrialSettings(), (np.array([0.5, 0.25, 0.25]),)

    def of(hashes: Any = HASHES, own: TrialSettings = settings, **more: Any) -> Path:
        return RefitJob.of(tmp_path / "refits", hashes, own, **more).folder

    def variants() -> list[Path]:
        return [
            of(),
            of(HASHES | {"warm": "9"}),
            of(own=settings.with_values({"train.lr": 0.1})),
            of(chosen=False),
            of(chosen=False, until=1),
            of(like=checkpoint),
            of(sample=Sample(1)),
            of(sample=Sample(2)),
            of(sample=Sample(1, weights)),
            of(sample=Sample(1, (weights[0][::-1].copy(),))),
            of(initial=checkpoint),
        ]

    assert variants() == variants()
    assert len(set(variants())) == len(variants())
    before = of(initial=checkpoint)
    write_json(checkpoint / "config.json", {"a": 2})
    assert of(initial=checkpoint) != before, "another checkpoint in the same place is another beginning"


def test_a_checkpoint_is_known_by_its_files_and_their_places(tmp_path: Path) -> None:
    for folder, name in (("one", "a"), ("two", "b")):
        write_json(tmp_path / folder / "fold-1" / f"{name}.json", {})
    hashes = [checkpoint_hash(tmp_path / folder) for folder in ("one", "two")]
    assert hashes[0] != hashes[1]
    assert hashes[0] == checkpoint_hash(tmp_path / "one")


def test_a_refit_is_a_member(tmp_path: Path) -> None:
    job = jobs(tmp_path, 1)[0]
    assert job.member.checkpoint == job.folder / "checkpoint"
    assert (job.member.kind, job.member.name) == ("refit", f"refit-{job.folder.name}")


def test_all_epochs_are_trained_and_the_start_is_removed(tmp_path: Path, trainer: type[FakeTrainer]) -> None:
    with ThreadPoolExecutor(2) as executor:
        results = list(refits(jobs(tmp_path), DATA, "reward", executor))
    assert [result.job for result in results] == jobs(tmp_path)
    for result in results:
        assert result.error is None
        assert [report["epoch"] for report in result.reports] == [1, 2]
        assert result.job.sample is not None
        assert result.reports[0]["data"] == 100 + result.job.sample.seed
        assert sorted(path.name for path in result.job.folder.iterdir()) == ["SHA256SUMS", "checkpoint", "done"]


def test_under_folds_every_fold_has_all_its_epochs(tmp_path: Path, trainer: type[FakeTrainer]) -> None:
    data = Data(100)
    data.folds = (DATA, DATA, DATA)
    for result in refits(jobs(tmp_path), data, "reward", Now()):
        assert len(result.reports) == 3 * 2


def test_done_refits_are_not_repeated(tmp_path: Path, trainer: type[FakeTrainer]) -> None:
    first = list(refits(jobs(tmp_path), DATA, "reward", Now()))
    steps = trainer.steps
    assert list(refits(jobs(tmp_path), DATA, "reward", Now())) == first
    assert trainer.steps == steps == 6


@pytest.mark.parametrize("killed_at", [1, 2, 4])
def test_a_killed_refit_goes_on(killed_at: int, tmp_path: Path, trainer: type[FakeTrainer]) -> None:
    undisturbed = list(refits(jobs(tmp_path / "undisturbed"), DATA, "reward", Now()))
    trainer.steps, trainer.fail_at = 0, killed_at
    with pytest.raises(KeyboardInterrupt):
        list(refits(jobs(tmp_path), DATA, "reward", Now()))
    resumed = list(refits(jobs(tmp_path), DATA, "reward", Now()))
    assert [result.reports for result in resumed] == [result.reports for result in undisturbed]
    assert trainer.steps == 6 + 1  # the killed step, and no other, was repeated


def test_a_training_that_breaks_down_is_a_result_with_its_reason(tmp_path: Path, trainer: type[FakeTrainer]) -> None:
    trainer.broken = True
    results = list(refits(jobs(tmp_path), DATA, "reward", Now()))
    assert [result.error for result in results] == ["train_loss is not a number in epoch 1"] * 3
    steps = trainer.steps
    assert list(refits(jobs(tmp_path), DATA, "reward", Now())) == results
    assert trainer.steps == steps  # it would only break down again


def test_what_is_drawn_and_what_is_kept_are_the_jobs(tmp_path: Path, trainer: type[FakeTrainer]) -> None:
    settings = TrialSettings().with_values({"train.epochs": 1})
    weighted = RefitJob.of(tmp_path, HASHES, settings, Sample(3, (np.ones(2),)))
    as_they_are = RefitJob.of(tmp_path, HASHES, settings, chosen=False)
    found = [result.reports[0] for result in refits([weighted, as_they_are], DATA, "reward", Now())]
    assert [(report["data"], report["chosen"]) for report in found] == [(100 + 3 + 1000, 1), (100, 0)]


def test_rows_that_cannot_be_drawn_are_a_result_with_its_reason(
    tmp_path: Path, trainer: type[FakeTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_row(*_: Any) -> Any:
        raise TrainingError("a bootstrap sample has only one distinct text")

    monkeypatch.setattr(encoding, "resample", one_row)
    (result,) = refits(jobs(tmp_path, 1), DATA, "reward", Now())
    assert (result.error, result.reports) == ("a bootstrap sample has only one distinct text", ())
    assert trainer.steps == 0


def counting(jobs: Sequence[RefitJob], seen: list[int]) -> Any:
    """A chain of these jobs, which notes how many results it was shown."""

    def following(results: Sequence[RefitResult]) -> RefitJob | None:
        seen.append(len(results))
        assert [result.job for result in results] == list(jobs[: len(results)])
        return jobs[len(results)] if len(results) < len(jobs) else None

    return following


def test_chains_go_on_round_by_round(tmp_path: Path, trainer: type[FakeTrainer]) -> None:
    all_jobs, seen = jobs(tmp_path, 5), list[int]()
    chains = [counting(all_jobs[:3], seen), counting(all_jobs[3:], seen)]
    order = [(place, result.job) for place, result in follow(chains, DATA, "reward", Now())]
    wanted = [(0, 0), (1, 3), (0, 1), (1, 4), (0, 2)]
    assert order == [(place, all_jobs[job]) for place, job in wanted]
    assert seen == [0, 0, 1, 1, 2, 2, 3]


def test_a_killed_chain_goes_on_and_a_broken_link_ends_it(tmp_path: Path, trainer: type[FakeTrainer]) -> None:
    three = jobs(tmp_path)
    trainer.fail_at = 4  # the second epoch of the second link
    with pytest.raises(KeyboardInterrupt):
        list(follow([counting(three, [])], DATA, "reward", Now()))
    trainer.fail_at = None
    assert [result.job for _, result in follow([counting(three, [])], DATA, "reward", Now())] == three
    assert trainer.steps == 3 * 2 + 1
    trainer.broken = True
    (only,) = follow([counting(jobs(tmp_path / "other"), [])], DATA, "reward", Now())
    assert only[1].error is not None


# Policies trained for real.


def files_of(folder: Path) -> dict[str, str]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_a_refit_says_what_it_thinks_of_every_row_that_it_might_have_drawn(
    topics: SimpleNamespace, tmp_path: Path
) -> None:
    data: TaskData = topics.data
    job = RefitJob.of(tmp_path, data.hashes, topics.quick, Sample(1))
    assert refit(job, data, "reward").error is None
    said, both = job.said_of_fitted(), fitted_rows(data)
    read = checkpoints.load_member(job.member.checkpoint).read(
        [text for name in ("warm", "policy") for text in topics.dataset.parts[name].inputs]
    )
    np.testing.assert_allclose(said.probabilities, read.probabilities, atol=1e-6)
    np.testing.assert_allclose(said.answer, read.answer, atol=1e-6)
    assert len(said) == len(both) == 260
    assert sorted(path.name for path in job.folder.iterdir()) == ["SHA256SUMS", "checkpoint", "done", "predictions"]


def test_a_refit_begins_with_the_weights_of_a_checkpoint(topics: SimpleNamespace, tmp_path: Path) -> None:
    """With a learning rate of next to nothing it stays what it was."""
    data: TaskData = topics.data
    first = RefitJob.of(tmp_path, data.hashes, topics.quick)
    refit(first, data, "reward")
    still = {"train.warm_start.lr": 1e-12, "train.lr": 1e-12, "train.warm_start.weight_decay": 0.0}
    again = RefitJob.of(tmp_path, data.hashes, topics.quick.with_values(still), Sample(1), first.member.checkpoint)
    assert refit(again, data, "reward").error is None
    parts = [Predictions.load(job.member.predictions("valid"))[0] for job in (first, again)]
    np.testing.assert_allclose(parts[0].probabilities, parts[1].probabilities, atol=1e-5)
    elsewhere = RefitJob.of(tmp_path, data.hashes, topics.quick.with_values(still), Sample(1))
    refit(elsewhere, data, "reward")
    other, _ = Predictions.load(elsewhere.member.predictions("valid"))
    assert np.abs(parts[0].probabilities - other.probabilities).max() > 0.1


def test_a_refit_is_the_same_wherever_it_was_trained(topics: SimpleNamespace, tmp_path: Path) -> None:
    data: TaskData = topics.data
    weights = (np.arange(260.0) + 1,)
    made = [RefitJob.of(tmp_path / name, data.hashes, topics.quick, Sample(1, weights)) for name in ("a", "b")]
    for job in made:
        refit(job, data, "reward")
    one, other = (files_of(job.folder) for job in made)
    timed = ("done", "SHA256SUMS")  # which hold seconds, and what they come to
    assert {name: digest for name, digest in one.items() if name not in timed} == {
        name: digest for name, digest in other.items() if name not in timed
    }


def test_under_folds_each_has_its_own_rows_and_begins_at_its_own_checkpoint(
    topics: SimpleNamespace, tmp_path: Path
) -> None:
    rows = [
        {"text": text, "label": topics.dataset.classes[label]}
        for part in topics.dataset.parts.values()
        for text, label in zip(part.inputs, part.labels, strict=True)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = DataSettings.model_validate({"train": str(tmp_path / "rows.jsonl"), "splits": {"folds": 2}})
    dataset = load_dataset(settings, topics.quick.reading)
    data = encode(dataset, topics.quick.reading)
    first = RefitJob.of(tmp_path / "refits", data.hashes, topics.quick, Sample(1))
    again = RefitJob.of(tmp_path / "refits", data.hashes, topics.quick, Sample(2))
    for job in (first, again):
        assert refit(job, data, "reward").error is None
    later = RefitJob.of(tmp_path / "refits", data.hashes, topics.quick, Sample(2), first.member.checkpoint)
    result = refit(later, data, "reward")
    assert result.error is None
    assert len(result.reports) == 2 * topics.quick.train.epochs
    sizes = [len(fold.parts["warm"]) + len(fold.parts["policy"]) for fold in data.folds]
    assert len(later.said_of_fitted()) == sum(sizes) == len(fitted_rows(data))
    out_of_fold, rows_hash = Predictions.load(later.member.predictions("out_of_fold"))
    assert (len(out_of_fold), rows_hash) == (len(dataset.parts["out_of_fold"].labels), data.hashes["out_of_fold"])
    assert read_result(later) == result
