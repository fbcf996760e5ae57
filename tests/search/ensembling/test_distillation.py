"""A whole run, whose student is trained in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweepstack.ensembles.bundles.bundle import load
from sweepstack.ensembles.refits import distillation
from sweepstack.ensembles.scoring.conformal import STUDENT as STUDENT_CAVEAT
from sweepstack.models.data.encoding import encode
from sweepstack.models.data.labelled import OUT_OF_FOLD, Dataset, Part, load_dataset
from sweepstack.models.errors import DataError, StudyError
from sweepstack.models.files import read_json
from sweepstack.models.predictions.probabilities import Predictions, metrics
from sweepstack.models.settings.trial import Reading
from sweepstack.search.ensembling import stage as ensembling
from sweepstack.search.ensembling.distillation import calibrated
from sweepstack.search.ledger.ensembles import BuiltEnsembles
from sweepstack.search.report.result import Result
from sweepstack.search.run.session import Session
from sweepstack.search.run.unlabelled import unlabelled
from sweepstack.search.study.study import Study

pytestmark = pytest.mark.filterwarnings("ignore::Warning:mlflow")  # its warnings are not ours to mend
STUDENT = "ensembles.distill={model: {d_model: 8, layers: 1, heads: 2}, epochs: 2}"
FEW = "ensembles.builders=[average]"


class Here:
    """An executor that calls at once, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        self.calls += 1
        result = fn(*args)
        return type("Done", (), {"result": staticmethod(lambda: result)})()


