"""Which trials a checkpoint soup may be made of, and the making, on Ray: those of one supervised start alone."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweepstack.ensembles.builder import Builder
from sweepstack.ensembles.choose import Choice
from sweepstack.ensembles.objective import Objective
from sweepstack.ensembles.soup import Ingredient, Soup, SoupJob, cook, read_result
from sweepstack.ensembles.store import Member
from sweepstack.models.checkpoints import fold_folders
from sweepstack.models.files import read_json
from sweepstack.models.settings import TrialSettings
from sweepstack.models.supervised import start_hash
from sweepstack.search.folder import RunFolder
from sweepstack.search.leaderboard import ranked
from sweepstack.search.mirror import member_state
from sweepstack.search.repetitions import settings_of_repetition
from sweepstack.search.session import Session
from sweepstack.search.trial_record import TrialRecord


@dataclass(frozen=True)
class Souped:
    members: tuple[Member, ...]
    builders: tuple[Builder, ...]  # those that have what they need
    notes: tuple[str, ...] = ()

    def on(self, choice: Choice) -> Choice:
        """The choice with why there is no soup."""
        return replace(choice, notes=(*choice.notes, *self.notes))


def souped(
    session: Session, usable: Sequence[TrialRecord], builders: Sequence[Builder], objective: Objective
) -> Souped:
    """The soup that a builder of ``builders`` wants, of the trials that share a start with the best one that shares its
    own; ``builders`` without it where no two do."""
    soup = next((builder for builder in builders if isinstance(builder, Soup)), None)
    if soup is None:
        return Souped((), tuple(builders))
    rest = tuple(builder for builder in builders if builder is not soup)
    groups: dict[Any, list[TrialRecord]] = {}
    decided = session.decided()
    for record in ranked(usable, session.study.search.objective):
        groups.setdefault(_start_of(session, decided, record), []).append(record)
    group = next((records for records in groups.values() if len(records) > 1), None)
    if group is None:
        return Souped((), rest, (f"soup was left out: {_separate(len(usable))}",))
    ingredients = [Ingredient(record.member_name, session.folder.of(record) / "checkpoint") for record in group]
    job = SoupJob.of(soup.kind, ingredients, objective, session.data.hashes, session.folder.soups, session.study.device)
    if not job.marker.exists():
        session.display.stage("soup")
        executor = session.cluster.executor(session.study.search.resources)
        executor.submit(cook, job, session.cluster.share(session.data)).result()
        session.display.stage("soup", 1, 1)
        session.clock.beat()
    result = read_result(job)
    if result.error is not None:
        return Souped((), rest, (f"soup was left out: {result.error}",))
    taken = {"kind": soup.kind, "ingredients": "; ".join(", ".join(names) for names in result.ingredients)}
    session.tracker.put(member_state(job.name, job.name, "soup", job.folder, [result.valid], taken, result.seconds))
    return Souped((job.member,), tuple(builders))


def _separate(trials: int) -> str:
    if trials < 2:
        return "a soup needs two trials of one supervised start, and there is but one trial"
    return (
        f"no two of {trials} trials have the same supervised start, and the mean of other weights is no policy; "
        "fewer choices of what a start depends on (train.warm_start, model) in the space would give some"
    )


def _start_of(session: Session, decided: TrialSettings, record: TrialRecord) -> tuple[Any, ...]:
    """What the weights of trials that may be mixed have in common: the start itself, byte for byte where it is there,
    and how they learned to stop."""
    settings = settings_of_repetition(decided.with_values(record.settings), record.settings, record.best_repetition)
    folds = session.data.folds
    run = session.folder if record.origin is None else RunFolder(record.origin.root)
    weights = [run.starts / start_hash(settings, part) / "weights.safetensors" for part in folds or (session.data,)]
    starts = tuple(_digest(path) for path in weights)
    checkpoint = session.folder.of(record) / "checkpoint"
    config = read_json((fold_folders(checkpoint, len(folds))[0] if folds else checkpoint) / "config.json")
    return (*starts, config["threshold"] is None)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else str(path)
