"""The leaderboard: a row a trial with what was searched and what came of it, best first, and the company beside it.

The linear baseline and the best supervised control are rows without a number: they are compared with, and never count
as trials. A trial stands with the valid metrics of its best epoch, whether it was completed, pruned or still runs.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sweepstack.models.files import write_atomic
from sweepstack.models.predictions import DIRECTION

if TYPE_CHECKING:
    import pandas as pd

    from sweepstack.search.trial_record import TrialRecord

METRICS = tuple(DIRECTION)


@dataclass(frozen=True)
class Company:
    """A row that no trial of the sweep stands behind."""

    name: str  # "linear", "supervised"
    role: Literal["baseline", "control"]
    valid: Mapping[str, float]
    seconds: float | None = None
    settings: Mapping[str, Any] | None = None  # of the best control
    state: str = "complete"


def best_metrics(record: "TrialRecord") -> dict[str, float]:
    """The metrics of the best epoch on valid; empty before the first report."""
    if record.best_epoch is None or not 1 <= record.best_epoch <= len(record.reports):
        return {}
    return dict(record.reports[record.best_epoch - 1])


def seconds(record: "TrialRecord") -> float | None:
    """Seconds of work, over all sessions that a trial needed; without them, from its start to its end."""
    worked = [report["seconds"] for report in record.reports if "seconds" in report]
    if worked:
        return math.fsum(worked)
    return None if record.ended is None else record.ended - record.started


def rank(value: float | None, metric: str) -> float:
    """A key to sort by, best first, with what has no value last."""
    return math.inf if value is None or math.isnan(value) else -DIRECTION[metric] * value


def ranked(records: Iterable["TrialRecord"], metric: str) -> list["TrialRecord"]:
    """Best first; equals in the order of their numbers; failed trials, whose value counts for nothing, last."""
    return sorted(records, key=lambda r: (r.state == "failed", rank(r.value, metric), r.number))


def best(records: Iterable["TrialRecord"], metric: str) -> "TrialRecord | None":
    """The trial with the best value of any that did not fail, or None while there is none."""
    order = [r for r in ranked(records, metric) if r.state != "failed" and rank(r.value, metric) < math.inf]
    return order[0] if order else None


def control(records: Iterable["TrialRecord"], metric: str) -> Company | None:
    """The best trial of the supervised control's own small sweep, as a row of the company."""
    record = best(records, metric)
    if record is None:
        return None
    return Company("supervised", "control", best_metrics(record), seconds(record), record.settings, record.state)


def leaderboard(
    records: Sequence["TrialRecord"],
    company: Sequence[Company],
    paths: Sequence[str],
    metric: str = "reward",
    metrics: Sequence[str] = METRICS,
) -> "pd.DataFrame":
    """One row a trial and one a company member, best first by ``metric``.

    Columns: number (nullable integer), name, role (trial, baseline, control), state, one for each searched path, the
    epochs reported and the best of them, the valid ``metrics`` there, seconds, rung, reason.
    """
    import pandas as pd

    def row(values: Mapping[str, float], settings: Mapping[str, Any], **rest: Any) -> dict[str, Any]:
        return {**rest, **{p: settings.get(p) for p in paths}, **{m: values.get(m) for m in metrics}}

    trials = [
        row(
            best_metrics(r),
            r.settings,
            number=r.number,
            name=f"trial {r.number}",
            role="trial",
            state=r.state,
            epochs=len(r.reports),
            best_epoch=r.best_epoch,
            seconds=seconds(r),
            rung=r.rung,
            reason=r.reason,
        )
        for r in ranked(records, metric)
    ]
    others = [
        row(c.valid, c.settings or {}, name=c.name, role=c.role, state=c.state, seconds=c.seconds) for c in company
    ]
    rows = sorted(trials + others, key=lambda r: (r["state"] == "failed", rank(r[metric], metric)))
    columns = ["number", "name", "role", "state", *paths, "epochs", "best_epoch", *metrics, "seconds", "rung", "reason"]
    frame = pd.DataFrame(rows, columns=columns)
    numbers = ["number", "epochs", "best_epoch", "rung"]
    return frame.astype({**dict.fromkeys(numbers, "Int64"), **dict.fromkeys([*metrics, "seconds"], "float64")})


def write_leaderboard(path: Path, frame: "pd.DataFrame") -> None:
    """The table as CSV, whole or not at all; floats keep all their digits."""
    write_atomic(path, frame.to_csv(index=False))
