"""A run folder as a reader sees it, while it works and when it is done: leaderboard, ensembles, status, report."""

import os
from collections import Counter
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepstack.ensembles.bundles.bundle import check_target
from sweepstack.ensembles.evaluation.examples import read_examples
from sweepstack.ensembles.evaluation.table import Row
from sweepstack.models.errors import InputError
from sweepstack.models.files import user_path
from sweepstack.search.execution.retention import REMOVED
from sweepstack.search.ledger.attributes import LIVE
from sweepstack.search.ledger.confirmation import Confirmation, sweep_name
from sweepstack.search.ledger.ensembles import SCORINGS, Built, card
from sweepstack.search.ledger.leaderboard import Company, best, control, front, leaderboard
from sweepstack.search.ledger.ledger import MAIN, Ledger
from sweepstack.search.ledger.records import CONTROL, MLFLOW_RUN, STATES, TrialRecord
from sweepstack.search.ledger.restored import read_built
from sweepstack.search.ledger.run_folder import RunFolder, read_provenance
from sweepstack.search.report.notes import ENDED, remarks
from sweepstack.search.report.progress import Standing
from sweepstack.search.report.report import Contents, write_report
from sweepstack.search.report.report_trust import read_trust
from sweepstack.search.report.summary import Results
from sweepstack.search.study.space import Space, with_candidates
from sweepstack.search.study.study import Study

if TYPE_CHECKING:
    import pandas as pd


LONGEST = 60  # characters of an example that is printed
EXAMPLES = {"builtin:languages": "guten Morgen", "builtin:reuters-r8": "oil prices rose after opec cut its output"}


@dataclass(frozen=True)
class Ensemble:
    """One row of the table of ensembles, which can be exported."""

    name: str
    row: Row
    _result: "Result"

    def export(self, folder: str | Path, *, force: bool = False) -> Path:
        """Writes the bundle and returns its folder; raises StorageError where the disk refuses, and InputError where
        ``folder`` is the working directory, or a bundle, unless that is the run's own or ``force`` replaces it."""
        target = Path(os.path.abspath(user_path(folder)))
        check_target(target, force=force or target == self._result.folder.bundle)
        data = self._result.provenance["data"]
        about = card(self._result.study, tuple(data["classes"]), data["hashes"], data.get("label_type", "text"))
        self._result.built.export(self.name, target, about)
        return target


