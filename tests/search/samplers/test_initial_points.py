"""Where a search begins: named points first, priors that are heard while little is known, another study's best."""

import math
import statistics
from pathlib import Path
from typing import Any

import optuna
import pytest

from sweepstack.models.errors import StudyError
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.execution.sweep import Sweep, open_sweep
from sweepstack.search.ledger.ledger import MAIN, Ledger
from sweepstack.search.samplers.initial_points import best_points, held, place
from sweepstack.search.study.axes import SpaceError
from sweepstack.search.study.search_section import Search
from sweepstack.search.study.space import Space, check_points

SPEC: dict[str, Any] = {
    "train.lr": {"log": [1e-4, 1e-1]},
    "train.lr_schedule": ["constant", {"step": {"train.step_every": {"int": [1, 4]}}}],
    "train.gamma": {"near_one": [0.9, 0.9999]},
}
SPACE = Space.parse(SPEC, TrialSettings())


def expecting(around: float) -> Space:
    return Space.parse({**SPEC, "train.lr": {"log": [1e-4, 1e-1], "around": around}}, TrialSettings())


def sweep(ledger: Ledger, space: Space = SPACE, sampler: Any = "random", **more: Any) -> Sweep:
    search = Search(sampler=sampler, stopper="none", trials=more.pop("trials", 6), seed=more.pop("seed", 0))
    return open_sweep(ledger, MAIN, space=space, search=search, epochs=1, **more)


def play(sweep: Sweep, best_lr: float = 1e-3) -> list[float]:
    """Every trial to its end, the better the nearer its rate is to ``best_lr``; returns the rates."""
    rates = []
    while (record := sweep.ask()) is not None:
        rates.append(record.settings["train.lr"])
        sweep.report(record.number, 1, {"reward": -((math.log10(rates[-1] / best_lr)) ** 2)})
        sweep.complete(record.number)
    return rates


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_named_points_come_first_and_what_they_leave_open_is_drawn(tmp_path: Path, sampler: str) -> None:
    points = [
        {"train.lr": 2e-3, "train.gamma": 0.99},
        {"train.lr_schedule": "step", "train.step_every": 3},
    ]
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        begun = sweep(ledger, sampler=sampler, start=points)
        play(begun)
        first, second, *_ = (record.settings for record in begun.trials())
    assert (first["train.lr"], first["train.gamma"]) == (2e-3, 0.99)
    assert first["train.lr_schedule"] in ("constant", "step")
    assert (second["train.lr_schedule"], second["train.step_every"]) == ("step", 3)
    assert 1e-4 <= second["train.lr"] <= 1e-1


