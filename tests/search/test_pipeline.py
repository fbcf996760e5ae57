import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

from sweepstack.ensembles.bundles.bundle import load
from sweepstack.models import checksums
from sweepstack.models.errors import StorageError, StudyError
from sweepstack.models.files import read_json
from sweepstack.models.tasks.trainers import new_trainer
from sweepstack.search import Study, cli, pipeline
from sweepstack.search.execution.sweep import open_sweep
from sweepstack.search.execution.trainers import MakeTrainer
from sweepstack.search.execution.worker import Assignment
from sweepstack.search.ledger.ledger import Ledger
from sweepstack.search.ledger.objectives import dominates
from sweepstack.search.ledger.repetitions import settings_of_repetition
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.report.result import Result
from sweepstack.search.run.session import Session
from sweepstack.search.study.search_section import Keep
from sweepstack.search.study.space import Space
from sweepstack.search.tracking.store import open_client

pytestmark = pytest.mark.filterwarnings("ignore::Warning:mlflow")  # its warnings are not ours to mend


def mlflow_runs(study: Study, folder: Path) -> dict[str, Any]:
    """The runs of this folder's sweep by key; fails where one is doubled."""
    client = open_client(study.tracking_uri)
    experiment = client.get_experiment_by_name(study.name)
    sweep = Result.open(folder).ledger.attribute("sweep_id")
    found = client.search_runs([experiment.experiment_id], f"tags.`sweepstack.sweep` = '{sweep}'")
    runs = {each.data.tags["sweepstack.key"]: each for each in found}
    assert len(runs) == len(found)
    return runs


