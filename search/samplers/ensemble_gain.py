"""``search.metric: ensemble_gain``: a sampler looks for what improves the ensemble, and not for the best single trial.

Each trial that has ended is worth g = S(E − t + t) − S(E − t): by how much one pick of it improves, on valid, the picks
E of a greedy selection over all trials so far, its own picks taken out. A copy of a member is worth nothing, a good
trial that errs differently much. As E grows all values change, so they are worked out anew whenever a sampler is asked
(Lévesque, Gagné & Sabourin 2016, "Bayesian hyperparameter optimization for ensemble learning", arXiv 1605.06394).

The values are a function of the ledger: of the trials that have ended, in that order, and their predictions of valid.
Trials are stopped, ranked and shown by the task's reward all the same, and blend is never looked at.
"""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from sweepstack.ensembles.builders.growing import GrowingSelection, Said
from sweepstack.ensembles.members.library import found
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.data.labelled import Dataset
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Ints
from sweepstack.search.ledger.run_folder import RunFolder

if TYPE_CHECKING:
    from sweepstack.search.study.study import Study

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class EnsembleGain:
    """``folder`` gives a trial's by its number; labels (rows,) of valid, whose rows have the hash ``rows_hash``."""

    def __init__(self, labels: Ints, rows_hash: str, objective: Objective, folder: Callable[[int], Path]) -> None:
        self._labels, self._rows_hash, self._objective, self._folder = labels, rows_hash, objective, folder
        self._selection: GrowingSelection | None = None
        self._said: dict[int, Said] = {}  # half precision: it is only asked how much each would add
        self._alone: dict[int, float] = {}  # the score of each by itself
        self._looked_at: set[int] = set()

    @classmethod
    def of(cls, study: "Study", dataset: Dataset | None, folder: RunFolder) -> "EnsembleGain | None":
        """Of a run; None where its sampler does not look for gain."""
        if not study.search.looks_for_gain or dataset is None:
            return None
        objective = Objective(study.search.objective, Costs(study.trial_settings().read_cost, dataset.costs))
        return cls(dataset.parts["valid"].labels, dataset.hashes["valid"], objective, folder.trial)

    def __call__(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """The trials with their gains as values, more is better; those that run without any, and without those whose
        predictions are not there."""
        gains = self.gains(trials)
        told = []
        for trial in trials:
            if trial.state not in ENDED:
                told.append(trial)
            elif trial.number in gains:
                told.append(_worth(trial, gains[trial.number]))
        return told

    def gains(self, trials: Sequence[FrozenTrial]) -> dict[int, float]:
        """By trial number. Where nothing is left without a trial, it is compared with the best other one."""
        ended = [t for t in trials if t.state in ENDED and t.datetime_complete is not None]
        for trial in sorted(ended, key=lambda t: (t.datetime_complete, t.number)):
            if trial.number not in self._looked_at:
                self._looked_at.add(trial.number)
                self._take(trial.number)
        gains = {}
        for trial in ended:
            if trial.number not in self._said or self._selection is None:
                continue
            probabilities, answer = self._said[trial.number]
            said = probabilities.astype(np.float32), answer.astype(np.float32)
            gain = self._selection.gain_of(str(trial.number), said)
            if gain is None:
                others = [score for number, score in self._alone.items() if number != trial.number]
                gain = self._alone[trial.number] - max(others) if others else 0.0
            gains[trial.number] = round(gain, 9)
        return gains

    def _take(self, number: int) -> None:
        said = found(self._folder(number) / "predictions" / "valid.safetensors", self._rows_hash)
        if said is None:
            return
        if self._selection is None:
            self._selection = GrowingSelection(self._labels, said.n_segments, self._objective)
        probabilities, answer = self._selection.laid_out(said)
        self._said[number] = probabilities.astype(np.float16), answer.astype(np.float16)
        self._alone[number] = self._objective.score(said, self._labels)
        self._selection.add(str(number), said)


def _worth(trial: FrozenTrial, gain: float) -> FrozenTrial:
    """What a sampler sees of a trial whose value is ``gain``; one that was stopped has come so far with it."""
    told = copy.copy(trial)
    if trial.state == TrialState.COMPLETE:
        told.values = [gain]
    last = max(trial.intermediate_values, default=0)
    told.intermediate_values = {last: gain}
    return told
