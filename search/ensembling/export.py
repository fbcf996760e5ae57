"""What is chosen goes into the bundle, and every ensemble of the table into its MLflow run."""

from typing import Any

from sweepstack.ensembles.refits.distillation import STUDENT
from sweepstack.models.files import read_json, write_atomic
from sweepstack.search.ledger.ensembles import Built, card
from sweepstack.search.run.session import Session
from sweepstack.search.tracking.run_states import ensemble_state


def export(session: Session, built: Built[Any]) -> None:
    """The table and the bundle of what was chosen; and every ensemble's own, for MLflow, which go when it has taken
    them. What was exported before stays as it is."""
    write_atomic(session.folder.ensembles, built.table().to_csv(index=False))
    if session.study.writes:
        about = card(session.study, (), session.hashes)
    else:
        about = card(session.study, session.dataset.classes, session.hashes, session.dataset.label_type)
    exported = session.folder.bundle / "bundle.json"
    if not exported.exists() or read_json(exported).get("digest") != built.digest:
        built.export(built.choice.chosen, session.folder.bundle, about)
    if STUDENT in built.choice.combinations:
        of_student = session.folder.student / "bundle.json"
        if not of_student.exists() or read_json(of_student).get("digest") != built.digest:
            built.export(STUDENT, session.folder.student, about)
    for row in built.choice.rows:
        if row.role == "ensemble" or row.name == built.choice.chosen:
            built.export(row.name, session.scratch / row.name, about)
            chosen = row.name == built.choice.chosen
            luck = built.choice.optimism if chosen else None
            session.tracker.put(ensemble_state(row, built.digest, chosen, session.scratch / row.name, luck))
