"""How near samplers come to the best of known functions, and how long they take to ask.

    python studies/benchmarks/samplers.py [--seeds 10] [--trials 40] [--only bayes tpe gp random] [--ask 100 1000]

Three functions, each with its maximum known: Branin; four axes of which one is of no use, on the scales of a learning
rate and of γ; and a mixed one, with a choice that brings an axis of its own, a whole number and a rate. The table has
the mean regret after all trials, its standard error, and the seconds of the last ask. With --ask it is how long one ask
takes when so many trials have ended.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna

from sweepstack.search.samplers.registry import make_sampler
from sweepstack.search.study.axes import Choice, Interval, Option
from sweepstack.search.study.search_section import Search
from sweepstack.search.study.space import Space

Function = Callable[[dict[str, Any]], float]


def branin(at: dict[str, Any]) -> float:
    x, y = at["x"], at["y"]
    bowl = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
    return 0.39788736 - bowl - 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) - 10


def rates(at: dict[str, Any]) -> float:
    lr, gamma, decay = math.log10(at["lr"] / 3e-3), math.log10((1 - at["gamma"]) / 2e-3), math.log10(at["decay"] / 1e-2)
    return -(lr**2) - 2 * (gamma - 0.5 * lr) ** 2 - 0.2 * decay**2


def mixed(at: dict[str, Any]) -> float:
    best = {"a": 1e-2, "b": 1e-3, "c": 1e-4}[at["kind"]]
    worse = {"a": 0.3, "b": 0.0, "c": 0.6}[at["kind"]]
    own = (at["clip"] - 0.7) ** 2 if "clip" in at else 0.0
    return -(math.log10(at["lr"] / best) ** 2) - 0.1 * (at["layers"] - 4) ** 2 - worse - 3 * own


LR = Interval("lr", "log", 1e-5, 1.0)
FUNCTIONS: dict[str, tuple[Function, Space]] = {
    "branin": (branin, Space((Interval("x", "range", -5.0, 10.0), Interval("y", "range", 0.0, 15.0)))),
    "rates": (
        rates,
        Space(
            (
                LR,
                Interval("gamma", "near_one", 0.9, 0.99999),
                Interval("decay", "log", 1e-4, 1.0),
                Interval("useless", "range", 0.0, 1.0),
            )
        ),
    ),
    "mixed": (
        mixed,
        Space(
            (
                Choice("kind", (Option("a"), Option("b", (Interval("clip", "range", 0.0, 1.0),)), Option("c"))),
                Interval("layers", "int", 1, 8),
                LR,
            )
        ),
    ),
}


def study_of(sampler: str, space: Space, seed: int) -> optuna.Study:
    search = Search.model_validate({"sampler": sampler, "seed": seed})
    return optuna.create_study(sampler=make_sampler(search, space), direction="maximize")


def regret(sampler: str, name: str, seed: int, trials: int) -> tuple[float, float]:
    """After so many trials; and the seconds of the last ask."""
    function, space = FUNCTIONS[name]
    study, seconds = study_of(sampler, space, seed), 0.0
    for _ in range(trials):
        began = time.perf_counter()
        trial = study.ask()
        point = space.suggest(trial)
        seconds = time.perf_counter() - began
        study.tell(trial, function(point))
    return -study.best_value, seconds


def ask_seconds(sampler: str, trials: int, asks: int = 3) -> float:
    """Of one ask after ``trials`` trials at random, the best of ``asks``."""
    function, space = FUNCTIONS["mixed"]
    study = study_of("random", space, 0)
    for _ in range(trials):
        trial = study.ask()
        study.tell(trial, function(space.suggest(trial)))
    study.sampler = make_sampler(Search.model_validate({"sampler": sampler}), space)
    taken = []
    for _ in range(asks):
        began = time.perf_counter()
        trial = study.ask()
        point = space.suggest(trial)
        taken.append(time.perf_counter() - began)
        study.tell(trial, function(point))
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--only", nargs="+", default=["bayes", "tpe", "gp", "random"])
    parser.add_argument("--ask", nargs="+", type=int, default=[])
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for sampler in options.only:
        for trials in options.ask:
            print(f"{sampler:8} {trials:6,} trials {ask_seconds(sampler, trials):7.3f} s an ask", flush=True)
        for name in FUNCTIONS if not options.ask else ():
            found = [regret(sampler, name, seed, options.trials) for seed in range(options.seeds)]
            losses = [loss for loss, _ in found]
            error = statistics.stdev(losses) / math.sqrt(len(losses)) if len(losses) > 1 else math.nan
            seconds = float(np.median([seconds for _, seconds in found]))
            mean = statistics.fmean(losses)
            median = statistics.median(losses)
            print(
                f"{sampler:8} {name:8} regret {mean:.4f} ± {error:.4f}, median {median:.4f}, {seconds:.2f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
