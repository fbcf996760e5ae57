"""The bundle: a folder that holds a whole ensemble, written all at once and refused if one byte of it changed.

    bundle.json            format, classes, input column, reading, costs, method, members, stop, metrics, versions, data
    ensemble.safetensors   the members' weights
    sets.safetensors       scores of the right labels of blend: sets are calibrated by that, see scoring/conformal.py
    members/<name>/        weights.safetensors, config.json and, of a policy, tokenizer.json;
                           under folds config.json, and the others in fold-<k>/
    README.md  SHA256SUMS

Nothing in it is code, and nothing is unpickled: to load a bundle of unknown origin runs only this package.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from sweepstack.ensembles.bundles.card import PACKAGES, Card, markdown, versions
from sweepstack.ensembles.bundles.input_texts import Texts, texts_of
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.combinations.ensemble import Ensemble
from sweepstack.ensembles.combinations.registry import from_state as combination_from_state
from sweepstack.ensembles.evaluation.table import Row
from sweepstack.ensembles.members.library import Member
from sweepstack.ensembles.scoring.conformal import Calibration, in_sets, packed, unpacked
from sweepstack.models import checksums
from sweepstack.models.data.tables import Label, typed
from sweepstack.models.errors import BundleError, InputError, StorageError
from sweepstack.models.files import read_json, reason_of, write_atomic, write_json, write_tensors
from sweepstack.models.predictions.costs import Costs, read_matrix
from sweepstack.models.predictions.probabilities import Floats

FORMAT = 1
SETS = "sets.safetensors"
MEMBER_FILES = ("weights.safetensors", "config.json", "tokenizer.json")
MEMBER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Reading:
    """The ensemble's answer to one text."""

    label: Label
    probability: float  # of the label
    probabilities: dict[Label, float]  # by class; sums to 1
    segments: int  # how many it read before it answered
    labels: tuple[Label, ...] | None = None  # the set of the coverage that was asked for, likeliest first


@dataclass(frozen=True)
class Bundle:
    folder: Path
    classes: tuple[Label, ...]  # as the data has them: texts, whole numbers or truth values
    input_column: str
    metadata: dict[str, Any]  # bundle.json
    ensemble: Ensemble
    costs: Costs = field(default_factory=Costs)  # of wrong answers: the label given costs least in expectation
    calibration: Calibration | None = None  # of its sets of labels

    def predict(self, texts: Texts, cost: float | None = None) -> list[Label]:
        """The label of each text; ``texts`` and ``cost`` as in :meth:`read`."""
        return [reading.label for reading in self.read(texts, cost)]

    def predict_proba(self, texts: Texts, cost: float | None = None) -> Floats:
        """(rows, classes): the probabilities where the ensemble stopped reading; columns as in ``classes``."""
        return self._answers(texts, cost)[0]

    def predict_set(self, texts: Texts, coverage: float) -> list[tuple[Label, ...]]:
        """For each text the labels that may be right, likeliest first.

        On texts like those of the study a share ``coverage`` of such sets, or more, is to hold the right one;
        ``calibration.promise`` says how sure that is. The likeliest label is always in the set. A set of one label is
        an answer, one of several a reason to abstain. Raises as :meth:`read`.
        """
        return [reading.labels or () for reading in self.read(texts, coverage=coverage)]

    def read(self, texts: Texts, cost: float | None = None, coverage: float | None = None) -> list[Reading]:
        """Read each text of a list, or of a table's column, see input_texts.py.

        ``cost`` of a READ, where the study trained for an interval of costs: the higher, the less it reads.
        ``coverage``: with sets of labels, see :meth:`predict_set`. Raises BundleError where it was trained for one
        cost, or for others, and InputError where it has too few rows for the coverage, or a text is none.
        """
        largest = None if coverage is None else self._limit(coverage, cost)
        probabilities, segments = self._answers(texts, cost)
        readings = []
        answers = self.costs.answers(probabilities).tolist()
        for row, best, count in zip(probabilities, answers, segments, strict=True):
            by_class = dict(zip(self.classes, row.tolist(), strict=True))
            labels = None
            if largest is not None:
                there = in_sets(row, largest)
                labels = tuple(self.classes[k] for k in np.argsort(-row, kind="stable") if there[k])
            readings.append(Reading(self.classes[best], float(row[best]), by_class, count, labels))
        return readings

    def _limit(self, coverage: float, cost: float | None) -> float:
        if cost is not None:
            raise BundleError(f"{self.folder}: sets are calibrated at the study's own cost; leave out cost or coverage")
        if self.calibration is None:
            raise BundleError(f"{self.folder} has nothing that sets are calibrated by; export the ensemble again")
        return self.calibration.limit(coverage)

    def _answers(self, texts: Texts, cost: float | None) -> tuple[Floats, list[int]]:
        probabilities = [np.empty((0, len(self.classes)), dtype=np.float32)]
        segments: list[int] = []
        self._check(cost)
        for predictions in self.ensemble.read(texts_of(texts, self.input_column), cost):
            stops = predictions.stops()
            probabilities.append(predictions.at(stops))
            segments += (stops + 1).tolist()
        return np.concatenate(probabilities), segments

    def _check(self, cost: float | None) -> None:
        if cost is None:
            return
        trained = (self.metadata["reading"] or {}).get("cost")
        if not isinstance(trained, dict) or not self.ensemble.conditioned:
            raise BundleError(
                f"{self.folder} was trained for one cost of reading, so it cannot be asked for {cost:g}; "
                "train with reading.cost: {condition: [0, 0.05]}"
            )
        low, high = trained["condition"]
        if not low <= cost <= high:
            raise BundleError(
                f"{self.folder} was trained for costs of reading from {low:g} to {high:g}, but got {cost:g}"
            )


