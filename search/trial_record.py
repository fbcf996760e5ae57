"""What the ledger says of one trial, as a plain record: all that a reader of a run needs.

A finished Optuna trial takes no more attributes, so what comes later (an MLflow run id) is kept with its sweep's study.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from sweepstack.search.space import settings_of

State = Literal["running", "complete", "pruned", "failed"]
STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
LATE = "trial:"  # begins the name of a finished trial's attribute in its sweep's study


@dataclass(frozen=True)
class TrialRecord:
    sweep: str
    number: int
    state: State
    settings: dict[str, Any]  # the searched values by path
    reports: tuple[dict[str, float], ...]  # the metrics after each epoch
    value: float | None  # the objective at its best epoch so far
    best_epoch: int | None  # from 1; the first of equals
    reason: str | None  # why it failed
    attributes: dict[str, Any]
    started: float  # seconds since 1970
    ended: float | None
    rung: int | None  # where the stopper ended it


def record_of(sweep: str, trial: FrozenTrial, late: dict[str, Any], maximize: bool) -> TrialRecord:
    """What an Optuna trial says; ``late`` are the attributes that came after its end."""
    steps = sorted(trial.intermediate_values)
    choose: Callable[..., int] = max if maximize else min
    best = choose(steps, key=trial.intermediate_values.__getitem__) if steps else None
    own = {name: value for name, value in trial.user_attrs.items() if not name.startswith(("report:", "promoted:"))}
    rung, reason = own.pop("rung", None), own.pop("reason", None)
    return TrialRecord(
        sweep=sweep,
        number=trial.number,
        state=STATES[trial.state],
        settings=settings_of(trial.params),
        reports=tuple(trial.user_attrs[f"report:{step}"] for step in steps),
        value=None if best is None else trial.intermediate_values[best],
        best_epoch=best,
        reason=reason,
        attributes={**own, **late},
        started=trial.datetime_start.timestamp() if trial.datetime_start else 0.0,
        ended=trial.datetime_complete.timestamp() if trial.datetime_complete else None,
        rung=rung,
    )


def late_attributes(attributes: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The attributes that trials got after their end, by trial number, out of those of their study."""
    late: dict[int, dict[str, Any]] = {}
    for key, value in attributes.items():
        if key.startswith(LATE):
            number, name = key.removeprefix(LATE).split(":", 1)
            late.setdefault(int(number), {})[name] = value
    return late
