"""What may change when a run is gone on with: budgets, resources, device, ensembles and tracking, and nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sweepstack.models.checksums import digest_of_bundle
from sweepstack.models.errors import StudyError
from sweepstack.search.ledger.ledger import Ledger
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.study.study import Study

BUDGETS = ("search.wall_time", "search.total_epochs", "search.target", "search.patience")
RESOURCES = ("search.concurrency", "search.packing", "search.resources.", "search.keep.")
MAY_DIFFER = (*BUDGETS, *RESOURCES, "data.train", "data.test", "device", "ensembles.", "tracking.")
"""And search.trials may grow."""


START, REWARD = "search.start_from", "writing.reward.classifier.bundle"


def check_extends(stored: Study, new: Study) -> None:
    """Raises StudyError, naming the keys, where ``new`` is not ``stored`` with more trials or other resources, device,
    concurrency, ensembles or tracking. A path may differ where what lies there is the same: data are compared by their
    content when they have been read."""
    before, after = _flat(stored.model_dump()), _flat(new.model_dump())
    differing = [
        f"{key} (stored {_short(before.get(key))}, now {_short(after.get(key))})"
        for key in dict.fromkeys([*before, *after])
        if before.get(key, ...) != after.get(key, ...)
        and key != "search.trials"
        and not key.startswith(MAY_DIFFER)
        and not _was_moved(key, before.get(key), after.get(key))
    ]
    if differing:
        raise StudyError(
            f"the run folder holds a study that differs in {', '.join(differing)}; "
            "put it back, or start afresh with another name or --out"
        )
    if new.search.trials < stored.search.trials:
        raise StudyError(
            f"search.trials can only be raised: the run folder has {stored.search.trials}, but got "
            f"{new.search.trials}; start afresh with another name or --out"
        )


def _was_moved(key: str, before: Any, after: Any) -> bool:
    """Whether two paths name the same run, or the same bundle. One that is gone is taken for the other: a search has
    its first points in the ledger, and a reward's bundle is compared by its hash, see check_provenance."""
    same: dict[str, Callable[[Path], str | None]] = {START: sweep_of, REWARD: digest_of_bundle}
    if key not in same or not isinstance(before, str) or not isinstance(after, str):
        return False
    one, other = same[key](Path(before)), same[key](Path(after))
    return other is not None and one in (None, other)


def sweep_of(folder: Path) -> str | None:
    """What the run in ``folder`` is known by wherever it lies; None where there is none."""
    ledger = RunFolder(folder).ledger
    if not ledger.exists():
        return None
    with Ledger.open(ledger, writable=False) as opened:
        found: str | None = opened.attribute("sweep_id")
    return found


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value by its key path; an axis of the space is one value."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value and prefix != "space.":
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _short(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
