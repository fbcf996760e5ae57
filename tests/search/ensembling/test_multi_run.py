"""Ensembles over several runs, whose trials the fixtures train by hand."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweepstack.ensembles.bundles.bundle import load
from sweepstack.models.errors import InputError, StudyError
from sweepstack.models.files import read_json, write_json
from sweepstack.search import pipeline
from sweepstack.search.cli import main
from sweepstack.search.ensembling.multi_run import adopted, on_record, recorded, sources, study_of
from sweepstack.search.report.result import Result
from sweepstack.search.run.session import Session
from sweepstack.search.study.study import Study

pytestmark = pytest.mark.filterwarnings("ignore::Warning:mlflow")  # its warnings are not ours to mend


@pytest.fixture(scope="module")
def other_run(
    tmp_path_factory: pytest.TempPathFactory,
    study_file: Callable[..., Path],
    train_by_hand: Callable[[Session], None],
) -> Path:
    """A second search over the same data: another seed, another learning rate, and three trials."""
    folder = tmp_path_factory.mktemp("other")
    file = study_file(
        folder,
        name="other",
        train={"epochs": 2, "lr": 1e-2},
        space={"train.batch_size": [64, 128, 256]},
        search={"sampler": "random", "stopper": "none", "trials": 3, "seed": 7},
    )
    session = Session.open(Study.load(file), folder / "run")
    train_by_hand(session)
    session.ledger.close()
    pipeline.search(Study.load(file), folder / "run", json=True)
    return folder / "run"


def test_members_of_all_runs_are_combined_and_called_by_their_run(
    finished_run: Path, other_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = pipeline.combine([finished_run, other_run], tmp_path / "both")
    built = result.built
    assert [member.name for member in built.members] == [
        *(f"run.trial-{number}" for number in range(4)),
        *(f"run-2.trial-{number}" for number in range(3)),
        "linear",
        built.members[-1].name,
    ]
    assert built.members[-1].name in ("run.supervised-0", "run-2.supervised-0"), "the better control of both"
    assert built.members[4].folder == other_run / "trials" / "0", "they lie where they are"
    assert built.members[7].folder == finished_run / "company" / "linear"
    for row in built.choice.rows:
        assert row.test is not None
    bundle = load(tmp_path / "both" / "bundle")
    assert {member["name"] for member in bundle.metadata["members"]} <= {member.name for member in built.members}
    assert bundle.predict(["fox owl bee", "seven"]) == ["animal", "number"]
    assert (tmp_path / "both" / "ensembles.csv").exists()
    assert "run (4 trials), run-2 (3 trials)" in (tmp_path / "both" / "report.html").read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    for word in ("Best trial", ".trial-", "Exported", "Runs", "run (4 trials), run-2 (3 trials)"):
        assert word in printed
    keys = set(result.mlflow_runs)
    assert {f"ensemble-{name}-{built.digest}" for name in ("average", "selection", "stacking")} <= keys


def test_the_same_command_again_repeats_nothing_and_one_folder_stands_for_it(
    finished_run: Path, other_run: Path, tmp_path: Path
) -> None:
    first = pipeline.combine([finished_run, other_run], tmp_path / "both", json=True)
    scorings = first.ledger.attribute("test_scorings")
    bundle = {path: path.stat().st_mtime_ns for path in (tmp_path / "both" / "bundle").rglob("*")}
    for again in (
        pipeline.combine([finished_run, other_run], tmp_path / "both", json=True),
        pipeline.ensemble(tmp_path / "both", json=True),
    ):
        assert again.built.digest == first.built.digest
        assert again.ledger.attribute("test_scorings") == scorings
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "both" / "bundle").rglob("*")} == bundle


def test_runs_that_were_moved_with_their_ensemble_are_found(finished_run: Path, tmp_path: Path) -> None:
    """Beside it first, even where the old place is there still; then where they were."""
    for folder in ("old", "new"):
        shutil.copytree(finished_run, tmp_path / folder / "a")
    runs = on_record(sources([tmp_path / "old" / "a"]), tmp_path / "old" / "both")
    assert runs[0]["relative"] == "../a"
    assert recorded(runs, tmp_path / "old" / "both") == [tmp_path / "old" / "a"]
    assert recorded(runs, tmp_path / "new" / "both") == [tmp_path / "new" / "a"]
    assert recorded(runs, tmp_path / "elsewhere" / "both") == [tmp_path / "old" / "a"]
    before = [{"name": "a", "folder": str(tmp_path / "old" / "a"), "trials": 4}]  # of an earlier version
    assert recorded(before, tmp_path / "new" / "both") == [tmp_path / "old" / "a"]


def test_the_runs_themselves_stay_as_they_are(finished_run: Path, other_run: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for run in (finished_run, other_run) for path in run.rglob("*")}
    pipeline.combine([finished_run, other_run], tmp_path / "both", json=True)
    assert {path: path.stat().st_mtime_ns for run in (finished_run, other_run) for path in run.rglob("*")} == before


def test_a_trial_brings_the_settings_of_its_own_run(finished_run: Path, other_run: Path) -> None:
    """What refits and soups are made of: the first run's settings with a record's are those that trained it."""
    found = sources([finished_run, other_run])
    settings = study_of(found).trial_settings()
    records = adopted(found, settings).trials
    other = Result.open(other_run)
    for record, own in zip(records[4:], other.trials, strict=True):
        assert settings.with_values(record.settings) == other.study.trial_settings().with_values(own.settings)
    assert settings.train.lr != 1e-2
    assert [record.origin.run for record in records if record.origin] == ["run"] * 4 + ["run-2"] * 3


def test_a_folder_that_combines_runs_searches_nothing(finished_run: Path, other_run: Path, tmp_path: Path) -> None:
    pipeline.combine([finished_run, other_run], tmp_path / "both", json=True)
    with pytest.raises(StudyError, match="combines other runs and searches nothing itself; sweepstack ensemble"):
        pipeline.run(Study.load(tmp_path / "both" / "study.yaml"), tmp_path / "both", json=True)
    with pytest.raises(StudyError, match="combines runs itself; name those that it was built over"):
        sources([tmp_path / "both", finished_run])


def test_what_does_not_fit_together_is_said_in_one_line(
    finished_run: Path,
    searched_run: Path,
    tmp_path: Path,
    study_file: Callable[..., Path],
) -> None:
    def refused(run: Path, error: type[InputError] = StudyError) -> str:
        with pytest.raises(error) as caught:
            pipeline.combine([finished_run, run], tmp_path / "both", json=True)
        assert not (tmp_path / "both").exists()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert refused(finished_run).endswith("is named twice; name each run once")
    assert "is not the folder of a run" in refused(tmp_path / "nowhere", InputError)
    assert "is not finished (4 of 4 trials have ended); sweepstack run" in refused(searched_run)

    copy = Path(shutil.copytree(finished_run, tmp_path / "copy"))
    provenance = read_json(copy / "provenance.json")
    write_json(copy / "provenance.json", {**provenance, "data": {**provenance["data"], "classes": ["a", "b"]}})
    assert f"{copy} cannot be combined with {finished_run}: they differ in classes (['a', 'b'] and" in refused(copy)
    hashes = {**provenance["data"]["hashes"], "blend": "0123"}
    write_json(copy / "provenance.json", {**provenance, "data": {**provenance["data"], "hashes": hashes}})
    assert "they differ in the rows of their parts (blend 0123 and " in refused(copy)
    write_json(copy / "provenance.json", provenance)

    def studied(**changes: Any) -> None:
        study = Study.load(copy / "study.yaml").model_dump()
        (copy / "study.yaml").write_text(json.dumps({**study, **changes}), encoding="utf-8")

    studied(reading={"unit": "words", "segment": 2, "max_segments": 4, "cost": 0.02})
    assert "they differ in reading (segment 2 and 1)" in refused(copy)
    studied(reading="off")
    assert "they differ in reading (off and " in refused(copy)


def test_an_environment_has_nothing_to_combine(finished_run: Path, tmp_path: Path, environment_study: Study) -> None:
    Session.open(environment_study, tmp_path / "played").ledger.close()
    with pytest.raises(StudyError, match="has no texts to combine answers for"):
        sources([finished_run, tmp_path / "played"])


def test_another_runs_folder_is_not_taken_for_the_result(finished_run: Path, other_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished_run, tmp_path / "copy"))
    with pytest.raises(StudyError, match="is the folder of a run that was searched; choose another with --out"):
        pipeline.combine([finished_run, other_run], copy, json=True)


def test_the_command_takes_one_run_or_several(
    finished_run: Path, other_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["ensemble", str(finished_run), str(other_run), "--json"])
    summary = json.loads(capsys.readouterr().out)
    assert summary["folder"] == str(tmp_path / "runs" / "run-and-run-2")
    assert Path(summary["bundle"]).is_dir()
    with pytest.raises(SystemExit) as caught:
        main(["ensemble", str(finished_run), "--out", "elsewhere"])
    assert caught.value.code == 2
    assert "--out is for several runs" in capsys.readouterr().err


def test_runs_that_write_are_not_combined(finished_run: Path, written_ensembles: Path) -> None:
    with pytest.raises(StudyError, match=r"task translation.*only runs of classification can be combined"):
        sources([finished_run, written_ensembles])