def export(
    folder: Path,
    row: Row,
    combination: Combination,
    members: Sequence[Member],
    card: Card,
    calibration: Calibration | None = None,
) -> None:
    """Writes the bundle of ``row``; ``members`` is the library that ``combination.members`` counts in.

    An existing bundle is replaced when the new one is whole. Raises StorageError where the disk refuses, or where
    ``folder`` holds something else.
    """
    own = [members[place] for place in combination.members]
    put(folder, lambda new: _fill(new, row, combination, own, card, calibration))


def check_target(folder: Path, *, force: bool) -> None:
    """Raises InputError where a bundle in ``folder``, which a user has named, would destroy something.

    A bundle that is there is replaced with ``force`` alone, and only if it holds nothing else; a folder that somebody
    works in would be gone under their feet.
    """
    if Path.cwd().is_relative_to(folder):
        raise InputError(f"-o {folder} is the working directory or holds it; name a new folder for the bundle")
    if (around := checksums.bundle_around(folder)) is not None:
        raise InputError(f"-o {folder} lies in the bundle {around}, which would be refused from then on; name another")
    if folder.is_symlink() or not (folder / "bundle.json").exists():
        return  # see put
    if not force:
        raise InputError(f"-o {folder} exists and is left as it is; name another folder, or replace it with --force")
    if foreign := checksums.foreign(folder):
        raise InputError(
            f"-o {folder} holds {foreign[0]}, which is no part of a bundle; move it, or name another folder"
        )


