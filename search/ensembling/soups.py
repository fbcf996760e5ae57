"""Which trials a checkpoint soup may be made of, and the making, on Ray: those of one supervised start alone."""

import hashlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from sweepstack.ensembles.builders.base import Builder
from sweepstack.ensembles.builders.soup import Ingredient, Soup, SoupJob, cook, read_result
from sweepstack.ensembles.evaluation.choose import Decision
from sweepstack.ensembles.members.library import Member
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.files import read_json
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.tasks.classification.supervised import start_hash
from sweepstack.models.training.fold_checkpoint import fold_folders
from sweepstack.search.ledger.leaderboard import ranked
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.ledger.repetitions import settings_of_repetition
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.run.session import Session
from sweepstack.search.tracking.run_states import member_state

B = TypeVar("B")
D = TypeVar("D", bound=Decision[Any])


@dataclass(frozen=True)
class Souped(Generic[B]):
    members: tuple[Member, ...]
    builders: tuple[B, ...]  # those that have what they need
    notes: tuple[str, ...] = ()

    def on(self, choice: D) -> D:
        """The choice with why there is no soup."""
        return replace(choice, notes=(*choice.notes, *self.notes))


@dataclass(frozen=True)
class Recipe:
    """How soups of one kind of policy are made."""

    builder: type[Any]  # that wants one
    start_of: Callable[[TrialRecord], Hashable]  # what the weights of trials that may be mixed have in common
    job_of: Callable[[str, Sequence[Ingredient]], Any]  # of a kind of soup and its ingredients, best first
    cook: Callable[[Any, Any], object]  # the job, in whatever process, with ``data``
    data: object
    result_of: Callable[[Any], Any]  # what the job has come to


def souped(
    session: Session, usable: Sequence[TrialRecord], builders: Sequence[Builder], objective: Objective
) -> Souped[Builder]:
    """The soup that a builder of classifiers wants, see :func:`by_recipe`."""

    def job_of(kind: str, ingredients: Sequence[Ingredient]) -> SoupJob:
        folder, device = session.folder.soups, session.study.device
        return SoupJob.of(kind, ingredients, objective, session.data.hashes, folder, device)

    recipe = Recipe(Soup, partial(_start_of, session, session.decided()), job_of, cook, session.data, read_result)
    return by_recipe(session, usable, builders, recipe)


def by_recipe(session: Session, usable: Sequence[TrialRecord], builders: Sequence[B], recipe: Recipe) -> Souped[B]:
    """The soup that a builder of ``builders`` wants, of the trials that share a start with the best one that shares its
    own; ``builders`` without it where no two do."""
    soup: Any = next((builder for builder in builders if isinstance(builder, recipe.builder)), None)
    if soup is None:
        return Souped((), tuple(builders))
    rest = tuple(builder for builder in builders if builder is not soup)
    groups: dict[Hashable, list[TrialRecord]] = {}
    for record in ranked(usable, session.study.search.objective):
        groups.setdefault(recipe.start_of(record), []).append(record)
    group = next((records for records in groups.values() if len(records) > 1), None)
    if group is None:
        return Souped((), rest, (f"soup was left out: {_separate(len(usable))}",))
    job = recipe.job_of(
        soup.kind, [Ingredient(record.member_name, session.folder.of(record) / "checkpoint") for record in group]
    )
    if not job.marker.exists():
        session.display.stage("soup")
        executor = session.cluster.executor(session.study.search.resources)
        executor.submit(recipe.cook, job, session.cluster.share(recipe.data)).result()
        session.display.stage("soup", 1, 1)
        session.clock.beat()
    result = recipe.result_of(job)
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
    starts = tuple(digest_of(path) for path in weights)
    checkpoint = session.folder.of(record) / "checkpoint"
    config = read_json((fold_folders(checkpoint, len(folds))[0] if folds else checkpoint) / "config.json")
    return (*starts, config["threshold"] is None)


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else str(path)