@dataclass(frozen=True)
class Result:
    folder: RunFolder
    study: Study
    ledger: Ledger

    @staticmethod
    def open(folder: Path) -> "Result":
        """Reads a run folder, also one that is being worked on; raises InputError where it is none."""
        run = RunFolder.at(folder)
        if not run.study.exists() or not run.ledger.exists():
            raise InputError(f"{folder} is not the folder of a run; sweepstack run STUDY makes one")
        return Result(run, Study.stored(run.study), Ledger.open(run.ledger, writable=False))

    @cached_property
    def provenance(self) -> dict[str, Any]:
        return read_provenance(self.folder)

    @cached_property
    def space(self) -> Space:
        """What the run searches."""
        of_texts = self.study.environment is None
        units = self.provenance["data"]["rows"]["policy"] if of_texts else self.study.train.env.steps
        settings = self.study.trial_settings()
        return Space.of(with_candidates(self.study.space, units, settings), settings)[0]

    @cached_property
    def remarks(self) -> dict[str, str]:
        """What ended the search, what was shared and what was removed, a line each by its label."""
        return remarks(self.study, self.ledger.attributes(), self.trials)

    @property
    def budget(self) -> str | None:
        """The one that ended the search, as in budgets.Budget."""
        return (self.ledger.attribute(ENDED) or {}).get("budget")

    @cached_property
    def trials(self) -> list[TrialRecord]:
        return self.ledger.records(MAIN)

    @cached_property
    def controls(self) -> list[TrialRecord]:
        return self.ledger.records(CONTROL)

    @cached_property
    def best(self) -> TrialRecord | None:
        return best(self.trials, self.study.search.objective)

    @cached_property
    def front(self) -> list[TrialRecord]:
        """The trials that no other is better than in every objective; empty where there is only one objective."""
        objectives = self.study.search.objectives
        by_number = {record.number: record for record in self.trials}
        return [by_number[number] for number in front(self.trials, objectives)] if len(objectives) > 1 else []

    @cached_property
    def confirmed(self) -> Confirmation | None:
        """What the best trial came to with seeds that the search never used, once it is known."""
        if self.best is None:
            return None
        records, played = self.ledger.records(sweep_name(self.best.number)), self.study.environment is not None
        return Confirmation.of(self.best, records, self.study.search.objective, played=played)

    @cached_property
    def company(self) -> list[Company]:
        name = "memory" if self.study.writes else "linear"
        baseline = self.ledger.attribute(name)
        found = [Company(name, "baseline", baseline["valid"], baseline["seconds"])] if baseline else []
        supervised = control(self.controls, self.study.search.objective)
        return found + ([supervised] if supervised else [])

    @cached_property
    def mlflow_runs(self) -> dict[str, str]:
        """The ids of the run's MLflow runs by their keys ("sweep", "trials-7", "linear", …)."""
        records = [*self.trials, *self.controls]
        ids = {f"{r.sweep}-{r.number}": r.attributes[MLFLOW_RUN] for r in records if MLFLOW_RUN in r.attributes}
        prefix = f"{MLFLOW_RUN}:"
        others = self.ledger.attributes().items()
        return ids | {key.removeprefix(prefix): run_id for key, run_id in others if key.startswith(prefix)}

    @cached_property
    def built(self) -> Built[Any]:
        """Raises InputError where no ensemble has been built yet, or ever will be."""
        if self.study.environment is not None:
            raise InputError(no_ensembles(self.study, self.folder))
        built = read_built(self.ledger, self.folder.root, writes=self.study.writes)
        if built is None:
            raise InputError(
                f"{self.folder.root} has no ensembles yet; sweepstack ensemble {self.folder.root} builds them"
            )
        return built

    @property
    def has_ensembles(self) -> bool:
        return self.ledger.attribute("ensembles") is not None

    def leaderboard(self) -> "pd.DataFrame":
        """A row a trial, best first, with the baseline and the control beside them."""
        paths = list(dict.fromkeys(path for record in self.trials for path in record.settings))
        search = self.study.search
        numbers = [record.number for record in self.front] if len(search.objectives) > 1 else None
        return leaderboard(
            self.trials,
            self.company,
            paths,
            search.objective,
            self.study.metrics,
            seeds=self.study.parts,
            part="folds" if self.study.folds > 1 else "seeds",
            pareto=numbers,
        )

    def ensembles(self) -> "pd.DataFrame":
        """A row a builder, with the best trial, the baseline and the control beside them."""
        return self.built.table()

    def ensemble(self, name: str | None = None) -> Ensemble:
        """The ensemble of that name, by default the chosen one; raises InputError where there is none."""
        name = name or self.built.choice.chosen
        return Ensemble(name, self.built.row(name), self)

    def status(self) -> dict[str, Any]:
        """Where the run stands, as JSON values."""
        states = Counter(record.state for record in self.trials)
        metric = self.study.search.objective
        rows = self.built.choice.rows if self.has_ensembles else ()
        standing = Standing.from_json(self.ledger.attribute(LIVE))
        return {
            "name": self.study.name,
            "task": self.study.task,
            "folder": str(self.folder.root),
            "trials": {"asked_for": self.study.search.trials, **{s: states[s] for s in STATES.values()}},
            "budget": self.budget,
            "remarks": self.remarks,
            "metric": metric,
            "best": None if self.best is None else {"trial": self.best.number, metric: self.best.value},
            "pareto": [{"trial": record.number, **record.objectives} for record in self.front],
            "confirmation": None if self.confirmed is None else self.confirmed.to_json(),
            "live_ensemble": None if standing is None else {**asdict(standing), "members": list(standing.members)},
            "company": {each.name: dict(each.valid).get(metric) for each in self.company},
            "ensembles": {r.name: r.blend[metric] for r in rows if metric in r.blend},  # a refit has learned blend
            "checkpoint": None if self.best is None else str(self.folder.of(self.best) / "checkpoint"),
            "exported": self.built.choice.chosen if self.folder.bundle.exists() and self.has_ensembles else None,
        }

    def summary(self) -> dict[str, Any]:
        """What a run ends with, as JSON values: the status, the table of ensembles and where everything is."""
        rows = [row.to_json() for row in self.built.choice.rows] if self.has_ensembles else []
        return {
            **self.status(),
            "rows": rows,
            "reason": self.built.choice.reason if rows else None,
            "bundle": str(self.folder.bundle) if self.folder.bundle.exists() else None,
            "report": str(self.folder.report),
            "leaderboard": str(self.folder.leaderboard),
            "tracking_uri": self.study.tracking_uri,
        }

    def printable(self) -> Results:
        plain = self.budget in (None, "trials")  # then nobody wonders what ended the search
        said = {label: text for label, text in self.remarks.items() if label != "Search" or not plain}
        there = best([r for r in self.trials if REMOVED not in r.attributes], self.study.search.objective)
        results = Results(
            self.study, self.folder.root, there or self.best, front=self.front, confirmed=self.confirmed, remarks=said
        )
        if not self.has_ensembles:
            return results
        choice = self.built.choice
        example = EXAMPLES.get(self.study.data.train) if self.study.data else None
        if self.study.writes:
            example = self._source()
        return replace(results, rows=choice.rows, chosen=choice.chosen, reason=choice.reason, example=example)

    def _source(self) -> str | None:
        """A text to try: a source of the study's that fits a line."""
        found = read_examples(self.folder.examples, self.built.digest)
        sources = [row.source for row in found.rows] if found else []
        return min((text for text in sources if 0 < len(text) <= LONGEST), key=len, default=None)

    def write_report(self) -> Path:
        """Writes report.html and returns its path."""
        scorings = len(self.ledger.attribute(SCORINGS) or [])
        trust = read_trust(self.folder.trust, self.built.digest) if self.has_ensembles else None
        examples = read_examples(self.folder.examples, self.built.digest) if self.has_ensembles else None
        contents = Contents(
            self.printable(),
            self.space,
            self.trials,
            self.company,
            self.provenance,
            scorings=scorings,
            trust=trust,
            examples=examples,
        )
        write_report(self.folder.report, contents)
        return self.folder.report


def no_ensembles(study: Study, folder: RunFolder) -> str:
    """Why a run in an environment has no ensembles, and what it has."""
    return (
        f"{folder.root} has no ensembles, since task {study.task} has no texts to combine answers for; "
        "its best trial's checkpoint is in trials/, and sweepstack status says which one that is"
    )
