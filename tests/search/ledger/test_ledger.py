"""The ledger: what a trial leaves in it, and that a kill at any byte loses nothing that was finished."""

import math
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from sweepstack.models.errors import StorageError
from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.execution.sweep import Sweep, open_sweep
from sweepstack.search.ledger.leaderboard import best_metrics, ranked
from sweepstack.search.ledger.ledger import MAIN, Ledger
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.study.search_section import (
    ASHAStopper,
    Hyperband,
    HyperbandStopper,
    Median,
    MedianStopper,
    Search,
    StopperSettings,
)
from sweepstack.search.study.space import Space

SPACE = Space.parse(
    {
        "train.lr": {"log": [3e-4, 3e-2], "points": 2},
        "train.lr_schedule": ["constant", {"step": {"train.step_every": {"int": [1, 2]}}}],
        "train.gamma": {"near_one": [0.9, 0.9999], "points": 1},
    },
    TrialSettings(),
)


def sweep_of(
    ledger: Ledger,
    *,
    name: str = MAIN,
    space: Space = SPACE,
    sampler: Any = "random",
    stopper: StopperSettings = "none",
    metric: str = "reward",
    epochs: int = 4,
    trials: int = 6,
    seed: int = 0,
) -> Sweep:
    return open_sweep(
        ledger,
        name,
        space=space,
        search=Search(sampler=sampler, stopper=stopper, metric=metric, seed=seed),
        epochs=epochs,
        trials=trials,
    )


def metrics(number: int, epoch: int) -> dict[str, float]:
    """What a repeatable trial reports; trial 3 turns into NaN in its second epoch."""
    reward = derive_seed("reward", number, epoch) / 2**31
    return {"reward": math.nan if (number, epoch) == (3, 2) else reward, "accuracy": reward / 2, "train_loss": 1.0}


def play(sweep: Sweep, record: TrialRecord) -> None:
    """Runs a trial to its end as the executor does: an adopted one first replays what its checkpoint knows."""
    for epoch in range(1, sweep.epochs_of(record.number) + 1):
        if sweep.report(record.number, epoch, metrics(record.number, epoch)) == "stop":
            return
    sweep.complete(record.number)


def play_all(sweep: Sweep) -> None:
    while (record := sweep.ask()) is not None:
        play(sweep, record)


def timeless(records: list[TrialRecord]) -> list[dict[str, Any]]:
    return [{**vars(record), "started": None, "ended": None} for record in records]


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    with Ledger.open(tmp_path / "ledger.log") as opened:
        yield opened


def test_a_complete_trial_has_the_value_of_its_best_epoch(ledger: Ledger) -> None:
    sweep = sweep_of(ledger)
    assert sweep.unfinished
    record = sweep.ask()
    assert record is not None
    assert (record.sweep, record.number, record.state, record.reports, record.value) == (
        "trials",
        0,
        "running",
        (),
        None,
    )
    assert set(record.settings) >= {"train.lr", "train.lr_schedule", "train.gamma"}
    for epoch, reward in enumerate([0.5, 0.9, 0.9, 0.2], start=1):
        assert sweep.report(0, epoch, {"reward": reward, "accuracy": reward + 0.05}) == "continue"
    sweep.complete(0)
    sweep.complete(0)
    record = sweep.record(0)
    assert (record.state, record.value, record.best_epoch, record.rung, record.reason) == (
        "complete",
        0.9,
        2,
        None,
        None,
    )
    assert record.reports[3] == {"reward": 0.2, "accuracy": 0.25}
    assert record.ended is not None
    assert record.ended >= record.started > 1e9
    assert sweep.report(0, 5, {"reward": 1.0}) == "stop", "a finished trial takes no more"


def test_the_best_epoch_follows_the_direction_of_the_metric(ledger: Ledger) -> None:
    sweep = sweep_of(ledger, metric="log_loss")
    sweep.ask()
    for epoch, loss in enumerate([0.5, 0.2, 0.4, 0.3], start=1):
        sweep.report(0, epoch, {"log_loss": loss})
    sweep.complete(0)
    assert (sweep.record(0).value, sweep.record(0).best_epoch) == (0.2, 2)
    study = optuna.load_study(study_name="trials", storage=ledger.storage)
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    assert study.best_value == 0.2


