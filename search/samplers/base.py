"""Whole points for trials: what any engine draws, beside what was given, and not where another trial is.

A trial's point is a function of the other trials in the ledger, the seed and the trial's number. What a person gave it,
and what it was given before a restart, stands. A point that another trial has is drawn again; it may be repeated only
where a finite space has no other left.
"""

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from sweepstack.models.seeds import derive_seed
from sweepstack.search.samplers.grid import GridEngine
from sweepstack.search.samplers.history import Told
from sweepstack.search.samplers.initial_points import Beginning
from sweepstack.search.samplers.points import Source, draw, every_point, key, whole, with_values
from sweepstack.search.samplers.random import RandomEngine
from sweepstack.search.study.space import Space

TRIES = 4  # of a sampler whose points other trials have
RANDOM_TRIES = 32  # at random after that
GIVEN = "fixed_params"  # Optuna's attribute of a trial that was queued by hand: its values by parameter
Worth = Callable[[Sequence[FrozenTrial]], list[FrozenTrial]]
Key = frozenset[tuple[str, Any]]  # a point that can be looked up


class Engine(Protocol):
    """One way of searching."""

    costly: bool
    """Whether a draw fits a model; draws of one trial then hardly differ."""

    def source(self, study: Study, trial: FrozenTrial, number: int) -> Source:
        """The values of draw ``number`` (from 0) for ``trial``; the same name always gets the same value."""
        ...


class PointSampler(BaseSampler):
    """Any engine as an Optuna sampler that repeats no point by accident, and completes what others have begun.

    What a person gave a trial, and what it was given before a restart, stands: the rest of its point is drawn to go
    with it. What the search begins with gives way where another trial has that point.
    """

    def __init__(
        self, space: Space, engine: Engine, seed: int, worth: Worth | None = None, beginning: Beginning | None = None
    ) -> None:
        """``worth``: the trials as the engine is to see them."""
        self._space, self._engine, self._worth, self._beginning = space, engine, worth, beginning
        self._random = RandomEngine(space, seed)
        self._seed = seed
        self._asked: tuple[int, Mapping[str, Any], Source] | None = None
        self._earlier: set[Key] = set()  # the points of the first trials
        self._settled = 0  # how many these are

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if self._asked is None or self._asked[0] != trial.number:
            self._asked = (trial.number, *self._decide(study, trial))
        _, point, source = self._asked
        # Another space than ours may be asked for what the point has not.
        return point[param_name] if param_name in point else source(param_name, param_distribution)

    def _decide(self, study: Study, trial: FrozenTrial) -> tuple[Mapping[str, Any], Source]:
        taken = self._others(study, trial)
        stands = given_to(trial)
        begins = {} if self._beginning is None else self._beginning.given(study, trial)
        if self._worth is not None:
            study = Told(study, self._worth(study.get_trials(deepcopy=False)), written=True)
        if begins:
            found = self._completed({**begins, **stands}, study, trial, taken)
            if not taken(found[0]):
                return found
        return self._completed(stands, study, trial, taken)

    def _completed(
        self, values: Mapping[str, Any], study: Study, trial: FrozenTrial, taken: Callable[[Mapping[str, Any]], bool]
    ) -> tuple[Mapping[str, Any], Source]:
        """A point with ``values`` as far as they are possible, and a source for what it lacks; if there can be one, it
        is not ``taken``."""
        at_random = with_values(values, self._random.source(study, trial, 0))
        alone = whole(self._space, values)
        if alone is not None and values:
            return alone, at_random
        if isinstance(self._engine, GridEngine):
            fitting = self._engine.fitting(values)
            free = next((point for point in fitting if not taken(point)), fitting[0])
            return draw(self._space, with_values(values, with_values(free, at_random))), at_random
        drawn: list[tuple[Mapping[str, Any], Source]] = []
        for number in range(TRIES + RANDOM_TRIES):
            engine = self._engine if number < TRIES else self._random
            source = with_values(values, engine.source(study, trial, number))
            drawn.append((draw(self._space, source), source))
            if not taken(drawn[-1][0]):
                return drawn[-1]
        left = [p for p in self._every_point if not taken(p) and all(p.get(n, v) == v for n, v in values.items())]
        if left:
            return random.Random(derive_seed(self._seed, "left", trial.number)).choice(left), at_random
        return drawn[0]

    @functools.cached_property
    def _every_point(self) -> list[dict[str, Any]]:
        return every_point(self._space) or []

    def _others(self, study: Study, trial: FrozenTrial) -> Callable[[Mapping[str, Any]], bool]:
        """Whether a point is another trial's. Learns the points of the trials before ``trial``: they are settled."""
        trials = study.get_trials(deepcopy=False)
        if trial.number < self._settled:  # one that was interrupted
            self._earlier, self._settled = set(), 0
        self._earlier.update(point_of(self._space, other) for other in trials[self._settled : trial.number])
        self._settled = trial.number
        later = {point_of(self._space, other) for other in trials[trial.number + 1 :]}
        return lambda point: key(point) in self._earlier or key(point) in later


def given_to(trial: FrozenTrial) -> dict[str, Any]:
    """By a person, and drawn, by parameter."""
    return {**trial.system_attrs.get(GIVEN, {}), **trial.params}


def point_of(space: Space, trial: FrozenTrial) -> Key:
    """Where ``trial`` is, or waits to be; what it has of a space that was wider does not count."""
    params = given_to(trial)
    point = whole(space, params)
    return key(params if point is None else point)
