"""What supervised starts have saved a run: each is trained once and shared by all trials with the same settings."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sweepstack.models.data.encoding import TaskData
from sweepstack.models.data.pairs import WritingData
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.tasks.classification.supervised import start_hash
from sweepstack.models.tasks.writing.supervised import writing_start_hash
from sweepstack.search.ledger.records import FOLD, TrialRecord
from sweepstack.search.run.wall_time import saved


def shared_starts(
    settings: TrialSettings,
    data: TaskData | WritingData | None,
    starts: Path,
    trials: Iterable[TrialRecord],
    controls: Iterable[TrialRecord],
) -> dict[str, Any] | None:
    """As notes.shared_words takes it; None where no start served two. ``settings`` are those before a trial's own."""
    if data is None:
        return None
    trained = [record for record in trials if record.reports]
    beside = [record for record in controls if record.reports]
    hashes = [
        name for r in (*trained, *beside) for name in starts_of(settings.with_values(r.settings), data, parts_of(r))
    ]
    found = saved(hashes, starts)
    if found is None:
        return None
    return {"starts": found[0], "trials": len(trained), "controls": len(beside), "seconds": round(found[1], 1)}


def parts_of(record: TrialRecord) -> int:
    """The folds that a trial has begun."""
    return int(record.reports[-1].get(FOLD, 1))


def starts_of(settings: TrialSettings, data: TaskData | WritingData, parts: int) -> list[str]:
    """The names of the starts of a trial's ``parts`` first folds, each of which has one of its own."""
    if isinstance(data, WritingData):
        return [writing_start_hash(settings, data)]
    return [start_hash(settings, fold) for fold in (data.folds or (data,))[:parts]]
