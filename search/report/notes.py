"""What a run says beside its results, a line each: what ended its search, what was shared, what builders say."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sweepstack.search import format as fmt
from sweepstack.search.execution.retention import GB, deleted_words, removed
from sweepstack.search.report.control_comparison import paying
from sweepstack.search.stoppers.budgets import Ended

if TYPE_CHECKING:
    from sweepstack.search.ledger.records import TrialRecord
    from sweepstack.search.study.study import Study

ENDED = "search_ended"  # the attribute that says which budget ended the search: {budget, line}
RUNS = "runs"  # the attribute of a folder that combines runs: {name, folder, trials} of each
SHARED = "shared_starts"  # the attribute that says what starts have saved: {starts, trials, controls, seconds}


def remarks(study: "Study", attributes: Mapping[str, Any], records: Sequence["TrialRecord"]) -> dict[str, str]:
    """The lines by their label, from the attributes of the whole run and its trials."""
    found = {}
    if attributes.get(RUNS):
        found["Runs"] = ", ".join(f"{run['name']} ({run['trials']} trials)" for run in attributes[RUNS])
    if attributes.get(ENDED):
        found["Search"] = f"ended by {Ended(**attributes[ENDED]).words}"
    if attributes.get(SHARED):
        found["Shared"] = shared_words(**attributes[SHARED])
    built = attributes.get("ensembles") or {}
    found |= paying(study, built.get("rows", ()), records)
    notes = built.get("notes")
    if notes:
        found["Builders"] = "; ".join(notes)
    count, size = removed(records)
    if count:
        what = f"the weights of {fmt.count(count)} trial{'s' * (count > 1)} ({size / GB:.2g} GB)"
        bound = study.search.keep.disk_gb
        why = "under search.keep.disk_gb" if bound is None else f"as search.keep.disk_gb is {bound:g}"
        found["Removed"] = f"{what}, {why}"
    gone = deleted_words(records)
    if gone is not None:
        found["Deleted"] = gone
    return found


def shared_words(*, starts: int, trials: int, controls: int, seconds: float) -> str:
    """``4 supervised starts trained once and shared by 16 trials: 2 min 10 s saved``."""
    by = f"{trials} trial{'s' * (trials != 1)}" + (f" and {controls} of the control" if controls else "")
    many = "s" * (starts != 1)
    return f"{starts} supervised start{many} trained once and shared by {by}: {fmt.precise(seconds)} saved"
