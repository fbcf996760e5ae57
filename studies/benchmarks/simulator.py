"""Any sampler × stopper × number of workers, replayed on recorded learning curves: how soon a search is near the best.

    python studies/benchmarks/simulator.py [--workers 2] [--seeds 20] [--trials 100] [--within .01 .005] [--only NAME …]

The clock is simulated: a trial takes the recorded seconds of each of its epochs. Samplers draw points of the continuous
space, and a point takes the curves of the nearest recorded setting of the same choices, in the scale of its axes (log,
or log of 1 − x); whether that setting was taken before does not matter, as two points so near would not differ in a
real study either. A choice among the recorded settings instead would leave a sampler nothing to model. The search sees
valid of one training seed, that of the trial's number; what is found is the best trial so far by valid, and what it is
worth the mean over all training seeds of test, at each seed's epoch that is best on valid. The target is within 1% of
what the best setting is worth when it is trained to its end.

Ours is driven through the sweep of a real ledger. The peers are Ray's own OptunaSearch and ASHAScheduler, told what
Tune tells them: a trial that ASHA has stopped is complete with its last value. They search γ and λ in the same scale.
"""

import argparse
import heapq
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.execution.sweep import open_sweep
from sweepstack.search.ledger.ledger import MAIN, Ledger
from sweepstack.search.study.axes import Choice, Interval
from sweepstack.search.study.search_section import Search
from sweepstack.search.study.space import Space, settings_of

TABLE = Path(__file__).parent / "curves_r8.npz"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """Recorded curves. A value that is no number stands for a trial that fails there."""

    space: Space
    settings: list[dict[str, Any]]  # by path
    valid: Floats  # (settings, seeds, epochs)
    test: Floats  # (settings, seeds, epochs)
    seconds: Floats  # (settings, seeds, epochs)

    @classmethod
    def load(cls, path: Path) -> "Table":
        with np.load(path) as stored:
            about = json.loads(str(stored["about"]))
            space = Space.parse(about["space"], TrialSettings())
            columns = {name: stored[name].tolist() for name in space.paths()}
            by_name = dict(zip(stored["metrics"].tolist(), np.moveaxis(stored["curves"], -1, 0), strict=True))
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        parts = [by_name[name].astype(np.float64) for name in ("valid_reward", "test_reward", "seconds")]
        return cls(space, rows, *parts)

    @property
    def epochs(self) -> int:
        return int(self.valid.shape[2])

    @cached_property
    def worth(self) -> Floats:
        """(settings, epochs): mean over seeds of test at the epoch that is best on valid among those so far."""
        valid = np.where(np.isnan(self.valid), -np.inf, self.valid)
        best = np.zeros(self.valid.shape, dtype=np.int64)
        for epoch in range(1, self.epochs):
            before = best[..., epoch - 1]
            better = valid[..., epoch] > np.take_along_axis(valid, before[..., None], -1)[..., 0]
            best[..., epoch] = np.where(better, epoch, before)
        return np.take_along_axis(self.test, best, -1).mean(1)

    def nearest(self, settings: Mapping[str, Any]) -> int:
        """The recorded setting of the same choices, or of the most of them, that is nearest in the other axes."""
        unlike = np.zeros(len(self.settings))
        for axis in self.space.axes:
            if isinstance(axis, Choice):
                unlike += np.array([row[axis.path] != settings[axis.path] for row in self.settings])
        distance = np.sqrt(((self._places - self._place(settings)) ** 2).sum(1))
        return int(np.lexsort((distance, unlike))[0])

    @cached_property
    def _places(self) -> Floats:
        return np.array([self._place(row) for row in self.settings])

    def _place(self, settings: Mapping[str, Any]) -> Floats:
        """In the unit cube of the axes that are intervals."""
        intervals = [axis for axis in self.space.axes if isinstance(axis, Interval)]
        return np.array([_unit(axis, settings[axis.path]) for axis in intervals])


