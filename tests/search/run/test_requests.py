"""Requests by hand: what they do to the ledger, once, whatever is killed between two of their steps."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution

from sweepstack.models.files import write_json
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.execution.sweep import Sweep, open_sweep
from sweepstack.search.ledger.ledger import MAIN, Ledger
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.run.requests import DONE, IN_FORCE, LIFTED, Inbox, make_request
from sweepstack.search.samplers.registry import SAMPLERS
from sweepstack.search.stoppers.budgets import Ended
from sweepstack.search.study.search_section import ASHAStopper, Search
from sweepstack.search.study.space import Space, settings_of

SPACE = Space.parse({"train.lr": {"log": [1e-3, 1e-1]}, "train.batch_size": [64, 128]}, TrialSettings())


def sweep_of(ledger: Ledger, trials: int = 2, **search: Any) -> Sweep:
    chosen = Search(**{"sampler": "random", "stopper": "none", **search})
    return open_sweep(ledger, MAIN, space=SPACE, search=chosen, epochs=3, trials=trials)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.log") as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "requests"


def asked(sweep: Sweep) -> TrialRecord:
    record = sweep.ask()
    assert record is not None
    return record


def test_a_trial_by_hand_runs_next_beside_the_budget(ledger: Ledger, folder: Path) -> None:
    sweep = sweep_of(ledger)
    inbox = Inbox(folder, ledger, sweep)
    assert inbox.take() == [], "there is no folder yet"
    asked(sweep)
    path = make_request(folder, {"kind": "add", "parameters": {"train.lr": 0.05}})
    (queued,) = inbox.take()
    assert not path.exists()
    assert (queued.number, queued.state, queued.by_hand, queued.reports) == (1, "waiting", True, ())
    assert sweep.queued
    record = asked(sweep)
    assert (record.number, record.state, record.settings["train.lr"]) == (1, "running", 0.05)
    assert record.settings["train.batch_size"] in (64, 128), "what was left open is drawn"
    assert not sweep.queued
    assert asked(sweep).number == 2, "the second of two that the sampler is asked for"
    assert sweep.ask() is None


def test_a_queued_trial_runs_when_the_budget_is_used_up(ledger: Ledger, folder: Path) -> None:
    sweep = sweep_of(ledger, trials=1)
    sweep.fail(asked(sweep).number, "no reason")
    assert not sweep.unfinished
    make_request(folder, {"kind": "retry", "trial": 0})
    Inbox(folder, ledger, sweep).take()
    assert sweep.unfinished
    again = asked(sweep)
    assert again.settings == sweep.record(0).settings
    assert again.attributes["retry_of"] == 0
    assert sweep.record(0).state == "failed", "the old row stays"
    assert sweep.ask() is None


def test_requests_are_taken_in_order_and_once_whatever_is_killed(tmp_path: Path, folder: Path) -> None:
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        inbox = Inbox(folder, ledger, sweep_of(ledger))
        first = make_request(folder, {"kind": "add", "parameters": {"train.lr": 0.01}})
        second = make_request(folder, {"kind": "add", "parameters": {"train.lr": 0.02}})
        files = {path: path.read_bytes() for path in (first, second)}
        assert [record.number for record in inbox.take()] == [0, 1]
    first.write_bytes(files[first])  # as if the kill had come before the file was removed
    second.write_bytes(files[second])
    before = (tmp_path / "ledger.log").read_bytes()
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        sweep = sweep_of(ledger)
        assert Inbox(folder, ledger, sweep).take() == []
        assert list(folder.iterdir()) == []
        assert (tmp_path / "ledger.log").read_bytes() == before
        assert [asked(sweep).settings["train.lr"] for _ in range(2)] == [0.01, 0.02], "they wait over a restart"


def test_every_cut_of_the_ledger_after_a_request_is_mended_by_the_next_opening(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "ledger.log"
    with Ledger.open(path) as ledger:
        sweep = sweep_of(ledger, trials=3)
        asked(sweep)
        sweep.report(0, 1, {"reward": 0.5})
        asked(sweep)
        inbox = Inbox(folder, ledger, sweep)
        begun = path.stat().st_size
        contents = [{"kind": "add", "parameters": {"train.lr": 0.05}}, {"kind": "stop", "trial": 0}]
        paths = [make_request(folder, content) for content in contents]
        kept = {each: each.read_bytes() for each in paths}
        inbox.take()
        sweep.report(0, 2, {"reward": 0.6})
    whole = path.read_bytes()
    for cut in range(begun, len(whole) + 1, 7):
        path.write_bytes(whole[:cut])
        for each, content in kept.items():
            each.write_bytes(content)
        with Ledger.open(path) as ledger:
            sweep = sweep_of(ledger, trials=3)
            Inbox(folder, ledger, sweep).take()
            stopped, _, queued = sweep.trials()
            assert (stopped.state, stopped.attributes["cut"]) == ("pruned", "by hand")
            assert (queued.state, queued.by_hand) == ("waiting", True)


def test_a_trial_is_stopped_at_its_next_report(ledger: Ledger, folder: Path) -> None:
    sweep = sweep_of(ledger)
    asked(sweep)
    sweep.report(0, 1, {"reward": 0.5})
    make_request(folder, {"kind": "stop", "trial": 0})
    (record,) = Inbox(folder, ledger, sweep).take()
    assert record.state == "running"
    assert sweep.report(0, 2, {"reward": 0.4}) == "stop"
    ended = sweep.record(0)
    assert (ended.state, ended.value, len(ended.reports), ended.attributes["cut"]) == ("pruned", 0.5, 2, "by hand")


def test_a_trial_in_its_last_epoch_is_completed_all_the_same(ledger: Ledger) -> None:
    sweep = sweep_of(ledger)
    asked(sweep)
    for epoch in (1, 2):
        sweep.report(0, epoch, {"reward": 0.5})
    sweep.stop(0)
    assert sweep.report(0, 3, {"reward": 0.6}) == "continue"
    sweep.complete(0)
    assert sweep.record(0).state == "complete"


def test_one_that_waits_is_ended_at_once(ledger: Ledger, folder: Path) -> None:
    sweep = sweep_of(ledger)
    sweep.queue({"train.lr": 0.05}, {})
    sweep.stop(0)
    assert (sweep.record(0).state, sweep.record(0).reason) == ("failed", "ended by hand before its first report")
    assert not sweep.queued
    assert asked(sweep).number == 1


def test_one_that_a_killed_driver_left_is_ended_with_what_it_has(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        sweep = sweep_of(ledger)
        asked(sweep)
        asked(sweep)
        sweep.report(0, 1, {"reward": 0.5})
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        sweep = sweep_of(ledger)
        sweep.stop(0)
        sweep.stop(1)
        assert [r.state for r in sweep.trials()] == ["pruned", "failed"]
        assert sweep.ask() is None


def test_a_stop_is_in_force_until_the_run_is_run_again(tmp_path: Path, folder: Path) -> None:
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        sweep = sweep_of(ledger)
        inbox = Inbox(folder, ledger, sweep)
        path = make_request(folder, {"kind": "stop"})
        content = path.read_bytes()
        assert not inbox.stopped
        inbox.take()
        assert inbox.stopped
    path.write_bytes(content)
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        inbox = Inbox(folder, ledger, sweep_of(ledger))
        assert inbox.stopped, "a kill does not undo it"
        inbox.move_stop(DONE, LIFTED)
        assert inbox.stopped, "the run has not come to its end"
        inbox.move_stop(IN_FORCE, DONE)
        assert inbox.stopped
        inbox.move_stop(DONE, LIFTED)
        assert not inbox.stopped
        inbox.take()
        assert not inbox.stopped, "the same request does not stop it again"


def test_a_stop_ends_what_runs_at_its_next_report_and_what_waits_at_once(tmp_path: Path, folder: Path) -> None:
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        sweep = sweep_of(ledger, trials=9)
        for _ in range(3):
            asked(sweep)
        sweep.report(1, 1, {"reward": 0.5})
        sweep.queue({"train.lr": 0.05}, {})
        make_request(folder, {"kind": "stop"})
        make_request(folder, {"kind": "add", "parameters": {"train.lr": 0.06}})
        assert [r.state for r in Inbox(folder, ledger, sweep).take()] == ["running"] * 3 + ["failed", "waiting"]
        assert sweep.report(0, 1, {"reward": 0.5}) == "stop"
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        sweep = sweep_of(ledger, trials=9)
        (left,) = sweep.obey(Cuts(None, Ended("stop", "")))
        assert (left.number, left.state) == (2, "failed"), "it had no report"
        assert [r.state for r in sweep.trials()] == ["pruned", "pruned", "failed", "failed", "waiting"]
        assert asked(sweep).settings["train.lr"] == 0.06
        assert sweep.ask() is None


def test_what_has_ended_cannot_be_stopped(ledger: Ledger, folder: Path) -> None:
    sweep = sweep_of(ledger, trials=1)
    sweep.fail(asked(sweep).number, "no reason")
    make_request(folder, {"kind": "stop"})
    inbox = Inbox(folder, ledger, sweep)
    inbox.take()
    assert not inbox.stopped


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"kind": "add"},
        {"kind": "add", "parameters": {"train.lr": 7.0}},
        {"kind": "add", "parameters": {"train.batch_size": 32}},
        {"kind": "add", "parameters": {"train.epochs": 2}},
        {"kind": "retry", "trial": 99},
        {"kind": "stop", "trial": "x"},
        3,
    ],
)
def test_what_is_no_request_is_left_out(ledger: Ledger, folder: Path, content: Any) -> None:
    sweep = sweep_of(ledger)
    write_json(folder / "1-x.json", content)
    (folder / "2-x.json").write_text("{half")
    Inbox(folder, ledger, sweep).take()
    assert list(folder.iterdir()) == []
    assert [r.number for r in sweep.trials()] in ([], [0])


def test_the_folder_is_looked_at_once_a_second(ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("sweepstack.search.run.requests.time.monotonic", lambda: clock[0])
    inbox = Inbox(folder, ledger, sweep_of(ledger))
    assert inbox.poll() == []
    make_request(folder, {"kind": "add", "parameters": {}})
    clock[0] += 0.5
    assert inbox.poll() == []
    clock[0] += 0.5
    assert len(inbox.poll()) == 1


class Cuts:
    """Limits that say the same of every trial."""

    def __init__(self, reason: str | None, ended: Ended | None = None) -> None:
        self.reason, self.end = reason, ended

    def ended(self, sweep: Sweep) -> Ended | None:
        return self.end

    def cut(self, sweep: Sweep, record: TrialRecord) -> str | None:
        return self.reason


def test_limits_end_what_was_left_running_and_begin_nothing(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        sweep = sweep_of(ledger)
        asked(sweep)
        sweep.report(0, 1, {"reward": 0.5})
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        sweep = sweep_of(ledger)
        (record,) = sweep.obey(Cuts("for time", Ended("wall_time", "")))
        assert (record.state, record.attributes["cut"]) == ("pruned", "for time")
        assert sweep.ask() is None
        assert not sweep.unfinished


def test_a_replayed_report_ends_no_trial_for_time(ledger: Ledger) -> None:
    sweep = sweep_of(ledger)
    asked(sweep)
    assert sweep.report(0, 1, {"reward": 0.5}) == "continue"
    sweep.obey(Cuts("for time"))
    assert sweep.report(0, 1, {"reward": 0.5}) == "continue"
    assert sweep.report(0, 2, {"reward": 0.5}) == "stop"


def test_total_epochs_end_what_runs_and_what_would_begin(ledger: Ledger) -> None:
    sweep = sweep_of(ledger, trials=9, total_epochs=5)
    asked(sweep)
    asked(sweep)
    assert sweep.ask() is None, "two trials of three epochs are more than five"
    verdicts = [sweep.report(n, epoch, {"reward": 0.5}) for epoch in (1, 2) for n in (0, 1)]
    assert verdicts == ["continue"] * 4
    assert sweep.report(0, 3, {"reward": 0.5}) == "continue"
    sweep.complete(0)
    assert sweep.ask() is None
    sweep.report(1, 3, {"reward": 0.5})
    sweep.complete(1)
    assert not sweep.unfinished


def test_one_of_more_epochs_than_are_left_is_cut(ledger: Ledger) -> None:
    sweep = sweep_of(ledger, trials=9, total_epochs=4)
    for number in (0, 1):
        asked(sweep)
        for epoch in (1, 2, 3):
            if sweep.report(number, epoch, {"reward": 0.5}) == "stop":
                break
        else:
            sweep.complete(number)
    assert [(r.state, len(r.reports)) for r in sweep.trials()] == [("complete", 3), ("pruned", 1)]
    assert sweep.record(1).attributes["cut"] == "for epochs"
    assert sweep.ask() is None


def test_budgets_may_be_raised(tmp_path: Path) -> None:
    def play(**search: Any) -> int:
        with Ledger.open(tmp_path / "ledger.log") as ledger:
            sweep = sweep_of(ledger, trials=8, **search)
            while (record := sweep.ask()) is not None:
                for epoch in (1, 2, 3):
                    sweep.report(record.number, epoch, {"reward": 0.5 - record.number / 100})
                sweep.complete(record.number)
            return len(sweep.trials())

    assert play(patience=2) == 3
    assert play(patience=2) == 3, "a restart decides the same"
    assert play(patience=4, total_epochs=13) == 5
    assert play(target=0.5) == 5
    assert play(target=0.6) == 8


def test_the_stopper_still_judges(ledger: Ledger) -> None:
    sweep = sweep_of(ledger, trials=3, stopper=ASHAStopper(), total_epochs=100)
    asked(sweep)
    asked(sweep)
    sweep.report(0, 1, {"reward": 0.9})
    assert sweep.report(1, 1, {"reward": 0.1}) == "stop"
    assert "cut" not in sweep.record(1).attributes


CLIP = {"train.ppo.clip": {"range": [0.1, 0.3], "points": 2}}
CONDITIONAL = {
    "train.algorithm": ["a2c", {"ppo": CLIP}],
    "train.gamma": {"near_one": [0.9, 0.99], "points": 2},
    "train.lr_schedule": ["cosine", "step"],
    "train.step_factor": [0.1, 0.5],
}
PARTS: list[dict[str, Any]] = [
    {"train.algorithm": "ppo"},
    {"train.algorithm": "ppo", "train.ppo.clip": 0.17},
    {"train.lr_schedule": "step"},
    {"train.step_factor": 0.5},
    {"1-train.gamma": 0.05},
    {},
]


@pytest.mark.parametrize("ended", [3, 0], ids=["ended", "going"])
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_what_a_person_leaves_open_is_completed_by_every_sampler(tmp_path: Path, sampler: str, ended: int) -> None:
    """And a run that a trial without all its values was left in opens again."""
    search = Search(sampler=sampler, stopper="none")
    space = Space.of(CONDITIONAL, TrialSettings())[0]

    def sweep_in(ledger: Ledger) -> Sweep:
        return open_sweep(ledger, MAIN, space=space, search=search, epochs=1, trials=ended or 100)

    def play(sweep: Sweep) -> TrialRecord:
        record = asked(sweep)
        sweep.report(record.number, 1, {"reward": record.settings.get("train.step_factor", 0.0)})
        sweep.complete(record.number)
        return record

    with Ledger.open(tmp_path / "ledger.log") as ledger:
        sweep, folder = sweep_in(ledger), tmp_path / "requests"
        for _ in range(3):
            play(sweep)
        for part in PARTS:
            make_request(folder, {"kind": "add", "parameters": part})
        assert len(Inbox(folder, ledger, sweep).take()) == len(PARTS)
        for part in PARTS:
            assert settings_of(part).items() <= play(sweep).settings.items()
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        study = sweep_in(ledger)._study
        begun = study.ask({"train.algorithm": CategoricalDistribution(["a2c", "ppo"])})  # and then it was killed
        assert begun.params.keys() == {"train.algorithm"}
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        sweep = sweep_in(ledger)
        settings = play(sweep).settings
        assert set(settings) >= {"train.algorithm", "train.gamma", "train.lr_schedule"}
        assert ("train.ppo.clip" in settings) == (settings["train.algorithm"] == "ppo")
        assert (sweep.ask() is None) == bool(ended)
