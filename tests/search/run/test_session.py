import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from small_writing import SMALL, pairs_dataset

from sweepstack.models.errors import DataError, StorageError, StudyError, SweepstackError, TrackingError
from sweepstack.models.files import read_json, write_json
from sweepstack.search.ledger.ledger import Ledger
from sweepstack.search.report.result import Result
from sweepstack.search.run import session as sessions
from sweepstack.search.run.session import Session, check_space
from sweepstack.search.study.study import Study
from sweepstack.search.tracking.run_tracker import PATIENCE, tracked
from sweepstack.search.tracking.store import open_client

pytestmark = pytest.mark.filterwarnings("ignore::Warning:mlflow")  # its warnings are not ours to mend


@pytest.fixture
def small(study_file: Callable[..., Path], tmp_path: Path) -> Callable[..., Study]:
    return lambda **changes: Study.load(study_file(tmp_path, **changes))


@pytest.fixture
def opened() -> Any:
    """Opens sessions, and lets go of their ledgers at the end of the test."""
    with ExitStack() as stack:

        def open_(study: Study, out: Path, **options: Any) -> Session:
            session = Session.open(study, out, **options)
            stack.callback(session.ledger.close)
            return session

        yield open_


Open = Callable[..., Session]


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_new_run_folder_holds_the_study_the_provenance_and_the_ledger(
    small: Callable[..., Study], opened: Open, tmp_path: Path
) -> None:
    session = opened(small(), tmp_path / "runs" / "mine")
    root = session.folder.root
    assert {path.name for path in root.iterdir() if not path.name.startswith(".")} == {
        "study.yaml",
        "provenance.json",
        "ledger.log",
    }
    assert Study.load(root / "study.yaml") == session.study
    found = read_json(root / "provenance.json")
    assert found["data"]["hashes"] == session.dataset.hashes == session.data.hashes
    assert found["data"]["classes"] == ["animal", "colour", "number"]
    assert sum(found["data"]["rows"].values()) == 320
    assert found["versions"]["python"].split(".")[0] == "3"
    assert (session.trials.budget, session.control and session.control.budget) == (4, 1)


def test_without_out_the_folder_is_named_after_the_study(
    small: Callable[..., Study], opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    session = opened(small(tracking={}), None)
    assert session.folder.root == tmp_path / "runs" / "small"
    assert session.study.tracking_uri == f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}"


