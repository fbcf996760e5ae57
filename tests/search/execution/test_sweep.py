"""Repetitions that race and several objectives in the ledger: verdicts, values, records, and kills at any append."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest

from sweepstack.models.seeds import derive_seed
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.execution.sweep import Sweep, open_sweep
from sweepstack.search.ledger.confirmation import new_seeds, search_of, sweep_name
from sweepstack.search.ledger.leaderboard import best, best_metrics, front, leaderboard, ranked, spreads
from sweepstack.search.ledger.ledger import MAIN, Ledger
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.stoppers.budgets import Ended
from sweepstack.search.study.search_section import ASHAStopper, Median, MedianStopper, Search
from sweepstack.search.study.space import Space

SPACE = Space.parse({"train.lr": {"log": [3e-4, 3e-2]}}, TrialSettings())
EPOCHS = 2


def sweep_of(ledger: Ledger, *, trials: int = 4, **search: Any) -> Sweep:
    chosen = Search.model_validate({"sampler": "random", "stopper": "none", "seeds": 3, **search})
    return open_sweep(ledger, MAIN, space=SPACE, search=chosen, epochs=EPOCHS, trials=trials)


def metrics(reward: float, seconds: float = 1.0) -> dict[str, float]:
    return {"reward": reward, "accuracy": reward + 0.05, "seconds": seconds}


def play(sweep: Sweep, scores: Sequence[float]) -> TrialRecord:
    """A trial whose nth repetition has its best epoch, the second, at the nth score; ends when the sweep says so."""
    record = sweep.ask()
    assert record is not None
    for epoch in range(1, sweep.epochs_of(record.number) + 1):
        score = scores[(epoch - 1) // EPOCHS]
        if sweep.report(record.number, epoch, metrics(score - 0.1 * (epoch % EPOCHS))) == "stop":
            return sweep.record(record.number)
    sweep.complete(record.number)
    return sweep.record(record.number)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.log") as opened:
        yield opened


def test_a_trial_with_all_its_seeds_has_their_mean_and_spread(ledger: Ledger) -> None:
    record = play(sweep_of(ledger), [0.90, 0.93, 0.92])
    assert record.state == "complete"
    assert record.value == pytest.approx((0.90 + 0.93 + 0.92) / 3)
    assert record.spread == pytest.approx(math.sqrt((0.0167**2 + 0.0133**2 + 0.0033**2) / 2), abs=1e-4)
    assert (record.seeds, record.scores, record.best_epochs) == (3, (0.90, 0.93, 0.92), (2, 4, 6))
    assert (record.best_repetition, record.best_epoch) == (1, 4)
    assert [report["repetition"] for report in record.reports] == [1, 1, 2, 2, 3, 3]
    assert best_metrics(record) == pytest.approx({"reward": 0.9167, "accuracy": 0.9667, "seconds": 1.0}, abs=1e-4)
    assert spreads(record)["accuracy"] == pytest.approx(record.spread)
    assert optuna.load_study(study_name=MAIN, storage=ledger.storage).trials[0].value == pytest.approx(record.value)


def test_a_setting_that_cannot_be_the_best_any_more_ends_with_what_it_has(ledger: Ledger) -> None:
    """After the first three a setting that is .0232 behind is out, see test_racing."""
    sweep = sweep_of(ledger, trials=5)
    play(sweep, [0.91, 0.92, 0.90])
    play(sweep, [0.87, 0.90, 0.87])
    assert play(sweep, [0.90, 0.91, 0.89]).seeds == 3, "little was known of the noise before"
    out, close = play(sweep, [0.8867]), play(sweep, [0.89, 0.92, 0.90])
    assert (out.state, out.seeds, out.spread, out.value) == ("complete", 1, None, 0.8867)
    assert close.seeds == 3
    verdicts = [
        {name: value for name, value in trial.user_attrs.items() if name.startswith("raced:")}
        for trial in optuna.load_study(study_name=MAIN, storage=ledger.storage).trials
    ]
    both = {"raced:1": True, "raced:2": True}
    assert verdicts == [both, both, both, {"raced:1": False}, both]
    assert out.attributes == {}, "verdicts are no attributes to a reader"


def test_the_best_is_one_of_those_with_the_most_seeds(ledger: Ledger) -> None:
    sweep = sweep_of(ledger, trials=3)
    for scores in ([0.5, 0.9, 0.9], [0.8, 0.5, 0.6], [0.9, 0.5, 0.9]):
        play(sweep, scores)
    record = sweep.trials()[0]
    lucky = TrialRecord(**{**vars(record), "number": 9, "value": 0.99, "scores": (0.99,), "best_epochs": (2,)})
    leader = best([*sweep.trials(), lucky], "reward")
    assert leader is not None
    assert leader.number == 0 or leader.number == 2
    assert [r.number for r in ranked([*sweep.trials(), lucky], "reward")][-1] == 9


def test_while_a_repetition_runs_those_before_it_count(ledger: Ledger) -> None:
    sweep = sweep_of(ledger)
    sweep.ask()
    sweep.report(0, 1, metrics(0.7))
    assert (sweep.record(0).value, sweep.record(0).seeds) == (0.7, 0), "its first seed is not finished"
    sweep.report(0, 2, metrics(0.8))
    sweep.report(0, 3, metrics(0.1))
    record = sweep.record(0)
    assert (record.state, record.value, record.scores) == ("running", 0.8, (0.8,))


def test_the_stopper_judges_within_the_first_repetition_alone(ledger: Ledger) -> None:
    sweep = sweep_of(ledger, stopper=ASHAStopper())
    play(sweep, [0.9, 0.9, 0.9])
    pruned = play(sweep, [0.5, 0.9, 0.9])
    assert (pruned.state, pruned.rung, pruned.seeds, pruned.value) == ("pruned", 1, 0, 0.4), "no seed is finished"
    late = play(sweep, [0.95, 0.1, 0.1])
    assert late.state == "complete"


def test_a_seed_that_diverges_fails_its_setting(ledger: Ledger) -> None:
    sweep = sweep_of(ledger)
    assert play(sweep, [0.9, math.nan]).state == "failed"


def test_seeds_of_a_metric_that_should_be_low_race_downwards(ledger: Ledger) -> None:
    sweep = sweep_of(ledger, metric="segments", trials=5)

    def run(scores: Sequence[float]) -> int:
        record = sweep.ask()
        assert record is not None
        for epoch in range(1, 3 * EPOCHS + 1):
            if sweep.report(record.number, epoch, {"segments": scores[(epoch - 1) // EPOCHS]}) == "stop":
                break
        else:
            sweep.complete(record.number)
        return sweep.record(record.number).seeds

    known = ([3.0, 3.2, 3.1], [3.2, 3.3, 3.3], [3.1, 3.2, 3.2])
    assert [run(scores) for scores in (*known, [5.0], [2.0, 2.1, 2.2])] == [3, 3, 3, 1, 3]


def test_only_finished_seeds_count_where_the_epochs_run_out(ledger: Ledger) -> None:
    """Trial 0 takes 4 of the 7 epochs, so trial 1 is cut after one of the two of its second seed, which is at .2."""
    sweep = sweep_of(ledger, seeds=2, total_epochs=7)
    play(sweep, [0.8, 0.8])
    record = play(sweep, [0.9, 0.3])
    assert (record.state, record.cut, len(record.reports)) == ("complete", "for epochs", 3)
    assert (record.value, record.scores, record.seeds, record.best_epochs) == (0.9, (0.9,), 1, (2,))
    assert record.objectives == {"reward": 0.9}
    assert (record.best_repetition, best_metrics(record)["reward"]) == (0, 0.9)
    stored = optuna.load_study(study_name=MAIN, storage=ledger.storage).trials[1]
    assert stored.value == 0.9
    assert ledger.records(MAIN)[1] == record, "a reader sees the same"
    assert [r.number for r in ranked(sweep.trials(), "reward")] == [0, 1], "fewer seeds stand behind"
    frame = leaderboard(sweep.trials(), [], ["train.lr"], seeds=2).set_index("number")
    assert frame.loc[1, ["state", "seeds", "reward", "reason"]].tolist() == ["complete", 1, 0.9, "ended for epochs"]


def test_a_trial_without_a_finished_seed_is_pruned_with_what_it_had_come_to(ledger: Ledger) -> None:
    sweep = sweep_of(ledger, seeds=2, total_epochs=5)
    play(sweep, [0.8, 0.8])
    record = play(sweep, [0.9, 0.3])
    assert (record.state, record.seeds, record.value, len(record.reports)) == ("pruned", 0, 0.8, 1)
    assert ledger.records(MAIN)[1] == record
    frame = leaderboard(sweep.trials(), [], ["train.lr"], seeds=2).set_index("number")
    assert frame.loc[1, ["state", "seeds", "reward", "reason"]].tolist() == ["pruned", 0, 0.8, "ended for epochs"]


@pytest.mark.parametrize("reports", [1, 2, 3, 4, 5])
def test_a_trial_that_is_stopped_by_hand_counts_its_finished_seeds(tmp_path: Path, reports: int) -> None:
    """While it runs, and where a killed driver has left it."""
    scores = [0.7, 0.8, 0.1, 0.6, 0.9, 0.95]
    value = {1: 0.7, 2: 0.8, 3: 0.8, 4: 0.7, 5: 0.7}[reports]
    expected = ("pruned" if reports == 1 else "complete", reports // EPOCHS, pytest.approx(value))
    for killed in (False, True):
        with Ledger.open(tmp_path / f"{killed}.log") as ledger:
            sweep = sweep_of(ledger)
            sweep.ask()
            for epoch in range(1, reports + killed):
                sweep.report(0, epoch, metrics(scores[epoch - 1]))
            if not killed:
                sweep.stop(0)
                assert sweep.report(0, reports, metrics(scores[reports - 1])) == "stop"
                record = sweep.record(0)
        if killed:
            with Ledger.open(tmp_path / f"{killed}.log") as ledger:
                sweep = sweep_of(ledger)
                sweep.stop(0)
                record = sweep.record(0)
        assert (record.state, record.seeds, record.value) == expected


def test_a_first_seed_alone_reaches_no_target(ledger: Ledger) -> None:
    sweep = sweep_of(ledger, seeds=2, target=0.85)
    sweep.ask()
    sweep.report(0, 1, metrics(0.9))
    sweep.report(0, 2, metrics(0.9))
    assert sweep.ended() is None, "its mean may still fall below"
    sweep.report(0, 3, metrics(0.84))
    sweep.report(0, 4, metrics(0.7))
    sweep.complete(0)
    ended = sweep.ended()
    assert ended is not None
    assert ended.line == "trial 0 came to .870 (target .850) in 1 of 4 trials"


@pytest.mark.parametrize("stopper", [ASHAStopper(), MedianStopper(median=Median(min_epochs=1, min_trials=1))])
def test_a_first_repetition_is_not_compared_with_the_second_of_a_shorter_trial(tmp_path: Path, stopper: Any) -> None:
    """Trial 0 has one epoch a seed and is at .9 in its second; trial 1 has four, is judged after the second of them,
    and is the first to come so far in its first seed."""
    space = Space.parse({"train.epochs": {"int": [1, 4]}}, TrialSettings())
    for parts in ({"seeds": 3}, {"folds": 3}):
        search = Search.model_validate({"sampler": "random", "stopper": stopper, "seeds": parts.get("seeds", 1)})
        folds = parts.get("folds", 1)
        start = [{"train.epochs": 1}, {"train.epochs": 4}]
        with Ledger.open(tmp_path / f"{folds}.log") as ledger:
            sweep = open_sweep(ledger, MAIN, space=space, search=search, epochs=4, trials=2, start=start, folds=folds)
            assert [sweep.epochs_of(sweep.ask().number) for _ in range(2)] == [3, 12]  # type: ignore[union-attr]
            for epoch, reward in enumerate((0.1, 0.9, 0.9), start=1):
                sweep.report(0, epoch, metrics(reward))
            sweep.complete(0)
            verdicts = [sweep.report(1, epoch, metrics(0.5)) for epoch in (1, 2, 3)]
            assert verdicts == ["continue"] * 3


def repeatable(number: int, epoch: int) -> dict[str, float]:
    setting, seed = derive_seed("setting", number) / 2**31, derive_seed("seed", (epoch - 1) // EPOCHS) / 2**31
    noise = derive_seed("noise", number, epoch) / 2**31
    return metrics(setting + 0.1 * seed + 0.05 * noise)


@pytest.mark.parametrize("stopper", ["none", ASHAStopper()])
def test_killed_at_any_append_during_a_race_it_ends_as_if_undisturbed(tmp_path: Path, stopper: Any) -> None:
    def run(path: Path) -> list[dict[str, Any]]:
        with Ledger.open(path) as ledger:
            sweep = sweep_of(ledger, trials=6, stopper=stopper)
            while (record := sweep.ask()) is not None:
                for epoch in range(1, sweep.epochs_of(record.number) + 1):  # what the checkpoint knows is replayed
                    if sweep.report(record.number, epoch, repeatable(record.number, epoch)) == "stop":
                        break
                else:
                    sweep.complete(record.number)
            return [{**vars(record), "started": None, "ended": None} for record in sweep.trials()]

    undisturbed = run(tmp_path / "ledger.log")
    seeds = [len(record["scores"]) for record in undisturbed]
    assert 1 in seeds
    assert 3 in seeds, f"a race with verdicts of both kinds, but got {seeds}"
    lines = (tmp_path / "ledger.log").read_bytes().splitlines(keepends=True)
    path = tmp_path / "cut.log"
    for count in range(len(lines)):
        path.write_bytes(b"".join(lines[:count]))
        assert run(path) == undisturbed, f"cut after {count} appends"


def test_several_objectives_are_told_together_and_a_reader_knows_their_names(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        sweep = sweep_of(ledger, metric=["reward", "seconds"], seeds=1)
        for reward, seconds in ((0.9, 5.0), (0.8, 2.0), (0.7, 4.0)):
            record = sweep.ask()
            assert record is not None
            for epoch, behind in ((1, 0.0), (2, 0.1)):
                sweep.report(record.number, epoch, metrics(reward - behind, seconds))
            sweep.complete(record.number)
    with Ledger.open(tmp_path / "ledger.log", writable=False) as reader:
        records = reader.records(MAIN)
        study = optuna.load_study(study_name=MAIN, storage=reader.storage)
        assert records[0].objectives == {"reward": 0.9, "seconds": 10.0}, "of the best epoch, and of all epochs"
        assert (records[0].value, records[0].best_epoch) == (0.9, 1)
        assert [trial.values for trial in study.trials] == [[0.9, 10.0], [0.8, 4.0], [0.7, 8.0]]
        assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
        assert study.metric_names == ["reward", "seconds"]
        assert front(records, ("reward", "seconds")) == (0, 1)
        assert sorted(trial.number for trial in study.best_trials) == [0, 1], "Optuna says the same"


def test_a_pruned_trial_of_several_objectives_is_told_without_values_and_off_the_front(ledger: Ledger) -> None:
    sweep = sweep_of(ledger, metric=["reward", "seconds"], seeds=1, stopper=ASHAStopper())
    for reward in (0.9, 0.1):
        sweep.ask()
        number = len(sweep.trials()) - 1
        for epoch in (1, 2):
            if sweep.report(number, epoch, metrics(reward)) == "stop":
                break
        else:
            sweep.complete(number)
    assert [record.state for record in sweep.trials()] == ["complete", "pruned"]
    assert optuna.load_study(study_name=MAIN, storage=ledger.storage).trials[1].values is None
    assert front(sweep.trials(), ("reward", "seconds")) == (0,)


def test_an_objective_that_is_no_number_fails_the_trial_whichever_it_is(ledger: Ledger) -> None:
    sweep = sweep_of(ledger, metric=["reward", "accuracy"], seeds=1)
    sweep.ask()
    assert sweep.report(0, 1, {"reward": 0.5, "accuracy": math.nan}) == "stop"
    assert sweep.record(0).reason == "accuracy is not a number after epoch 1"


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc", "gp", "nsga2"])
def test_samplers_of_several_objectives_go_on_after_pruned_trials(ledger: Ledger, sampler: str) -> None:
    sweep = sweep_of(ledger, metric=["reward", "seconds"], seeds=1, sampler=sampler, stopper=ASHAStopper(), trials=20)
    while (record := sweep.ask()) is not None:
        for epoch in (1, 2):
            if sweep.report(record.number, epoch, repeatable(record.number, epoch)) == "stop":
                break
        else:
            sweep.complete(record.number)
    assert {record.state for record in sweep.trials()} == {"complete", "pruned"}


def test_a_mean_seconds_of_a_setting_does_not_grow_with_its_seeds(ledger: Ledger) -> None:
    sweep = sweep_of(ledger, metric=["reward", "seconds"])
    record = play(sweep, [0.9, 0.9, 0.9])
    assert record.objectives == pytest.approx({"reward": 0.9, "seconds": EPOCHS * 1.0})


def test_a_confirmation_is_a_grid_of_new_seeds_that_goes_on_where_it_was(tmp_path: Path) -> None:
    """Every seed once, whatever is killed, in a sweep beside the search's."""
    settings = TrialSettings()
    seeds: list[int] = []
    for _ in range(2):
        with Ledger.open(tmp_path / "ledger.log") as ledger:
            sweep_of(ledger)
            sweep = open_sweep(  # the search has fewer trials than this has seeds
                ledger,
                sweep_name(7),
                space=new_seeds(settings, SPACE, 4),
                search=search_of(Search.model_validate({"seeds": 4, "trials": 2, "patience": 1})),
                epochs=EPOCHS,
            )
            while (record := sweep.ask()) is not None:
                seeds.append(record.settings["train.seed"])
                if len(seeds) == 2:
                    break  # killed: the next driver goes on with this one
                for epoch in (1, 2):
                    assert sweep.report(record.number, epoch, metrics(0.5)) == "continue"
                sweep.complete(record.number)
    assert seeds[1] == seeds[2]
    with Ledger.open(tmp_path / "ledger.log", writable=False) as reader:
        done = [record.settings["train.seed"] for record in reader.records(sweep_name(7)) if record.state == "complete"]
    assert sorted(done) == [4, 5, 6, 7]


