"""Optuna's journal storage for studies of thousands of trials: what every ask looks up takes no longer with each trial.

Optuna counts a study's trials, and looks for those that wait for a worker, by a walk over all of them; where the list
of all is wanted it asks each for its state. And it reads a distribution anew for every parameter of every trial, and
compares it with the first one: a third of the time that opening a long journal takes.
"""

import copy
from collections.abc import Container
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.storages.journal._storage import JournalStorageReplayResult
from optuna.trial import FrozenTrial, TrialState

WAITING = (TrialState.WAITING,)


class _Replay(JournalStorageReplayResult):
    """What the logs come to, where a distribution that was accepted once is taken again without a question."""

    def __init__(self, worker_id_prefix: str) -> None:
        super().__init__(worker_id_prefix)
        self._accepted: dict[tuple[int, str, str], BaseDistribution] = {}  # by study, parameter and JSON

    def _apply_set_trial_param(self, log: dict[str, Any]) -> None:
        trial_id, name = log["trial_id"], log["param_name"]
        known = (self._trial_id_to_study_id.get(trial_id, -1), name, log["distribution"])
        distribution = self._accepted.get(known)
        if distribution is None:
            new = trial_id in self._trials and name not in self._trials[trial_id].params
            super()._apply_set_trial_param(log)
            if new and name in self._trials[trial_id].params:
                self._accepted[known] = self._trials[trial_id].distributions[name]
        elif self._trial_exists_and_updatable(trial_id, log):
            trial = copy.copy(self._trials[trial_id])
            trial.params = {**trial.params, name: distribution.to_external_repr(log["param_value_internal"])}
            trial.distributions = {**trial.distributions, name: distribution}
            self._trials[trial_id] = trial


class LedgerStorage(JournalStorage):
    def __init__(self, backend: BaseJournalBackend) -> None:
        super().__init__(backend)
        self._begun: dict[int, int] = {}  # by study: how many of its first trials wait no more, and never will again

    def _sync_with_backend(self) -> None:
        if not isinstance(self._replay_result, _Replay):  # Optuna makes its own, and reads into it, as it begins
            self._replay_result = _Replay(self._worker_id_prefix)
        super()._sync_with_backend()

    def get_n_trials(self, study_id: int, state: tuple[TrialState, ...] | TrialState | None = None) -> int:
        if state is not None:
            return super().get_n_trials(study_id, state)
        with self._thread_lock:
            self._sync_with_backend()
            return len(self._replay_result._study_id_to_trial_ids[study_id])

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if states != WAITING and (deepcopy or states is not None):
            return super().get_all_trials(study_id, deepcopy, states)
        with self._thread_lock:
            self._sync_with_backend()
            numbers, trials = self._replay_result._study_id_to_trial_ids[study_id], self._replay_result._trials
            if states is None:
                return [trials[n] for n in numbers]
            begun = self._begun.get(study_id, 0)
            while begun < len(numbers) and trials[numbers[begun]].state != TrialState.WAITING:
                begun += 1
            self._begun[study_id] = begun
            waiting = [trials[n] for n in numbers[begun:] if trials[n].state == TrialState.WAITING]
            return copy.deepcopy(waiting) if deepcopy else waiting
