"""From finished writers to a chosen, scored and exported ensemble; every step stands in the ledger before the next.

As stage.py does it for classification: what is decided without a reference of test is written first, the rows with
test take its place, and each scoring of test is on record. References of blend and valid stay in this process, those of
test are opened by one function, after the choice; workers get sources alone.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sweepstack.ensembles.builders.text_builder import TextBuilder
from sweepstack.ensembles.evaluation.budget import Budget
from sweepstack.ensembles.evaluation.choose_texts import TextChoice, choose_texts, score_texts_test
from sweepstack.ensembles.evaluation.examples import differing
from sweepstack.ensembles.evaluation.latency import TextMeter
from sweepstack.ensembles.members.library import Member
from sweepstack.ensembles.members.texts import CandidateLibrary
from sweepstack.ensembles.scoring.text_objective import TextObjective, judged_by
from sweepstack.models import checksums
from sweepstack.models.files import as_json
from sweepstack.models.predictions.texts import Candidates
from sweepstack.models.settings.rewards import bounds
from sweepstack.models.tasks.writing.checkpoint import load_writing_member
from sweepstack.search.ensembling.export import export
from sweepstack.search.ensembling.members import allowed, singles, to_combine, with_failed
from sweepstack.search.ensembling.refits import refitted
from sweepstack.search.ensembling.text_decoding import Decoder
from sweepstack.search.ensembling.text_souping import souped
from sweepstack.search.execution.writing_reward import reward_of
from sweepstack.search.ledger.text_record import BuiltTexts
from sweepstack.search.report.control_comparison import controls_among
from sweepstack.search.run.session import Session
from sweepstack.search.run.wall_time import BUILDERS, text_builders_of

LATENCY_TEXTS = 4  # a beam search takes tens of milliseconds
MEMORY = "memory"


def build(session: Session) -> None:
    """From refits and soups to the bundle and MLflow's runs; raises StorageError where there is nothing to combine."""
    objective = _objective(session)
    trials = to_combine(session)
    memory = Member(MEMORY, "baseline", session.memory)
    refits = refitted(session, trials, text_builders_of(session.study), objective)
    soups = souped(session, trials, refits.builders, objective)
    members, builders = [*singles(session, trials, memory), *refits.members, *soups.members], list(soups.builders)
    session.clock.keep()
    began = session.clock.here
    digest = _digest(session, members, builders)
    built = BuiltTexts.read(session.ledger, session.folder.root)
    if built is None or built.digest != digest:
        session.display.stage("ensembles")
        choice = soups.on(refits.on(_choice(session, members, builders, objective)))
        choice = with_failed(choice, trials, session.left_out)
        built = BuiltTexts(digest, tuple(members), choice, scored=False)
        built.write(session.ledger, session.folder.root)
        session.display.stage("ensembles", 1, 1)
    anew = not built.scored or not checksums.is_kept(session.folder.examples)
    if anew:
        built = _scored(session, built, objective, _written(session, built))
        built.write(session.ledger, session.folder.root)
    export(session, built)
    if anew:
        session.clock.beat()
        session.ledger.set_attribute(BUILDERS, round(session.clock.here - began, 1))


def _objective(session: Session) -> TextObjective:
    """What texts can be judged by: a study that searches for another metric gets the nearest that they have."""
    metric = judged_by(session.study.search.objective)
    language, reward = session.written.language, reward_of(session.study)
    if reward is None or metric != "reward":
        return TextObjective(metric, language, cost=session.settings.read_cost)
    worth, most = reward(language), bounds(reward.spec)
    return TextObjective(metric, language, worth, session.settings.read_cost, most)


def _digest(session: Session, members: Sequence[Member], builders: Sequence[TextBuilder]) -> str:
    """Of everything that the choice depends on: the trials' values stand for their candidates."""
    study = session.study
    values = {r.member_name: (r.state, r.best_epoch, r.value) for r in session.trial_records()}
    identity = [
        [(member.name, values.get(member.name)) for member in members],
        [repr(each) for each in builders],
        [study.search.objective, study.search.seed, list(study.ensembles.library)],
        [study.ensembles.budget.model_dump(), session.settings.model_dump(mode="json")["writing"]],
        session.hashes,
    ]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]


def _library(session: Session, members: Sequence[Member], part: str) -> CandidateLibrary:
    own = session.pairs.parts[part]
    return CandidateLibrary.load(members, part, session.hashes[part], own.inputs, own.units)


def _choice(
    session: Session, members: Sequence[Member], builders: Sequence[TextBuilder], objective: TextObjective
) -> TextChoice:
    parts, study = session.pairs.parts, session.study
    choice = choose_texts(
        _library(session, members, "blend"),
        parts["blend"].references,
        _library(session, members, "valid"),
        parts["valid"].references,
        builders,
        objective,
        decode=Decoder(session, tuple(members)),
        seed=study.search.seed,
        allowed=allowed(study.ensembles.library),
        measure=TextMeter(members, parts["blend"].inputs[:LATENCY_TEXTS], load_writing_member),
        budget=Budget(**study.ensembles.budget.model_dump()),
        controls=controls_among(study, session.trial_records(), {member.name for member in members}),
    )
    searched = study.search.objective
    if objective.metric == searched:
        return choice
    said = f"texts are chosen by {objective.metric}, as {searched} cannot be worked out of a text"
    return replace(choice, notes=(*choice.notes, said))


def _written(session: Session, built: BuiltTexts) -> dict[str, Candidates]:
    """What every row of the table writes for test; nothing here knows what should be written."""
    decoder = Decoder(session, built.members)
    return built.choice.write(_library(session, built.members, "test"), "test", decoder)


def _scored(
    session: Session, built: BuiltTexts, objective: TextObjective, written: Mapping[str, Candidates]
) -> BuiltTexts:
    """The rows with test. The choice stands in the ledger already; the scoring is put on record."""
    built.put_scoring_on_record(session.ledger)
    part = session.pairs.parts["test"]
    rows = score_texts_test(built.choice, written, part.inputs, part.references, objective, part.units)
    shown = differing(built.choice, written, part.inputs, part.references, objective, built.digest)
    content = as_json(None if shown is None else shown.to_json())
    checksums.put(session.folder.root, {session.folder.examples.name: content})
    return replace(built, choice=replace(built.choice, rows=rows), scored=True)