def _unit(axis: Interval, value: float) -> float:
    def scaled(x: float) -> float:
        return math.log(1 - x if axis.kind == "near_one" else x) if axis.kind != "range" else x

    low, high = sorted((scaled(axis.low), scaled(axis.high)))
    return (scaled(value) - low) / (high - low)


class Searcher(Protocol):
    def ask(self) -> tuple[int, dict[str, Any]] | None:
        """A trial's number and its settings by path; None where there are no more."""

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Whether the trial goes on after ``epoch``, from 1."""

    def close(self) -> None: ...


class Ours:
    """A sweep of a ledger."""

    def __init__(self, search: Search, table: Table, trials: int, seed: int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._ledger = Ledger.open(Path(self._folder.name) / "ledger.log")
        search = search.model_copy(update={"seed": seed})
        self._sweep = open_sweep(
            self._ledger, MAIN, space=table.space, search=search, epochs=table.epochs, trials=trials
        )
        self._epochs = table.epochs

    def ask(self) -> tuple[int, dict[str, Any]] | None:
        record = self._sweep.ask()
        return None if record is None else (record.number, record.settings)

    def report(self, number: int, epoch: int, value: float) -> bool:
        if self._sweep.report(number, epoch, {"reward": value}) == "stop":
            return False
        if epoch == self._epochs:
            self._sweep.complete(number)
        return epoch < self._epochs

    def close(self) -> None:
        self._ledger.close()
        self._folder.cleanup()


class Rays:
    """Ray's OptunaSearch and ASHAScheduler, told what Tune tells them."""

    def __init__(self, reduction: float, table: Table, trials: int, seed: int) -> None:
        from optuna import distributions
        from ray.tune.schedulers import ASHAScheduler
        from ray.tune.search.optuna import OptunaSearch

        def distribution(axis: Choice | Interval) -> Any:
            if isinstance(axis, Choice):
                return distributions.CategoricalDistribution([option.value for option in axis.options])
            if axis.kind == "near_one":
                return distributions.FloatDistribution(1 - axis.high, 1 - axis.low, log=True)
            return distributions.FloatDistribution(axis.low, axis.high, log=axis.kind == "log")

        space = {axis.parameter: distribution(axis) for axis in table.space.axes}
        self._search = OptunaSearch(space, metric="reward", mode="max", seed=seed)
        self._scheduler = ASHAScheduler(
            metric="reward", mode="max", max_t=table.epochs, grace_period=1, reduction_factor=reduction
        )
        self._asked, self._trials, self._epochs = 0, trials, table.epochs

    def ask(self) -> tuple[int, dict[str, Any]] | None:
        if self._asked == self._trials:
            return None
        number, self._asked = self._asked, self._asked + 1
        self._scheduler.on_trial_add(None, SimpleNamespace(trial_id=str(number)))
        return number, settings_of(self._search.suggest(str(number)))

    def report(self, number: int, epoch: int, value: float) -> bool:
        trial, result = SimpleNamespace(trial_id=str(number)), {"reward": value, "training_iteration": epoch}
        if math.isnan(value):
            self._search.on_trial_complete(trial.trial_id, error=True)
            return False
        if epoch < self._epochs and self._scheduler.on_trial_result(None, trial, result) == "CONTINUE":
            self._search.on_trial_result(trial.trial_id, result)
            return True
        self._scheduler.on_trial_complete(None, trial, result)
        self._search.on_trial_complete(trial.trial_id, result)
        return False

    def close(self) -> None: ...


Make = Callable[[Table, int, int], Searcher]  # of trials and seed


@dataclass(frozen=True)
class Replay:
    times: Floats  # (changes,): simulated seconds at which the best trial by valid changed, or went on
    worth: Floats  # (changes,): what it is worth from then on
    trials: int

    def time_to(self, target: float) -> float:
        """When the best trial is first worth as much; infinite if it never is."""
        reached = np.flatnonzero(self.worth >= target)
        return float(self.times[reached[0]]) if len(reached) else math.inf


