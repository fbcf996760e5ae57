"""What starts have saved, of labels under folds and of writers: by hand, from the seconds that they took."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from small_writing import SMALL, pairs_data

from sweepstack.models.files import write_json
from sweepstack.models.tasks.writing.supervised import writing_start_hash
from sweepstack.models.training.warm_starts import START_FILE
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.run.shared_starts import parts_of, shared_starts, starts_of

SEED = "train.warm_start.seed"


def test_writers_share_the_starts_of_their_settings(make_record: Callable[..., TrialRecord], tmp_path: Path) -> None:
    data = pairs_data()
    for seed, seconds in ((0, 30.0), (1, 7.0)):
        name = writing_start_hash(SMALL.with_values({SEED: seed}), data)
        write_json(tmp_path / name / START_FILE, {"seconds": seconds})
        assert starts_of(SMALL.with_values({SEED: seed}), data, 1) == [name]
    trials = [make_record(n, [0.5], settings={"train.lr": 1e-3 * (n + 1), SEED: n % 2}) for n in range(3)]
    waiting = make_record(3, settings={SEED: 0})
    control = make_record(0, [0.5], sweep="supervised", settings={SEED: 0})
    found = shared_starts(SMALL, data, tmp_path, [*trials, waiting], [control])
    assert found == {"starts": 2, "trials": 3, "controls": 1, "seconds": 60.0}, "the one of seed 0 served three"
    assert shared_starts(SMALL, data, tmp_path, trials[:2], []) is None
    assert shared_starts(SMALL, None, tmp_path, trials, [control]) is None


def test_a_trial_has_begun_as_many_folds_as_it_reports(make_record: Callable[..., TrialRecord]) -> None:
    record = make_record(1, [0.5, 0.6])
    assert parts_of(record) == 1
    folded = tuple({**report, "fold": fold} for report, fold in zip(record.reports, (1.0, 2.0), strict=True))
    assert parts_of(replace(record, reports=folded)) == 2
