"""``ensembles.distill``: a student of what the choice exports, a row of the table with a bundle of its own."""

import hashlib
import json
from dataclasses import asdict, replace

import numpy as np

from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.evaluation.budget import Budget
from sweepstack.ensembles.evaluation.choose import with_front
from sweepstack.ensembles.evaluation.latency import Meter
from sweepstack.ensembles.evaluation.table import Row
from sweepstack.ensembles.refits.distillation import STUDENT, StudentJob, digest_of, held_out, train_student
from sweepstack.ensembles.scoring import conformal
from sweepstack.ensembles.scoring.objective import Objective, half_widths
from sweepstack.models.data.labelled import Dataset
from sweepstack.models.predictions.probabilities import Predictions, metrics
from sweepstack.search.ledger.ensembles import BuiltEnsembles
from sweepstack.search.run.session import Session
from sweepstack.search.run.unlabelled import unlabelled
from sweepstack.search.study.ensembles_section import Distill


def distilled(session: Session, built: BuiltEnsembles, meter: Meter, objective: Objective) -> BuiltEnsembles:
    """With the student's row, trained on Ray where it is not there yet; as it was where the study wants none."""
    distill = session.study.ensembles.distill
    if distill is None:
        return built
    job = _job(session, built, distill)
    if not job.marker.exists():
        session.display.stage(STUDENT)
        executor = session.cluster.executor(session.study.search.resources)
        executor.submit(train_student, job, session.cluster.share(session.dataset)).result()
        session.display.stage(STUDENT, 1, 1)
    member, place = job.member, len(built.members)
    parts = session.dataset.parts
    valid, blend = (session.dataset.part_for("valid"), session.dataset.part_for("blend"))
    said = {name: Predictions.load(member.predictions(name))[0] for name in {valid, blend}}
    combination = Combination((place,), np.ones(1, dtype=np.float32))
    serving = meter.with_member(member)(combination)
    row = Row(
        STUDENT,
        STUDENT,
        "ensemble",
        (STUDENT,),
        (1.0,),
        "one segment" if said[blend].answer.shape[1] == 1 else "its own",
        metrics(said[valid], parts[valid].labels, objective.costs),
        metrics(said[blend], parts[blend].labels, objective.costs),
        blend_interval=half_widths(said[blend], parts[blend].labels, objective.costs, parts[blend].units),
        over_budget=Budget(**session.study.ensembles.budget.model_dump()).broken(1, serving),
        **asdict(serving),
    )
    choice = built.choice
    ensembles = sum(each.role == "ensemble" for each in choice.rows)
    rows = with_front([*choice.rows[:ensembles], row, *choice.rows[ensembles:]], objective.metric)
    calibration = {**choice.calibration, STUDENT: calibrated(said[blend], session.dataset)}
    combinations = {**choice.combinations, STUDENT: combination}
    return replace(
        built,
        members=(*built.members, member),
        choice=replace(choice, rows=rows, combinations=combinations, calibration=calibration),
    )


def calibrated(said: Predictions, dataset: Dataset) -> conformal.Calibration:
    """By what the student says of blend, or, under folds, of those rows that it has not learned from."""
    part = dataset.parts[dataset.part_for("blend")]
    unseen = held_out(dataset)[0] if dataset.folds else np.arange(len(said))
    return conformal.calibrate(said.rows(unseen), part.labels[unseen], part.units[unseen], conformal.STUDENT)


def _job(session: Session, built: BuiltEnsembles, distill: Distill) -> StudentJob:
    texts = unlabelled(session.study, session.dataset, session.data)
    settings = session.decided().with_values(
        {
            "model": distill.model.model_dump(),
            "train.warm_start.epochs": distill.epochs,
            "train.warm_start.seed": distill.seed,
            "train.warm_start.optimizer": "adamw",  # what it learns from has no second evaluation, as lbfgs needs
        }
    )
    shape = distill.model_dump(exclude={"text"})
    identity = [built.digest, built.choice.chosen, shape, digest_of(texts), settings.model_dump(mode="json")]
    name = f"student-{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]}"
    teacher = built.choice.combinations[built.choice.chosen]
    return StudentJob(settings, session.folder.refits / name, built.members, teacher, texts, distill.temperature)