def replay(table: Table, searcher: Searcher, workers: int, until: float = math.inf) -> Replay:
    """Runs the search on a simulated clock, to its end or until the best trial is worth ``until``."""
    running: list[tuple[float, int, int, int]] = []  # when its epoch ends, trial, row of the table, epoch from 1
    times: list[float] = []
    worth: list[float] = []
    seeds, best, trials = table.valid.shape[1], -math.inf, 0

    def begin(now: float) -> None:
        nonlocal trials
        asked = searcher.ask()
        if asked is not None:
            trials += 1
            row = table.nearest(asked[1])
            heapq.heappush(running, (now + seconds(asked[0], row, 1), asked[0], row, 1))

    def seconds(number: int, row: int, epoch: int) -> float:
        taken = float(table.seconds[row, number % seeds, epoch - 1])
        return 0.0 if math.isnan(taken) else taken

    for _ in range(workers):
        begin(0.0)
    while running:
        now, number, row, epoch = heapq.heappop(running)
        value = float(table.valid[row, number % seeds, epoch - 1])
        if value > best:
            best = value
            times.append(now)
            worth.append(float(table.worth[row, epoch - 1]))
            if worth[-1] >= until:
                break
        if searcher.report(number, epoch, value):
            heapq.heappush(running, (now + seconds(number, row, epoch + 1), number, row, epoch + 1))
        else:
            begin(now)
    return Replay(np.array(times), np.array(worth), trials)


def ours(sampler: str, stopper: Any) -> Make:
    return partial(Ours, Search.model_validate({"sampler": sampler, "stopper": stopper}))


CONTENDERS: dict[str, Make] = {
    "TPE + ASHA": ours("tpe", {"asha": {}}),
    "TPE + ASHA, reduction 4": ours("tpe", {"asha": {"reduction": 4}}),
    "TPE": ours("tpe", "none"),
    "random + ASHA": ours("random", {"asha": {}}),
    "random": ours("random", "none"),
    "Ray OptunaSearch + ASHA": partial(Rays, 4),
    "Ray OptunaSearch + ASHA, reduction 2": partial(Rays, 2),
}


def quartiles(times: list[float]) -> tuple[float, float, float]:
    """Infinite ones count as they are: a search that got there in fewer than half of the runs has no median."""
    ordered = sorted(times)
    return tuple(ordered[min(int(share * len(ordered)), len(ordered) - 1)] for share in (0.25, 0.5, 0.75))  # type: ignore[return-value]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--within", type=float, nargs="+", default=[0.01])
    parser.add_argument("--only", nargs="+", default=list(CONTENDERS))
    parser.add_argument("--table", type=Path, default=TABLE)
    asked = parser.parse_args(arguments)
    table = Table.load(asked.table)
    best = float(np.nanmax(table.worth[:, -1]))
    targets = [best * (1 - within) for within in asked.within]
    print(
        f"{len(table.settings)} settings × {table.valid.shape[1]} seeds; the best is worth {best:.4f} on test; "
        f"{asked.workers} workers, {asked.seeds} runs of at most {asked.trials} trials"
    )
    for within, target in zip(asked.within, targets, strict=True):
        share = np.mean(table.worth[:, -1] >= target)
        print(f"within {within:.2%}: {target:.4f} or more, as {share:.1%} of the settings are")
    for name in asked.only:
        began = time.perf_counter()
        runs = []
        for seed in range(asked.seeds):
            searcher = CONTENDERS[name](table, asked.trials, seed)
            try:
                runs.append(replay(table, searcher, asked.workers))
            finally:
                searcher.close()
        line = f"{name:38}"
        for target in targets:
            low, median, high = quartiles([run.time_to(target) for run in runs])
            line += f"  {median:7.1f} s ({low:.1f}–{high:.1f})"
        regret = statistics.mean(best - run.worth[-1] for run in runs)
        print(f"{line}   in the end {regret:.4f} below the best   [{time.perf_counter() - began:.0f} s]", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
