"""From finished trials to a chosen, scored and exported ensemble; every step stands in the ledger before the next.

What was fitted on blend and decided without a label of test is written first; the rows with test take its place, and
each scoring of test is on record with what it scored. Both carry a digest of what they were built from, so that a run
which goes on repeats nothing, and a study that was extended builds anew.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sweepstack.ensembles.builders.base import Builder
from sweepstack.ensembles.evaluation.budget import Budget
from sweepstack.ensembles.evaluation.choose import Choice, choose, choose_out_of_fold, score_test
from sweepstack.ensembles.evaluation.latency import Meter
from sweepstack.ensembles.evaluation.trust import examine
from sweepstack.ensembles.members.library import Library, Member
from sweepstack.ensembles.refits.distillation import STUDENT, digest_of
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models import checksums
from sweepstack.models.data.labelled import OUT_OF_FOLD
from sweepstack.models.files import as_json
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.tasks.classification.checkpoint import load_member
from sweepstack.search.ensembling.distillation import distilled
from sweepstack.search.ensembling.export import export
from sweepstack.search.ensembling.final_refit import has_refits, refit_on_all
from sweepstack.search.ensembling.members import (
    allowed,
    begin_pipelines,
    keep_pipelines,
    named,
    singles,
    to_combine,
    with_failed,
)
from sweepstack.search.ensembling.refits import refitted
from sweepstack.search.ensembling.soups import souped
from sweepstack.search.ledger.ensembles import BuiltEnsembles
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.report.control_comparison import controls_among
from sweepstack.search.run.session import Session
from sweepstack.search.run.unlabelled import unlabelled
from sweepstack.search.run.wall_time import BUILDERS, builders_of

LATENCY_TEXTS = 32


def build(session: Session) -> None:
    """From refits and soups to the bundle and MLflow's runs; raises StorageError where there is nothing to combine."""
    if session.study.writes:
        from sweepstack.search.ensembling import text_ensembling  # brings sacrebleu

        text_ensembling.build(session)
        return
    objective = Objective(session.study.search.objective, Costs(session.cost, session.data.costs))
    builders = builders_of(session.study)
    trials = to_combine(session)
    keep_pipelines(session, begin_pipelines(session))
    refits = refitted(session, trials, builders, objective)
    soups = souped(session, trials, refits.builders, objective)
    members, builders = [*_members(session, trials), *refits.members, *soups.members], list(soups.builders)
    session.clock.keep()
    began = session.clock.here
    digest = _digest(session, members, builders)
    built = BuiltEnsembles.read(session.ledger, session.folder.root)
    spoilt = None if built is None else built.spoilt
    if spoilt:
        session.display.note(f"the ensembles are built anew, as {spoilt}")
    if built is None or built.digest != digest or spoilt:
        session.display.stage("ensembles")
        choice = soups.on(refits.on(_choice(session, members, builders, objective)))
        choice = with_failed(choice, trials, session.left_out)
        built = BuiltEnsembles(digest, tuple(members), choice, scored=False)
        built.write(session.ledger, session.folder.root)
        session.display.stage("ensembles", 1, 1)
    anew = not built.scored or not checksums.is_kept(session.folder.trust)
    if anew:
        if STUDENT not in built.choice.combinations:
            built = distilled(session, built, _meter(session, built.members), objective)
        if session.study.ensembles.refit and not has_refits(built):
            built = refit_on_all(session, built, trials, refits)
            built.write(session.ledger, session.folder.root)
        built = _scored(session, built, objective)
        built.write(session.ledger, session.folder.root)
    export(session, built)
    if anew:
        session.clock.beat()
        session.ledger.set_attribute(BUILDERS, round(session.clock.here - began, 1))


def _members(session: Session, trials: Sequence[TrialRecord]) -> list[Member]:
    """See :func:`singles`; then the pipelines that the study names."""
    pipelines = [Member(name, "pipeline", session.folder.pipeline(name)) for name in named(session)]
    return [*singles(session, trials, Member("linear", "baseline", session.linear)), *pipelines]


def _digest(session: Session, members: Sequence[Member], builders: Sequence[Builder]) -> str:
    """Of everything that the choice depends on: the trials' values stand for their predictions."""
    study = session.study
    values = {r.member_name: (r.state, r.best_epoch, r.value) for r in session.trial_records()}
    identity = [
        [(member.name, values.get(member.name)) for member in members],
        [repr(each) for each in builders],
        [study.search.objective, session.cost, study.search.seed, list(study.ensembles.library)],
        [study.ensembles.budget.model_dump(), study.ensembles.refit],
        _student(session),
        session.data.hashes,
    ]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]


def _student(session: Session) -> list[Any] | None:
    distill = session.study.ensembles.distill
    if distill is None:
        return None
    return [distill.model_dump(), digest_of(unlabelled(session.study, session.dataset, session.data))]


def _choice(session: Session, members: Sequence[Member], builders: Sequence[Builder], objective: Objective) -> Choice:
    parts = session.dataset.parts
    options: dict[str, Any] = {
        "seed": session.study.search.seed,
        "allowed": allowed(session.study.ensembles.library),
        "measure": _meter(session, members),
        "budget": Budget(**session.study.ensembles.budget.model_dump()),
        "controls": controls_among(session.study, session.trial_records(), {member.name for member in members}),
    }
    if session.dataset.folds:
        library, labels = _library(session, members, OUT_OF_FOLD), parts[OUT_OF_FOLD].labels
        return choose_out_of_fold(library, labels, session.dataset.fold, builders, objective, **options)
    return choose(
        _library(session, members, "blend"),
        parts["blend"].labels,
        _library(session, members, "valid"),
        parts["valid"].labels,
        builders,
        objective,
        **options,
    )


def _library(session: Session, members: Sequence[Member], name: str) -> Library:
    return Library.load(members, name, session.data.hashes[name], session.dataset.parts[name].units)


def _meter(session: Session, members: Sequence[Member]) -> Meter:
    """What combinations of ``members`` cost to serve, on texts of blend."""
    texts = session.dataset.parts[session.dataset.part_for("blend")].inputs[:LATENCY_TEXTS]
    return Meter(members, texts, load_member)


def _scored(session: Session, built: BuiltEnsembles, objective: Objective) -> BuiltEnsembles:
    """The rows with test. The choice stands in the ledger already; the scoring is put on record."""
    test = _library(session, built.members, "test")
    built.put_scoring_on_record(session.ledger)
    part, classes = session.dataset.parts["test"], session.dataset.classes
    rows = score_test(built.choice, built.choice.predict(test), part.labels, objective, part.units)
    trust = examine(built.choice, test, part.inputs, part.labels, classes, objective.costs, built.digest)
    checksums.put(session.folder.root, {session.folder.trust.name: as_json(trust.to_json())})
    return replace(built, choice=replace(built.choice, rows=rows), scored=True)
