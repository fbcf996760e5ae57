"""The members that builders have trained for them, on Ray where they are not there yet; each has an MLflow run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from sweepstack.ensembles.builders.bagging import Bagging, out_of_bag_metrics
from sweepstack.ensembles.builders.boosting import Boosting
from sweepstack.ensembles.builders.retrained import Grounds, Origin, TrainedOn, TrainsMembers
from sweepstack.ensembles.evaluation.choose import Decision
from sweepstack.ensembles.members.library import Member
from sweepstack.ensembles.refits.jobs import Chain, RefitResult, follow
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.ensembles.scoring.text_objective import TextObjective
from sweepstack.search import format as fmt
from sweepstack.search.ledger.leaderboard import ranked
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.run.session import Session
from sweepstack.search.tracking.run_states import member_state

Results = Sequence[Sequence[RefitResult]]
B = TypeVar("B")
D = TypeVar("D", bound=Decision[Any])


@dataclass(frozen=True)
class Refitted(Generic[B]):
    grounds: TrainedOn
    members: tuple[Member, ...] = ()
    builders: tuple[B, ...] = ()  # those of the study, with what was trained for them
    results: tuple[tuple[TrainsMembers, Results], ...] = ()  # what was trained for each builder, chain by chain
    out_of_bag: dict[str, dict[str, float]] = field(default_factory=dict)  # by the builder's name
    notes: tuple[str, ...] = ()

    def on(self, choice: D) -> D:
        """The choice with what the refits say of themselves."""
        rows = tuple(replace(row, out_of_bag=self.out_of_bag.get(row.name)) for row in choice.rows)
        return replace(choice, rows=rows, notes=(*choice.notes, *self.notes))


def refitted(
    session: Session, usable: Sequence[TrialRecord], builders: Sequence[B], objective: Objective | TextObjective
) -> Refitted[B]:
    """What the builders of ``builders`` that want refits have come to; the others are handed back as they are."""
    grounds = _grounds(session, objective)
    origins = origins_of(session, usable)
    members: dict[str, Member] = {}
    done: list[B] = []
    found = Refitted[B](grounds)
    for builder in builders:
        if not isinstance(builder, TrainsMembers):
            done.append(builder)
            continue
        results = _trained(session, builder, origins, grounds)
        found = replace(found, results=(*found.results, (builder, results)))
        members |= {r.job.name: r.job.member for chain in results for r in chain if r.error is None}
        done.append(builder.trained(results, grounds))
        found = _told(found, builder, results)
    return replace(found, members=tuple(members.values()), builders=tuple(done))


def origins_of(session: Session, usable: Sequence[TrialRecord]) -> list[Origin]:
    """The trials, best first, as refits begin at them."""
    decided = session.decided()
    return [
        Origin(decided.with_values(record.settings), session.folder.of(record) / "checkpoint")
        for record in ranked(usable, session.study.search.objective)
    ]


def _grounds(session: Session, objective: Objective | TextObjective) -> TrainedOn:
    folder, seed = session.folder.refits, session.study.search.seed
    if isinstance(objective, Objective):
        return Grounds(folder, session.data, seed, objective)
    return TrainedOn(folder, session.written, seed)


def _trained(session: Session, builder: TrainsMembers, origins: Sequence[Origin], grounds: TrainedOn) -> Results:
    return run(session, builder.chains(origins, grounds), grounds, f"{builder.name} refits", builder.trainings[0])


def run(
    session: Session, chains: Sequence[Chain], grounds: TrainedOn, stage: str, total: int
) -> list[list[RefitResult]]:
    """The results of each chain. Ray is started with the first job that is not done already."""
    results: list[list[RefitResult]] = [[] for _ in chains]
    executor = _Lazily(session, grounds.data)
    session.display.stage(stage, 0, total)
    metric = session.study.search.objective
    for place, result in follow(chains, grounds.data, metric, executor, session.reward_of):
        results[place].append(result)
        session.display.stage(stage, min(sum(map(len, results)), total), total)
        if executor.used:
            session.clock.beat()
        if result.error is None:
            track(session, result.job.name, result.job.folder, result.reports)
        else:
            session.display.note(f"{result.job.name} failed: {result.error}")
    session.display.stage(stage, total, total)
    return results


class _Lazily:
    """Ray's executor, started with the first call; the data lie in its object store then."""

    def __init__(self, session: Session, data: object) -> None:
        self._session, self._data, self.used = session, data, False

    def submit(self, fn: Any, /, *args: Any) -> Any:
        self.used = True
        cluster = self._session.cluster
        shared = [cluster.share(arg) if arg is self._data else arg for arg in args]
        return cluster.executor(self._session.study.search.resources).submit(fn, *shared)


def _told(found: Refitted[B], builder: TrainsMembers, results: Results) -> Refitted[B]:
    """With the out-of-bag estimate of bagging, and why a chain of boosting ended early."""
    grounds = found.grounds
    if not isinstance(grounds, Grounds):  # of writers
        return found
    notes = list(found.notes)
    out_of_bag = dict(found.out_of_bag)
    if isinstance(builder, Bagging):
        metric = grounds.objective.metric
        estimate = out_of_bag_metrics([r for chain in results for r in chain], grounds)
        if estimate is not None:
            figures, share = estimate
            out_of_bag[builder.name] = figures
            notes.append(
                f"{builder.name}, out of bag: {fmt.metric_name(metric)} {fmt.metric(metric, figures[metric])} on the "
                f"{share:.0%} of the rows of warm and policy that some of its refits have not seen"
            )
        elif grounds.data.folds:
            notes.append(
                f"{builder.name} has no out-of-bag estimate under folds: its out-of-fold predictions are of rows that "
                "none of its refits has seen"
            )
    if isinstance(builder, Boosting):
        notes += [note for chain in results if (note := builder.ended_early(chain, grounds)) is not None]
    return replace(found, out_of_bag=out_of_bag, notes=tuple(notes))


def track(session: Session, name: str, folder: Path, reports: Iterable[dict[str, float]]) -> None:
    """Puts a refit into MLflow."""
    reports = list(reports)
    seconds = sum(report.get("seconds", 0.0) for report in reports)
    session.tracker.put(member_state(name, name, "refit", folder, reports, {}, seconds))
