"""Optuna's journal storage for studies of thousands of trials: what every ask looks up takes no longer with each trial.

Optuna counts a study's trials, and looks for those that wait for a worker, by a walk over all of them; where the list
of all is wanted it asks each for its state.
"""

import copy
from collections.abc import Container

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState

WAITING = (TrialState.WAITING,)


class LedgerStorage(JournalStorage):
    def __init__(self, backend: BaseJournalBackend) -> None:
        super().__init__(backend)
        self._begun: dict[int, int] = {}  # by study: how many of its first trials wait no more, and never will again

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