def test_ensemble_wants_the_folder_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=f"{tmp_path} is not the folder of a run; sweepstack run STUDY makes one"):
        pipeline.ensemble(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_search_that_is_done_writes_and_prints_what_there_is(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = pipeline.search(Study.load(run / "study.yaml"), run)
    assert not result.has_ensembles
    assert not (run / "bundle").exists()
    board = pd.read_csv(run / "leaderboard.csv")
    assert set(board["name"]) == {*(f"trial {number}" for number in range(4)), "linear", "supervised"}
    assert (run / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    printed = capsys.readouterr().out
    assert f"#{result.best.number if result.best else None}" in printed
    assert "Exported" not in printed


@pytest.mark.usefixtures("no_ray", "no_mlflow")
def test_a_trial_whose_folder_was_deleted_is_no_member_and_blocks_nothing(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = Result.open(run)
    assert stored.best is not None
    gone = stored.best.number
    shutil.rmtree(run / "trials" / str(gone))
    shutil.rmtree(run / "company" / "linear" / "checkpoint")  # the baseline is fitted again
    result = pipeline.run(Study.load(run / "study.yaml"), run)
    single = next(row for row in result.built.choice.rows if row.role == "trial")
    assert single.name == f"trial-{result.printable().best.number}" != f"trial-{gone}"
    assert all(f"trial-{gone}" not in row.members for row in result.built.choice.rows)
    assert (run / "company" / "linear" / "checkpoint" / "weights.safetensors").exists()
    printed = capsys.readouterr().out
    assert f"the folder of trial {gone} is gone, so it is no member; sweepstack retry RUN --trial {gone}" in printed


@pytest.mark.usefixtures("no_ray", "no_mlflow")
def test_a_trial_folder_that_is_put_back_is_a_member_again(run: Path, tmp_path: Path) -> None:
    """Also under a bound on the disk, where what a kill left of a removed trial goes."""
    study = Study.load(run / "study.yaml")
    before = pipeline.run(study, run).built
    shutil.move(run / "trials" / "2", tmp_path / "elsewhere")
    assert "trial-2" not in [member.name for member in pipeline.run(study, run).built.members]
    shutil.move(tmp_path / "elsewhere", run / "trials" / "2")
    keep = study.search.model_copy(update={"keep": Keep(disk_gb=1.0)})
    result = pipeline.run(study.model_copy(update={"search": keep}), run)
    assert [member.name for member in result.built.members] == [member.name for member in before.members]
    assert result.built.digest == before.digest
    assert "Deleted" not in result.remarks


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change(path: Path) -> None:
    """Another digit, where there is one: what is left is JSON all the same."""
    content = path.read_bytes()
    place = next((i for i in range(len(content) - 1, 0, -1) if content[i : i + 1].isdigit()), len(content) // 2)
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


SPOILT = {
    "a pipeline's result": ("company/naive_bayes/result.json", cut),
    "a refit's end": ("refits/*/done", cut),
    "a refit": ("refits/*", shutil.rmtree),
    "a refit's weights": ("refits/*/checkpoint/weights.safetensors", change),
    "the calibration": ("calibration.safetensors", Path.unlink),
    "a digit of what the report says": ("trust.json", change),
    "what the report says": ("trust.json", Path.unlink),
    "the bundle's description": ("bundle/bundle.json", cut),
    "the bundle's description, deleted": ("bundle/bundle.json", Path.unlink),
    "the bundle's weights": ("bundle/members/*/weights.safetensors", change),
    "the bundle's sums": ("bundle/SHA256SUMS", Path.unlink),
}


@pytest.mark.usefixtures("no_ray", "no_mlflow")
@pytest.mark.parametrize("name", SPOILT)
def test_what_is_spoilt_is_made_again_as_it_was(name: str, with_refits: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(with_refits, tmp_path / "run"))
    before = Result.open(run)
    expected = {row.name: (row.members, row.valid, row.blend, row.test) for row in before.built.choice.rows}
    weights = {p.name: p.read_bytes() for p in (run / "bundle").rglob("*.safetensors")}
    trust = read_json(run / "trust.json")
    pattern, spoil = SPOILT[name]
    (path,) = run.glob(pattern)
    spoil(path)
    built = pipeline.run(Study.load(run / "study.yaml"), run, json=True).built
    assert built.choice.chosen == "refitted"
    assert {row.name: (row.members, row.valid, row.blend, row.test) for row in built.choice.rows} == expected
    assert load(run / "bundle").metadata["digest"] == before.built.digest
    assert {p.name: p.read_bytes() for p in (run / "bundle").rglob("*.safetensors")} == weights
    assert read_json(run / "trust.json") == trust
    assert checksums.is_whole(run)


@pytest.mark.usefixtures("no_ray", "no_mlflow")
@pytest.mark.parametrize("command", [["status", "RUN"], ["export", "RUN", "-o", "new"], ["ensemble", "RUN"]])
@pytest.mark.parametrize(
    ("file", "words"),
    [("study.yaml", "study.yaml is cut off: it lacks tracking"), ("provenance.json", "cannot be read")],
)
def test_what_only_a_person_can_put_back_is_said_in_one_line(
    command: list[str],
    file: str,
    words: str,
    with_refits: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half of a study is a study, too: that of whatever stood first."""
    run = Path(shutil.copytree(with_refits, tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    path = run / file
    text = path.read_text()
    path.write_text(text[: text.index("ensembles:")] if file == "study.yaml" else text[: len(text) // 2])
    if (command[0], file) == ("status", "provenance.json"):
        return  # which needs none
    with pytest.raises(SystemExit) as end:
        cli.main([str(run) if word == "RUN" else word for word in command])
    assert end.value.code in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (tmp_path / "new").exists()


def test_ensemble_goes_on_from_a_search(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = pipeline.ensemble(run)
    chosen = result.built.choice.chosen
    assert result.status()["exported"] == chosen
    printed = capsys.readouterr().out
    for word in ("Best trial", "average", "selection", "stacking", "(baseline", "(control", "Exported", "predict"):
        assert word in printed
    assert load(run / "bundle").predict(["fox owl bee", "seven"]) == ["animal", "number"]


def test_a_damaged_baseline_is_fitted_again(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And is what it was, byte for byte."""
    pipeline.ensemble(run)
    folder = run / "company" / "linear"
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}
    weights = folder / "checkpoint" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    capsys.readouterr()
    pipeline.ensemble(run)
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))} == before
    assert f"{folder} was damaged, and is made anew" in capsys.readouterr().out


def test_for_machines_nothing_is_printed(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pipeline.ensemble(run, json=True)
    assert capfd.readouterr() == ("", "")


def test_every_run_is_in_mlflow_once_and_none_is_running(finished_run: Path) -> None:
    result = Result.open(finished_run)
    runs = mlflow_runs(result.study, finished_run)
    ensembles = {name for name in result.built.choice.combinations if name in ("average", "selection", "stacking")}
    assert set(runs) == {
        "sweep",
        *(f"trials-{number}" for number in range(4)),
        "supervised-0",
        "linear",
        *(f"ensemble-{name}-{result.built.digest}" for name in ensembles | {result.built.choice.chosen}),
    }
    assert {each.info.status for each in runs.values()} == {"FINISHED"}
    assert runs["trials-0"].data.params.keys() == result.trials[0].settings.keys()
    assert runs["sweep"].data.metrics == {"best_reward": pytest.approx(result.status()["best"]["reward"])}
    exported = [key for key, each in runs.items() if each.data.tags.get("exported") == "true"]
    assert exported == [f"ensemble-{result.built.choice.chosen}-{result.built.digest}"]


def test_mlflow_has_every_value_of_the_leaderboard_to_the_digit(run: Path) -> None:
    """Of complete, pruned and failed trials, the baseline and the control; and again after another session.

    Trial 4 is at its best in its first epoch, which is not the last value that MLflow has of its reward.
    """
    with Ledger.open(run / "ledger.log") as ledger:
        study = Study.load(run / "study.yaml")
        space = Space.parse(study.space, study.trial_settings())
        sweep = open_sweep(ledger, "trials", space=space, search=study.search, epochs=2, trials=7)
        metrics = sweep.trials()[0].reports[0]
        for number, rewards, ends in ((4, (0.987654321, 0.1), True), (5, (0.5,), False), (6, (0.3,), False)):
            sweep.ask()
            for epoch, reward in enumerate(rewards, start=1):
                sweep.report(number, epoch, {**metrics, "reward": reward, "accuracy": reward / 3})
            if ends:
                sweep.complete(number)
        sweep._tell(5, optuna.trial.TrialState.PRUNED)
        sweep.fail(6, "made so")
    changed = study.model_copy(update={"search": study.search.model_copy(update={"trials": 7})})
    for _ in range(2):
        pipeline.search(changed, run, json=True)
        runs = mlflow_runs(study, run)
        board = pd.read_csv(run / "leaderboard.csv")
        keys = {f"trial {number}": f"trials-{number}" for number in range(7)} | {"linear": "linear"}
        assert len(board) == 9
        for _, row in board.iterrows():
            key = keys.get(row["name"]) or next(
                key
                for key, each in runs.items()
                if each.data.params.items() >= {"train.lr": str(row["train.lr"])}.items()
            )
            shown = runs[key].data.metrics
            assert {name: shown[f"best_{name}"] for name in study.metrics} == {n: row[n] for n in study.metrics}, key
            if row["role"] == "trial":
                assert shown["best_epoch"] == row["best_epoch"]
        assert runs["trials-4"].data.metrics["reward"] == 0.1
        standing = board[board["state"] != "failed"]
        order = sorted(
            standing["name"], key=lambda name: -runs[keys.get(name, "supervised-0")].data.metrics["best_reward"]
        )
        assert order == standing["name"].tolist()


def test_an_extended_study_keeps_its_trials_and_builds_anew(
    run: Path, train_by_hand: Callable[[Session], None]
) -> None:
    first = pipeline.run(Study.load(run / "study.yaml"), run, json=True)
    before = mlflow_runs(first.study, run)
    study = Study.load(run / "study.yaml", ["search.trials=8"])
    session = Session.open(study, run)
    train_by_hand(session)
    session.ledger.close()
    second = pipeline.run(study, run, json=True)
    assert second.trials[:4] == first.trials
    assert second.status()["trials"]["complete"] == second.status()["trials"]["asked_for"] == 8
    assert second.built.digest != first.built.digest
    after = mlflow_runs(second.study, run)
    assert {key: after[key].info.run_id for key in before} == {key: each.info.run_id for key, each in before.items()}
    assert set(after) - set(before) >= {*(f"trials-{number}" for number in range(4, 8)), "supervised-1"}
    assert len(second.ledger.attribute("test_scorings")) == 2


@pytest.mark.slow
def test_a_small_study_is_trained_on_ray_from_end_to_end(study_file: Callable[..., Path], tmp_path: Path) -> None:
    """Trials, control, baseline and a refit by real workers; the same call again finds nothing left to do."""
    study = Study.load(
        study_file(
            tmp_path,
            name="trained",
            model={"d_model": 16, "heads": 2},
            train={"epochs": 1, "warm_start": {"epochs": 1}},
            search={"sampler": "random", "stopper": "none", "trials": 2},
            ensembles={"builders": ["average", {"bagging": {"top": 1, "members": 1}}]},
        )
    )
    result = study.run(tmp_path / "run", json=True)
    assert result.status()["trials"]["complete"] == 2
    assert {member.kind for member in result.built.members} == {"trial", "baseline", "control", "refit"}
    for member in result.built.members:
        assert (member.checkpoint / "weights.safetensors").exists()
    assert {each.info.status for each in mlflow_runs(result.study, tmp_path / "run").values()} == {"FINISHED"}
    assert load(tmp_path / "run" / "bundle").classes == ("animal", "colour", "number")
    again = study.run(tmp_path / "run", json=True)
    assert again.trials == result.trials
    assert again.built.choice.rows == result.built.choice.rows


def test_an_environment_ends_without_ensembles(
    environment_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def play(session: Session) -> None:
        while (record := session.trials.ask()) is not None:
            values = {"reward": 20.0 + record.number, "reward_std": 1.0, "length": 20.0, "seconds": 1.0}
            session.trials.report(record.number, 1, values)
            session.trials.complete(record.number)

    monkeypatch.setattr(pipeline, "_search", play)
    result = pipeline.run(environment_study, tmp_path / "runs" / "balance")
    assert result.best is not None
    assert result.best.value == 23.0
    assert not result.has_ensembles
    printed = capsys.readouterr().out
    assert "reward 23.0 ± 1.0 over 4 episodes" in printed
    assert "Exported" not in printed


def test_an_environment_without_a_result_is_an_error_after_all_was_written(
    environment_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(session: Session) -> None:
        while (record := session.trials.ask()) is not None:
            session.trials.fail(record.number, "it fell over")

    monkeypatch.setattr(pipeline, "_search", fail)
    folder = tmp_path / "runs" / "balance"
    with pytest.raises(StorageError, match=f"{folder} has no trial that came to a result; see .* leaderboard.csv"):
        pipeline.run(environment_study, folder, json=True)
    assert set(pd.read_csv(folder / "leaderboard.csv")["reason"]) == {"it fell over"}
    assert "it fell over" in (folder / "report.html").read_text(encoding="utf-8")


PLAYED = {
    "model": {"d_model": 8, "layers": 1},
    "train": {"epochs": 2, "batch_size": 32, "env": {"copies": 2, "steps": 64, "eval_episodes": 2}},
}


def without_seconds(reports: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in report.items() if name != "seconds"} for report in reports]


def test_repetitions_are_trainings_with_the_next_seeds_wherever_they_are_killed(tmp_path: Path) -> None:
    settings = Study.model_validate({"name": "x", "task": "gym:CartPole-v1", **PLAYED}).trial_settings()
    values = {"train.lr": 1e-3}
    make = MakeTrainer(settings, None, tmp_path, lambda number: tmp_path / str(number), "reward", 0.0, seeds=2)
    trainer = make(Assignment(7, values))
    for epoch in range(1, 5):
        trainer.step()
        trainer = make(Assignment(7, values))  # another process
        assert len(trainer.reports) == epoch
    for repetition in range(2):
        own = settings_of_repetition(settings.with_values(values), values, repetition)
        alone = new_trainer(own, None, tmp_path, tmp_path / "alone" / str(repetition), "reward")
        wanted = [alone.step(), alone.step()]
        got = trainer.reports[2 * repetition : 2 * repetition + 2]
        assert without_seconds(got) == without_seconds(wanted)
        folder = RunFolder.repetition(tmp_path / "7", repetition)
        weights = (folder / "checkpoint" / "weights.safetensors").read_bytes()
        assert weights == (tmp_path / "alone" / str(repetition) / "checkpoint" / "weights.safetensors").read_bytes()
    trainer.close(True)
    left = {path.name for path in (tmp_path / "7").rglob("*") if path.is_file()}
    assert not left & {"state.json", "parts.json"}, "nothing is kept to go on with"


def test_the_front_of_several_objectives_is_in_table_page_and_mlflow(
    study_file: Callable[..., Path], train_by_hand: "Callable[[Session], None]", tmp_path: Path
) -> None:
    search = {"sampler": "random", "stopper": "none", "trials": 4, "metric": ["reward", "segments", "seconds"]}
    study = Study.load(study_file(tmp_path, name="several", search=search))
    session = Session.open(study, tmp_path / "run")
    train_by_hand(session)
    session.ledger.close()
    result = pipeline.search(study, tmp_path / "run", json=True)
    status = result.status()
    front = [each["trial"] for each in status["pareto"]]
    points = {r.number: (r.objectives["reward"], -r.objectives["segments"]) for r in result.trials}  # as fast, all
    assert set(front) == {
        a for a, mine in points.items() if not any(dominates(other, mine) for b, other in points.items() if b != a)
    }
    assert {round(each["seconds"], 6) for each in status["pareto"]} == {1.0}
    board = pd.read_csv(tmp_path / "run" / "leaderboard.csv")
    assert set(board[board["pareto"]]["number"]) == set(front)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert 'aria-label="reward against segments, seconds, and the Pareto front"' in page
    parent = mlflow_runs(study.in_folder(tmp_path / "run"), tmp_path / "run")["sweep"].data
    assert parent.tags["pareto"] == ", ".join(map(str, front))
    assert parent.metrics["pareto_trials"] == len(front)
