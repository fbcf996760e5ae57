"""Students of linear members, on a small task of topic words."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from topic_words import topics_dataset

from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.members.library import Member
from sweepstack.ensembles.refits.distillation import (
    STUDENT,
    StudentJob,
    aligned,
    held_out,
    lesson,
    softened,
    train_student,
)
from sweepstack.models.baselines.linear import LinearBaseline
from sweepstack.models.data.encoding import EncodedPart
from sweepstack.models.data.labelled import OUT_OF_FOLD, Dataset, Part
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions, metrics
from sweepstack.models.settings.trial import Model, Reading, Train, TrialSettings, WarmStart
from sweepstack.models.tasks.classification.checkpoint import load_member

SETTINGS = TrialSettings(
    reading=Reading(unit="words", segment=2, max_segments=4, cost=0.02),
    model=Model(d_model=16, heads=2, word_dropout=0.1),
    train=Train(warm_start=WarmStart(epochs=12, lr=1e-2, batch_size=16)),
    device="cpu",
)
ONE = np.ones(1, dtype=np.float32)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return topics_dataset()


@pytest.fixture(scope="module")
def teacher(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Member:
    member = Member("linear", "baseline", tmp_path_factory.mktemp("linear"))
    LinearBaseline.fit(data, SETTINGS.reading).save(member.checkpoint)
    return member


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def job(folder: Path, teacher: Member, texts: Sequence[str] = (), temperature: float = 1.0) -> StudentJob:
    return StudentJob(SETTINGS, folder / STUDENT, (teacher,), Combination((0,), ONE), tuple(texts), temperature)


def test_a_student_says_what_its_teacher_says(data: Dataset, teacher: Member, tmp_path: Path) -> None:
    train_student(job(tmp_path, teacher), data)
    member = job(tmp_path, teacher).member
    inputs, labels = data.parts["test"].inputs, data.parts["test"].labels
    said, rows_hash = Predictions.load(member.predictions("test"))
    assert rows_hash == data.hashes["test"]
    taught = load_member(teacher.checkpoint).read(inputs)
    mine, theirs = (metrics(each, labels, Costs(0.02)) for each in (said, taught))
    assert theirs["accuracy_full"] > 0.9
    assert mine["accuracy_full"] > theirs["accuracy_full"] - 0.05
    ends = taught.n_segments - 1
    distance = np.abs(said.at(ends) - taught.at(ends)).sum(axis=1).mean() / 2
    assert distance < 0.15, "not only the same labels, but as sure"
    alone = load_member(member.checkpoint).read(inputs)
    np.testing.assert_allclose(alone.at(alone.stops()), said.at(said.stops()), atol=1e-6)


def test_no_label_but_those_of_valid_matters(data: Dataset, teacher: Member, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    shuffled = {
        name: each if name == "valid" else Part(each.inputs, random.permutation(each.labels))
        for name, each in data.parts.items()
    }
    train_student(job(tmp_path / "a", teacher), data)
    train_student(job(tmp_path / "b", teacher), replace(data, parts=shuffled))
    one, other = (tmp_path / run / STUDENT / "checkpoint" / "weights.safetensors" for run in "ab")
    assert one.read_bytes() == other.read_bytes(), "and it is the same student each time"


def test_texts_without_labels_are_learned_from_too(data: Dataset, teacher: Member, tmp_path: Path) -> None:
    texts = topics_dataset(seed=9).parts["blend"].inputs
    learned, said = lesson(job(tmp_path, teacher, texts), data)
    assert learned == [*data.parts["warm"].inputs, *data.parts["policy"].inputs, *texts]
    taught = load_member(teacher.checkpoint).read(texts)
    rows = said.rows(np.arange(len(learned) - len(texts), len(learned)))
    np.testing.assert_allclose(rows.at(rows.n_segments - 1), taught.at(taught.n_segments - 1), atol=1e-6)


def test_what_is_done_is_not_done_again(data: Dataset, teacher: Member, tmp_path: Path) -> None:
    own = job(tmp_path, teacher)
    own.folder.mkdir(parents=True)
    own.marker.write_text("{}")
    train_student(own, data)
    assert not own.member.checkpoint.exists()


def test_under_folds_the_teacher_is_asked_out_of_fold(data: Dataset, teacher: Member, tmp_path: Path) -> None:
    rows = topics_dataset(seed=11).parts["policy"]
    parts, hashes = {OUT_OF_FOLD: rows, "test": data.parts["test"]}, {OUT_OF_FOLD: OUT_OF_FOLD, "test": "test"}
    of_fold = Dataset(data.classes, parts, hashes, (), folds=(data, data))
    baseline = load_member(teacher.checkpoint)
    member = Member("linear", "baseline", tmp_path / "linear")
    baseline.read(rows.inputs).save(member.predictions(OUT_OF_FOLD), OUT_OF_FOLD)
    own = job(tmp_path, member)
    train_student(own, of_fold)  # there is no checkpoint of the teacher: it cannot have been asked anew
    said, _ = Predictions.load(own.member.predictions("test"))
    assert metrics(said, data.parts["test"].labels, Costs(0.02))["accuracy_full"] > 0.85
    assert own.member.predictions(OUT_OF_FOLD).exists()


def test_a_temperature_softens_by_hand() -> None:
    sharp = np.array([[0.8, 0.2]], dtype=np.float32)
    np.testing.assert_array_equal(softened(sharp, 1.0), sharp)
    assert softened(sharp, 2.0)[0] == pytest.approx([2 / 3, 1 / 3])  # √.8 : √.2 = 2 : 1


def test_other_segments_than_the_teachers_are_met_at_their_ends() -> None:
    probabilities = np.array([[[0.6, 0.4], [0.9, 0.1]]], dtype=np.float32)
    said = Predictions(probabilities, np.ones((1, 2), dtype=np.float32), np.array([2]))
    longer = aligned(said, EncodedPart(np.zeros((1, 3, 1), dtype=np.int32), np.array([3]), None))
    assert longer.probabilities[0, :, 0] == pytest.approx([0.6, 0.9, 0.9])
    assert longer.n_segments.tolist() == [3]


def test_under_folds_the_threshold_is_fitted_on_no_text_that_is_learned() -> None:
    """Thirty texts, each twice: both rows of every tenth one are held out, wherever they stand."""
    texts = tuple(f"text {i % 30}" for i in range(60))
    rows = Part(texts, np.arange(60) % 3)
    parts = {OUT_OF_FOLD: rows, "test": rows}
    held, labels = held_out(Dataset(("a", "b", "c"), parts, {}, (), folds=(topics_dataset(), topics_dataset())))
    assert held.tolist() == [0, 10, 20, 30, 40, 50]
    assert labels.tolist() == rows.labels[held].tolist()
