"""What may change when a run is gone on with: budgets, resources, device, ensembles and tracking, and nothing else."""

from typing import Any

from sweepstack.models.errors import StudyError
from sweepstack.search.study import Study

BUDGETS = ("search.wall_time", "search.total_epochs", "search.target", "search.patience")
RESOURCES = ("search.concurrency", "search.packing", "search.resources.", "search.keep.")
MAY_DIFFER = (*BUDGETS, *RESOURCES, "device", "ensembles.", "tracking.")
"""And search.trials may grow."""


def check_extends(stored: Study, new: Study) -> None:
    """Raises StudyError, naming the keys, where ``new`` is not ``stored`` with more trials or other resources,
    concurrency, ensembles or tracking."""
    before, after = _flat(stored.model_dump()), _flat(new.model_dump())
    differing = [
        f"{key} (stored {_short(before.get(key))}, now {_short(after.get(key))})"
        for key in dict.fromkeys([*before, *after])
        if before.get(key, ...) != after.get(key, ...) and key != "search.trials" and not key.startswith(MAY_DIFFER)
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