def test_a_trial_made_by_hand_takes_no_place(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        begun = sweep(ledger, start=[{"train.lr": 2e-3}, {"train.lr": 3e-3}])
        begun._study.enqueue_trial({"train.lr": 5e-2}, user_attrs={"by_hand": True})
        assert play(begun)[:3] == [5e-2, 2e-3, 3e-3]


def test_places_count_only_what_the_sampler_was_asked_for() -> None:
    study = optuna.create_study()
    for number in range(4):
        study.add_trial(optuna.trial.create_trial(value=0.0, user_attrs={"by_hand": True} if number == 1 else {}))
    assert [place(study, trial) for trial in study.trials] == [0, 1, 1, 2]


def test_the_first_trial_takes_the_expected_value_itself(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        assert play(sweep(ledger, expecting(3e-4)))[0] == pytest.approx(3e-4)
    with Ledger.open(tmp_path / "named.log") as ledger:
        begun = sweep(ledger, expecting(3e-4), start=[{"train.lr": 0.05}])
        assert play(begun)[:2] == pytest.approx([0.05, 3e-4])


def test_a_prior_is_normal_on_the_axis_own_scale_and_stays_within_its_ends() -> None:
    import random

    axis = expecting(3e-4).intervals()["train.lr"]
    drawn = [math.log10(axis.expected(random.Random(seed))) for seed in range(2000)]
    assert min(drawn) >= -4
    assert max(drawn) <= -1
    middle, sigma = math.log10(3e-4), 0.15 * 3
    low, high = statistics.NormalDist(middle, sigma).cdf(-4), 1.0  # the cut moves the mean
    mean = middle + sigma * statistics.NormalDist().pdf((-4 - middle) / sigma) / (high - low)
    assert statistics.mean(drawn) == pytest.approx(mean, abs=0.04)
    gamma = Space.parse({"train.gamma": {"near_one": [0.9, 0.9999], "around": 0.99}}, TrialSettings())
    assert gamma.intervals()["1-train.gamma"].expected() == pytest.approx(0.01)
    whole = Space.parse({"train.epochs": {"int": [2, 9], "around": 3}}, TrialSettings()).intervals()["train.epochs"]
    assert {whole.expected(random.Random(seed)) for seed in range(200)} <= set(range(2, 10))


def regret(tmp_path: Path, space: Space, best_lr: float, trials: int) -> float:
    """Mean over seeds of the best trial's distance, in decades of the rate."""
    losses = []
    for seed in range(8):
        with Ledger.open(tmp_path / f"{space.intervals()['train.lr'].around}-{best_lr}-{seed}.log") as ledger:
            rates = play(sweep(ledger, space, "tpe", trials=trials, seed=seed), best_lr)
        losses.append(min(abs(math.log10(rate / best_lr)) for rate in rates))
    return statistics.mean(losses)


def test_a_good_prior_helps_and_a_wrong_one_is_outgrown(tmp_path: Path) -> None:
    told, untold = expecting(3e-4), SPACE
    assert regret(tmp_path, told, 3.6e-4, 5) < regret(tmp_path, untold, 3.6e-4, 5)
    assert regret(tmp_path, told, 5e-2, 30) < 0.15, "the best rate is two decades from where it was expected"


def test_a_restart_goes_on_as_if_undisturbed(tmp_path: Path) -> None:
    start = [{"train.lr": 2e-3}]
    with Ledger.open(tmp_path / "whole.log") as ledger:
        whole = sweep(ledger, expecting(3e-4), "tpe", start=start, trials=12)
        play(whole)
        expected = [record.settings for record in whole.trials()]
    for trials in (3, 7, 12):
        with Ledger.open(tmp_path / "parts.log") as ledger:
            parts = sweep(ledger, expecting(3e-4), "tpe", start=start, trials=trials)
            play(parts)
    with Ledger.open(tmp_path / "parts.log", writable=False) as ledger:
        assert [record.settings for record in ledger.records(MAIN)] == expected


def test_another_studys_best_points_as_far_as_they_are_searched(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with Ledger.open(other / "ledger.log") as ledger:
        rates = play(sweep(ledger))
        best = sorted(range(len(rates)), key=lambda number: abs(math.log10(rates[number] / 1e-3)))[:3]
    narrow = Space.parse({"train.lr": {"log": [1e-4, 1e-1]}, "train.gamma": {"near_one": [0.5, 0.6]}}, TrialSettings())
    points, line = best_points(other, ("reward",), narrow)
    assert points == [{"train.lr": pytest.approx(rates[number])} for number in best]
    assert line == f"begins with the best of other: trials {', '.join(map(str, best))}"
    with pytest.raises(StudyError, match=r"no trial of .* has accuracy and a setting"):
        best_points(other, ("accuracy",), narrow)
    with pytest.raises(StudyError, match="is not the folder of a run"):
        best_points(tmp_path / "nowhere", ("reward",), narrow)


def run_of(path: Path, trials: list[list[dict[str, float]]], **search: Any) -> Path:
    """The folder of a run whose trials have these reports, one epoch a repetition or fold; each to its end."""
    path.mkdir()
    folds = search.pop("folds", 1)
    chosen = Search.model_validate({"sampler": "random", "stopper": "none", **search})
    with Ledger.open(path / "ledger.log") as ledger:
        begun = open_sweep(ledger, MAIN, space=SPACE, search=chosen, epochs=1, trials=len(trials), folds=folds)
        for reports in trials:
            record = begun.ask()
            assert record is not None
            for epoch, report in enumerate(reports, start=1):
                begun.report(record.number, epoch, report)
            begun.complete(record.number)
    return path


@pytest.mark.parametrize("parts", [{"seeds": 3}, {"folds": 3}])
def test_it_begins_with_the_best_means_and_not_the_luckiest_seed_or_fold(tmp_path: Path, parts: dict[str, Any]) -> None:
    """Means .70, .80, .75; trial 0 had .99 once."""
    rewards = [(0.99, 0.56, 0.55), (0.80, 0.80, 0.80), (0.75, 0.75, 0.75)]
    run = run_of(tmp_path / "other", [[{"reward": each} for each in trial] for trial in rewards], **parts)
    points, line = best_points(run, ("reward",), SPACE)
    assert line == "begins with the best of other: trials 1, 2, 0"
    with Ledger.open(run / "ledger.log", writable=False) as ledger:
        assert points[0] == ledger.records(MAIN)[1].settings


def test_another_metric_is_taken_where_the_leaderboard_has_it(tmp_path: Path) -> None:
    """Trial 0 is at its best after its second epoch, by its own run's reward; its accuracy there is .6, not .9."""
    first = [{"reward": 0.5, "accuracy": 0.9}, {"reward": 0.8, "accuracy": 0.6}]
    second = [{"reward": 0.7, "accuracy": 0.7}, {"reward": 0.6, "accuracy": 0.65}]
    path = tmp_path / "other"
    path.mkdir()
    with Ledger.open(path / "ledger.log") as ledger:
        search = Search(sampler="random", stopper="none")
        begun = open_sweep(ledger, MAIN, space=SPACE, search=search, epochs=2, trials=2)
        for number, reports in enumerate((first, second)):
            begun.ask()
            for epoch, report in enumerate(reports, start=1):
                begun.report(number, epoch, report)
            begun.complete(number)
    assert best_points(path, ("reward",), SPACE)[1].endswith("trials 0, 1")
    assert best_points(path, ("accuracy",), SPACE)[1].endswith("trials 1, 0")


def test_of_several_objectives_the_front_comes_first(tmp_path: Path) -> None:
    """Trial 1 is dominated by 0; 2 is the cheapest."""
    found = [(0.9, 10.0), (0.85, 12.0), (0.6, 1.0), (0.5, 5.0)]
    trials = [[{"reward": reward, "seconds": seconds}] for reward, seconds in found]
    run = run_of(tmp_path / "other", trials, metric=["reward", "seconds"])
    assert best_points(run, ("reward", "seconds"), SPACE)[1].endswith("trials 0, 2, 1")
    assert best_points(run, ("reward",), SPACE)[1].endswith("trials 0, 1, 2")
    plain = run_of(tmp_path / "plain", trials)
    assert best_points(plain, ("reward", "seconds"), SPACE)[1].endswith("trials 0, 2, 1"), "of a run with one objective"


def test_what_hangs_on_a_choice_comes_with_it_or_not_at_all() -> None:
    settings = {"train.lr": 5.0, "train.lr_schedule": "step", "train.step_every": 2, "train.batch_size": 64}
    assert held(settings, SPACE) == {"train.lr_schedule": "step", "train.step_every": 2}
    assert held({"train.lr_schedule": "cosine", "train.step_every": 2}, SPACE) == {}


@pytest.mark.parametrize(
    ("point", "path", "line"),
    [
        ({}, "search.start[0]", "names no setting"),
        ({"train.lr": 1.0}, "search.start[0].train.lr", "from 0.0001 to 0.1, but got 1.0"),
        ({"train.batch": 8}, "search.start[0].train.batch", "is not searched; space has train.lr"),
        (
            {"train.lr_schedule": "cosine"},
            "search.start[0].train.lr_schedule",
            "step, but got 'cosine'",
        ),
        ({"train.step_every": 2}, "search.start[0].train.step_every", "exists only with a choice"),
        (
            {"train.lr_schedule": "step", "train.step_every": 2.5},
            "search.start[0].train.step_every",
            "in whole numbers, but got 2.5",
        ),
    ],
)
def test_a_point_that_the_space_does_not_hold_is_refused(point: dict[str, Any], path: str, line: str) -> None:
    with pytest.raises(SpaceError, match=line.replace("[", r"\[")) as caught:
        check_points([point], SPEC, TrialSettings())
    assert caught.value.path == path


def test_a_point_that_names_a_setting_without_effect_is_refused() -> None:
    spec = {"train.lr_schedule": ["step", "cosine"], "train.step_factor": [0.1, 0.5], "train.trpo.max_kl": [0.1, 0.2]}
    with pytest.raises(SpaceError, match=r"has no effect here: it is searched only with train\.lr_schedule: step"):
        check_points([{"train.step_factor": 0.1, "train.lr_schedule": "cosine"}], spec, TrialSettings())
    space = Space.of(spec, TrialSettings())[0]
    assert space.point({"train.step_factor": 0.1}) == {"train.step_factor": 0.1, "train.lr_schedule": "step"}
    check_points([{"train.lr_schedule": "cosine", "train.trpo.max_kl": 0.1}], spec, TrialSettings())


def test_sizes_that_the_data_decide_are_looked_at_when_they_are_known() -> None:
    start = [{"train.batch_size": 8}]
    check_points(start, {"train.batch_size": "auto"}, TrialSettings())
    with pytest.raises(SpaceError, match="is one of 128, 256, 512, 1024, but got 8"):
        check_points(start, {"train.batch_size": [128, 256, 512, 1024]}, TrialSettings())


def test_a_setting_that_best_points_make_dead_is_left_to_the_sampler() -> None:
    spec = {"train.step_factor": [0.1, 0.5], "train.lr_schedule": ["step", "cosine"]}
    space = Space.of(spec, TrialSettings())[0]
    assert space.paths() == ("train.lr_schedule", "train.step_factor")
    assert held({"train.step_factor": 0.1, "train.lr_schedule": "cosine"}, space) == {"train.lr_schedule": "cosine"}


def test_a_point_to_begin_with_that_is_taken_gives_way(tmp_path: Path) -> None:
    space = Space.parse({"train.epochs": {"int": [1, 3], "around": 2}}, TrialSettings())
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        begun = sweep(ledger, space, "tpe", start=[{"train.epochs": 2}] * 2)
        numbers = []
        while (record := begun.ask()) is not None:
            numbers.append(record.settings["train.epochs"])
            begun.fail(record.number, "no matter")
    assert numbers[0] == 2
    assert sorted(numbers) == [1, 2, 3]
