"""The ensemble of the trials so far by its blend score, while the search goes on: for the screen and ``status`` alone.

Nothing that searches sees it, as blend is not for choosing trials. The best trial by valid stands beside it with its
score on the same rows. The ledger holds the picks, so that a run which goes on needs the predictions of these members
and of that trial alone.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepstack.ensembles.builders.growing import LiveSelection
from sweepstack.ensembles.members.library import found
from sweepstack.ensembles.scoring.crossfit import folds
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.data.labelled import Dataset
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import DIRECTION, Ints, Predictions
from sweepstack.search.ledger.attributes import LIVE
from sweepstack.search.ledger.leaderboard import best
from sweepstack.search.ledger.run_folder import RunFolder
from sweepstack.search.report.progress import Standing

if TYPE_CHECKING:
    from sweepstack.search.ledger.ledger import Ledger
    from sweepstack.search.ledger.records import TrialRecord
    from sweepstack.search.study.study import Study

FEWEST = 10  # rows of blend below which a score would say nothing
LINEAR = "linear"


class LiveEnsemble:
    """``folder_of`` gives a trial's folder; ``linear`` is that of the baseline, where it may be a member; ``show`` is
    called with each new standing."""

    @classmethod
    def of(
        cls,
        study: "Study",
        dataset: Dataset | None,
        ledger: "Ledger",
        folder: RunFolder,
        show: Callable[[Standing], None],
    ) -> "LiveEnsemble | None":
        """Of a run; None where its trials are no members."""
        library = study.ensembles.library
        if dataset is None or "trials" not in library:
            return None
        objective = Objective(study.search.objective, Costs(study.trial_settings().read_cost, dataset.costs))
        linear = folder.linear if "linear" in library else None
        return cls(ledger, dataset, objective, folder.of, linear, show, study.search.seed)

    def __init__(
        self,
        ledger: "Ledger",
        dataset: Dataset,
        objective: Objective,
        folder_of: "Callable[[TrialRecord], Path]",
        linear: Path | None,
        show: Callable[[Standing], None],
        seed: int = 0,
    ) -> None:
        self._ledger, self._dataset, self._objective = ledger, dataset, objective
        self._folder_of, self._linear, self._show, self._seed = folder_of, linear, show, seed
        self._part = dataset.part_for("blend")
        self._folds = max(1, len(dataset.folds))
        self._selection: LiveSelection | None = None
        self._leader: TrialRecord | None = None  # of the trials that have ended, by valid
        self._leader_score: float | None = None

    def resume(self, records: "list[TrialRecord]") -> None:
        """Goes on from what an earlier session had come to, or begins anew where its members are gone."""
        stored: dict[str, Any] | None = self._ledger.attribute(LIVE)
        if stored is None:
            return
        folders = {f"trial-{record.number}": self._folder_of(record) for record in records}
        folders |= {} if self._linear is None else {LINEAR: self._linear}
        members = {}
        for name in {name for picks in stored["picks"] for name in picks}:
            said = self._said(folders[name]) if name in folders else None
            if said is None:
                return
            members[name] = said
        selection = self._begun(next(iter(members.values())))
        if LINEAR in members:
            self._linear = None
        leader = best((r for r in records if r.may_be_member(self._folds)), self._objective.metric)
        said = None if leader is None else self._said(self._folder_of(leader))
        if leader is not None and said is not None:
            self._put_leader(leader, said)
        selection.resume(stored["picks"], members)
        self._show(self._standing(selection))

    def ended(self, record: "TrialRecord") -> None:
        """A trial has just ended, and may be a member."""
        if not record.may_be_member(self._folds) or len(self._dataset.parts[self._part].labels) < FEWEST:
            return
        own = self._said(self._folder_of(record))
        if own is not None:
            self._put_leader(record, own)
        news = [(f"trial-{record.number}", own)]
        if self._linear is not None and (self._linear / "result.json").exists():
            news.append((LINEAR, self._said(self._linear)))
            self._linear = None
        for name, said in news:
            if said is not None:
                self._begun(said).add(name, said)
        if self._selection is not None and any(said is not None for _, said in news):
            standing = self._standing(self._selection)
            self._ledger.set_attribute(LIVE, {**asdict(standing), "picks": self._selection.picks})
            self._show(standing)

    def _put_leader(self, record: "TrialRecord", said: Predictions) -> None:
        """Takes a trial that has ended for the best one, if it is."""
        known = [record] if self._leader is None else [self._leader, record]
        metric = self._objective.metric
        if best(known, metric) is record:
            score = DIRECTION[metric] * self._objective.score(said, self._dataset.parts[self._part].labels)
            self._leader, self._leader_score = record, score

    def _standing(self, selection: LiveSelection) -> Standing:
        assert selection.score is not None
        names = sorted({name for picks in selection.picks for name in picks})
        number = None if self._leader is None else self._leader.number
        return Standing(self._part, selection.score, tuple(names), number, self._leader_score)

    def _begun(self, said: Predictions) -> LiveSelection:
        if self._selection is None:
            labels = self._dataset.parts[self._part].labels
            self._selection = LiveSelection(labels, said.n_segments, self._objective, self._halves(labels))
        return self._selection

    def _halves(self, labels: Ints) -> Ints:
        if self._dataset.folds:  # rows of one fold were predicted by the same policies
            return self._dataset.fold % 2
        return folds(labels, self._seed, self._dataset.parts[self._part].units, count=2)

    def _said(self, folder: Path) -> Predictions | None:
        """None where the predictions are not there (any more): the screen does without."""
        path = folder / "predictions" / f"{self._part}.safetensors"
        return found(path, self._dataset.hashes[self._part])