def test_the_store_of_the_environment_is_used_where_the_study_names_none(
    small: Callable[..., Study], opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mine.db")
    mine, named = f"sqlite:///{tmp_path / 'mine.db'}", f"sqlite:///{tmp_path / 'named.db'}"
    session = opened(small(tracking={}), tmp_path / "a")
    assert session.study.tracking_uri == mine
    assert session.notes[0] == f"MLflow's records go to {mine}, as MLFLOW_TRACKING_URI says"
    session = opened(small(tracking={"uri": named}), tmp_path / "b")
    assert (session.study.tracking_uri, "MLFLOW" in " ".join(session.notes)) == (named, False)


def test_a_run_keeps_its_store_whatever_the_environment_says_later(
    small: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, uri = small(tracking={}), f"sqlite:///{tmp_path / 'mlflow.db'}"
    first, said = tracked(study, None, tmp_path / "run")
    assert (first.tracking_uri, said) == (uri, ())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    again, said = tracked(study, first, tmp_path / "run")
    assert again.tracking_uri == uri
    assert said == (f"MLflow's records stay at {uri}, where this run began, whatever MLFLOW_TRACKING_URI says",)
    with pytest.raises(TrackingError, match=r"^MLFLOW_TRACKING_URI: .*; tracking\.uri in the study comes first$") as e:
        tracked(study, None, tmp_path / "other")
    assert "secret" not in str(e.value)


def test_a_store_that_takes_nothing_is_told_before_the_search(
    small: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check before the start sees nothing; the first run that is recorded does."""
    (tmp_path / "file").touch()
    study = small(tracking={"uri": f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}"})
    monkeypatch.setattr("sweepstack.search.run.session.check_tracking", lambda uri: None)
    session = Session.open(study, tmp_path / "run", json=True)
    try:
        with pytest.raises(TrackingError, match=r"cannot be used: File exists; .* by tracking\.uri"):
            session.tracker.check()
    finally:
        assert "mend that" in str(session.tracker.close([], None, good=True))
        session.ledger.close()


def test_that_texts_are_longer_than_what_is_read_is_noted(
    small: Callable[..., Study], opened: Open, tmp_path: Path
) -> None:
    short = small(reading={"unit": "words", "segment": 1, "max_segments": 2})
    same, longer, *_ = opened(short, tmp_path / "run").notes
    assert "rows are read the same as another row (at most 2 words are read) and stay in one part with it" in same
    assert "of the texts are longer than the 2 segments that are read" in longer


def test_a_study_of_the_control_has_no_control(small: Callable[..., Study], opened: Open, tmp_path: Path) -> None:
    session = opened(small(train={"algorithm": "supervised", "epochs": 2}), tmp_path / "run")
    assert session.control is None
    assert session.control_records() == []


def test_reading_off_costs_nothing(small: Callable[..., Study], opened: Open, tmp_path: Path) -> None:
    assert opened(small(), tmp_path / "a").cost == 0.02
    assert opened(small(reading="off"), tmp_path / "b").cost == 0.0


class Refusal(NamedTuple):
    study: dict[str, Any]
    spoil: Callable[[Path], Any]  # is given the run folder that is to be refused
    error: type[SweepstackError]
    words: tuple[str, ...]
    address: str | None = None


def foreign(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")


NOTHING = lambda folder: None  # noqa: E731
REFUSALS = {
    "a missing file": Refusal(
        {"data": {"train": "nowhere.jsonl"}}, NOTHING, DataError, ("nowhere.jsonl", "no such file")
    ),
    "a foreign folder": Refusal({}, foreign, StudyError, ("holds other files", "--out")),
    "a file": Refusal({}, lambda folder: folder.write_text("x"), StudyError, ("is a file", "--out")),
    "a store that refuses": Refusal({"tracking": {"uri": "gopher://x"}}, NOTHING, TrackingError, ("gopher",)),
    "GPUs that are not there": Refusal(
        {"search": {"resources": {"gpu": 99}}}, NOTHING, StudyError, ("search.resources.gpu", "99")
    ),
    "a device that is not there": Refusal({"device": "cuda"}, NOTHING, StudyError, ("device is cuda", "auto or cpu")),
    "a cluster without a port": Refusal({}, NOTHING, StudyError, ("--address", "host:port"), "nowhere"),
    "a cluster that is not there": Refusal({}, NOTHING, SweepstackError, ("127.0.0.1:9", "ray start"), "127.0.0.1:9"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_go_well_is_refused_and_nothing_is_written(
    case: str, small: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    refusal = REFUSALS[case]
    study = small(**refusal.study)
    refusal.spoil(tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(refusal.error) as caught:
        Session.open(study, tmp_path / "run", address=refusal.address)
    for word in refusal.words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_disk_without_space_is_refused_at_the_nearest_folder_that_exists(
    small: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_space(tmp_path / "not" / "yet")
    monkeypatch.setattr(sessions, "NEEDED_MB", 1 << 40)
    study = small()
    with pytest.raises(
        StorageError,
        match=f"{tmp_path} has [0-9]+ MB of free disk and a run needs .*; free some space there, or take a folder",
    ):
        Session.open(study, tmp_path / "deep" / "run")
    assert not (tmp_path / "deep").exists()


def test_another_study_in_the_folder_is_refused_and_more_trials_are_not(
    small: Callable[..., Study], opened: Open, tmp_path: Path
) -> None:
    opened(small(), tmp_path / "run").ledger.close()
    before = content(tmp_path / "run")
    with pytest.raises(StudyError, match=r"differs in train\.epochs \(stored 2, now 3\)"):
        Session.open(small(train={"epochs": 3}), tmp_path / "run")
    with pytest.raises(StudyError, match=r"search\.trials can only be raised"):
        Session.open(small(search={"sampler": "random", "stopper": "none", "trials": 3}), tmp_path / "run")
    assert content(tmp_path / "run") == before
    more = opened(small(search={"sampler": "random", "stopper": "none", "trials": 8}), tmp_path / "run")
    assert (more.trials.budget, more.control and more.control.budget) == (8, 2)
    assert Study.load(more.folder.study).search.trials == 8


def test_other_data_than_before_are_refused(
    small: Callable[..., Study], opened: Open, phrases: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.jsonl"
    shutil.copyfile(phrases, mine)
    study = small(data={"train": str(mine)})
    opened(study, tmp_path / "run").ledger.close()
    before = content(tmp_path / "run")
    lines = mine.read_text().splitlines()
    mine.write_text("\n".join(lines[:-1]) + "\n")
    line = (
        r"has changed since the study began, or another version divided it .*; restore it, or start afresh with --out"
    )
    with pytest.raises(DataError, match=line):
        Session.open(study, tmp_path / "run")
    assert content(tmp_path / "run") == before
    mine.write_text("\n".join(lines) + "\n")
    opened(study, tmp_path / "run")


def test_a_second_driver_is_refused_as_long_as_the_first_works(
    small: Callable[..., Study], opened: Open, tmp_path: Path
) -> None:
    first = opened(small(), tmp_path / "run")
    identity = first.ledger.attribute("sweep_id")
    before = content(tmp_path / "run")
    with pytest.raises(StorageError, match=f"in use by process {os.getpid()}"):
        Session.open(small(), tmp_path / "run")
    assert content(tmp_path / "run") == before
    first.ledger.close()
    assert opened(small(), tmp_path / "run").ledger.attribute("sweep_id") == identity


def test_a_folder_that_could_not_be_begun_is_free_for_the_next_driver(
    small: Callable[..., Study], opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: Any) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(sessions, "provenance", refuses)
        with pytest.raises(StorageError, match="the disk is full"):
            Session.open(small(), tmp_path / "run")
    opened(small(), tmp_path / "run")


def test_the_first_versions_stay_on_record(small: Callable[..., Study], opened: Open, tmp_path: Path) -> None:
    session = opened(small(), tmp_path / "run")
    session.ledger.close()
    known = read_json(session.folder.provenance)
    assert known["first_versions"] == known["versions"]
    write_json(session.folder.provenance, {**known, "first_versions": {"torch": "1.0"}, "versions": {"torch": "1.1"}})
    opened(small(), tmp_path / "run")
    again = read_json(session.folder.provenance)
    assert again["first_versions"] == {"torch": "1.0"}
    assert again["versions"] == known["versions"]


def test_a_session_that_does_nothing_leaves_nothing_running_and_mlflow_alone(
    small: Callable[..., Study], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    threads = set(threading.enumerate())
    with Session.open(small(tracking={}), tmp_path / "run") as session:
        assert session.folder.log.exists()
        os.write(1, b"chatter of a library\n")
    assert "chatter" not in capfd.readouterr().out
    assert "chatter" in session.folder.log.read_text()
    assert set(threading.enumerate()) <= threads
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == signals
    assert not (tmp_path / "mlflow.db").exists()
    Session.open(small(tracking={}), tmp_path / "run").ledger.close()


def test_a_session_that_cannot_be_entered_gives_terminal_signals_and_folder_back(
    small: Callable[..., Study], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session.open(small(), tmp_path / "run")
    before = signal.getsignal(signal.SIGINT)

    def refuses(*_: Any, **__: Any) -> None:
        raise StorageError("the terminal is gone")

    monkeypatch.setattr(sessions, "Display", refuses)
    with pytest.raises(StorageError, match="the terminal is gone"):
        session.__enter__()
    os.write(2, b"seen by the user\n")
    assert "seen by the user" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) == before
    Session.open(small(), tmp_path / "run").ledger.close()


def test_what_happens_is_mirrored_and_an_interruption_leaves_no_run_running(
    small: Callable[..., Study], searched_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PATIENCE, False, 60.0)  # a busy machine's MLflow may need more than a user would wait
    shutil.copytree(searched_run, tmp_path / "run")
    study = small(search={"sampler": "random", "stopper": "none", "trials": 5}, name="interrupted")
    (tmp_path / "run" / "study.yaml").write_text(study.dump())
    with Ledger.open(tmp_path / "run" / "ledger.log") as ledger:
        ledger.set_attribute("sweep_id", str(tmp_path))  # a sweep of its own in the tracking store

    def begin_another_trial() -> None:
        with Session.open(study, tmp_path / "run", json=True) as session:
            record = session.trials.ask()
            assert record is not None
            session.trials.report(record.number, 1, {"reward": 0.5})
            session.changed(session.trials.record(record.number))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin_another_trial()
    client = open_client(study.tracking_uri)
    experiment = client.get_experiment_by_name("interrupted")
    runs = {run.data.tags["sweepstack.key"]: run for run in client.search_runs([experiment.experiment_id])}
    assert {key: run.info.status for key, run in runs.items()} == {
        "sweep": "KILLED",
        **{f"trials-{number}": "FINISHED" for number in range(4)},
        "trials-4": "KILLED",
        "supervised-0": "FINISHED",
    }
    known = Result.open(tmp_path / "run").mlflow_runs
    assert known == {key: run.info.run_id for key, run in runs.items()}
    assert Result.open(tmp_path / "run").status()["trials"]["running"] == 1, "the ledger keeps it for the next session"


def test_an_environment_has_trials_and_no_company(environment_study: Study, opened: Open, tmp_path: Path) -> None:
    session = opened(environment_study, tmp_path / "run")
    assert session.control is None
    assert session.trials.budget == 4
    found = read_json(session.folder.provenance)
    assert found["environment"]["id"] == "CartPole-v1"
    assert found["versions"]["gymnasium"][0] == "1"
    assert "data" not in found
    assert Study.load(session.folder.study) == session.study
    for part in ("dataset", "data"):
        with pytest.raises(RuntimeError, match="task gym:CartPole-v1 has no data"):
            getattr(session, part)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("gym:CartPole-v9", "is no environment that is installed; nearest: gym:CartPole-v"),
        ("gym:os:CartPole-v1", "would import a module"),
    ],
)
def test_an_environment_that_is_not_there_is_refused_and_nothing_is_written(
    environment_study: Study, tmp_path: Path, task: str, words: str
) -> None:
    study = environment_study.model_copy(update={"task": task})
    with pytest.raises(StudyError, match=words):
        Session.open(study, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def writing(tmp_path: Path) -> Callable[..., Study]:
    """A small study of translation, with top-level parts replaced; its rows are those of small_writing.py."""
    rows = [
        {"id": row, "source": source, "target": target}
        for part in pairs_dataset().parts.values()
        for row, (source, target) in enumerate(zip(part.inputs, part.references, strict=True))
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    tree = {name: value for name, value in SMALL.model_dump().items() if name in ("writing", "model")}
    for name in ("word_dropout", "read_head"):
        del tree["model"][name]

    def make(**changes: Any) -> Study:
        data = {"train": str(tmp_path / "pairs.jsonl"), **changes.pop("data", {})}
        base = {"name": "pairs", "task": "translation", "search": {"trials": 8}, **tree, "data": data}
        return Study.model_validate({**base, **changes})

    return make


def test_a_writers_session_has_pairs_a_memory_to_come_and_a_control(
    writing: Callable[..., Study], opened: Open, tmp_path: Path
) -> None:
    session = opened(writing(), tmp_path / "run")
    known = read_json(session.folder.provenance)
    found = known["data"]
    assert known["versions"]["sacrebleu"][0].isdigit()
    assert found["hashes"] == session.pairs.hashes
    assert found["rows"] == session.pairs.sizes
    assert found["rows"].keys() == {"warm", "policy", "valid", "blend", "test"}
    assert session.hashes == session.written.hashes
    assert (session.trials.budget, session.control and session.control.budget) == (8, 2)
    assert "train.gamma" in session.space.paths()
    assert session.memory == session.folder.memory == tmp_path / "run" / "company" / "memory"
    assert session.reward_of is not None
    for part in ("dataset", "data"):
        with pytest.raises(RuntimeError, match="task translation has no labels"):
            getattr(session, part)


def test_a_session_of_labels_writes_nothing(small: Callable[..., Study], opened: Open, tmp_path: Path) -> None:
    session = opened(small(), tmp_path / "run")
    assert session.reward_of is None
    assert session.hashes == session.data.hashes
    for part in ("pairs", "written"):
        with pytest.raises(RuntimeError, match="task classification writes nothing"):
            getattr(session, part)


def test_what_a_writer_leaves_out_of_its_rows_is_noted(
    writing: Callable[..., Study], opened: Open, tmp_path: Path
) -> None:
    short = writing(writing={**SMALL.model_dump()["writing"], "max_source": 4})
    notes = opened(short, tmp_path / "run").notes
    assert any("writing.max_source 4" in note for note in notes)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"data": {"target": "chinese"}}, DataError, "chinese"),
        ({"data": {"train": "empty.jsonl"}}, DataError, "empty.jsonl"),
        ({"data": {"test": "greek.jsonl"}}, DataError, "another script"),
        ({"writing": {"reward": {"function": "no_such_module:polite"}}}, StudyError, "cannot be imported"),
        (
            {"writing": {"reward": {"classifier": {"bundle": "nowhere", "label": "x"}}}},
            StudyError,
            "writing.reward.classifier.bundle",
        ),
        ({"ensembles": {"builders": [{"minimum_bayes_risk": {"utility": "rouge"}}]}}, StudyError, "rouge"),
    ],
)
def test_what_cannot_be_written_is_refused_and_nothing_is_left(
    changes: dict[str, Any],
    error: type[SweepstackError],
    words: str,
    writing: Callable[..., Study],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").write_text('{"source": "one", "target": "x"}\n{"source": " ", "target": "x"}\n')
    greek = [{"source": "ένα δύο", "target": "甲乙"}, {"source": "τρία", "target": "丙"}]
    (tmp_path / "greek.jsonl").write_text("\n".join(json.dumps(row) for row in greek), encoding="utf-8")
    study = writing(**changes)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error) as caught:
        Session.open(study, tmp_path / "run")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_other_pairs_than_before_are_refused(writing: Callable[..., Study], opened: Open, tmp_path: Path) -> None:
    opened(writing(), tmp_path / "run").ledger.close()
    lines = (tmp_path / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(DataError, match="has changed since the study began"):
        Session.open(writing(), tmp_path / "run")


@pytest.mark.parametrize(("splits", "packed"), [({"folds": 3}, False), ({"test": 0.25}, True)])
def test_folds_are_trained_one_after_the_other_and_never_packed(
    splits: dict[str, float], packed: bool, study_file: Callable[..., Path], phrases: Path, tmp_path: Path
) -> None:
    file = study_file(tmp_path, data={"train": str(phrases), "splits": splits}, search={"trials": 2, "packing": 2})
    session = Session.open(Study.load(file), tmp_path / "run")
    with closing(session.ledger):
        session.workers = 2
        assert (session.packing_of(session.trials, session.settings) is not None) == packed
