"""What MLflow shows of a run: one experiment a study, one parent run a sweep, a child for everything that was trained.

Pure functions from what the ledger knows to what an MLflow run should hold; the tracker makes the store equal to it.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweepstack.ensembles.evaluation.table import Row
from sweepstack.ensembles.scoring.optimism import Optimism
from sweepstack.search.ledger.confirmation import Confirmation, is_confirmation
from sweepstack.search.ledger.leaderboard import best_so_far, with_spreads
from sweepstack.search.ledger.ledger import MAIN
from sweepstack.search.ledger.records import REPETITION, TrialRecord
from sweepstack.search.study.study import Study
from sweepstack.search.tracking.mirror import RunState, Status

PARENT = "sweep"
LINEAGE = ("member", "generation", "parent")  # of a trial of a population, the parent by its number


def parent_state(
    study: Study,
    status: Status,
    started: float,
    best: TrialRecord | None,
    confirmed: Confirmation | None = None,
    pareto: Sequence[int] = (),
) -> RunState:
    """``pareto``: the numbers of the trials on the front of several objectives."""
    searched = {f"space.{path}": str(axis) for path, axis in study.space.items()}
    data = {} if study.data is None else {"data.train": study.data.train}
    summary = {} if best is None or best.value is None else {f"best_{study.search.objective}": best.value}
    if best is not None and study.search.seeds > 1:
        summary |= _means(best)
    if confirmed is not None:
        summary |= confirmed.figures()
    front = {"pareto": ", ".join(map(str, pareto))} if pareto else {}
    if pareto:
        summary["pareto_trials"] = float(len(pareto))
    return RunState(
        key=PARENT,
        name=study.name,
        params={"task": study.task, **data, "search.sampler": study.search.sampler, **searched},
        metrics=((0, summary),) if summary and status != "running" else (),
        tags={"role": "sweep", "state": "running" if status == "running" else status, **front},
        status=status,
        started=started,
        ended=None if status == "running" else time.time(),
        parent=False,
    )


def trial_state(
    record: TrialRecord, folder: Path, metrics: Sequence[str] = ("reward",), *, interrupted: bool = False
) -> RunState:
    """``metrics``: the leaderboard's, first what it ranks by; the run has each as ``best_<metric>``, too, with the
    leaderboard's value. ``interrupted``: the driver stops while the trial runs; the run goes on with the next session.
    """
    statuses: dict[str, Status] = {
        "complete": "finished",
        "pruned": "finished",
        "failed": "failed",
        "running": "running",
        "waiting": "running",
    }
    status: Status = "killed" if interrupted and record.state == "running" else statuses[record.state]
    tags = {
        "role": role_of(record.sweep),
        "state": "interrupted" if status == "killed" else record.state,
        "checkpoint": str(folder / "checkpoint"),
    }
    tags |= {name: str(record.attributes[name]) for name in LINEAGE if name in record.attributes}
    if record.rung is not None:
        tags["rung"] = str(record.rung)
    if record.reason:
        tags["reason"] = record.reason
    return RunState(
        key=f"{record.sweep}-{record.number}",
        name=f"{'trial' if record.sweep == 'trials' else record.sweep} {record.number}",
        params=record.settings,
        metrics=_history(record, metrics),
        tags=tags,
        status=status,
        started=record.started,
        ended=record.ended if status != "killed" else time.time(),
    )


def role_of(sweep: str) -> str:
    if sweep == MAIN:
        return "trial"
    return "confirmation" if is_confirmation(sweep) else "control"


def _history(record: TrialRecord, metrics: Sequence[str]) -> tuple[tuple[int, dict[str, float]], ...]:
    """The metrics of each epoch, and what the leaderboard says of the trial since then where that has changed: MLflow's
    table shows the last value of a metric, which of ``best_reward`` is that of the leaderboard.

    Where repetitions race, the metrics of each stand under its own name (``seed_1/reward``), and at the end, under the
    plain ones, means and spreads, which MLflow then shows in one row.
    """
    best = best_so_far(record, metrics)
    points: list[tuple[int, dict[str, float]]] = []
    for epoch, report in enumerate(record.reports, start=1):
        prefix = f"seed_{report[REPETITION] - 1:.0f}/" if REPETITION in report else ""
        own = {prefix + name: value for name, value in report.items() if name != REPETITION}
        points.append((epoch, {**own, **best.get(epoch, {})}))
    if record.has_ended and any(REPETITION in report for report in record.reports):
        points.append((len(record.reports) + 1, _means(record)))
    return tuple(points)


def _means(record: TrialRecord) -> dict[str, float]:
    """Of a trial that had several seeds, or could have had; a spread needs two of them."""
    return {**with_spreads(record), "seeds": float(record.seeds)}


def member_state(
    key: str,
    name: str,
    role: str,
    folder: Path,
    reports: Sequence[Mapping[str, float]],
    params: Mapping[str, Any],
    seconds: float,
) -> RunState:
    """A run for what is trained in one go: the linear baseline, a refit. ``reports``: valid metrics by epoch. The
    baseline stands on the leaderboard, and has what stands there as ``best_<metric>``, as trials have."""
    now = time.time()
    if role == "baseline":
        reports = [{**report, **{f"best_{name}": value for name, value in report.items()}} for report in reports]
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


def ensemble_state(row: Row, digest: str, exported: bool, bundle: Path, optimism: Optimism | None = None) -> RunState:
    """A run for one builder's ensemble, with its bundle as a logged model; ``digest`` says what it was built from, and
    ``optimism`` what the choice of the exported one may owe to luck."""
    measured = {f"{part}_{name}": value for part in ("valid", "blend") for name, value in getattr(row, part).items()}
    measured |= {f"test_{name}": value for name, value in (row.test or {}).items()}
    served = ("size_mb", "latency_ms", "latency_32_ms")
    measured |= {name: value for name in served if (value := getattr(row, name)) is not None}
    measured |= {f"oob_{name}": value for name, value in (row.out_of_bag or {}).items()}
    measured["members"] = float(len(row.members))
    for rival in ("trial", "linear"):
        gain = getattr(row, f"gain_over_{rival}")
        measured |= {} if gain is None else {f"gain_over_{rival}_{end}": getattr(gain, end) for end in vars(gain)}
    for metric, gain in (row.other_gains or {}).items():
        measured |= {f"{metric}_gain_over_trial_{end}": getattr(gain, end) for end in vars(gain)}
    for part, halves in (("test", row.test_interval), ("blend", row.blend_interval)):
        measured |= {f"{part}_{name}_interval": half for name, half in (halves or {}).items()}
    now = time.time()
    said = {name: value for name, value in (("stop", row.stop), ("utility", row.utility)) if value}
    return RunState(
        key=f"ensemble-{row.name}-{digest}",
        name=row.name,
        params={"method": row.method, "members": ", ".join(row.members), **said},
        metrics=((0, measured),),
        tags={
            "role": "ensemble",
            "state": "complete",
            "exported": str(exported).lower(),
            "pareto": str(row.front).lower(),
            **({"over_budget": row.over_budget} if row.over_budget else {}),
            **({} if optimism is None else _choosing(optimism)),
        },
        status="finished",
        started=now,
        ended=now,
        model=bundle,
    )


def _choosing(optimism: Optimism) -> dict[str, str]:
    return {"chosen_among": str(optimism.candidates), "flattered_by": f"{optimism.flattered:.3g}"}
