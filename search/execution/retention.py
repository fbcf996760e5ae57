"""Which trials keep their weights under ``search.keep: {disk_gb: …}``: those that somebody can still use.

When trials/ has grown above the bound, folders go in this order until it fits: what failed trials left that are no
members, then pruned and the other failed trials, the worst first, then complete ones, the worst first. Never those of
a trial that has not ended, of the best ones, of a member of an ensemble that was built, or of one whose weights another
goes on from. The ledger notes a removal before it happens, so that a kill in between is mended by the next look.
"""

import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepstack.models import checksums
from sweepstack.search.ledger.leaderboard import front, ranked
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.ledger.run_folder import RunFolder

if TYPE_CHECKING:
    from sweepstack.search.execution.sweep import Sweep
    from sweepstack.search.study.search_section import Search

REMOVED = (
    "removed"  # the attribute of a trial whose weights and predictions are gone: their bytes; 0 of one deleted by hand
)
CANDIDATES = 8  # so many of the best stay for builders that want no more
GB = 1e9


def needed(records: Sequence[TrialRecord], search: "Search", top: int, members: Collection[int]) -> frozenset[int]:
    """The trials whose weights must stay: running, the ``top`` best, the Pareto front, ``members``, and sources of
    others. Of a population those of its last two generations are sources that may still be asked for."""
    best = [r.number for r in ranked(records, search.objective) if r.state != "failed" and r.value is not None][:top]
    running = [record for record in records if not record.has_ended]
    sources = [record.attributes["parent"] for record in running if record.attributes.get("parent") is not None]
    generations = {r.number: r.attributes["generation"] for r in records if "generation" in r.attributes}
    last = max(generations.values(), default=0)
    young = [number for number, generation in generations.items() if generation >= last - 1]
    among = front(records, search.objectives) if len(search.objectives) > 1 else ()
    return frozenset([*best, *(r.number for r in running), *sources, *young, *among, *members])


def removable(records: Sequence[TrialRecord], keep: Collection[int], metric: str) -> list[TrialRecord]:
    """The trials whose weights may go, in the order in which they do."""
    worst_first = [r for r in reversed(ranked(records, metric)) if r.number not in keep and REMOVED not in r.attributes]
    ended = [r for r in worst_first if r.has_ended]
    return sorted(ended, key=lambda r: (r.state == "complete") + r.may_be_member(folds=1))


def size_of(folder: Path) -> int:
    """Bytes of the files in ``folder``; what vanishes meanwhile counts for nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


class Keeper:
    """``members`` says which trials are in an ensemble; ``folder`` gives a trial's."""

    def __init__(
        self,
        search: "Search",
        sweep: "Sweep",
        folder: Callable[[int], Path],
        *,
        top: int = CANDIDATES,
        members: Callable[[], Collection[int]] = tuple,
    ) -> None:
        self._search, self._sweep, self._folder, self._top, self._members = search, sweep, folder, top, members
        self._bound = None if search.keep.disk_gb is None else search.keep.disk_gb * GB
        self._sizes: dict[int, int] = {}  # of trials that had ended at the last look
        self._ended: set[int] = set()
        self._said = False

    def look(self) -> str | None:
        """Removes what must go; returns a line for the user where the bound cannot be kept, once."""
        if self._bound is None:
            return None
        records = self._sweep.trials()
        sizes = {record.number: self._size(record) for record in records}
        excess = sum(sizes.values()) - self._bound
        if excess <= 0:
            return None
        keep = needed(records, self._search, self._top, self._members()) | self._sweep.needed
        for record in removable(records, keep, self._search.objective):
            if excess <= 0:
                return None
            if sizes[record.number]:
                self._remove(record.number, sizes[record.number])
                excess -= sizes[record.number]
        if excess <= 0 or self._said:
            return None
        self._said = True
        return (
            f"search.keep.disk_gb {self._bound / GB:g} cannot be kept: what may still be used takes "
            f"{(self._bound + excess) / GB:.2g} GB; nothing of that is removed"
        )

    def _size(self, record: TrialRecord) -> int:
        """A trial that has just ended is measured again the next time: its worker may still put things away."""
        if record.number in self._sizes:
            return self._sizes[record.number]
        folder = self._folder(record.number)
        if record.attributes.get(REMOVED):
            shutil.rmtree(folder, ignore_errors=True)  # what a kill left
        size = size_of(folder)
        if record.number in self._ended:
            self._sizes[record.number] = size
        if record.has_ended:
            self._ended.add(record.number)
        return size

    def _remove(self, number: int, size: int) -> None:
        self._sweep.set_trial_attribute(number, REMOVED, size)
        shutil.rmtree(self._folder(number), ignore_errors=True)
        self._sizes[number] = 0


def deleted(records: Sequence[TrialRecord], folder_of: Callable[[TrialRecord], Path], *, folds: bool) -> list[int]:
    """The trials that could be members, had somebody not deleted their folders; under folds only complete ones."""
    states = ("complete",) if folds else ("complete", "pruned")
    could = [r for r in records if r.state in states and r.value is not None and REMOVED not in r.attributes]
    return [record.number for record in could if not (folder_of(record) / "checkpoint" / "config.json").exists()]


def put_back(records: Sequence[TrialRecord], folder_of: Callable[[TrialRecord], Path]) -> list[int]:
    """The trials whose folders somebody had deleted, and that are there again."""
    gone = [record for record in records if record.attributes.get(REMOVED) == 0]
    return [record.number for record in gone if (folder_of(record) / "checkpoint" / "config.json").exists()]


def removed(records: Sequence[TrialRecord]) -> tuple[int, float]:
    """How many trials have lost their weights, and the bytes that were."""
    gone: list[Any] = [record.attributes[REMOVED] for record in records if record.attributes.get(REMOVED)]
    return len(gone), float(sum(gone))


def deleted_words(records: Sequence[TrialRecord]) -> str | None:
    """A line on those whose folders somebody has deleted, and how they are trained again; None where there are none."""
    retried = {record.attributes.get("retry_of") for record in records}
    gone = [record.number for record in records if record.attributes.get(REMOVED) == 0]
    numbers = [number for number in gone if number not in retried]
    if not numbers:
        return None
    again = " ".join(f"--trial {number}" for number in numbers)
    one = len(numbers) == 1
    return (
        f"the folder{'' if one else 's'} of trial{'' if one else 's'} {', '.join(map(str, numbers))} "
        f"{'is' if one else 'are'} gone, so {'it is no member' if one else 'they are no members'}; "
        f"sweepstack retry RUN {again} trains {'it' if one else 'them'} again"
    )


def remove_damaged(run: RunFolder) -> list[Path]:
    """Removes what has changed since it was written, of all that a run makes again when it is gone; says what."""
    made = [folder for root in (run.starts, run.refits, run.soups, run.decoded) for folder in root.glob("*/")]
    made += [folder for folder in run.linear.parent.glob("*/") if folder != run.supervised(0).parent]
    damaged = [folder for folder in sorted(made) if not checksums.is_whole(folder)]
    for folder in damaged:
        shutil.rmtree(folder)
    return damaged
