"""``ensembles.refit``: the members of what is exported, trained again on all rows but those of test.

The choice stands before; settings, epochs, weights, temperature, stop and thresholds are those that were found, since
no row is left to find others by. What cannot be trained again is kept as it is, and a note says so. The result is a row
of its own, and the one that is exported. Whether it is better only test can say: it is scored there beside the others.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sweepstack.ensembles.builders.bagging import alone
from sweepstack.ensembles.builders.retrained import Origin, TrainedOn, TrainsMembers
from sweepstack.ensembles.evaluation.latency import Meter
from sweepstack.ensembles.members.library import Member
from sweepstack.ensembles.refits.jobs import Chain, RefitJob, RefitResult, checkpoint_hash
from sweepstack.ensembles.scoring.conformal import REFITTED, Calibration
from sweepstack.models import checksums
from sweepstack.models.baselines.linear import LinearMember
from sweepstack.models.data.encoding import encode
from sweepstack.models.data.labelled import Dataset
from sweepstack.models.data.refit_rows import all_but_test
from sweepstack.models.files import as_json
from sweepstack.models.predictions.probabilities import DIRECTION
from sweepstack.models.settings.trial import Reading
from sweepstack.models.tasks.classification.checkpoint import load_member
from sweepstack.search.ensembling.refits import Refitted, Results, origins_of, run, track
from sweepstack.search.ledger.ensembles import BuiltEnsembles
from sweepstack.search.ledger.ledger import MAIN
from sweepstack.search.ledger.records import TrialRecord, by_repetition
from sweepstack.search.ledger.repetitions import settings_of_repetition
from sweepstack.search.run.baselines import FITS, control_settings
from sweepstack.search.run.session import Session
from sweepstack.search.study.search_section import PBTStopper

NAME = "refitted"  # of its row
STAGE = "refits on all rows but test"


@dataclass(frozen=True)
class _Again:
    """What came of the members of the chosen combination, by name."""

    members: dict[str, Member]
    kept: dict[str, str]  # those that were not trained again, and why


def has_refits(built: BuiltEnsembles) -> bool:
    return NAME in built.choice.combinations


def refit_on_all(
    session: Session, built: BuiltEnsembles, usable: Sequence[TrialRecord], refits: Refitted[Any], meter: Any = Meter
) -> BuiltEnsembles:
    """What was built, with the row of the refitted ensemble, which is then the chosen one; only notes where no member
    could be trained again."""
    choice = built.choice
    combination = choice.combinations[choice.chosen]
    members = [built.members[place] for place in combination.members]
    again = _trained_again(session, members, usable, refits)
    notes = tuple(f"{name} is not trained again on all rows: {reason}" for name, reason in again.kept.items())
    if not again.members:
        return replace(built, choice=replace(choice, notes=(*choice.notes, *notes)))
    library = [*built.members, *again.members.values()]
    place = {member.name: i for i, member in enumerate(built.members)}
    place |= {name: len(built.members) + i for i, name in enumerate(again.members)}
    own = replace(combination, members=tuple(place[member.name] for member in members))
    base = choice.row(choice.chosen)
    texts = session.dataset.parts[session.dataset.part_for("blend")].inputs
    row = replace(
        base,
        name=NAME,
        role="ensemble",
        members=tuple(library[i].name for i in own.members),
        valid={},
        blend={},
        blend_interval=None,
        out_of_bag=None,
        front=False,
        **asdict(meter(library, texts[:32], load_member)(own)),
    )
    how_many = "its members were" if len(again.kept) == 0 else f"{len(again.members)} of its members were"
    reason = f"{choice.reason.removesuffix('.')}; {how_many} trained again on all rows but those of test."
    return replace(
        built,
        members=tuple(library),
        choice=replace(
            choice,
            rows=(row, *choice.rows),
            combinations={NAME: own, **choice.combinations},
            calibration=_with(choice.calibration, choice.chosen),
            chosen=NAME,
            reason=reason,
            notes=(*choice.notes, *notes),
        ),
    )


def _with(calibration: Mapping[str, Calibration], chosen: str) -> dict[str, Calibration]:
    own = {NAME: calibration[chosen].with_caveat(REFITTED)} if chosen in calibration else {}
    return {**calibration, **own}


def _trained_again(
    session: Session, members: Sequence[Member], usable: Sequence[TrialRecord], refits: Refitted[Any]
) -> _Again:
    last = _Last(session, refits)
    origins = origins_of(session, usable)[: max((builder.top for builder, _ in refits.results), default=0)]
    builders = [
        (builder, earlier)
        for builder, earlier in refits.results
        if any(result.job.member in members for chain in earlier for result in chain)
    ]
    for member in members:
        last.plan(member)
    begun = {origin.checkpoint: last.begin(origin) for origin in origins if any(b.warm for b, _ in builders)}
    last.train()
    for builder, earlier in builders:
        own = [replace(o, checkpoint=begun[o.checkpoint].member.checkpoint) if builder.warm else o for o in origins]
        last.follow(builder, own, earlier)
    names = [member.name for member in members]
    return _Again(
        {name: last.found[name] for name in names if name in last.found},
        {name: last.kept[name] for name in names if name not in last.found},
    )


class _Last:
    """The last trainings of a run: single ones first, since a chain may begin at what one of them comes to."""

    def __init__(self, session: Session, refits: Refitted[Any]) -> None:
        self._session, self._dataset = session, all_but_test(session.dataset)
        data = encode(self._dataset, session.settings.reading)
        self._grounds = replace(refits.grounds, data=data)
        self._jobs: dict[str, RefitJob] = {}  # by the name of the member that is trained again
        self._origins: list[RefitJob] = []
        self._failed: dict[Path, str] = {}  # by a job's folder
        self.found: dict[str, Member] = {}  # by the name of the earlier member
        self.kept: dict[str, str] = {}

    def plan(self, member: Member) -> None:
        if member.kind in ("baseline", "pipeline"):
            self.found[member.name] = refit_linear(self._session, member, self._dataset)
        elif member.kind in ("trial", "control"):
            records = [*self._session.trial_records(), *self._session.control_records()]
            record = next((each for each in records if each.member_name == member.name), None)
            if record is None or record.origin is not None:
                self.kept[member.name] = "it is of another run"
            elif isinstance(self._session.study.search.stopper, PBTStopper) and member.kind == "trial":
                self.kept[member.name] = "a member of a population has changed its settings while it was trained"
            else:
                self._jobs[member.name] = self._job(record, member.checkpoint)
        elif member.kind != "refit":
            self.kept[member.name] = f"no training of its own makes a {member.kind}"

    def begin(self, origin: Origin) -> RefitJob:
        """The training that chains of refits begin at."""
        records = self._session.trial_records()
        record = next(r for r in records if self._session.folder.of(r) / "checkpoint" == origin.checkpoint)
        self._origins.append(self._job(record, origin.checkpoint))
        return self._origins[-1]

    def _job(self, record: TrialRecord, checkpoint: Path) -> RefitJob:
        """The same settings and seeds, as many epochs as were found to be best, from a start on all rows."""
        settings = self._session.decided().with_values(record.settings)
        if record.sweep != MAIN:
            settings = control_settings(self._session.decided()).with_values(record.settings)
        settings = settings_of_repetition(settings, record.settings, record.best_repetition)
        until = None if self._session.dataset.folds else _epochs(record)
        data = self._grounds.data
        return RefitJob.of(self._grounds.folder, data.hashes, settings, None, None, False, until, checkpoint)

    def train(self) -> None:
        jobs = {job.folder: job for job in [*self._jobs.values(), *self._origins]}
        if jobs:
            results = run(self._session, [alone(job) for job in jobs.values()], self._grounds, STAGE, len(jobs))
            self._failed = {chain[0].job.folder: chain[0].error for chain in results if chain[0].error is not None}
        for name, job in self._jobs.items():
            if job.folder in self._failed:
                self.kept[name] = self._failed[job.folder]
            else:
                self.found[name] = job.member

    def follow(self, builder: TrainsMembers, origins: Sequence[Origin], earlier: Results) -> None:
        """The refits of a builder again: its chains, each link as long as the one that it stands for."""
        names = [result.job.name for chain in earlier for result in chain]
        broken = [self._failed[o.checkpoint.parent] for o in origins if o.checkpoint.parent in self._failed]
        if broken:
            self.kept |= dict.fromkeys(names, f"the trial that it begins at failed: {broken[0]}")
            return
        metric = self._session.study.search.objective
        chains = [
            _as_before(chain, old, self._grounds, metric)
            for chain, old in zip(builder.chains(origins, self._grounds), earlier, strict=True)
        ]
        later = run(self._session, chains, self._grounds, f"{builder.name}: {STAGE}", len(names))
        for old, new in zip(earlier, later, strict=True):
            for place, result in enumerate(old):
                error = new[place].error if place < len(new) else "its chain ended before it"
                if error is None:
                    self.found[result.job.name] = new[place].job.member
                else:
                    self.kept[result.job.name] = error


def _epochs(record: TrialRecord) -> int | None:
    """The epochs of the best repetition up to its best one."""
    if record.best_epoch is None:
        return None
    of_repetition = by_repetition(record.reports)[record.best_repetition]
    return of_repetition.index(record.best_epoch) + 1


def _as_before(chain: Chain, earlier: Sequence[RefitResult], grounds: TrainedOn, metric: str) -> Chain:
    """The chain's jobs, each with as many epochs as were best for the refit in its place."""

    def following(results: Sequence[RefitResult]) -> RefitJob | None:
        job = chain(results) if len(results) < len(earlier) else None
        if job is None:
            return None
        old = earlier[len(results)]
        until = None
        if old.job.chosen and old.reports and len(old.reports) == old.job.settings.train.epochs:  # not of folds
            values = [DIRECTION[metric] * report[metric] for report in old.reports]
            until = values.index(max(values)) + 1
        like = old.job.member.checkpoint if old.error is None else None
        return RefitJob.of(
            grounds.folder, grounds.data.hashes, job.settings, job.sample, job.initial, False, until, like
        )

    return following


