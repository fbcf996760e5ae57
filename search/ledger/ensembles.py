"""What the ledger keeps of the ensembles: the choice, the combinations and the table, as JSON.

With it any ensemble of the table can be exported later, without fitting anything again. Ensembles of writers are kept
the same way, see text_record.py.
"""

import os
import time
import zlib
from abc import ABC, abstractmethod
from base64 import b85decode, b85encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from sweepstack.ensembles.bundles import bundle
from sweepstack.ensembles.bundles.card import Card
from sweepstack.ensembles.combinations.registry import from_state as combination_from_state
from sweepstack.ensembles.evaluation.choose import Choice, Decision
from sweepstack.ensembles.evaluation.table import Row
from sweepstack.ensembles.members.library import Member
from sweepstack.ensembles.scoring.conformal import Calibration, packed, unpacked
from sweepstack.ensembles.scoring.optimism import Optimism
from sweepstack.models import checksums
from sweepstack.models.data.tables import LabelType
from sweepstack.models.errors import DamagedError, InputError
from sweepstack.models.predictions.costs import cost_matrix
from sweepstack.models.predictions.probabilities import DIRECTION
from sweepstack.models.settings.writing import LAGGING, WRITING_METRICS
from sweepstack.search.ledger.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from sweepstack.search.ledger.ledger import Ledger
    from sweepstack.search.study.study import Study

ATTRIBUTE = "ensembles"
SCORINGS = "test_scorings"  # the attribute that says when labels or references of test were looked at, and for what
TEXT_METRICS = (*WRITING_METRICS, LAGGING)
D = TypeVar("D", bound=Decision[Any])


@dataclass(frozen=True)
class Built(ABC, Generic[D]):
    digest: str  # of everything that they were built from
    members: tuple[Member, ...]  # the library, in the order that combinations count in
    choice: D
    scored: bool  # whether the rows have test

    @property
    def classifies(self) -> bool:
        """Whether they answer with labels, or write."""
        return True

    def write(self, ledger: "Ledger", root: Path) -> None:
        stored = {
            "digest": self.digest,
            "scored": self.scored,
            "chosen": self.choice.chosen,
            "reason": self.choice.reason,
            "notes": list(self.choice.notes),
            "optimism": None if self.choice.optimism is None else asdict(self.choice.optimism),
            "rows": [row.to_json() for row in self.choice.rows],
            "combinations": {name: _state(each) for name, each in self.choice.combinations.items()},
            "members": [
                {"name": m.name, "kind": m.kind, "folder": os.path.relpath(m.folder, root)} for m in self.members
            ],
        }
        ledger.set_attribute(ATTRIBUTE, stored)

    def put_scoring_on_record(self, ledger: "Ledger") -> None:
        """Which rows are scored on test, and when; before they are."""
        scorings = ledger.attribute(SCORINGS) or []
        rows = [row.name for row in self.choice.rows]
        ledger.set_attribute(SCORINGS, [*scorings, {"digest": self.digest, "when": time.time(), "rows": rows}])

    @abstractmethod
    def export(self, name: str, folder: Path, about: Card) -> None:
        """Writes the bundle of one row of the table; raises InputError or StorageError."""

    def row(self, name: str) -> Row:
        """Raises InputError, with the names that there are."""
        names = [row.name for row in self.choice.rows]
        if name not in names:
            raise InputError(f"there is no ensemble {name!r}; there are {', '.join(names)}")
        return self.choice.row(name)

    def table(self) -> "pd.DataFrame":
        """One row a builder and one for each of its rivals: what ensembles.csv holds."""
        import pandas as pd

        known = DIRECTION if self.classifies else [name for name in TEXT_METRICS if self._has(name)]

        def row(each: Row) -> dict[str, Any]:
            flat: dict[str, Any] = {
                "name": each.name,
                "method": each.method,
                "role": each.role,
                "exported": each.name == self.choice.chosen,
                "members": " ".join(each.members),
                "weights": "" if each.weights is None else " ".join(f"{weight:.6g}" for weight in each.weights),
                "stop": each.stop,
            }
            figures: Mapping[str, Mapping[str, float] | None] = {
                "valid": each.valid, "blend": each.blend, "test": each.test, "test_interval": each.test_interval,
                "blend_interval": each.blend_interval,
            }  # fmt: skip
            for part, values in figures.items():
                flat |= {f"{part}_{metric}": (values or {}).get(metric) for metric in known}
            flat |= {f"oob_{metric}": value for metric, value in (each.out_of_bag or {}).items()}
            for rival, gain in (("trial", each.gain_over_trial), ("linear", each.gain_over_linear)):
                for end in ("mean", "low", "high"):
                    flat[f"gain_over_{rival}_{end}"] = getattr(gain, end, None)
            for metric, gain in (each.other_gains or {}).items():
                flat |= {f"{metric}_gain_over_trial_{end}": value for end, value in asdict(gain).items()}
            served = ("size_mb", "latency_ms", "latency_32_ms", "over_budget", "front")
            return {**flat, **{name: getattr(each, name) for name in served}}

        return pd.DataFrame([row(each) for each in self.choice.rows])

    def _has(self, metric: str) -> bool:
        return any(metric in part for row in self.choice.rows for part in (row.valid, row.blend, row.test or {}))


