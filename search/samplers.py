"""Where the next trial looks: Optuna's samplers, and ours, behind one that thinks of whole points.

A trial's point is a function of the ledger and the trial's number, and of nothing that a process remembers: after a
restart the search goes on as if nothing had happened. What is the same for all samplers is in point_sampler.py, and
what they are told of stopped and failed trials in told.py.

Which sampler fits: tpe for mixed and conditional spaces; gp and bayes where trials are few and dear; cmaes for many
numbers (choices, and what exists only under one, it leaves to tpe); nsga2 for several objectives and many trials; qmc
and random to look everywhere alike; grid to see every point.
"""

import copy
import importlib
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    TPESampler,
)
from optuna.samplers.nsgaii import BLXAlphaCrossover
from optuna.trial import FrozenTrial, TrialState

from sweepstack.models.seeds import derive_seed
from sweepstack.search.point_sampler import Engine, GridEngine, PointSampler, RandomEngine, Worth
from sweepstack.search.points import (
    ALWAYS,
    Source,
    draw,
    every_point,
    groups,
    neutral,
    parameters,
    value,
)
from sweepstack.search.search_settings import Search
from sweepstack.search.space import Space
from sweepstack.search.starting import Beginning, place
from sweepstack.search.told import Told, completed, most_telling, others, with_lies

RANDOM_TRIALS = 8  # drawn at random before anything is modelled: half of the default 16
LISTED = 1000  # whole numbers that a model makes a list of
POPULATION = 10  # of a generation of NSGA-II


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
        _import_quietly("optuna._gp.batched_lbfgsb")  # which says that greenlet is missing
        self._parameters, self._seed = parameters(space), seed
        self._random = RandomEngine(space, seed)

    def source(self, study: Study, trial: FrozenTrial, number: int) -> Source:
        told = most_telling(study, with_lies(study, others(study, trial, self._parameters)))
        told = completed(told, lambda _, name: neutral(self._parameters[name]), list(self._parameters))
        sampler = GPSampler(n_startup_trials=RANDOM_TRIALS, seed=derive_seed(self._seed, trial.number, number))
        modelled = {name: _without_steps(d) for name, d in self._parameters.items()}
        point = sampler.sample_relative(Told(study, told), trial, modelled)
        at_random = self._random.source(study, trial, number)

        def ask(name: str, distribution: BaseDistribution) -> Any:
            if name not in point:
                return at_random(name, distribution)
            return round(point[name]) if isinstance(distribution, IntDistribution) else point[name]

        return ask


def _without_steps(distribution: BaseDistribution) -> BaseDistribution:
    """A whole number of very many as any number: Optuna's model would make a list of them all."""
    if isinstance(distribution, IntDistribution) and distribution.high - distribution.low >= LISTED:
        return FloatDistribution(distribution.low, distribution.high, log=distribution.log)
    return distribution


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


def _import_quietly(module: str) -> None:
    """What Optuna says while it imports is nothing that a user of ours can mend."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        importlib.import_module(module)
    finally:
        optuna.logging.set_verbosity(before)


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
