"""The wall time of a run over its sessions, and when it lets nothing begin any more."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweepstack.models.errors import StudyError
from sweepstack.models.files import write_json
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.execution.sweep import Sweep, open_sweep
from sweepstack.search.ledger.ledger import MAIN, Ledger
from sweepstack.search.run.wall_time import (
    BEAT,
    BUILDERS,
    Plan,
    WallClock,
    builders_of,
    candidates_of,
    chained_of,
    refits_of,
    saved,
    start_seconds,
    text_builders_of,
)
from sweepstack.search.stoppers.budgets import BUILDERS_SECONDS, SPARE_SECONDS
from sweepstack.search.study.search_section import Search
from sweepstack.search.study.space import Space
from sweepstack.search.study.study import Study

SPACE = Space.parse({"train.lr": {"log": [1e-3, 1e-1]}}, TrialSettings())
SEARCH = Search(sampler="random", stopper="none")


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.log") as opened:
        yield opened


def sweep_of(ledger: Ledger, name: str = MAIN, trials: int = 40) -> Sweep:
    return open_sweep(ledger, name, space=SPACE, search=SEARCH, epochs=4, trials=trials)


def plan_of(ledger: Ledger, time: Time, tmp_path: Path, control: bool = False, **options: Any) -> Plan:
    trials, began = sweep_of(ledger), time.now
    given: dict[str, Any] = {"wall_time": 100.0, "refits": 0, "stopped": lambda: False, "starts": tmp_path / "starts"}
    company = sweep_of(ledger, "supervised", 10) if control else None
    plan = Plan(ledger, WallClock(ledger, began, time), trials, company, **{**given, **options})
    for sweep in (trials, company):
        if sweep is not None:
            sweep.obey(plan)
    plan.sweeps = (trials, company)  # type: ignore[attr-defined]
    return plan


def play(sweep: Sweep, time: Time, seconds: float = 2.0) -> int | None:
    """One trial of four epochs, as long as it is let; the number of its epochs."""
    record = sweep.ask()
    if record is None:
        return None
    for epoch in range(1, 5):
        time.now += seconds
        if sweep.report(record.number, epoch, {"reward": 0.5, "seconds": seconds}) == "stop":
            return epoch
    sweep.complete(record.number)
    return 4


def test_seconds_add_up_over_sessions(ledger: Ledger) -> None:
    sweep_of(ledger)
    time = Time()
    clock = WallClock(ledger, time.now, time)
    time.now += BEAT - 0.5
    clock.beat()
    assert ledger.attribute("sessions") is None, "not on every look"
    time.now += 1
    clock.beat()
    assert ledger.attribute("sessions") == [BEAT + 0.5]
    time.now += 2  # and killed
    later = WallClock(ledger, time.now, time)
    time.now += 3
    assert later.spent == BEAT + 0.5 + 3
    later.keep()
    assert ledger.attribute("sessions") == [BEAT + 0.5], "one that finds everything done takes no time"
    later.beat()
    later.keep()
    assert ledger.attribute("sessions") == [BEAT + 0.5, 3.0]


def test_the_search_ends_so_early_that_the_ensembles_end_in_time(ledger: Ledger, tmp_path: Path) -> None:
    time = Time()
    plan = plan_of(ledger, time, tmp_path, refits=2)
    sweep = ledger_sweep(plan)
    epochs = []
    while (done := play(sweep, time)) is not None:
        epochs.append(done)
    refits = 2 * 4 * 2.0  # two of four epochs of two seconds, on one worker
    until = 100 - refits - BUILDERS_SECONDS - SPARE_SECONDS
    assert set(epochs) == {4}
    assert until - 8 < plan._clock.spent <= until
    ended = sweep.ended()
    assert ended is not None
    assert (ended.budget, ended.line.split(";")[0]) == ("wall_time", f"{len(epochs)} of 40 trials")
    assert "16 s for 2 refits" in ended.line
    assert not sweep.unfinished


def ledger_sweep(plan: Plan) -> Sweep:
    return plan.sweeps[0]  # type: ignore[attr-defined,no-any-return]


def test_a_trial_that_turns_out_longer_is_ended_at_its_last_report_that_fits(ledger: Ledger, tmp_path: Path) -> None:
    time = Time()
    plan = plan_of(ledger, time, tmp_path)
    sweep = ledger_sweep(plan)
    while plan._clock.spent < 70:
        assert play(sweep, time) == 4
    assert play(sweep, time, seconds=6.0) == 3, "72, then 78, 84 and 90 of 92 seconds"
    record = sweep.trials()[-1]
    assert (record.state, record.attributes["cut"]) == ("pruned", "for time")


def test_a_trial_by_hand_is_not_ended_for_time(ledger: Ledger, tmp_path: Path) -> None:
    time = Time()
    sweep = ledger_sweep(plan_of(ledger, time, tmp_path))
    time.now += 200
    assert sweep.ask() is None
    sweep.queue({"train.lr": 0.01}, {})
    assert play(sweep, time) == 4


def test_an_end_stands_though_estimates_shrink_and_goes_with_a_later_wall_time(ledger: Ledger, tmp_path: Path) -> None:
    time = Time()
    plan = plan_of(ledger, time, tmp_path)
    sweep = ledger_sweep(plan)
    play(sweep, time, seconds=30.0)
    assert sweep.ask() is None
    ledger.set_attribute(BUILDERS, 0.1)
    time.now -= 60
    assert sweep.ask() is None
    plan._clock.keep()
    again = plan_of(ledger, time, tmp_path, wall_time=1000.0)
    assert ledger_sweep(again).ask() is not None


def test_the_control_keeps_its_quarter_and_the_time_for_it(ledger: Ledger, tmp_path: Path) -> None:
    time = Time()
    plan = plan_of(ledger, time, tmp_path, control=True)
    trials, control = plan.sweeps  # type: ignore[attr-defined]
    while play(trials, time) is not None:
        pass
    begun = len(trials.trials())
    spent = plan._clock.spent
    while play(control, time) is not None:
        pass
    assert len(control.trials()) == begun // 4 == 2
    assert plan._clock.spent == spent + 2 * 8 <= 100 - BUILDERS_SECONDS - SPARE_SECONDS


def test_a_stop_ends_trials_and_control(ledger: Ledger, tmp_path: Path) -> None:
    time, stopped = Time(), [False]
    plan = plan_of(ledger, time, tmp_path, control=True, wall_time=None, stopped=lambda: stopped[0])
    trials, control = plan.sweeps  # type: ignore[attr-defined]
    play(trials, time)
    record = trials.ask()
    stopped[0] = True
    trials.stop(record.number)
    assert trials.report(record.number, 1, {"reward": 0.1}) == "stop"
    assert trials.record(record.number).attributes["cut"] == "by hand"
    assert trials.ask() is None
    assert control.ask() is None
    assert plan.cut(control, record) == "by hand"
    assert trials.queue({"train.lr": 0.01}, {}).number == 2
    assert play(trials, time) == 4, "what is queued afterwards is meant to be run"
    assert trials.ended().words == "hand: 2 of 40 trials"
    assert not trials.unfinished


def test_what_builders_take_is_what_they_took(ledger: Ledger, tmp_path: Path) -> None:
    plan = plan_of(ledger, Time(), tmp_path)
    ledger.set_attribute(BUILDERS, 31.0)
    assert plan.stages().builders == 31


def test_what_shared_starts_saved(tmp_path: Path) -> None:
    for name, seconds in (("a", 6.0), ("b", 8.0), ("c", 5.0)):
        write_json(tmp_path / name / "start.json", {"seconds": seconds})
    assert saved(["a", "b", "a", "a", "c", "unknown"], tmp_path) == (3, 12.0)
    assert saved(["a", "b"], tmp_path) is None
    assert start_seconds(tmp_path) == pytest.approx(19 / 3)
    assert start_seconds(tmp_path / "none") == 0


def test_what_the_builders_of_a_study_want(make_study: Callable[..., Study], environment_study: Study) -> None:
    study = make_study(
        ensembles={"builders": ["selection", {"bagging": {"top": 2, "members": 3}}, {"stacking": {"top": 12}}]}
    )
    assert (refits_of(study), chained_of(study), candidates_of(study)) == (6, 0, 12)
    chains = make_study(
        ensembles={"builders": [{"boosting": {"members": 3}}, {"snapshots": {"cycles": 4}}, "bagging"], "refit": True}
    )
    assert (refits_of(chains), chained_of(chains)) == (3 + 1 + 5 + 5, 3 + 1)
    assert (refits_of(environment_study), candidates_of(environment_study)) == (0, 8)


def test_each_task_has_builders_of_its_own_within_the_budget(study: Study, writing_study: Study) -> None:
    assert builders_of(writing_study) == []
    assert text_builders_of(study) == []
    names = [builder.name for builder in text_builders_of(writing_study)]
    assert names == ["average", "minimum_bayes_risk", "reranker", "soup"]
    tree = writing_study.model_dump()
    builders = [{"average": {"top": 12, "mean": "log_probabilities"}}, "minimum_bayes_risk"]
    wide = Study.model_validate({**tree, "ensembles": {"builders": builders}})
    assert candidates_of(wide) == 12
    assert (refits_of(wide), chained_of(wide)) == (0, 0)
    chained = Study.model_validate({**tree, "ensembles": {"builders": ["average", {"snapshots": {"top": 2}}]}})
    assert (refits_of(chained), chained_of(chained)) == (2, 1)
    narrow = Study.model_validate({**tree, "ensembles": {"builders": builders, "budget": {"members": 3}}})
    assert [getattr(builder, "top", None) for builder in text_builders_of(narrow)] == [3, 3]
    wrong = Study.model_validate({**tree, "ensembles": {"builders": [{"average": {"mean": "median"}}]}})
    with pytest.raises(StudyError, match=r"average.*mean must be"):
        text_builders_of(wrong)