def build(run: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> tuple[BuiltEnsembles, int]:
    """What the ledger holds after a session that builds, and how often something was trained."""
    here = Here()
    with Session.open(Study.load(run / "study.yaml", overrides), run, json=True) as session:
        monkeypatch.setattr(session.cluster, "executor", lambda resources: here)
        monkeypatch.setattr(session.cluster, "share", lambda value: value)
        ensembling.build(session)
    return Result.open(run).built, here.calls


def dataset_of(run: Path) -> Dataset:
    study = Result.open(run).study
    assert study.data is not None
    return load_dataset(study.data, study.reading)


def test_a_student_is_a_row_with_a_bundle_of_its_own(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built, calls = build(run, monkeypatch, FEW, STUDENT)
    assert calls == 1
    names = [row.name for row in built.choice.rows]
    assert names[:2] == ["average", "student"]
    assert built.choice.chosen != "student"
    row = built.choice.row("student")
    assert (row.method, row.role, row.members) == ("student", "ensemble", ("student",))
    assert (row.size_mb or 0) > 0
    assert (row.latency_ms or 0) > 0
    bundle = load(run / "student")
    test = dataset_of(run).parts["test"]
    readings = bundle.read(test.inputs)
    right = np.mean([reading.label == bundle.classes[k] for reading, k in zip(readings, test.labels, strict=True)])
    assert row.test is not None
    assert row.test["accuracy"] == pytest.approx(right)
    assert bundle.calibration is not None
    assert bundle.calibration.caveat == STUDENT_CAVEAT
    assert read_json(run / "bundle" / "bundle.json")["method"] != "student"
    assert built.table().set_index("name").loc["student", "method"] == "student"


def test_it_is_trained_once_and_anew_when_something_else_is_wanted(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = build(run, monkeypatch, FEW, STUDENT)
    again, calls = build(run, monkeypatch, FEW, STUDENT)
    assert calls == 0
    assert again.choice.rows == first.choice.rows
    other, calls = build(run, monkeypatch, FEW, STUDENT, "ensembles.distill.temperature=2.0")
    assert calls == 1
    assert other.digest != first.digest
    without, calls = build(run, monkeypatch, FEW, "ensembles.distill=null")
    assert calls == 0
    assert "student" not in [row.name for row in without.choice.rows]


def test_its_row_is_of_what_it_says(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On blend, too, though no label of blend was learned from."""
    seen: list[distillation.StudentJob] = []
    real = distillation.train_student
    monkeypatch.setattr(
        "sweepstack.search.ensembling.distillation.train_student",
        lambda job, dataset: (seen.append(job), real(job, dataset))[1],
    )
    built, _ = build(run, monkeypatch, FEW, STUDENT)
    (job,) = seen
    assert job.settings.model.d_model == 8
    assert job.settings.train.warm_start.epochs == 2
    assert built.choice.combinations[built.choice.chosen].members == job.teacher.members
    from sweepstack.models.predictions.costs import Costs
    from sweepstack.models.predictions.probabilities import Predictions

    blend = dataset_of(run).parts["blend"]
    said, _ = Predictions.load(job.member.predictions("blend"))
    assert built.choice.row("student").blend == metrics(said, blend.labels, Costs(0.02))


@pytest.fixture
def wants(study_file: Callable[..., Path], tmp_path: Path) -> Callable[[str, str], Study]:
    """A study whose student learns from a file of this name and content."""

    def make(name: str, content: str) -> Study:
        (tmp_path / name).write_text(content, encoding="utf-8")
        return Study.load(study_file(tmp_path, ensembles={"distill": {"text": name}}))

    return make


KNOWN = Part(("red cat", "blue dog", "known text") * 2, np.zeros(6, dtype=np.int64))
SCORED = Dataset(
    ("a", "b"),
    {"warm": KNOWN, "policy": KNOWN, "test": Part(("known text", "seldom word"), np.zeros(2, dtype=np.int64))},
    {},
    (),
)
ENCODED = encode(SCORED, Reading(segment=1, max_segments=2))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("texts.txt", "red cat\n\nknown text\nblue dog\nred cat\n"),
        ("texts.jsonl", '{"text": "red cat"}\n{"text": "known text"}\n{"text": "blue dog"}\n'),
        ("texts.txt", "red cat\n\n KNOWN\u200d  text\nblue dog\nknown text that is cut\nother words\n"),
    ],
    ids=["lines", "rows", "read the same"],
)
def test_texts_come_once_and_without_those_that_are_scored(wants: Any, name: str, content: str) -> None:
    """Of what is read the same as a text of test, too: two words are read, and all that are unknown are alike."""
    assert unlabelled(wants(name, content), SCORED, ENCODED) == ("red cat", "blue dog")


def test_under_folds_texts_that_a_fold_holds_out_are_left_out(wants: Any) -> None:
    parts = {"out_of_fold": Part(("red cat",), np.zeros(1, dtype=np.int64)), "test": SCORED.parts["test"]}
    folds = Dataset(("a", "b"), parts, {}, (), folds=(SCORED, SCORED))
    data = encode(folds, Reading(segment=1, max_segments=2))
    assert unlabelled(wants("texts.txt", "red cat\nknown text\nblue dog\n"), folds, data) == ("blue dog",)


def test_texts_that_cannot_be_read_are_refused_before_anything_starts(wants: Any, tmp_path: Path) -> None:
    study = wants("texts.csv", "words\nred cat\n")
    with pytest.raises(DataError, match="has no column 'text'"):
        Session.open(study, tmp_path / "new")
    study = wants("texts.txt", "")
    (tmp_path / "texts.txt").unlink()
    with pytest.raises(DataError, match=r"ensembles.distill.text: .*texts.txt cannot be read"):
        unlabelled(study, SCORED, ENCODED)


def test_a_wrong_shape_is_refused(study_file: Callable[..., Path], tmp_path: Path) -> None:
    path = study_file(tmp_path, ensembles={"distill": {"model": {"d_modle": 32}}})
    with pytest.raises(
        StudyError, match=r"ensembles.distill.model.d_modle .* nearest: ensembles.distill.model.d_model"
    ):
        Study.load(path)


def test_under_folds_tokens_are_refused(study_file: Callable[..., Path], tmp_path: Path, phrases: Path) -> None:
    data = {"train": str(phrases), "splits": {"folds": 2, "test": 0.25}}
    reading = {"unit": "tokens", "segment": 1, "max_segments": 4}
    path = study_file(tmp_path, ensembles={"distill": {}}, data=data, reading=reading)
    with pytest.raises(StudyError, match=r"ensembles.distill: needs shares where reading.unit is tokens"):
        Study.load(path)


def test_its_sets_are_calibrated_on_rows_that_it_has_not_learned_from() -> None:
    """Under folds it learns from nine texts in ten. It says the first label of two with 1 − row / 100."""
    rows = Part(tuple(f"text {i}" for i in range(50)), np.ones(50, np.int64))
    second = np.arange(50, dtype=np.float32) / 100
    one = np.ones((50, 1), np.float32)
    said = Predictions(np.stack([1 - second, second], axis=1)[:, None], one, np.ones(50, np.int64))
    of_shares = calibrated(said, Dataset(("a", "b"), {"blend": rows}, {}, ()))
    np.testing.assert_allclose(of_shares.scores, 1 - second[::-1], atol=1e-6)
    folds = Dataset(("a", "b"), {OUT_OF_FOLD: rows}, {}, (), folds=(SCORED, SCORED))
    np.testing.assert_allclose(calibrated(said, folds).scores, [0.6, 0.7, 0.8, 0.9, 1.0], atol=1e-6)
