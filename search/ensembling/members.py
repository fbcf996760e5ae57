"""Where an ensemble's members come from: trials, the company, and the text pipelines that a study names."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from sweepstack.ensembles.evaluation.choose import Decision
from sweepstack.ensembles.members.library import Kind, Member
from sweepstack.models import checksums
from sweepstack.models.baselines.pipelines import PIPELINES
from sweepstack.models.errors import DamagedError, StorageError
from sweepstack.models.files import read_json
from sweepstack.search.execution.futures import Task
from sweepstack.search.execution.retention import REMOVED
from sweepstack.search.ledger.leaderboard import best
from sweepstack.search.ledger.ledger import MAIN
from sweepstack.search.report.notes import ENDED
from sweepstack.search.run.baselines import fit_linear, is_fitted
from sweepstack.search.stoppers.budgets import Ended
from sweepstack.search.tracking.run_states import member_state

if TYPE_CHECKING:
    from sweepstack.search.ledger.records import TrialRecord
    from sweepstack.search.run.session import Session

D = TypeVar("D", bound=Decision[Any])

KINDS: dict[str, Kind] = {"trials": "trial", "linear": "baseline", "memory": "baseline", "supervised": "control"}
KINDS |= dict.fromkeys(PIPELINES, "pipeline")
"""Of the members that a name in ``ensembles.library`` stands for."""


def allowed(library: list[Any]) -> frozenset[Kind]:
    """The kinds of members that a study lets builders use; what a builder has trained itself is its own."""
    return frozenset({KINDS[name] for name in library} | {"refit", "soup"})


def usable(session: "Session", records: "Sequence[TrialRecord]") -> "list[TrialRecord]":
    """Those that have predictions of every row, none of them removed or damaged."""
    there = [r for r in records if r.may_be_member(session.study.folds) and REMOVED not in r.attributes]
    return [record for record in there if _is_whole(session, record)]


def _is_whole(session: "Session", record: "TrialRecord") -> bool:
    """Whether no file of a trial that counts for a member has changed since it was written; says so where one has."""
    folder = session.folder.of(record)
    try:
        for part in ("checkpoint", "predictions"):
            checksums.check_below(folder / part)
    except DamagedError as error:
        way_out = "put back a copy of it"
        if record.sweep == MAIN and record.origin is None:
            way_out += f", or sweepstack retry RUN --trial {record.number} trains the trial again"
        line = f"{record.member_name} is left out: {str(error).removesuffix(checksums.AGAIN)}{way_out}"
        if line not in session.left_out:
            session.left_out.append(line)
            session.display.note(line)
        return False
    return True


def with_failed(choice: D, trials: "Sequence[TrialRecord]", left_out: Sequence[str] = ()) -> D:
    """The choice with which of ``trials`` had failed: what they had kept before stands among the members; and with why
    others were ``left_out``."""
    failed = [f"{r.member_name} (epoch {r.best_epoch})" for r in trials if r.state == "failed"]
    notes = [f"checkpoints of trials that failed later may be members, too: {', '.join(failed)}"] if failed else []
    return replace(choice, notes=(*choice.notes, *notes, *left_out))


def to_combine(session: "Session") -> "list[TrialRecord]":
    """The usable trials; raises StorageError where there are none."""
    trials = usable(session, session.trial_records())
    if not trials:
        why = why_none(session.trial_records(), session.ledger.attribute(ENDED), session.left_out)
        raise StorageError(f"{session.folder.root} has no trial that could be a member; {why}")
    return trials


def why_none(records: "Sequence[TrialRecord]", ended: Mapping[str, Any] | None, left_out: Sequence[str] = ()) -> str:
    """Why no trial came to anything, and what to do; ``ended``: what the ledger holds of the search's end."""
    if left_out:
        return f"{len(left_out)} of them {'is' if len(left_out) == 1 else 'are'} damaged: {left_out[0]}"
    if records or ended is None:
        return "see the reasons in leaderboard.csv"
    way_out = {"wall_time": "raise search.wall_time, or set it to null", "stop": "run the study again"}
    return f"none was begun, as the search was ended by {Ended(**ended).words}; " + way_out.get(
        ended["budget"], f"raise search.{ended['budget']}"
    )


def singles(session: "Session", trials: "Sequence[TrialRecord]", baseline: Member) -> list[Member]:
    """Every one of ``trials``, then the company, in a fixed order."""
    members = [Member(r.member_name, "trial", session.folder.of(r)) for r in trials]
    members.append(baseline)
    control = best(usable(session, session.control_records()), session.study.search.objective)
    if control is not None:
        members.append(Member(control.member_name, "control", session.folder.of(control)))
    return members


def named(session: "Session") -> list[str]:
    return [name for name in PIPELINES if name in session.study.ensembles.library]


def begin_pipelines(session: "Session") -> dict[str, Task]:
    """Fits on Ray those that the study names and that are not there yet."""
    missing = [name for name in named(session) if not is_fitted(session.folder.pipeline(name))]
    reading, cost = session.settings.reading, session.cost
    return {
        name: session.cluster.submit(
            fit_linear, session.cluster.share(session.dataset), reading, cost, session.folder.pipeline(name), name
        )
        for name in missing
    }


def keep_pipelines(session: "Session", begun: Mapping[str, Task]) -> None:
    """Waits until all are fitted; each has an MLflow run."""
    for name in named(session):
        folder = session.folder.pipeline(name)
        if name in begun:
            session.display.stage(name)
            begun[name].result()
            session.display.stage(name, 1, 1)
        result = read_json(folder / "result.json")
        session.tracker.put(member_state(name, name, "pipeline", folder, [result["valid"]], {}, result["seconds"]))
