"""The trials of a population in the ledger: the next one with all that is decided about it, and whose state may go."""

from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import TrialState

from sweepstack.search.stoppers.pbt import Cell, Population, cells_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage

    from sweepstack.search.study.space import Space


class Lineages:
    """``direction`` of the objective: +1 where more is better. It keeps nothing: every answer is read in the ledger."""

    def __init__(
        self, population: Population, storage: "BaseStorage", study_id: int, space: "Space", direction: int
    ) -> None:
        self.interval = population.settings.interval
        self._population, self._storage, self._study_id = population, storage, study_id
        self._space, self._direction = space, direction

    def born(self) -> int | None:
        """The number of the next trial, which is now there with all that is decided about it, by one append; None where
        nothing can be decided yet."""
        birth = self._population.next(self._cells())
        if birth is None:
            return None
        parameters: dict[str, Any] = {}
        distributions: dict[str, BaseDistribution] = {}
        if birth.parent is not None:
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, birth.parent)
            parent = self._storage.get_trial(trial_id)
            parameters, distributions = parent.params, parent.distributions
            if birth.explores:
                parameters, distributions = self._population.explored(birth, parameters, self._space)
        decided = optuna.trial.create_trial(
            state=TrialState.RUNNING, params=parameters, distributions=distributions, user_attrs=birth.attributes
        )
        return self._storage.get_trial_number_from_id(self._storage.create_new_trial(self._study_id, decided))

    @property
    def running(self) -> bool:
        return any(cell.running for cell in self._cells().values())

    @property
    def died_out(self) -> bool:
        return self._population.died_out(self._cells())

    @property
    def needed(self) -> set[int]:
        return self._population.needed(self._cells())

    def spent(self, generation: int) -> list[int]:
        """The trials of ``generation``, and of the one before, in whose state nobody will begin."""
        cells, needed = self._cells(), self.needed
        numbers = [cell.number for (_, g), cell in cells.items() if generation - 1 <= g <= generation]
        return [number for number in numbers if number not in needed]

    def _cells(self) -> dict[tuple[int, int], Cell]:
        return cells_of(self._storage.get_all_trials(self._study_id, deepcopy=False), self._direction)