@dataclass(frozen=True)
class BuiltEnsembles(Built[Choice]):
    """Of classifiers."""

    damaged: str | None = None  # why no bundle can be written: the calibration of sets is damaged

    @staticmethod
    def read(ledger: "Ledger", root: Path) -> "BuiltEnsembles | None":
        """What the ledger of the run folder ``root`` holds, or None where nothing was built that can be read."""
        stored = ledger.attribute(ATTRIBUTE)
        if stored is None:
            return None
        try:
            combinations = {
                name: combination_from_state(state, arrays_of(state)) for name, state in stored["combinations"].items()
            }
        except (KeyError, ValueError, zlib.error):  # another version's; what it was built from is all there
            return None
        calibration, damaged = {}, None
        try:
            calibration = read_calibration(RunFolder(root).calibration, stored["digest"])
        except DamagedError as error:
            damaged = str(error)
        choice = Choice(**decided(stored), combinations=combinations, calibration=calibration)
        return BuiltEnsembles(stored["digest"], members_of(stored, root), choice, stored["scored"], damaged)

    @property
    def spoilt(self) -> str | None:
        """What they cannot be exported without any more, in words: the calibration, or a member that was trained for
        them and is gone."""
        if self.damaged:
            return self.damaged.partition(";")[0]
        gone = next((m for m in self.members if not (m.checkpoint / "config.json").exists()), None)
        return None if gone is None else f"{gone.checkpoint} is gone"

    def write(self, ledger: "Ledger", root: Path) -> None:
        write_calibration(RunFolder(root).calibration, self.choice.calibration, self.digest)
        super().write(ledger, root)

    def export(self, name: str, folder: Path, about: Card) -> None:
        row = self.row(name)
        if self.damaged:
            raise DamagedError(self.damaged)
        bundle.export(
            folder,
            row,
            self.choice.combinations[name],
            self.members,
            replace(about, digest=self.digest),
            self.choice.calibration.get(name),
        )


def decided(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What every Decision holds, but its combinations, from what the ledger holds."""
    return {
        "rows": tuple(Row.from_json(row) for row in stored["rows"]),
        "chosen": stored["chosen"],
        "reason": stored["reason"],
        "notes": tuple(stored["notes"]),
        "optimism": Optimism(**stored["optimism"]) if stored.get("optimism") else None,
    }


def members_of(stored: Mapping[str, Any], root: Path) -> tuple[Member, ...]:
    return tuple(Member(m["name"], m["kind"], Path(os.path.normpath(root / m["folder"]))) for m in stored["members"])


def write_calibration(path: Path, calibration: Mapping[str, Calibration], digest: str) -> None:
    """By row name; ``digest``: of what the rows were built from."""
    arrays, metadata = packed(calibration)
    checksums.put(path.parent, {path.name: save(arrays, {**metadata, "digest": digest})})


def read_calibration(path: Path, digest: str) -> dict[str, Calibration]:
    """What was written; nothing where the file is of another build or version: exports then know no sets.

    Raises DamagedError where it has changed or is gone.
    """
    checksums.check(path, there=True)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("digest") != digest:
                return {}
            return unpacked({name: file.get_tensor(name) for name in file.keys()}, metadata)  # noqa: SIM118
    except SafetensorError as error:
        raise DamagedError(f"{path} is damaged ({error}); {checksums.AGAIN}") from error
    except (OSError, KeyError, ValueError):
        return {}


def card(study: "Study", classes: tuple[str, ...], hashes: Mapping[str, str], label_type: LabelType = "text") -> Card:
    assert study.data is not None
    reading = None if study.reading == "off" else study.reading.model_dump()
    matrix = cost_matrix(study.data.costs, classes, study.data.train)
    costs = None if matrix is None else matrix.tolist()
    return Card(
        study.name,
        study.task,
        classes,
        study.data.input,
        reading,
        dict(hashes),
        costs,
        label_type=label_type,
        folds=study.folds,
    )


def _state(combination: Any) -> dict[str, Any]:
    """Of a Combination, or of one of texts."""
    state, arrays = combination.state()
    return {**state, "arrays": {name: {"type": str(a.dtype), "values": _values(a)} for name, a in arrays.items()}}


def _values(array: np.ndarray[Any, np.dtype[Any]]) -> Any:
    """Numbers as numbers; bytes (an ONNX graph: megabytes that shrink to a tenth) as text."""
    return b85encode(zlib.compress(array.tobytes())).decode() if array.dtype == np.uint8 else array.tolist()


def _array(stored: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[Any]]:
    values = stored["values"]
    if isinstance(values, str):
        return np.frombuffer(zlib.decompress(b85decode(values)), dtype=np.uint8)
    return np.array(values, dtype=stored["type"])


def arrays_of(stored: Mapping[str, Any]) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    return {name: _array(each) for name, each in stored["arrays"].items()}