def put(folder: Path, fill: Callable[[Path], None]) -> None:
    """A whole new ``folder`` of what ``fill`` writes into the one that it is given; raises as :func:`export`."""
    is_bundle = folder.is_dir() and (not any(folder.iterdir()) or checksums.was_bundle(folder))
    if folder.is_symlink() or (folder.exists() and not is_bundle):
        raise StorageError(f"{folder} exists and is no bundle; it is left as it is, choose another folder")
    new, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    try:
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
        new.mkdir(parents=True)
        fill(new)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(new, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise StorageError(f"cannot write {folder}: {reason}; free some space or choose another folder") from error


def _fill(
    folder: Path,
    row: Row,
    combination: Combination,
    members: Sequence[Member],
    card: Card,
    calibration: Calibration | None,
) -> None:
    for member in members:
        checksums.check_below(member.checkpoint)
        _copy(member.checkpoint, folder / "members" / checked_name(member.name))
    state, arrays = combination.state()
    write_tensors(folder / "ensemble.safetensors", arrays)
    if calibration is not None:
        scores, about = packed({row.name: calibration})
        write_tensors(folder / SETS, scores, about)
    installed = versions((*PACKAGES, *combination.pool.packages))
    metrics = {"valid": row.valid, "blend": row.blend, "test": row.test, "test_interval": row.test_interval}
    content = {
        "format": FORMAT,
        "digest": card.digest,
        "name": card.name,
        "task": card.task,
        "classes": list(card.classes),
        "label_type": card.label_type,
        "input_column": card.input_column,
        "reading": None if card.reading is None else dict(card.reading),
        "costs": None if card.costs is None else [list(row) for row in card.costs],
        "method": row.method,
        "members": [{"name": m.name, "kind": m.kind} for m in members],
        "weights": None if row.weights is None else list(row.weights),
        "combination": state | {"members": list(range(len(members)))},
        "metrics": {part: figures for part, figures in metrics.items() if figures is not None},
        "versions": installed,
        "data": dict(card.data),
    }
    write_json(folder / "bundle.json", content)
    write_atomic(folder / "README.md", markdown(card, row, installed, calibration))
    checksums.write(folder)


def checked_name(name: str) -> str:
    """A member's name, if it may be a folder's, too; raises ValueError."""
    if not MEMBER_NAME.fullmatch(name):
        raise ValueError(f"a member's name is a folder's name, but got {name!r}")
    return name


def read_metadata(folder: Path, form: int) -> tuple[dict[str, Any], list[str]]:
    """A bundle's bundle.json and its members' names, once every file is checked; raises BundleError."""
    checksums.verify(folder)
    metadata = read_json(folder / "bundle.json")
    if metadata["format"] != form:
        raise BundleError(
            f"{folder}: bundle format {metadata['format']!r} is not known, only {form}; "
            "install the version of sweepstack that wrote it"
        )
    names = [member["name"] for member in metadata["members"]]
    if outside := [name for name in names if not MEMBER_NAME.fullmatch(name)]:
        raise BundleError(f"{folder}: bundle.json names a member {outside[0]!r}; export the bundle again")
    return metadata, names


def _copy(checkpoint: Path, target: Path) -> None:
    target.mkdir(parents=True)
    folds = sorted(checkpoint.glob("fold-*"))
    for name in MEMBER_FILES[1:2] if folds else MEMBER_FILES:
        if (checkpoint / name).exists() or name != "tokenizer.json":  # a linear member has none
            shutil.copyfile(checkpoint / name, target / name)
    for fold in folds:
        _copy(fold, target / fold.name)


def load(folder: Path) -> Bundle:
    """Opens a bundle after checking every file; raises BundleError, in one line."""
    from sweepstack.models.tasks.classification.checkpoint import load_member  # torch: a second to import

    try:
        metadata, names = read_metadata(folder, FORMAT)
        combination = combination_from_state(metadata["combination"], load_file(folder / "ensemble.safetensors"))
        classes, column = tuple(map(str, metadata["classes"])), str(metadata["input_column"])
        costs = Costs(matrix=read_matrix(metadata["costs"], len(classes)))
        combination.pool.check(len(combination.members), len(classes))
        calibration = _calibration(folder / SETS)
        labels = tuple(typed(name, metadata.get("label_type", "text")) for name in classes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise BundleError(f"{folder} cannot be read ({reason_of(error)}); copy or export the bundle again") from error
    members = tuple(load_member(folder / "members" / name) for name in names)
    for name, member in zip(names, members, strict=True):
        if tuple(member.classes) != classes:
            raise BundleError(f"{folder}: member {name} has other classes than bundle.json; export the bundle again")
    if len(members) != len(combination.members):
        raise BundleError(f"{folder}: {len(members)} members but {len(combination.members)} weights; export it again")
    return Bundle(folder, labels, column, metadata, Ensemble(members, combination), costs, calibration)


def _calibration(path: Path) -> Calibration | None:
    """Of a bundle; None of one whose sets were calibrated by other scores, or not at all. Raises ValueError or KeyError
    where the file holds something else."""
    if not path.exists():
        return None
    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        (found,) = unpacked(arrays, file.metadata() or {}).values()
    return found
