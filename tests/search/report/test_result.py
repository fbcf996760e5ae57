import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sweepstack.ensembles.bundles.bundle import load
from sweepstack.models.errors import InputError, StorageError, StudyError
from sweepstack.search import pipeline
from sweepstack.search.report.result import Result
from sweepstack.search.run.session import Session
from sweepstack.search.study.study import Study


@pytest.fixture
def session(study_file: Callable[..., Path], tmp_path: Path) -> Session:
    """A driver that has just begun; its run folder is ``run``."""
    return Session.open(Study.load(study_file(tmp_path)), tmp_path / "run")


@pytest.mark.parametrize("content", [(), ("thesis.txt",), ("study.yaml",), ("ledger.log",)])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, content: tuple[str, ...]) -> None:
    for name in content:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="is not the folder of a run; sweepstack run STUDY makes one"):
        Result.open(tmp_path)
    with pytest.raises(InputError, match="is not the folder of a run"):
        Result.open(tmp_path / "nowhere")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(content)


def test_a_run_that_has_just_begun(session: Session) -> None:
    result = Result.open(session.folder.root)
    status = result.status()
    assert status["trials"] == {"asked_for": 4, "running": 0, "complete": 0, "pruned": 0, "failed": 0, "waiting": 0}
    assert (status["best"], status["company"], status["ensembles"], status["exported"]) == (None, {}, {}, None)
    assert result.leaderboard().empty
    assert json.loads(json.dumps(result.summary()))["bundle"] is None
    assert "no trial" in result.write_report().read_text(encoding="utf-8").lower()


def test_a_run_that_works_can_be_read_beside_its_driver(session: Session) -> None:
    first, second = session.trials.ask(), session.trials.ask()
    assert first is not None
    assert second is not None
    session.trials.report(first.number, 1, {"reward": 0.7, "accuracy": 0.8})
    session.trials.report(second.number, 1, {"reward": 0.6, "accuracy": 0.8})
    session.trials.fail(second.number, "no more memory")
    status = Result.open(session.folder.root).status()
    assert status["trials"] == {"asked_for": 4, "running": 1, "complete": 0, "pruned": 0, "failed": 1, "waiting": 0}
    assert status["best"] == {"trial": first.number, "reward": 0.7}
    session.trials.report(first.number, 2, {"reward": 0.75, "accuracy": 0.8})
    session.trials.complete(first.number)
    status = Result.open(session.folder.root).status()
    assert status["trials"]["complete"] == 1
    assert status["best"] == {"trial": first.number, "reward": 0.75}


def test_the_status_says_what_the_trials_so_far_come_to_together(session: Session) -> None:
    assert Result.open(session.folder.root).status()["live_ensemble"] is None
    standing = {"rows": "blend", "members": ["linear", "trial-2"], "trial": 2, "trial_score": 0.9}
    session.ledger.set_attribute("live_ensemble", {"score": 0.915, "picks": [{}, {}], **standing})
    assert Result.open(session.folder.root).status()["live_ensemble"] == {"score": 0.915, **standing}


