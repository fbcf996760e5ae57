"""Where the next trial looks: Optuna's samplers, and ours, behind one that thinks of whole points.

A trial's point is a function of the ledger and the trial's number, and of nothing that a process remembers: after a
restart the search goes on as if nothing had happened. What is the same for all samplers is in base.py, and
what they are told of stopped and failed trials in history.py.

Which sampler fits: tpe for mixed and conditional spaces; gp and bayes where trials are few and dear; cmaes for many
numbers (choices, and what exists only under one, it leaves to tpe); nsga2 for several objectives and many trials; qmc
and random to look everywhere alike; grid to see every point.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.samplers import (
    BaseSampler,
)

from sweepstack.search.samplers.base import Engine, PointSampler, Worth
from sweepstack.search.samplers.cmaes import CMAESEngine
from sweepstack.search.samplers.gp import GPEngine
from sweepstack.search.samplers.grid import GridEngine
from sweepstack.search.samplers.initial_points import Beginning
from sweepstack.search.samplers.nsga2 import NSGA2Engine
from sweepstack.search.samplers.points import (
    draw,
    every_point,
    neutral,
    parameters,
)
from sweepstack.search.samplers.qmc import QMCEngine
from sweepstack.search.samplers.random import RandomEngine
from sweepstack.search.samplers.tpe import TPEEngine
from sweepstack.search.study.search_section import Search
from sweepstack.search.study.space import Space


def _bayes(space: Space, seed: int) -> Engine:
    from sweepstack.search.samplers.bayes import BayesEngine  # brings scikit-learn

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
        from sweepstack.search.samplers.cost_aware import CostAwareEngine  # brings scikit-learn

        engine = CostAwareEngine(engine, space, search.seed)
    beginning = None if search.sampler == "grid" else Beginning.of(space, start, search.seed)
    return PointSampler(space, engine, search.seed, worth, beginning)


def points_of(search: Search, space: Space) -> list[dict[str, Any]] | None:
    """Every point that the trials of a search can have; None where nobody can try them all."""
    if not parameters(space):
        return [draw(space, lambda name, distribution: neutral(distribution))]
    return space.grid() if search.sampler == "grid" else every_point(space)
