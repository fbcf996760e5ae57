"""Which weights go when trials/ outgrows its bound, with real files."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweepstack.models import checksums
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.execution.retention import (
    REMOVED,
    Keeper,
    deleted,
    deleted_words,
    needed,
    removable,
    remove_damaged,
    removed,
    size_of,
)
from sweepstack.search.execution.sweep import Sweep, open_sweep
from sweepstack.search.ledger.ledger import MAIN, Ledger
from sweepstack.search.ledger.records import KEPT, TrialRecord
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.study.search_section import Keep, Search
from sweepstack.search.study.space import Space

Make = Callable[..., TrialRecord]
KB = 1000
SPACE = Space.parse({"train.lr": {"log": [1e-3, 1e-1]}}, TrialSettings())


def test_what_may_go_goes_failed_first_then_pruned_then_complete_the_worst_of_each_first(make_record: Make) -> None:
    records = [
        make_record(0, [0.5]),
        make_record(1, [0.3]),
        make_record(2, [0.6], "pruned"),
        make_record(3, [0.2], "pruned"),
        make_record(4, [0.9], "failed"),
        make_record(5, [0.1], "running"),
        make_record(6, [0.0], attributes={REMOVED: 9}),
        make_record(7, [0.7]),
    ]
    assert [r.number for r in removable(records, {7}, "reward")] == [4, 3, 2, 1, 0]
    records[4] = make_record(4, [0.9], "failed", attributes={KEPT: 1})  # it may be a member, as pruned ones may
    records.append(make_record(8, [], "failed"))
    assert [r.number for r in removable(records, {7}, "reward")] == [8, 4, 3, 2, 1, 0]


def test_the_best_and_what_others_need_stay(make_record: Make) -> None:
    records = [make_record(n, [0.9 - n / 10]) for n in range(5)]
    records.append(make_record(5, [0.1], "failed"))
    records.append(make_record(6, [], "running", attributes={"parent": 4}))
    records.append(make_record(7, [], "waiting", attributes={"parent": 3}))
    assert needed(records, Search(), 1, {2}) == {0, 2, 3, 4, 6, 7}
    assert needed(records, Search(), 2, ()) == {0, 1, 3, 4, 6, 7}


def test_the_last_two_generations_of_a_population_stay(make_record: Make) -> None:
    records = [make_record(n, [0.5 - n / 100], attributes={"generation": n // 2, "member": n % 2}) for n in range(8)]
    assert needed(records, Search(), 1, ()) == {0, 4, 5, 6, 7}


def test_a_pareto_front_stays(make_record: Make) -> None:
    objectives = [{"reward": 0.9, "seconds": 9.0}, {"reward": 0.5, "seconds": 1.0}, {"reward": 0.4, "seconds": 2.0}]
    records = [make_record(n, [each["reward"]], objectives=each) for n, each in enumerate(objectives)]
    assert needed(records, Search(metric=["reward", "seconds"]), 1, ()) == {0, 1}


def test_a_trial_without_its_folder_is_told_from_one_that_never_had_any(tmp_path: Path, make_record: Make) -> None:
    records = [
        make_record(0, [0.5]),
        make_record(1, [0.3]),  # deleted
        make_record(2, [0.6], "pruned"),  # deleted; under folds a pruned trial has none
        make_record(3, [0.9], "failed"),
        make_record(4, [0.1], "running"),
        make_record(5, [0.0], attributes={REMOVED: 9}),
        make_record(6, [], "pruned"),  # stopped before its first report
    ]
    (tmp_path / "0" / "checkpoint").mkdir(parents=True)
    (tmp_path / "0" / "checkpoint" / "config.json").touch()
    folder_of = lambda record: tmp_path / str(record.number)  # noqa: E731
    assert deleted(records, folder_of, folds=False) == [1, 2]
    assert deleted(records, folder_of, folds=True) == [1]


def test_what_was_deleted_is_said_until_it_was_trained_again(make_record: Make) -> None:
    gone = [make_record(n, [0.5], attributes={REMOVED: 0}) for n in (3, 5)]
    assert removed(gone) == (0, 0.0)
    assert deleted_words(gone) == (
        "the folders of trials 3, 5 are gone, so they are no members; "
        "sweepstack retry RUN --trial 3 --trial 5 trains them again"
    )
    again = make_record(6, [0.5], attributes={"retry_of": 3})
    assert deleted_words([*gone, again]) == (
        "the folder of trial 5 is gone, so it is no member; sweepstack retry RUN --trial 5 trains it again"
    )
    assert deleted_words([make_record(0, [0.5]), make_record(1, [0.5], attributes={REMOVED: 9})]) is None


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Sweep]:
    with Ledger.open(tmp_path / "ledger.log") as ledger:
        yield open_sweep(
            ledger, MAIN, space=SPACE, search=Search(sampler="random", stopper="none"), epochs=1, trials=20
        )


class Trials:
    """Trials with weights of 100 kB each; ``end`` says how the next one ends."""

    def __init__(self, sweep: Sweep, root: Path, **keeper: Any) -> None:
        self.sweep, self.root = sweep, root
        self.keeper = Keeper(
            Search(keep=Keep(disk_gb=350e3 / 1e9)), sweep, self.folder, **{"top": 1, "members": set, **keeper}
        )

    def folder(self, number: int) -> Path:
        return self.root / "trials" / str(number)

    def end(self, reward: float | None) -> str | None:
        record = self.sweep.ask()
        assert record is not None
        folder = self.folder(record.number)
        for name, size in (("checkpoint/weights.safetensors", 80 * KB), ("predictions/blend.safetensors", 20 * KB)):
            (folder / name).parent.mkdir(parents=True)
            (folder / name).write_bytes(b"x" * size)
        if reward is None:
            self.sweep.fail(record.number, "it was to fail")
        else:
            self.sweep.report(record.number, 1, {"reward": reward})
            self.sweep.complete(record.number)
        return self.keeper.look()

    def there(self) -> list[int]:
        return sorted(int(path.name) for path in (self.root / "trials").iterdir())


def test_trials_stay_within_the_bound_and_the_ledger_says_what_went(sweep: Sweep, tmp_path: Path) -> None:
    trials = Trials(sweep, tmp_path)
    for reward in (0.5, None, 0.7):
        assert trials.end(reward) is None
    assert trials.there() == [0, 1, 2]
    trials.end(0.6)
    assert trials.there() == [0, 2, 3], "what a failed trial left goes first"
    trials.end(0.4)
    assert trials.there() == [0, 2, 3], "the newest is the worst"
    trials.end(0.9)
    assert trials.there() == [2, 3, 5]
    gone = {r.number: r.attributes.get(REMOVED) for r in sweep.trials()}
    assert gone == {0: 100 * KB, 1: 100 * KB, 2: None, 3: None, 4: 100 * KB, 5: None}
    assert removed(sweep.trials()) == (3, 300 * KB)
    assert size_of(tmp_path / "trials") <= 350e3


def test_members_of_ensembles_stay(sweep: Sweep, tmp_path: Path) -> None:
    trials = Trials(sweep, tmp_path, members=lambda: {0})
    for reward in (0.1, 0.5, 0.6, 0.7):
        trials.end(reward)
    assert trials.there() == [0, 2, 3]


def test_a_bound_that_cannot_be_kept_is_said_once_and_removes_nothing_that_is_needed(
    sweep: Sweep, tmp_path: Path
) -> None:
    trials = Trials(sweep, tmp_path, top=8)
    said = [trials.end(0.1 * n) for n in range(1, 6)]
    assert said[:3] == [None] * 3
    assert said[3] == (
        "search.keep.disk_gb 0.00035 cannot be kept: what may still be used takes 0.0004 GB; nothing of that is removed"
    )
    assert said[4] is None
    assert trials.there() == [0, 1, 2, 3, 4]


def test_a_kill_between_note_and_removal_is_mended(sweep: Sweep, tmp_path: Path) -> None:
    trials = Trials(sweep, tmp_path)
    trials.end(0.5)
    trials.end(0.6)
    sweep.set_trial_attribute(0, REMOVED, 100 * KB)
    Trials(sweep, tmp_path).keeper.look()
    assert trials.there() == [1]


def test_no_bound_looks_at_nothing(sweep: Sweep, tmp_path: Path) -> None:
    def refuses(number: int) -> Path:
        raise AssertionError

    assert Keeper(Search(), sweep, refuses).look() is None


def test_what_is_damaged_goes_where_it_is_made_again_and_nothing_else(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    made = [run.starts / "a", run.refits / "b", run.soups / "c", run.decoded / "d", run.linear, run.pipeline("char")]
    trials = [run.trial(0), run.supervised(0)]
    for folder in (*made, *trials):
        checksums.put(folder / "checkpoint", {"weights": "whole"})
    assert remove_damaged(run) == []
    for folder in (*made[1:], *trials):
        (folder / "checkpoint" / "weights").write_text("whale")
    assert set(remove_damaged(run)) == set(made[1:])
    assert [folder.exists() for folder in (*made, *trials)] == [True, *[False] * 5, True, True]
