"""Where the next trial looks: Optuna's samplers, and ours, behind one that thinks of whole points.

Three things are the same for all. A trial's point is a function of the other trials in the ledger, the seed and the
trial's number, and of nothing that a process remembers: after a restart the search goes on as if nothing had happened,
also with a trial that had only some of its values. A point that another trial has is drawn again; it may be repeated
only where a finite space has no other left. And what a sampler is told of stopped and failed trials is in told.py.

Which sampler fits: tpe for mixed and conditional spaces; gp and bayes where trials are few and dear; cmaes for many
numbers (choices, and what exists only under one, it leaves to tpe); nsga2 for several objectives and many trials; qmc
and random to look everywhere alike; grid to see every point.
"""

import copy
import functools
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.samplers.nsgaii import BLXAlphaCrossover
from optuna.trial import FrozenTrial, TrialState

from sweepstack.models.seeds import derive_seed
from sweepstack.search.axes import Choice, all_axes
from sweepstack.search.points import (
    ALWAYS,
    Source,
    draw,
    every_point,
    groups,
    key,
    neutral,
    parameters,
    value,
    whole,
    with_values,
)
from sweepstack.search.search_settings import Search
from sweepstack.search.space import Space
from sweepstack.search.starting import Beginning, place
from sweepstack.search.told import Told, completed, most_telling, others, with_lies

RANDOM_TRIALS = 8  # drawn at random before anything is modelled: half of the default 16
TRIES = 4  # of a sampler whose points other trials have
RANDOM_TRIES = 32  # at random after that
GIVEN = "fixed_params"  # Optuna's attribute of a trial that was queued by hand: its values by parameter
POPULATION = 10  # of a generation of NSGA-II
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
        stands = {**trial.system_attrs.get(GIVEN, {}), **trial.params}
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


def point_of(space: Space, trial: FrozenTrial) -> Key:
    """Where ``trial`` is, or waits to be; what it has of a space that was wider does not count."""
    params = trial.params or trial.system_attrs.get(GIVEN, {})
    point = whole(space, params)
    return key(params if point is None else point)


class RandomEngine:
    costly = False

    def __init__(self, space: Space, seed: int) -> None:
        self._seed = seed

    def source(self, study: Study, trial: FrozenTrial, number: int) -> Source:
        def ask(name: str, distribution: BaseDistribution) -> Any:
            sampler = RandomSampler(seed=derive_seed(self._seed, trial.number, number, name))
            return sampler.sample_independent(study, trial, name, distribution)

        return ask