def test_asha_prunes_with_the_rung_and_optuna_knows(ledger: Ledger) -> None:
    sweep = sweep_of(ledger, stopper=ASHAStopper())
    verdicts: dict[int, list[str]] = {}
    for number, reward in enumerate([0.5, 0.4, 0.6, 0.55]):
        sweep.ask()
        verdicts[number] = []
        for epoch in (1, 2, 3, 4):
            verdicts[number].append(sweep.report(number, epoch, {"reward": reward - 0.04 * epoch * (number == 2)}))
            if verdicts[number][-1] == "stop":
                break
        else:
            sweep.complete(number)
    assert verdicts[0] == ["continue"] * 4  # the first on each rung
    assert verdicts[1] == ["stop"]  # .4 against .5
    assert verdicts[2] == ["continue", "continue", "continue", "continue"]  # .56, .52 are the best of their rungs
    assert verdicts[3] == ["continue", "continue", "continue", "continue"]  # .55 is second of 4, then first of 3
    pruned = sweep.record(1)
    assert (pruned.state, pruned.rung, pruned.value, pruned.attributes) == ("pruned", 1, 0.4, {})
    trial = optuna.load_study(study_name="trials", storage=ledger.storage).trials[1]
    assert trial.state == optuna.trial.TrialState.PRUNED
    assert trial.user_attrs["rung"] == 1


def test_a_verdict_stands_when_it_is_asked_for_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.log"
    with Ledger.open(path) as ledger:
        sweep = sweep_of(ledger, stopper=ASHAStopper())
        for reward in (0.1, 0.9, 0.8):
            record = sweep.ask()
            assert record is not None
            sweep.report(record.number, 1, {"reward": reward})
        assert sweep.report(0, 1, {"reward": 0.1}) == "continue", "it was the first then"
        before = path.read_bytes()
    with Ledger.open(path) as ledger:
        sweep = sweep_of(ledger, stopper=ASHAStopper())
        assert sweep.report(0, 1, {"reward": 0.1}) == "continue"
        assert [record.state for record in sweep.trials()] == ["running", "running", "pruned"]
        assert path.read_bytes() == before, "replays append nothing"


def test_failures_keep_their_reason_on_one_line(ledger: Ledger) -> None:
    sweep = sweep_of(ledger)
    for _ in range(2):
        sweep.ask()
    sweep.fail(0, "the loss is\n not a number")
    sweep.fail(0, "again")
    sweep.report(1, 1, {"reward": 0.4})
    assert sweep.report(1, 2, {"reward": math.inf}) == "stop"
    first, second = sweep.trials()
    assert (first.state, first.reason, first.value) == ("failed", "the loss is not a number", None)
    assert (second.state, second.reason, second.value) == ("failed", "reward is not a number after epoch 2", 0.4)


def test_misuse_is_refused(ledger: Ledger) -> None:
    with pytest.raises(RuntimeError, match="begin the sweep 'trials'"):
        ledger.set_attribute("export", 1)
    sweep = sweep_of(ledger)
    sweep.ask()
    with pytest.raises(ValueError, match="reports epoch 2 after 0 epochs"):
        sweep.report(0, 2, {"reward": 0.1})
    with pytest.raises(ValueError, match="has not reported yet"):
        sweep.complete(0)


