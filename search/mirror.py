"""What MLflow shows of a run: one experiment a study, one parent run a sweep, a child for everything that was trained.

Pure functions from what the ledger knows to what an MLflow run should hold; the tracker makes the store equal to it.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweepstack.ensembles.choose import Row
from sweepstack.search.ledger import MAIN
from sweepstack.search.study import Study
from sweepstack.search.tracking_mirror import RunState, Status
from sweepstack.search.trial_record import TrialRecord

PARENT = "sweep"


def parent_state(study: Study, status: Status, started: float, best: TrialRecord | None) -> RunState:
    searched = {f"space.{path}": str(axis) for path, axis in study.space.items()}
    data = {} if study.data is None else {"data.train": study.data.train}
    summary = {} if best is None or best.value is None else {f"best_{study.search.objective}": best.value}
    return RunState(
        key=PARENT,
        name=study.name,
        params={"task": study.task, **data, "search.sampler": study.search.sampler, **searched},
        metrics=((0, summary),) if summary and status != "running" else (),
        tags={"role": "sweep", "state": "running" if status == "running" else status},
        status=status,
        started=started,
        ended=None if status == "running" else time.time(),
        parent=False,
    )


def trial_state(record: TrialRecord, folder: Path, *, interrupted: bool = False) -> RunState:
    """``interrupted``: the driver stops while the trial runs; the run goes on with the next session."""
    statuses: dict[str, Status] = {
        "complete": "finished",
        "pruned": "finished",
        "failed": "failed",
        "running": "running",
        "waiting": "running",
    }
    status: Status = "killed" if interrupted and record.state == "running" else statuses[record.state]
    tags = {
        "role": "trial" if record.sweep == MAIN else "control",
        "state": "interrupted" if status == "killed" else record.state,
        "checkpoint": str(folder / "checkpoint"),
    }
    if record.rung is not None:
        tags["rung"] = str(record.rung)
    if record.reason:
        tags["reason"] = record.reason
    return RunState(
        key=f"{record.sweep}-{record.number}",
        name=f"{'trial' if record.sweep == 'trials' else record.sweep} {record.number}",
        params=record.settings,
        metrics=tuple(enumerate(record.reports, start=1)),
        tags=tags,
        status=status,
        started=record.started,
        ended=record.ended if status != "killed" else time.time(),
    )


def member_state(
    key: str,
    name: str,
    role: str,
    folder: Path,
    reports: Sequence[Mapping[str, float]],
    params: Mapping[str, Any],
    seconds: float,
) -> RunState:
    """A run for what is trained in one go: the linear baseline, a refit. ``reports``: valid metrics by epoch."""
    now = time.time()
    return RunState(
        key=key,
        name=name,
        params=dict(params),
        metrics=tuple((epoch, dict(report)) for epoch, report in enumerate(reports, start=1)),
        tags={"role": role, "state": "complete", "checkpoint": str(folder / "checkpoint")},
        status="finished",
        started=now - seconds,
        ended=now,
    )


def ensemble_state(row: Row, digest: str, exported: bool, bundle: Path) -> RunState:
    """A run for one builder's ensemble, with its bundle as a logged model; ``digest`` says what it was built from."""
    measured = {f"{part}_{name}": value for part in ("valid", "blend") for name, value in getattr(row, part).items()}
    measured |= {f"test_{name}": value for name, value in (row.test or {}).items()}
    measured |= {name: value for name in ("size_mb", "latency_ms") if (value := getattr(row, name)) is not None}
    now = time.time()
    return RunState(
        key=f"ensemble-{row.name}-{digest}",
        name=row.name,
        params={"method": row.method, "members": ", ".join(row.members), "stop": row.stop},
        metrics=((0, measured),),
        tags={"role": "ensemble", "state": "complete", "exported": str(exported).lower()},
        status="finished",
        started=now,
        ended=now,
        model=bundle,
    )
