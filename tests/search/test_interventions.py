"""add, retry and stop: what they check first, what they ask of a driver, and that without one the run goes on here."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sweepstack.models.errors import DataError, InputError
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search import cli, interventions
from sweepstack.search.execution.sweep import Sweep, open_sweep
from sweepstack.search.interventions import again, point_of
from sweepstack.search.ledger.journal import driver_of
from sweepstack.search.ledger.ledger import MAIN, Ledger
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.report.result import Result
from sweepstack.search.run.requests import Inbox, waiting
from sweepstack.search.study.search_section import Search
from sweepstack.search.study.space import Space


def sweep_of(ledger: Ledger, folder: Path, trials: int = 6) -> Sweep:
    result = Result.open(folder)
    search = result.study.search.model_copy(update={"trials": trials})
    return open_sweep(ledger, MAIN, space=result.space, search=search, epochs=2)


@contextmanager
def driven(folder: Path) -> Iterator[Sweep]:
    """Another process would do as this thread: it has the ledger and takes requests."""
    with Ledger.open(folder / "ledger.log") as ledger:
        sweep = sweep_of(ledger, folder)
        inbox, over = Inbox(folder / "requests", ledger, sweep), threading.Event()

        def take() -> None:
            while not over.is_set():
                inbox.take()
                time.sleep(0.05)

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield sweep
        finally:
            over.set()
            thread.join()


@pytest.fixture
def with_failures(run: Path) -> Path:
    """Trials 0 to 3 are complete, 4 failed, 5 runs."""
    with Ledger.open(run / "ledger.log") as ledger:
        sweep = sweep_of(ledger, run)
        sweep.ask()
        sweep.fail(4, "the loss is not a number")
        sweep.ask()
    return run


@pytest.fixture
def heard() -> list[str]:
    return []


def refused(*arguments: object, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert end.value.code == 2
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


CASES: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "not searched": (["add", "RUN", "--set", "train.ppo.clip=0.1"], ("train.ppo.clip", "not searched", "train.lr")),
    "out of bounds": (["add", "RUN", "--set", "train.lr=7"], ("train.lr", "7")),
    "no value": (["add", "RUN", "--set", "train.lr"], ("KEY=VALUE",)),
    "nothing set": (["add", "RUN"], ("--set",)),
    "unknown trial to retry": (["retry", "RUN", "--trial", "99"], ("no trial 99", "0 to 3")),
    "not failed": (["retry", "RUN", "--trial", "1"], ("trial 1 is complete", "only a failed one")),
    "nothing failed": (["retry", "RUN", "--failed"], ("no failed trial", "nothing to retry")),
    "which to retry": (["retry", "RUN"], ("--failed", "--trial")),
    "unknown trial to stop": (["stop", "RUN", "--trial", "4"], ("no trial 4", "0 to 3")),
    "ended already": (["stop", "RUN", "--trial", "2"], ("trial 2 has ended already (complete)",)),
    "nothing works": (["stop", "RUN"], ("nothing works in", "sweepstack ensemble")),
    "no run": (["stop", "/nowhere"], ("/nowhere is not the folder of a run",)),
}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_is_refused_in_one_line_and_asks_nothing(
    name: str, searched_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, words = CASES[name]
    line = refused(*(str(searched_run) if a == "RUN" else a for a in arguments), capsys=capsys)
    for word in words:
        assert word in line
    assert not (searched_run / "requests").exists()


def test_errors_are_json_where_that_is_wanted(searched_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["retry", str(searched_run), "--failed", "--json"])
    assert json.loads(capsys.readouterr().out)["exit_code"] == 2


def test_a_driver_takes_an_added_trial_and_it_says_where_its_values_are_from(run: Path, heard: list[str]) -> None:
    best = Result.open(run).best
    assert best is not None
    with driven(run) as sweep:
        done = interventions.add(run, ["train.lr=0.02"], heard.append)
        record = sweep.record(4)
    assert done == {"queued": [{"trial": 4}], "taken": True}
    assert (record.state, record.by_hand) == ("waiting", True)
    assert heard[0].endswith(f"(lr by hand; batch of trial {best.number}, the best so far)")
    assert re.fullmatch(r"trial 4 is queued; process \d+ takes it next", heard[1])
    with Ledger.open(run / "ledger.log") as ledger:
        asked = sweep_of(ledger, run).ask()
        assert asked is not None
        assert asked.settings == {**best.settings, "train.lr": 0.02}
    assert Result.open(run).status()["trials"]["running"] == 1


def test_failed_trials_are_tried_again_once(with_failures: Path, heard: list[str]) -> None:
    with driven(with_failures) as sweep:
        done = interventions.retry(with_failures, [], heard.append, failed=True)
        assert done == {"queued": [{"trial": 6, "retry_of": 4}], "taken": True}
        assert sweep.record(6).attributes["retry_of"] == 4
        assert "once more what trial 4 was" in heard[0]
        with pytest.raises(InputError, match="nothing to retry"):
            interventions.retry(with_failures, [], heard.append, failed=True)
        interventions.retry(with_failures, [4], heard.append)  # by its number, as often as is wanted
        assert [r.attributes.get("retry_of") for r in sweep.trials()[6:]] == [4, 4]


def test_what_failed_again_is_tried_again_from_its_last_attempt(make_record: Callable[..., TrialRecord]) -> None:
    records = [
        make_record(0, [], "failed"),
        make_record(1, [0.5]),
        make_record(2, [], "failed", attributes={"retry_of": 0}),
        make_record(3, [], "failed", attributes={"generation": 1}),
    ]
    assert [r.number for r in again(records)] == [2]


def test_a_running_trial_is_stopped_by_its_driver(run: Path, heard: list[str]) -> None:
    with driven(run) as sweep:
        sweep.ask()
        assert interventions.stop(run, 4, heard.append) == {"stopped": 4, "taken": True}
        assert sweep.report(4, 1, {"reward": 0.5}) == "stop"
    assert heard == ["trial 4 ends at its next report, as pruned"]


def test_a_run_is_stopped_by_its_driver(run: Path, heard: list[str]) -> None:
    with driven(run):
        assert interventions.stop(run, None, heard.append) == {"stopped": "run", "taken": True}
    with Ledger.open(run / "ledger.log", writable=False) as ledger:
        assert ledger.attribute("stop")["state"] == "in force"
    assert heard[0].startswith("the search ends")


def test_a_driver_that_is_busy_is_said_to_be(run: Path, heard: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interventions, "ANSWER", 0.3)
    with Ledger.open(run / "ledger.log"):
        done = interventions.add(run, ["train.lr=0.02"], heard.append)
        assert driver_of(run / "ledger.log") is not None
    assert done == {"queued": [], "taken": False}
    assert "was asked" in heard[-1]
    assert driver_of(run / "ledger.log") is None
    assert len(list((run / "requests").iterdir())) == 1, "for the next session"


def test_without_a_driver_the_run_goes_on_here(run: Path, heard: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from sweepstack.search import pipeline

    def go_on(folder: Path, ask: Callable[[], None], **options: Any) -> Result:
        ask()
        with Ledger.open(folder / "ledger.log") as ledger:
            sweep = sweep_of(ledger, folder)
            Inbox(folder / "requests", ledger, sweep).take()
        return Result.open(folder)

    monkeypatch.setattr(pipeline, "go_on", go_on)
    done = interventions.add(run, ["train.lr=0.02"], heard.append)
    assert done["queued"] == [{"trial": 4}]
    assert done["trials"]["waiting"] == 1
    assert done["report"].endswith("report.html")


def test_a_damaged_trial_may_be_trained_again_and_a_whole_one_not(with_failures: Path, heard: list[str]) -> None:
    weights = with_failures / "trials" / "2" / "checkpoint" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with driven(with_failures) as sweep:
        interventions.retry(with_failures, [2], heard.append)
        assert sweep.record(6).attributes["retry_of"] == 2
        with pytest.raises(InputError, match=r"trial 1 is complete; only a failed one .* or damaged"):
            interventions.retry(with_failures, [1], heard.append)


@pytest.mark.parametrize("command", ["add", "retry"])
def test_what_is_refused_is_not_done_later(with_failures: Path, heard: list[str], command: str, tmp_path: Path) -> None:
    """Refused twice for data that is not there, it was done twice by the next run."""
    study = with_failures / "study.yaml"
    study.write_text(re.sub("train: .*jsonl", f"train: {tmp_path}/gone.jsonl", study.read_text()))
    commands: dict[str, Callable[[], Any]] = {
        "add": lambda: interventions.add(with_failures, ["train.lr=0.02"], heard.append),
        "retry": lambda: interventions.retry(with_failures, [4], heard.append),
    }
    for _ in range(2):
        with pytest.raises(DataError, match=r"gone\.jsonl"):
            commands[command]()
    assert waiting(with_failures / "requests") == []
    with driven(with_failures) as sweep:
        time.sleep(0.2)
        assert len(sweep.trials()) == 6


@pytest.fixture
def dying(run: Path) -> Iterator[None]:
    """A driver that ends after half a second and takes nothing."""
    ledger = Ledger.open(run / "ledger.log")
    timer = threading.Timer(0.5, ledger.close)
    timer.start()
    yield
    timer.join()


@pytest.mark.usefixtures("dying")
def test_a_stop_that_nobody_took_stops_no_later_run(run: Path, heard: list[str]) -> None:
    with pytest.raises(InputError, match="has just ended; there is nothing to stop any more"):
        interventions.stop(run, None, heard.append)
    assert waiting(run / "requests") == []


@pytest.mark.usefixtures("dying")
def test_what_a_driver_left_is_taken_here_once(run: Path, heard: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from sweepstack.search import pipeline

    def go_on(folder: Path, ask: Callable[[], None], **options: Any) -> Result:
        assert waiting(folder / "requests") == []
        ask()
        with Ledger.open(folder / "ledger.log") as ledger:
            Inbox(folder / "requests", ledger, sweep_of(ledger, folder)).take()
        return Result.open(folder)

    monkeypatch.setattr(pipeline, "go_on", go_on)
    assert interventions.add(run, ["train.lr=0.02"], heard.append)["queued"] == [{"trial": 4}]
    assert len(Result.open(run).trials) == 5


def test_failed_trials_that_are_asked_for_already_are_left_out(
    with_failures: Path, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interventions, "ANSWER", 0.2)
    with Ledger.open(with_failures / "ledger.log"):  # it is busy with its ensembles
        interventions.retry(with_failures, [], heard.append, failed=True)
        with pytest.raises(InputError, match="nothing to retry"):
            interventions.retry(with_failures, [], heard.append, failed=True)
    assert waiting(with_failures / "requests") == [{"kind": "retry", "trial": 4}]


def test_values_come_from_the_best_trial_then_from_the_study(run: Path, tmp_path: Path) -> None:
    result = Result.open(run)
    settings, told = point_of(result, {"train.lr": 0.02, "train.batch_size": 64})
    assert result.best is not None
    assert settings == {**result.best.settings, "train.lr": 0.02, "train.batch_size": 64}
    assert "lr, batch by hand" in told
    object.__setattr__(result, "best", None)
    settings, told = point_of(result, {"train.lr": 0.02})
    assert settings["train.lr"] == 0.02
    assert told == "lr 2.0e-2 (lr by hand; batch drawn by the sampler)"
    settings, told = point_of(result, {"train.batch_size": 64})
    assert told == "lr 3.0e-3, batch 64 (lr of the study itself; batch by hand)"


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_a_value_that_brings_settings_of_its_own_is_completed(run: Path, tmp_path: Path, sampler: str) -> None:
    """The study's own clip is none of the choices: its sampler says which of them goes with PPO."""
    spec = {"train.algorithm": ["a2c", {"ppo": {"train.ppo.clip": [0.1, 0.3]}}], "train.seed": [0, 1]}
    result = Result.open(run)
    space = Space.of(spec, TrialSettings())[0]
    object.__setattr__(result, "space", space)
    object.__setattr__(result, "best", None)
    settings, told = point_of(result, {"train.algorithm": "ppo"})
    assert settings == {"train.algorithm": "ppo", "train.seed": 0}
    assert told.endswith("(algorithm by hand; seed of the study itself)")
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        sweep = open_sweep(ledger, MAIN, space=space, search=Search(sampler=sampler), epochs=1, trials=6)
        for _ in range(6):
            record = sweep.ask()
            assert record is not None
            sweep.fail(record.number, "no matter")
        assert sweep.ask() is None
        sweep.queue(space.point(settings), {})
        record = sweep.ask()
        assert record is not None
        assert record.settings.items() >= settings.items()
        assert record.settings["train.ppo.clip"] in (0.1, 0.3)
