from collections.abc import Callable

import pytest

from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.report.progress import Progress, Standing

Make = Callable[..., TrialRecord]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> Progress:
    return Progress(trials=8, epochs=4, workers=1, metric="reward", clock=clock)


def test_the_time_left_follows_from_the_rate_of_this_session(
    progress: Progress, clock: Clock, make_record: Make
) -> None:
    progress.put(make_record(0, [0.8]), earlier=True)
    progress.put(make_record(1, [0.8]), earlier=True)
    clock.now = 100.0
    progress.put(make_record(2, state="running"))
    assert progress.seconds_left() is None
    clock.now = 110.0
    progress.put(make_record(2, [0.8] * 4))
    assert progress.seconds_left() is None
    clock.now = 120.0
    progress.put(make_record(3, [0.8] * 2, "pruned"))
    assert progress.seconds_left() == pytest.approx(40.0)  # two trials in 20 s, four to go
    progress.put(make_record(4, [0.8] * 2, "running"))
    assert progress.seconds_left() == pytest.approx(3.5 * 20 / 2.5)
    assert progress.share() == pytest.approx(4.5 / 8)


def test_when_all_is_done_nothing_is_left(progress: Progress, make_record: Make) -> None:
    for number in range(8):
        progress.put(make_record(number, [0.8]))
    assert progress.seconds_left() == 0.0
    assert progress.share() == 1.0


def test_a_trial_of_its_own_length_counts_by_its_own_epochs(progress: Progress, make_record: Make) -> None:
    progress.put(make_record(0, [0.8], "running", settings={"train.epochs": 2}))
    assert progress.share() == pytest.approx(0.5 / 8)


def test_a_trial_ends_once(progress: Progress, make_record: Make) -> None:
    assert not progress.put(make_record(0, state="running"))
    assert progress.put(make_record(0, [0.8]))
    assert not progress.put(make_record(0, [0.8], attributes={"mlflow": "1"}))
    assert not progress.put(make_record(1, [0.8], sweep="supervised"))


def test_the_summary_names_best_and_ensemble(progress: Progress, make_record: Make) -> None:
    assert progress.summary() == "0/8 trials"
    progress.put(make_record(0, [0.8]))
    progress.put(make_record(1, [0.9], "running"))
    assert progress.summary() == "1/8 trials · best .900 (trial 1)"
    progress.put_standing(Standing("blend", 0.915, ("linear", "trial-0", "trial-4"), 0, 0.79))
    assert progress.summary() == "1/8 trials · best .790 (trial 0) · ensemble .915 (both on blend, 3 members)"
    assert progress.summary(short=True) == "1/8 trials · blend: best .790 (trial 0) · ensemble .915"


@pytest.mark.parametrize(
    ("members", "trial", "words"),
    [
        (("linear", "trial-0"), 7, "best .900 (trial 7) · ensemble .926 (both on blend, 2 members)"),
        (("linear",), 7, "best .900 (trial 7) · linear .926 (both on blend)"),
        (("trial-3",), 7, "best .900 (trial 7) · trial 3 .926 (both on blend)"),
        (("trial-7",), 7, "best .900 (trial 7) (on blend)"),
    ],
)
def test_one_member_is_no_ensemble_and_has_its_name(members: tuple[str, ...], trial: int, words: str) -> None:
    assert Standing("blend", 0.926, members, trial, 0.9).words("reward") == words


def test_without_a_trial_or_under_folds_it_says_so() -> None:
    assert Standing("blend", 0.926, ("linear",)).words("reward") == "linear .926 (on blend)"
    words = Standing("out_of_fold", 0.926, ("linear", "trial-1"), 1, 0.9).words("reward")
    assert words == "best .900 (trial 1) · ensemble .926 (both out of fold, 2 members)"
    assert Standing.from_json({"score": 0.9, "picks": []}) is None, "as an earlier version left it"
    assert Standing.from_json(None) is None


def test_the_control_is_a_stage_while_it_runs(progress: Progress, make_record: Make) -> None:
    progress.put(make_record(0, [0.7], sweep="supervised"))
    assert progress.stages() == []
    progress.put(make_record(1, state="running", sweep="supervised"))
    (stage,) = progress.stages()
    assert (stage.name, stage.done, stage.total, stage.note) == ("supervised control", 1, 0, "best .700")
    assert progress.trials() == []


def test_a_stage_goes_when_all_of_it_is_done(progress: Progress) -> None:
    assert progress.put_stage("refits", 0, 2)
    assert not progress.put_stage("refits", 1, 2)
    assert [s.done for s in progress.stages()] == [1]
    progress.put_stage("refits", 2, 2)
    assert progress.stages() == []


def test_what_was_queued_by_hand_is_counted_beside_what_was_asked_for(make_record: Callable[..., TrialRecord]) -> None:
    progress = Progress(2, 4, 1, "reward")
    progress.put(make_record(0, [0.5]))
    assert progress.put(make_record(1, [], "waiting", attributes={"by_hand": True})) is False
    assert (progress.total, progress.share()) == (3, 1 / 3)
    assert progress.summary() == "1/3 trials · best .500 (trial 0)"
    assert progress.put(make_record(1, [0.4] * 4, attributes={"by_hand": True}))
    assert progress.summary().startswith("2/3 trials")