def test_a_failed_trial_keeps_its_best_epoch_as_a_member_and_tells_the_sampler_nothing(ledger: Ledger) -> None:
    """Its state is FAIL, its value no sampler's; where nothing was kept, or under folds, it is no member."""
    sweep = open_sweep(ledger, MAIN, space=SPACE, search=Search(sampler="random", stopper="none"), epochs=3, trials=3)
    for kept in (True, False):
        record = sweep.ask()
        assert record is not None
        for epoch, reward in enumerate((0.5, 0.8), start=1):
            sweep.report(record.number, epoch, metrics(reward))
        sweep.fail(record.number, "the loss\nis not a number", kept=kept)
    early = sweep.ask()
    assert early is not None
    sweep.fail(early.number, "the loss is not a number", kept=True)  # before its first report
    with_it, without, nothing = ledger.records(MAIN)
    assert with_it.reason == "the loss is not a number; its checkpoint of epoch 2 is kept"
    assert without.reason == nothing.reason == "the loss is not a number"
    assert [r.may_be_member(1) for r in (with_it, without, nothing)] == [True, False, False]
    assert not with_it.may_be_member(3)
    study = optuna.load_study(study_name=MAIN, storage=ledger.storage)
    assert {trial.state for trial in study.trials} == {optuna.trial.TrialState.FAIL}
    assert {trial.value for trial in study.trials} == {None}
    assert best(ledger.records(MAIN), "reward") is None


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "cmaes", "nsga2", "bayes"])
def test_a_space_without_untried_points_ends_the_search(tmp_path: Path, sampler: str) -> None:
    """Two workers, a trial by hand, and a restart: each of six points is tried once, and the end says so."""
    spec = {"train.lr_schedule": ["cosine", "step"], "train.step_factor": [0.1, 0.5], "train.seed": [0, 1]}
    space, search = Space.of(spec, TrialSettings())[0], Search(sampler=sampler, stopper="none")
    points: list[frozenset[tuple[str, Any]]] = []
    for trials in (3, 12):
        with Ledger.open(tmp_path / "ledger.log") as ledger:
            sweep = open_sweep(ledger, MAIN, space=space, search=search, epochs=1, trials=trials)
            if trials == 12:
                untried = next(p for p in space.grid() if frozenset(p.items()) not in points)
                sweep.queue(untried, {})
            running: list[int] = []
            while (record := sweep.ask()) is not None:
                points.append(frozenset(record.settings.items()))
                running.append(record.number)
                if len(running) == 2:
                    number = running.pop(0)
                    sweep.report(number, 1, {"reward": number % 3 / 10})
                    sweep.complete(number)
            for number in running:
                sweep.fail(number, "what is tried is tried, whatever became of it")
            ended = sweep.ended()
    assert sorted(map(sorted, points)) == sorted(sorted(p.items()) for p in space.grid())
    assert ended == Ended("space", "all 6 points have been tried, in 5 of 12 trials")


def test_a_population_may_have_more_members_than_points(ledger: Ledger) -> None:
    space = Space.parse({"train.lr_schedule": ["cosine", "linear"]}, TrialSettings())
    search = Search.model_validate({"sampler": "random", "stopper": {"pbt": {"population": 4}}, "trials": 8})
    sweep = open_sweep(ledger, MAIN, space=space, search=search, epochs=2)
    assert sweep.budget == 8
    assert [sweep.ask() is not None for _ in range(4)] == [True] * 4
    assert sweep.ended() is None
