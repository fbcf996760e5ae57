"""What is chosen goes into the bundle, and every ensemble of the table into its MLflow run."""

from pathlib import Path
from typing import Any

from sweepstack.ensembles.refits.distillation import STUDENT
from sweepstack.models import checksums
from sweepstack.models.errors import BundleError, NoJSONError
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
    if not _stays(session.folder.bundle, built.digest):
        built.export(built.choice.chosen, session.folder.bundle, about)
    if STUDENT in built.choice.combinations and not _stays(session.folder.student, built.digest):
        built.export(STUDENT, session.folder.student, about)
    for row in built.choice.rows:
        if row.role == "ensemble" or row.name == built.choice.chosen:
            built.export(row.name, session.scratch / row.name, about)
            chosen = row.name == built.choice.chosen
            luck = built.choice.optimism if chosen else None
            session.tracker.put(ensemble_state(row, built.digest, chosen, session.scratch / row.name, luck))


def _stays(folder: Path, digest: str) -> bool:
    """Whether ``folder`` holds the bundle of that digest already, with none of its files damaged or gone."""
    try:
        if not checksums.foreign(folder):  # what somebody has put there is not ours to remove
            checksums.verify(folder)
        return bool(read_json(folder / "bundle.json").get("digest") == digest)
    except (BundleError, NoJSONError, OSError):
        return False
