"""Checkpoint soups: one policy whose weights are the mean of several trials' (Wortsman et al. 2022, arXiv 2203.05482).

Weights average only where they were trained from one start: from separate random ones the mean of two good policies is
a bad one. Whoever makes a :class:`SoupJob` sees to that. A uniform soup is of all its ingredients. A greedy one begins
with the best of them and takes, best first, each with which it is no worse on valid. Under folds each fold's policy is
a soup of that fold's checkpoints, whose ingredients the rows of the *other* folds choose, so that its out-of-fold
predictions are of rows that had no part in it.

A soup is a folder ``soups/<hash>/`` like a trial's, with ``checkpoint/`` and ``predictions/``; the hash is of all that
it depends on, and the file ``done`` is written last.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import numpy as np

from sweepstack.ensembles.builders.base import Builder, finished, ranking
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.members.library import Kind, Member, Stack
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models import checksums
from sweepstack.models.files import as_json, read_json
from sweepstack.models.predictions.probabilities import (
    Ints,
    Predictions,
    fit_threshold,
    metrics,
    one_after_another,
    thresholds_over,
)

if TYPE_CHECKING:
    from torch import Tensor

    from sweepstack.models.data.encoding import TaskData

FORMAT = 1
KINDS = ("greedy", "uniform")
MOST = 16  # ingredients
J = TypeVar("J", bound="SoupFolder")


@dataclass(frozen=True)
class Soup(Builder):
    name: ClassVar[str] = "soup"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"soup"})
    kind: str = "greedy"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be {' or '.join(KINDS)}, but got {self.kind!r}")

    def fit(self, stack: Stack, labels: Ints, objective: Objective) -> Combination:
        return finished(ranking(stack, labels, objective)[:1], stack, labels, objective)


@dataclass(frozen=True)
class Ingredient:
    name: str
    checkpoint: Path


class SoupFolder:
    """Where a soup lies, in a folder that is named by what it depends on."""

    folder: Path

    @property
    def name(self) -> str:
        return f"soup-{self.folder.name}"

    @property
    def member(self) -> Member:
        return Member(self.name, "soup", self.folder)

    @property
    def marker(self) -> Path:
        return self.folder / "done"

    def end(self, state: Mapping[str, object]) -> None:
        """Writes ``done``."""
        checksums.put(self.folder, {self.marker.name: as_json(state)})


@dataclass(frozen=True)
class SoupJob(SoupFolder):
    kind: str
    ingredients: tuple[Ingredient, ...]  # best first by valid; all of one shape and one supervised start
    objective: Objective
    folder: Path
    device: str = "auto"

    @staticmethod
    def of(
        kind: str,
        ingredients: Sequence[Ingredient],
        objective: Objective,
        hashes: Mapping[str, str],
        soups: Path,
        device: str = "auto",
    ) -> "SoupJob":
        """In a folder of ``soups``; ``hashes`` of the data's parts."""
        ingredients = tuple(ingredients[:MOST])
        costs = objective.costs
        scored_by = [objective.metric, costs.read, None if costs.matrix is None else costs.matrix.tolist()]
        return SoupJob(kind, ingredients, objective, soups / soup_digest(kind, ingredients, scored_by, hashes), device)


def soup_digest(
    kind: str, ingredients: Sequence[Ingredient], scored_by: Sequence[object], hashes: Mapping[str, str]
) -> str:
    """Of all that a soup depends on; ``hashes`` of the data's parts."""
    weights = [
        hashlib.sha256(path.read_bytes()).hexdigest()
        for each in ingredients
        for path in sorted(each.checkpoint.rglob("weights.safetensors"))
    ]
    identity = [FORMAT, kind, weights, list(scored_by), dict(sorted(hashes.items()))]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class SoupResult(Generic[J]):
    job: J
    ingredients: tuple[tuple[str, ...], ...]  # the names of those that were taken, for each fold
    valid: dict[str, float]
    seconds: float
    error: str | None = None  # why it came to nothing


def cook(job: SoupJob, data: "TaskData") -> SoupResult[SoupJob]:
    """Makes one soup and its predictions, in whatever process it is called; what was made is not made again."""
    if not job.marker.exists():
        from sweepstack.models.training.folds import forget_folds, put_together, unfinished

        began = time.monotonic()
        shutil.rmtree(job.folder, ignore_errors=True)  # of a process that was killed
        kitchen = _Kitchen(job, data)
        try:
            taken = kitchen.taken()
        except ValueError as error:
            job.end({"ingredients": [], "valid": {}, "seconds": 0.0, "error": str(error)})
            return read_result(job)
        for k, chosen in enumerate(taken):
            kitchen.serve(k, chosen, unfinished(job.folder, k) if data.folds else job.folder)
        part = "valid"
        if data.folds:
            labels = [kitchen.labels(k) for k in range(len(taken))]
            put_together(job.folder, labels, data.hashes, job.objective.costs, kitchen.interval)
            forget_folds(job.folder, len(taken))
            part = "out_of_fold"
        said, _ = Predictions.load(job.member.predictions(part))
        state = {
            "ingredients": [[job.ingredients[i].name for i in chosen] for chosen in taken],
            "valid": metrics(said, np.concatenate([kitchen.labels(k) for k in range(len(taken))]), job.objective.costs),
            "seconds": time.monotonic() - began,
            "error": None,
        }
        job.end(state)
    return read_result(job)


