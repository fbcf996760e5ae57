"""The one place that knows where things lie in a run folder.

study.yaml  provenance.json  ledger.log  log.txt  leaderboard.csv  ensembles.csv  report.html
calibration.safetensors  trust.json  examples.json
trials/<number>/[seed-<n>/]  confirmation/<trial>/<number>/  starts/<hash>/  company/<name>/  refits/<hash>/
soups/<hash>/  decoded/<hash>/  bundle/  student/
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepstack.models.errors import StorageError
from sweepstack.models.files import read_json, user_path

if TYPE_CHECKING:
    from sweepstack.search.ledger.records import TrialRecord


@dataclass(frozen=True)
class RunFolder:
    root: Path

    @classmethod
    def at(cls, path: Path) -> "RunFolder":
        """As a user names it: from the working directory, or with ``~``; raises InputError."""
        return cls(user_path(path).absolute())

    @property
    def study(self) -> Path:
        return self.root / "study.yaml"

    @property
    def provenance(self) -> Path:
        return self.root / "provenance.json"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.log"

    @property
    def requests(self) -> Path:
        """What is asked by hand of a run, for whoever drives it."""
        return self.root / "requests"

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    @property
    def leaderboard(self) -> Path:
        return self.root / "leaderboard.csv"

    @property
    def ensembles(self) -> Path:
        return self.root / "ensembles.csv"

    @property
    def calibration(self) -> Path:
        """How likely the ensembles found the right labels of blend: sets of labels are calibrated by that."""
        return self.root / "calibration.safetensors"

    @property
    def trust(self) -> Path:
        """What the report says of the exported ensemble's errors, worked out when test was scored."""
        return self.root / "trust.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def bundle(self) -> Path:
        return self.root / "bundle"

    @property
    def student(self) -> Path:
        """The bundle of the student, where the study wants one."""
        return self.root / "student"

    @property
    def starts(self) -> Path:
        return self.root / "starts"

    @property
    def refits(self) -> Path:
        return self.root / "refits"

    def trial(self, number: int) -> Path:
        return self.root / "trials" / str(number)

    @staticmethod
    def repetition(folder: Path, place: int) -> Path:
        """Of the trial in ``folder``, trained again with other seeds; the first (0) has the trial's own folder, so that
        whoever knows of no repetitions finds it."""
        return folder / f"seed-{place}" if place else folder

    def of(self, record: "TrialRecord") -> Path:
        """Where the checkpoint and predictions lie that stand for a trial of any sweep: those of its best seed."""
        if record.origin is not None:
            return RunFolder(record.origin.root).of(replace(record, origin=None))
        sweep, _, winner = record.sweep.partition("-")
        if winner:
            return self.confirmation(int(winner), record.number)
        folder = self.trial(record.number) if sweep == "trials" else self.supervised(record.number)
        return self.repetition(folder, record.best_repetition)

    def confirmation(self, trial: int, number: int) -> Path:
        """Of the trial that was the best, trained with a seed that the search has not used."""
        return self.root / "confirmation" / str(trial) / str(number)

    @property
    def soups(self) -> Path:
        return self.root / "soups"

    @property
    def decoded(self) -> Path:
        """What ensembles that average their members at every token have written, by what that depends on."""
        return self.root / "decoded"

    @property
    def examples(self) -> Path:
        """Rows of test for the report, chosen when test was scored."""
        return self.root / "examples.json"

    def pipeline(self, name: str) -> Path:
        """Of a text pipeline that a study names in ``ensembles.library``."""
        return self.root / "company" / name

    @property
    def linear(self) -> Path:
        return self.root / "company" / "linear"

    @property
    def memory(self) -> Path:
        """The translation memory: the baseline of tasks that write, as linear is of the others."""
        return self.root / "company" / "memory"

    def supervised(self, number: int) -> Path:
        """The supervised control is a small sweep of its own: one folder a trial."""
        return self.root / "company" / "supervised" / str(number)


def read_provenance(folder: RunFolder) -> dict[str, Any]:
    """Raises StorageError where there is none, or where it is damaged."""
    try:
        return dict(read_json(folder.provenance))
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(
            f"{folder.provenance} cannot be read ({error.__class__.__name__}); put back a copy, or remove it and run "
            "the study again, which writes it anew"
        ) from error