def test_attributes_are_taken_before_and_after_the_end(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        sweep = sweep_of(ledger)
        for name in ("running", "both"):
            record = sweep.ask()
            assert record is not None
            sweep.set_trial_attribute(record.number, "checkpoint", name)
        play(sweep, record)
        sweep.set_trial_attribute(1, "run:id", {"mlflow": "abc"})
        sweep.set_trial_attribute(1, "checkpoint", "late")
        ledger.set_attribute("choice", {"name": "selection"})
        records = sweep.trials()
    assert records[0].attributes == {"checkpoint": "running"}
    assert records[1].attributes == {"checkpoint": "late", "run:id": {"mlflow": "abc"}}
    with Ledger.open(tmp_path / "ledger.log", writable=False) as reader:
        assert reader.records(MAIN) == records
        assert reader.attribute("choice") == {"name": "selection"}
        assert reader.attribute("other") is None
        assert reader.records("supervised") == []
        assert reader.sweeps() == (MAIN,)
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        assert sweep_of(ledger).trials() == records


def test_the_budget_counts_every_trial_and_can_be_raised(tmp_path: Path) -> None:
    path = tmp_path / "ledger.log"
    with Ledger.open(path) as ledger:
        sweep = sweep_of(ledger, trials=4)
        play_all(sweep)
        assert [record.state for record in sweep.trials()] == ["complete", "complete", "complete", "failed"]
        assert not sweep.unfinished
    with Ledger.open(path) as ledger:
        sweep = sweep_of(ledger, trials=5)
        assert sweep.unfinished
        play_all(sweep)
        assert [record.number for record in sweep.trials()] == [0, 1, 2, 3, 4]


def test_a_grid_ends_at_its_last_point(ledger: Ledger) -> None:
    sweep = sweep_of(ledger, sampler="grid", trials=100)
    play_all(sweep)
    points = {tuple(sorted(record.settings.items())) for record in sweep.trials()}
    assert len(points) == len(sweep.trials()) == 2 * (1 + 2)


def test_nothing_to_search_is_one_trial(ledger: Ledger) -> None:
    sweep = sweep_of(ledger, space=Space(()), trials=100)
    play_all(sweep)
    assert [record.settings for record in sweep.trials()] == [{}]


def test_sweeps_of_one_ledger_do_not_mix(ledger: Ledger) -> None:
    main, control = sweep_of(ledger), sweep_of(ledger, name="supervised", trials=2)
    play_all(main)
    play_all(control)
    assert ledger.sweeps() == ("trials", "supervised")
    assert len(main.trials()) == 6
    assert [record.sweep for record in control.trials()] == ["supervised"] * 2


def test_a_searched_number_of_epochs_is_the_trials_own(ledger: Ledger) -> None:
    space = Space.parse({"train.epochs": [2, 3]}, TrialSettings())
    sweep = sweep_of(ledger, space=space)
    record = sweep.ask()
    assert record is not None
    assert sweep.epochs_of(0) == record.settings["train.epochs"]


def test_threads_may_ask_and_report_at_once(ledger: Ledger) -> None:
    sweep = sweep_of(ledger, sampler="tpe", stopper=ASHAStopper(), trials=24)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            play_all(sweep)
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [record.number for record in sweep.trials()] == list(range(24))
    assert all(record.state != "running" for record in sweep.trials())


def test_optuna_reads_the_file_with_its_own_backend(tmp_path: Path) -> None:
    path = tmp_path / "ledger.log"
    with Ledger.open(path) as ledger:
        play_all(sweep_of(ledger))
        values = [record.value for record in sweep_of(ledger).trials() if record.state == "complete"]
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    study = optuna.load_study(study_name="trials", storage=optuna.storages.JournalStorage(backend))
    assert [trial.value for trial in study.trials if trial.value is not None] == values
    assert "1-train.gamma" in study.trials[0].params


STOPPERS: list[StopperSettings] = [
    "none",
    ASHAStopper(),
    HyperbandStopper(hyperband=Hyperband(reduction=2)),
    MedianStopper(median=Median(min_trials=2)),
]


@pytest.mark.parametrize("stopper", STOPPERS, ids=str)
def test_killed_at_any_byte_it_ends_as_if_undisturbed(tmp_path: Path, stopper: StopperSettings) -> None:
    """Trials run one after the other here, so that even the stopper's verdicts must be the same."""

    def run(path: Path) -> list[dict[str, Any]]:
        with Ledger.open(path) as ledger:
            sweep = sweep_of(ledger, stopper=stopper, trials=5)
            play_all(sweep)
            return timeless(sweep.trials())

    undisturbed = run(tmp_path / "ledger.log")
    assert ("pruned" in {trial["state"] for trial in undisturbed}) == (stopper != "none")
    content = (tmp_path / "ledger.log").read_bytes()
    lines = content.splitlines(keepends=True)
    ends = [sum(map(len, lines[:count])) for count in range(len(lines) + 1)]
    step = 1 if stopper == "none" else 23
    tail = range(ends[-3], len(content), step)  # bytes of the last two appends, and every append before
    path = tmp_path / "cut.log"
    for size in sorted({*ends, *tail}):
        path.write_bytes(content[:size])
        assert run(path) == undisturbed, f"cut at byte {size}"
        assert run(path) == undisturbed, f"cut at byte {size}, opened again"


@pytest.mark.parametrize("stopper", STOPPERS, ids=str)
def test_killed_among_several_at_work_its_decisions_are_those_of_the_ledger(
    tmp_path: Path, stopper: StopperSettings
) -> None:
    """Three trials report in turns, and the driver dies after any append: verdicts that were given stand, and whoever
    goes on from there decides as one who was never killed does when the same reports come in the same order."""

    def turns(path: Path) -> list[dict[str, Any]]:
        working: list[TrialRecord] = []
        with Ledger.open(path) as ledger:
            sweep = sweep_of(ledger, stopper=stopper, trials=9, seed=1)
            while True:
                while len(working) < 3 and (record := sweep.ask()) is not None:
                    working.append(record)
                if not working:
                    return timeless(sweep.trials())
                working.sort(key=lambda record: (len(sweep.record(record.number).reports), record.number))
                number = working.pop(0).number
                epoch = len(sweep.record(number).reports) + 1
                if sweep.report(number, epoch, metrics(number, epoch)) == "continue":
                    if epoch < 4:
                        working.append(sweep.record(number))
                    else:
                        sweep.complete(number)

    undisturbed = turns(tmp_path / "ledger.log")
    content = (tmp_path / "ledger.log").read_bytes()
    path = tmp_path / "cut.log"
    size = 0
    for line in content.splitlines(keepends=True):
        path.write_bytes(content[:size])
        assert turns(path) == undisturbed, f"cut at byte {size}"
        size += len(line)


@pytest.mark.parametrize("stopper", STOPPERS[1:], ids=str)
def test_a_stopped_trial_never_reaches_the_sampler_as_a_finished_value(
    ledger: Ledger, stopper: StopperSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told as PRUNED, which every sampler of Optuna knows to be no full training; and what is complete is whole."""
    told: dict[int, TrialState] = {}

    def after_trial(self: Any, study: Any, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        told[trial.number] = state

    monkeypatch.setattr(optuna.samplers.BaseSampler, "after_trial", after_trial)
    sweep = sweep_of(ledger, stopper=stopper, trials=12)
    play_all(sweep)
    stopped = [record for record in sweep.trials() if record.state == "pruned"]
    assert stopped
    trials = optuna.load_study(study_name=MAIN, storage=ledger.storage).trials
    for record in stopped:
        assert record.rung is not None
        assert told[record.number] == TrialState.PRUNED
        assert trials[record.number].state == TrialState.PRUNED
        assert trials[record.number].last_step == len(record.reports) < 4
    finished = [trial.number for trial in trials if trial.state == TrialState.COMPLETE]
    assert finished == [record.number for record in sweep.trials() if record.state == "complete"]
    assert all(len(sweep.record(number).reports) == 4 for number in finished)


def test_what_a_kill_left_half_made_is_settled_at_the_next_opening(tmp_path: Path) -> None:
    """Each cut is one append short of an end that the ledger can reach by itself."""
    path = tmp_path / "ledger.log"

    def last_append_lost(work: Callable[[Sweep], object], stopper: StopperSettings) -> TrialRecord:
        path.unlink(missing_ok=True)
        with Ledger.open(path) as ledger:
            sweep = sweep_of(ledger, stopper=stopper, epochs=2)
            for _ in range(2):
                sweep.ask()
            sweep.report(0, 1, {"reward": 0.9})
            work(sweep)
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:-1]))
        with Ledger.open(path) as ledger:
            return sweep_of(ledger, stopper=stopper, epochs=2).trials()[1]

    failed = last_append_lost(lambda sweep: sweep.fail(1, "no memory"), "none")
    assert (failed.state, failed.reason) == ("failed", "no memory")
    pruned = last_append_lost(lambda sweep: sweep.report(1, 1, {"reward": 0.1}), ASHAStopper())
    assert (pruned.state, pruned.rung) == ("pruned", 1)

    def two_epochs(sweep: Sweep) -> None:
        sweep.report(1, 1, {"reward": 0.1})
        sweep.report(1, 2, {"reward": 0.3})

    complete = last_append_lost(two_epochs, "none")
    assert (complete.state, complete.value, len(complete.reports)) == ("complete", 0.3, 2)


def test_a_ledger_whose_lines_make_no_sense_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.log").write_text('{"op_code": 2}\n')
    with pytest.raises(StorageError, match=r"ledger\.log is damaged .*start afresh with --out"):
        Ledger.open(tmp_path / "ledger.log")


def folded_sweep(ledger: Ledger, **changes: Any) -> Sweep:
    """Two epochs a fold; ASHA judges within the first one."""
    search = Search(sampler="random", **changes)
    return open_sweep(ledger, MAIN, space=SPACE, search=search, epochs=2, folds=3)


def play_folds(sweep: Sweep, *rewards: float) -> TrialRecord:
    """Reports these rewards, two epochs a fold, as far as the sweep lets the trial go on."""
    record = sweep.ask()
    assert record is not None
    for epoch, reward in enumerate(rewards, start=1):
        if sweep.report(record.number, epoch, {"reward": reward, "accuracy": reward / 2}) == "stop":
            return sweep.record(record.number)
    if len(rewards) == sweep.epochs_of(record.number):
        sweep.complete(record.number)
    return sweep.record(record.number)


def test_a_trial_under_folds_has_the_mean_of_their_last_epochs(ledger: Ledger) -> None:
    sweep = folded_sweep(ledger)
    assert sweep.epochs_of(sweep.ask().number) == 6  # type: ignore[union-attr]
    record = play_folds(sweep, 0.9, 0.6, 0.5, 0.7, 0.1, 0.8)
    assert record.state == "complete"
    assert record.value == pytest.approx((0.6 + 0.7 + 0.8) / 3)
    assert (record.scores, record.best_epochs) == ((0.6, 0.7, 0.8), (2, 4, 6))
    assert record.objectives == {"reward": record.value}
    assert [report["fold"] for report in record.reports] == [1, 1, 2, 2, 3, 3]
    assert best_metrics(record)["accuracy"] == pytest.approx(0.35)


def test_a_hopeless_setting_does_not_pay_for_all_folds_and_is_pruned(ledger: Ledger) -> None:
    sweep = folded_sweep(ledger)
    play_folds(sweep, 0.8, 0.80, 0.9, 0.91, 0.7, 0.70)
    play_folds(sweep, 0.8, 0.82, 0.9, 0.91, 0.7, 0.71)
    play_folds(sweep, 0.8, 0.81, 0.9, 0.92, 0.7, 0.70)
    # Fold by fold the three differ by less than .02; one that is .3 behind after the first cannot be the best.
    record = play_folds(sweep, 0.8, 0.5, 1.0, 1.0, 1.0, 1.0)
    assert (record.state, len(record.reports), record.value) == ("pruned", 2, 0.5)
    near = play_folds(sweep, 0.8, 0.81, 0.9, 0.90, 0.7, 0.71)
    assert near.state == "complete"
    assert [r.number for r in ranked([sweep.record(n) for n in (record.number, near.number)], "reward")] == [
        near.number,
        record.number,
    ]


def test_where_nothing_is_stopped_every_trial_has_all_its_folds(ledger: Ledger) -> None:
    sweep = folded_sweep(ledger, stopper="none")
    play_folds(sweep, 0.8, 0.80, 0.9, 0.91, 0.7, 0.70)
    play_folds(sweep, 0.8, 0.82, 0.9, 0.91, 0.7, 0.71)
    assert play_folds(sweep, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1).state == "complete"
    assert play_folds(sweep, 0.1, 0.2).seeds == 1, "the first fold is finished, and a reader knows"
    assert ledger.records(MAIN)[-1].seeds == 1


def test_a_trial_that_is_cut_between_two_folds_is_no_whole_one(ledger: Ledger) -> None:
    sweep = folded_sweep(ledger, total_epochs=3)
    record = play_folds(sweep, 0.8, 0.8, 0.9, 0.9, 0.7, 0.7)
    assert (record.state, len(record.reports), record.seeds, record.value) == ("pruned", 3, 1, 0.8)


def test_a_kill_between_verdict_and_end_of_a_fold_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "ledger.log"
    with Ledger.open(path) as ledger:
        sweep = folded_sweep(ledger)
        play_folds(sweep, 0.8, 0.80, 0.9, 0.91, 0.7, 0.70)
        play_folds(sweep, 0.8, 0.82, 0.9, 0.91, 0.7, 0.71)
        play_folds(sweep, 0.8, 0.81, 0.9, 0.92, 0.7, 0.70)
        play_folds(sweep, 0.8, 0.5)
    lines = path.read_bytes().splitlines(keepends=True)
    ends = [i for i, line in enumerate(lines) if b"raced:1" in line]
    path.write_bytes(b"".join(lines[: ends[-1] + 1]))  # its state PRUNED is lost
    with Ledger.open(path) as ledger:
        record = folded_sweep(ledger).record(3)
        assert (record.state, record.value) == ("pruned", 0.5)


def test_a_setting_that_is_nearly_as_good_is_worth_its_folds(ledger: Ledger) -> None:
    """As a member of an ensemble; two folds of R8 put this one .0052 behind, and say little about their own spread."""
    sweep = folded_sweep(ledger)
    play_folds(sweep, 0.93, 0.9366, 0.94, 0.9461, 0.93, 0.9354)
    assert play_folds(sweep, 0.94, 0.9306, 0.94, 0.9417, 0.93, 0.9350).state == "complete"