def read_result(job: J) -> SoupResult[J]:
    state = read_json(job.marker)
    taken = tuple(tuple(names) for names in state["ingredients"])
    return SoupResult(job, taken, dict(state["valid"]), state["seconds"], state["error"])


def mean_weights(states: Sequence[Mapping[str, "Tensor"]]) -> dict[str, "Tensor"]:
    """The mean of each tensor, in float64 on the way; raises ValueError where they differ in shape, or in what is no
    floating-point number and so has no mean."""
    import torch

    found = {}
    for name, first in states[0].items():
        tensors = [state.get(name) for state in states]
        if any(tensor is None or tensor.shape != first.shape for tensor in tensors) or len(states[0]) != max(
            map(len, states)
        ):
            raise ValueError(f"its trials differ in the shape of {name}")
        same = [tensor for tensor in tensors if tensor is not None]
        if first.is_floating_point():
            found[name] = torch.stack([tensor.double() for tensor in same]).mean(dim=0).to(first.dtype)
        elif any(not torch.equal(tensor, first) for tensor in same):
            raise ValueError(f"its trials differ in {name}, so they are not of one start")
        else:
            found[name] = first
    return found


def greedily(ingredients: int, score: Callable[[tuple[int, ...]], float]) -> tuple[int, ...]:
    """The first, the best, and of the others in their order each with which the soup scores no worse."""
    chosen: tuple[int, ...] = (0,)
    best = score(chosen)
    for more in range(1, ingredients):
        with_it = score((*chosen, more))
        if with_it >= best - 1e-12:
            chosen, best = (*chosen, more), with_it
    return chosen


class _Kitchen:
    """The ingredients of each fold (one where there are none), and what mixtures of them say of valid."""

    def __init__(self, job: SoupJob, data: "TaskData") -> None:
        from sweepstack.models.networks.device import pick_device
        from sweepstack.models.tasks.classification.checkpoint import load_policy
        from sweepstack.models.training.fold_checkpoint import fold_folders

        self._job, self._data, self._parts = job, data, data.folds or (data,)
        folders = [
            fold_folders(each.checkpoint, len(data.folds)) if data.folds else [each.checkpoint]
            for each in job.ingredients
        ]
        loaded = [[load_policy(folder, pick_device(job.device)) for folder in own] for own in folders]
        self._policies = [policy for policy, _ in loaded[0]]  # of each fold: its weights are put in as they are wanted
        self._states = [
            [{name: t.detach().clone() for name, t in own[k][0].state_dict().items()} for own in loaded]
            for k in range(len(self._parts))
        ]
        self._answers = loaded[0][0][1]["threshold"] is not None  # above a threshold: its stop was not learned
        self._said: dict[tuple[int, tuple[int, ...]], Predictions] = {}

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        return self._policies[0].reading.interval

    def labels(self, k: int) -> Ints:
        from sweepstack.models.data.encoding import labels_of

        return labels_of(self._parts[k], "valid")

    def taken(self) -> list[tuple[int, ...]]:
        """The ingredients of each fold's soup; raises ValueError where the weights have no mean."""
        everything, folds = tuple(range(len(self._job.ingredients))), range(len(self._parts))
        for k in folds:
            mean_weights(self._states[k])
        if self._job.kind == "uniform":
            return [everything for _ in folds]
        return [self._greedy([other for other in folds if other != k] or [k]) for k in folds]

    def _greedy(self, folds: Sequence[int]) -> tuple[int, ...]:
        return greedily(len(self._job.ingredients), lambda chosen: self._score(chosen, folds))

    def _score(self, chosen: tuple[int, ...], folds: Sequence[int]) -> float:
        said = one_after_another([self._valid(k, chosen) for k in folds])
        return self._job.objective.score(said, np.concatenate([self.labels(k) for k in folds]))

    def _valid(self, k: int, chosen: tuple[int, ...]) -> Predictions:
        if (k, chosen) not in self._said:
            threshold = self._threshold(k, chosen) if self._answers else None
            self._said[k, chosen] = self._predict(k, chosen, "valid", threshold)
        return self._said[k, chosen]

    def _threshold(self, k: int, chosen: tuple[int, ...]) -> float:
        plain = self._predict(k, chosen, "valid", None)
        return fit_threshold(plain.probabilities, plain.n_segments, self.labels(k), self._job.objective.costs)

    def _predict(self, k: int, chosen: tuple[int, ...], part: str, threshold: float | None) -> Predictions:
        from sweepstack.models.tasks.classification.checkpoint import predict

        policy = self._policies[k]
        policy.load_state_dict(mean_weights([self._states[k][i] for i in chosen]))
        return predict(policy, self._parts[k].parts[part], threshold, costs=self._job.objective.costs)

    def serve(self, k: int, chosen: tuple[int, ...], folder: Path) -> None:
        """Writes the soup of fold ``k`` and what it says of every part that nothing was trained on."""
        from sweepstack.models.tasks.classification.checkpoint import save_policy

        own, costs = self._parts[k], self._job.objective.costs
        threshold = self._threshold(k, chosen) if self._answers else None
        table = None
        if self._answers:
            plain = self._predict(k, chosen, "valid", None)
            table = thresholds_over(self.interval, plain.probabilities, plain.n_segments, self.labels(k), costs)
        for part in (name for name in ("valid", "blend", "test") if name in own.parts):
            said = self._predict(k, chosen, part, threshold)
            said.save(folder / "predictions" / f"{part}.safetensors", own.hashes[part])
        save_policy(folder / "checkpoint", self._policies[k], own.classes, own.reader, threshold, table, own.costs)