def test_without_ensembles_the_way_to_them_is_told(searched_run: Path, tmp_path: Path) -> None:
    result = Result.open(searched_run)
    assert not result.has_ensembles
    with pytest.raises(InputError, match=f"no ensembles yet; sweepstack ensemble {searched_run} builds them"):
        result.ensemble("selection").export(tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    assert set(result.status()["company"]) == {"linear", "supervised"}
    assert result.summary()["rows"] == []


def test_the_summary_of_a_finished_run_is_json_and_names_what_is_there(finished_run: Path) -> None:
    result = Result.open(finished_run)
    summary = json.loads(json.dumps(result.summary(), allow_nan=False))
    assert summary["trials"]["complete"] == summary["trials"]["asked_for"] == 4
    assert all(Path(summary[name]).exists() for name in ("folder", "bundle", "report", "leaderboard"))
    rows = {row["name"]: row for row in summary["rows"]}
    assert {"average", "selection", "stacking", "linear"} <= set(rows)
    assert summary["ensembles"] == {name: row["blend"]["reward"] for name, row in rows.items()}
    assert summary["exported"] in rows
    assert summary["reason"].startswith(f"{summary['exported']} is exported")
    best = summary["best"]
    assert best["reward"] == max(trial.value for trial in result.trials if trial.value is not None)
    assert rows[f"trial-{best['trial']}"]["role"] == "trial"


def test_the_leaderboard_has_every_trial_and_the_company_beside_them(finished_run: Path) -> None:
    board = Result.open(finished_run).leaderboard()
    assert sorted(board["number"].dropna()) == [0, 1, 2, 3]
    assert set(board.loc[board["number"].isna(), "name"]) == {"linear", "supervised"}
    assert board["reward"].is_monotonic_decreasing
    assert {"train.lr", "train.batch_size"} <= set(board.columns)
    assert board.loc[board["role"] == "trial", "seconds"].tolist() == [1.0] * 4


def test_the_table_of_ensembles_marks_what_is_exported(finished_run: Path) -> None:
    result = Result.open(finished_run)
    table = result.ensembles()
    assert table.loc[table["exported"], "name"].tolist() == [result.built.choice.chosen]
    assert table["test_reward"].notna().all()


def test_any_ensemble_can_be_exported_by_its_name(finished_run: Path, tmp_path: Path) -> None:
    result = Result.open(finished_run)
    bundle = load(result.ensemble("stacking").export(tmp_path / "mine"))
    assert bundle.metadata["method"] == "stacking"
    assert bundle.classes == ("animal", "colour", "number")
    assert bundle.predict(["cat dog cow", "red blue", "seven two one"]) == ["animal", "colour", "number"]
    assert result.ensemble().name == result.built.choice.chosen
    with pytest.raises(InputError, match="no ensemble 'bagging'; there are"):
        result.ensemble("bagging")


def test_an_export_leaves_other_folders_alone(finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StorageError, match="is no bundle"):
        Result.open(finished_run).ensemble().export(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_finished_run_can_be_moved(finished_run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(finished_run, moved)
    shutil.rmtree(moved / "bundle")
    result = Result.open(moved)
    assert result.status()["exported"] is None
    assert load(result.ensemble().export(result.folder.bundle)).predict(["fox owl"]) == ["animal"]
    assert result.status()["exported"] == result.built.choice.chosen
    assert result.write_report() == moved / "report.html"


def test_reading_changes_nothing(finished_run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished_run.rglob("*") if path.is_file()}
    result = Result.open(finished_run)
    result.summary(), result.leaderboard(), result.ensembles(), result.printable()
    assert {path: path.stat().st_mtime_ns for path in finished_run.rglob("*") if path.is_file()} == before


def test_an_environment_has_no_ensembles_and_says_what_it_has(environment_study: Study, tmp_path: Path) -> None:
    session = Session.open(environment_study, tmp_path / "run")
    number = session.trials.ask().number  # type: ignore[union-attr]
    for epoch, reward in ((1, 80.0), (2, 95.5)):
        session.trials.report(number, epoch, {"reward": reward, "reward_std": 3.0, "length": reward, "seconds": 1.0})
    session.trials.complete(number)
    session.ledger.close()
    result = Result.open(tmp_path / "run")
    for ask in (result.ensembles, result.ensemble, lambda: result.ensemble("average")):
        with pytest.raises(InputError, match="no ensembles, since task gym:CartPole-v1 has no texts"):
            ask()
    with pytest.raises(StudyError, match="no ensembles, since task gym:CartPole-v1 has no texts"):
        pipeline.ensemble(tmp_path / "run")
    assert list(result.leaderboard()["reward"]) == [95.5]
    summary = result.summary()
    assert summary["checkpoint"] == str(tmp_path / "run" / "trials" / str(number) / "checkpoint")
    assert (summary["task"], summary["bundle"], summary["company"]) == ("gym:CartPole-v1", None, {})
    assert "CartPole-v1" in result.write_report().read_text(encoding="utf-8")
