"""The Python interface: a study that a program loads and runs."""

from pathlib import Path
from typing import TYPE_CHECKING

from sweepstack.search.study.study import Study as StudyFile

if TYPE_CHECKING:
    from sweepstack.search.report.result import Result


class Study(StudyFile):
    """A study file that can be run: ``Study.load("study.yaml").run()``."""

    def run(self, out: str | Path | None = None, *, address: str | None = None, json: bool = False) -> "Result":
        """Runs everything, as ``sweepstack run`` does, into ``out`` or runs/<name>; called again it goes on."""
        from sweepstack.search import pipeline  # brings Ray, Optuna and MLflow

        return pipeline.run(self, None if out is None else Path(out), address=address, json=json)