def refit_linear(session: Session, member: Member, dataset: Dataset) -> Member:
    """The linear baseline or a pipeline with what it has found on valid, fitted to all rows of ``dataset``."""
    reading = session.settings.reading
    folder = session.folder.refits / f"{member.name}-{checkpoint_hash(member.checkpoint)[:12]}"
    done = folder / "done"
    if not done.exists():
        session.display.stage(f"{member.name} on all rows but test")
        session.cluster.submit(
            _fit_again, session.cluster.share(dataset), reading, member.name, member.checkpoint, folder
        ).result()
        checksums.put(folder, {done.name: as_json({})})
        session.display.stage(f"{member.name} on all rows but test", 1, 1)
    track(session, folder.name, folder, [])
    return Member(folder.name, "refit", folder)


def _fit_again(dataset: Dataset, reading: Reading | Literal["off"], name: str, checkpoint: Path, folder: Path) -> None:
    """Of several folds, which may have found different things, the median of each counts: among the folds that found
    the kind of model that most of them did."""
    folds = sorted(checkpoint.glob("fold-*"))
    earlier = [LinearMember.load(each) for each in folds or [checkpoint]]
    kinds = Counter(map(_kind, earlier))
    most = max(kinds, key=lambda kind: (kinds[kind], kind))
    like = [each.found for each in earlier if _kind(each) == most]
    found = {key: _median([each[key] for each in like]) for key in like[0]}
    member = FITS[name](dataset, reading, found)
    member.threshold, member.thresholds = earlier[0].threshold, earlier[0].thresholds  # the same in all folds
    member.save(folder / "checkpoint")
    predictions = member.read(dataset.parts["test"].inputs)
    predictions.save(folder / "predictions" / "test.safetensors", dataset.hashes["test"])


def _kind(member: LinearMember) -> tuple[float, float]:
    """What kind of model was found, where there are several: machines or not, and how terms count."""
    return member.found.get("machines", 0.0), member.found.get("sublinear", 1.0)


def _median(values: Sequence[float]) -> float:
    """The upper one of an even number: always a value of one of them."""
    return sorted(values)[len(values) // 2]