class GridEngine:
    """The grid in a seeded random order, so that a part of it is not just one of its corners."""

    costly = False

    def __init__(self, space: Space, seed: int) -> None:
        self._points = space.grid()
        random.Random(derive_seed(seed, "grid")).shuffle(self._points)
        self._choices = {axis.parameter for axis in all_axes(space.axes) if isinstance(axis, Choice)}

    def fitting(self, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The points that differ from ``values`` the least: in choices first, as it is them that other axes hang on."""
        if not values:
            return self._points

        def differences(point: Mapping[str, Any]) -> tuple[int, int]:
            differ = [name for name, value in values.items() if point.get(name, value) != value]
            return sum(name in self._choices for name in differ), len(differ)

        found = list(map(differences, self._points))
        least = min(found)
        return [point for point, each in zip(self._points, found, strict=True) if each == least]

    def source(self, study: Study, trial: FrozenTrial, number: int) -> Source:
        point = self._points[place(study, trial) % len(self._points)]
        return lambda name, distribution: point[name] if name in point else neutral(distribution)


class QMCEngine:
    """A scrambled Sobol sequence with a dimension for every number, conditional ones too; drawn again, another
    scrambling of it. Choices are drawn at random: the first bits of its dimensions go together for dozens of points, so
    that one choice would decide another."""

    costly = False

    def __init__(self, space: Space, seed: int) -> None:
        found = parameters(space).items()
        self._numbers = [name for name, d in found if not isinstance(d, CategoricalDistribution)]
        self._seed = seed

    def source(self, study: Study, trial: FrozenTrial, number: int) -> Source:
        from scipy.stats.qmc import Sobol

        sobol = Sobol(max(1, len(self._numbers)), seed=derive_seed(self._seed, "qmc", number))
        before = place(study, trial)
        if before:  # scipy takes no 0
            sobol.fast_forward(before)
        at = dict(zip(self._numbers, sobol.random(1)[0], strict=False))

        def ask(name: str, distribution: BaseDistribution) -> Any:
            if isinstance(distribution, CategoricalDistribution):
                return random.Random(derive_seed(self._seed, before, number, name)).choice(distribution.choices)
            return value(distribution, at[name])

        return ask


class TPEEngine:
    """Multivariate TPE with a constant liar; parameters that exist together are one group, modelled on the trials that
    had them."""

    costly = False

    def __init__(self, space: Space, seed: int) -> None:
        found = list(groups(space).values())
        self._group = {name: group for group in found for name in group}
        self._parameters, self._seed = parameters(space), seed
        self._random = RandomEngine(space, seed)

    def source(self, study: Study, trial: FrozenTrial, number: int) -> Source:
        told = _pruned_as_running(study, others(study, trial, self._parameters))
        at_random = self._random.source(study, trial, number)
        drawn: dict[str, dict[str, Any]] = {}  # by the first name of the group

        def ask(name: str, distribution: BaseDistribution) -> Any:
            group = self._group[name]
            first = next(iter(group))
            if first not in drawn:
                seed = derive_seed(self._seed, trial.number, number, first)
                sampler = TPESampler(n_startup_trials=RANDOM_TRIALS, multivariate=True, constant_liar=True, seed=seed)
                drawn[first] = sampler.sample_relative(Told(study, told), trial, group)
            return drawn[first][name] if name in drawn[first] else at_random(name, distribution)

        return ask


class GPEngine:
    """Optuna's Gaussian process with log expected improvement (of the hypervolume, with several objectives) over all
    parameters; what a trial lacks has a neutral value."""

    costly = True

    def __init__(self, space: Space, seed: int) -> None:
        self._parameters, self._seed = parameters(space), seed
        self._random = RandomEngine(space, seed)

    def source(self, study: Study, trial: FrozenTrial, number: int) -> Source:
        told = most_telling(study, with_lies(study, others(study, trial, self._parameters)))
        told = completed(told, lambda _, name: neutral(self._parameters[name]), list(self._parameters))
        sampler = GPSampler(n_startup_trials=RANDOM_TRIALS, seed=derive_seed(self._seed, trial.number, number))
        point = sampler.sample_relative(Told(study, told), trial, self._parameters)
        at_random = self._random.source(study, trial, number)
        return lambda name, distribution: point[name] if name in point else at_random(name, distribution)


class CMAESEngine:
    """CMA-ES over the numbers that are in every point; TPE for all else. Its state is in the ledger."""

    costly = False

    def __init__(self, space: Space, seed: int) -> None:
        always = groups(space).get(ALWAYS, {})
        self._numbers = {name: d for name, d in always.items() if not isinstance(d, CategoricalDistribution)}
        self._parameters, self._seed = parameters(space), seed
        self._others = TPEEngine(space, seed)

    def source(self, study: Study, trial: FrozenTrial, number: int) -> Source:
        told = with_lies(study, others(study, trial, self._parameters))
        told = [other for other in told if self._numbers.keys() <= other.params.keys()]
        sampler = CmaEsSampler(seed=derive_seed(self._seed, trial.number, number), warn_independent_sampling=False)
        point = sampler.sample_relative(Told(study, told, written=number == 0), trial, self._numbers)
        other = self._others.source(study, trial, number)
        return lambda name, distribution: point[name] if name in point else other(name, distribution)


class _NSGAII(NSGAIISampler):
    """Children lie between and about their parents (BLX-α). Optuna's own draws among parents in the order of their
    ranks while it selects them, in that of their numbers ever after: a trial asked twice would get two points."""

    def __init__(self, seed: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            super().__init__(population_size=POPULATION, crossover=BLXAlphaCrossover(), seed=seed)

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        return sorted(super().get_parent_population(study, generation), key=lambda parent: parent.number)


class NSGA2Engine:
    """NSGA-II over all parameters: what a trial lacks is a dormant gene, a random value of its own."""

    costly = False

    def __init__(self, space: Space, seed: int) -> None:
        self._parameters, self._seed = parameters(space), seed
        self._random = RandomEngine(space, seed)

    def source(self, study: Study, trial: FrozenTrial, number: int) -> Source:
        told = with_lies(study, others(study, trial, self._parameters))
        told = completed(told, lambda parent, name: self._gene(study, parent, name), list(self._parameters))
        sampler = _NSGAII(derive_seed(self._seed, trial.number, number))
        point = sampler.sample_relative(Told(study, told, written=number == 0), trial, self._parameters)
        at_random = self._random.source(study, trial, number)
        return lambda name, distribution: point[name] if name in point else at_random(name, distribution)

    def _gene(self, study: Study, parent: FrozenTrial, name: str) -> Any:
        return self._random.source(study, parent, -1)(name, self._parameters[name])


def _pruned_as_running(study: Study, trials: Sequence[FrozenTrial]) -> Sequence[FrozenTrial]:
    """TPE ranks stopped trials itself, below the completed ones and by how far they came, but for one objective only;
    with several they stand among the worse ones, where it puts those that run."""
    if len(study.directions) == 1:
        return trials
    told = []
    for trial in trials:
        if trial.state == TrialState.PRUNED:
            trial = copy.copy(trial)
            trial.state = TrialState.RUNNING
        told.append(trial)
    return told


def _bayes(space: Space, seed: int) -> Engine:
    from sweepstack.search.bayes import BayesEngine  # brings scikit-learn

    return BayesEngine(space, seed)


SAMPLERS: dict[str, Callable[[Space, int], Engine]] = {
    "tpe": TPEEngine,
    "random": RandomEngine,
    "grid": GridEngine,
    "qmc": QMCEngine,
    "gp": GPEngine,
    "cmaes": CMAESEngine,
    "nsga2": NSGA2Engine,
    "bayes": _bayes,
}


def make_sampler(
    search: Search, space: Space, worth: Worth | None = None, start: Sequence[Mapping[str, Any]] = ()
) -> BaseSampler:
    """``worth`` turns the trials so far into those that the sampler learns from; None leaves them as they are.
    ``start``: the points to begin with, as settings by path."""
    engine = SAMPLERS[search.sampler](space, search.seed)
    if search.metric_per is not None:
        from sweepstack.search.cost_aware import CostAwareEngine  # brings scikit-learn

        engine = CostAwareEngine(engine, space, search.seed)
    beginning = None if search.sampler == "grid" else Beginning.of(space, start, search.seed)
    return PointSampler(space, engine, search.seed, worth, beginning)


def points_of(search: Search, space: Space) -> list[dict[str, Any]] | None:
    """Every point that the trials of a search can have; None where nobody can try them all."""
    if not parameters(space):
        return [draw(space, lambda name, distribution: neutral(distribution))]
    return space.grid() if search.sampler == "grid" else every_point(space)
