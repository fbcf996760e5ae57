"""Greedy ensemble selection with replacement (Caruana et al. 2004, "Ensemble selection from libraries of models").

Round t adds the member m that makes the average (S_{t−1} + p_m)/t best. The start is sorted: the best few members
together, as many as do best, so that a lucky first pick cannot lead astray. All rounds are run and then cut at the
best. Ties go to a member already in (fewer to serve), then to the lower log loss, then to the lower place.

For log loss, averages are compared at their best temperature, which the ensemble will have: otherwise the surest member
would win, not the best.
"""

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.builder import Builder, candidates, finished
from sweepstack.ensembles.combination import Combination
from sweepstack.ensembles.objective import Objective
from sweepstack.ensembles.store import Stack
from sweepstack.ensembles.temperature import best_temperature, log_losses, logs
from sweepstack.models.measures import (
    CLASS_METRICS,
    calibration_error,
    calibration_means,
    class_means,
    class_scores,
)
from sweepstack.models.predictions import DIRECTION, Floats, Ints


@dataclass(frozen=True)
class Selection(Builder):
    name: ClassVar[str] = "selection"
    counts: ClassVar[tuple[str, ...]] = ("members",)
    size: int = 25  # picks, counted with repetition
    start: int = 5  # at most so many of the best begin together
    members: int = 25  # at most so many differ

    def fit(self, stack: Stack, labels: Ints, objective: Objective) -> Combination:
        order = candidates(stack, labels, objective, min(self.start, self.size, self.members))
        running = _RunningAverage(stack, labels, objective)
        best: tuple[float, float] | None = None
        begun = 0
        for count, member in enumerate(order, start=1):
            key = running.add(member)
            if best is None or key < best:
                best, begun = key, count
        picks = order[:begun]
        running = _RunningAverage(stack, labels, objective)
        for member in picks:
            running.add(member)
        cut = begun
        while len(picks) < self.size:
            left = range(len(stack)) if len(set(picks)) < self.members else sorted(set(picks))
            keys = {member: running.key(member) for member in left}
            member = min(left, key=lambda m: (keys[m][0], m not in picks, keys[m][1], m))
            picks.append(member)
            key = running.add(member)
            if best is None or key < best:
                best, cut = key, len(picks)
        counts = Counter(picks[:cut])
        members = sorted(counts)
        weights = np.array([counts[m] / cut for m in members], dtype=np.float32)
        return finished(members, stack, labels, objective, weights)


class _RunningAverage:
    """The sum of the picks so far, and how good it would be with one more.

    Classes come first in memory, so that maxima over them run over whole rows: 30 times as fast as numpy's reduction
    over a short last axis, and this is the inner loop.
    """

    def __init__(self, stack: Stack, labels: Ints, objective: Objective) -> None:
        probabilities, answer, last = stack.probabilities, stack.answer, stack.n_segments - 1
        rows = np.arange(len(labels))
        if objective.reads_all:  # the last segment is then all there is to look at
            probabilities, answer = probabilities[:, rows, last][:, :, None], answer[:, rows, last][:, :, None]
            last = np.zeros_like(last)
        self.probabilities: Floats = np.ascontiguousarray(
            np.moveaxis(probabilities, 3, 1)
        )  # (members, classes, rows, segments)
        self.answer = answer
        self.rows, self.last, self.labels, self.objective = rows, last, labels, objective
        self.must: NDArray[np.bool_] = np.arange(answer.shape[2])[None, :] >= last[:, None]
        self.sum: Floats = np.zeros_like(self.probabilities[0])
        self.answer_sum: Floats = np.zeros_like(self.answer[0])
        self.count = 0
        self.temperature = 1.0

    def add(self, member: int) -> tuple[float, float]:
        """The key with ``member``, which is added; for log loss the temperature is fitted again."""
        key = self.key(member)
        self.sum += self.probabilities[member]
        self.answer_sum += self.answer[member]
        self.count += 1
        if self.objective.metric == "log_loss":
            logits = self._logits(self.sum)
            self.temperature = best_temperature(logits, self.labels)
            key = (float(log_losses(logits, self.labels, self.temperature).mean()),) * 2
        return key

    def key(self, member: int) -> tuple[float, float]:
        """(minus the objective, log loss) with ``member`` added, at the temperature of the picks; less is better."""
        share = np.float32(1 / (self.count + 1))
        total = self.sum + self.probabilities[member]  # (classes, rows, segments)
        metric = self.objective.metric
        if metric == "log_loss":
            return (float(log_losses(self._logits(total), self.labels, self.temperature).mean()),) * 2
        of_label = total[self.labels, self.rows, self.last].astype(np.float64) * share
        log_loss = float(-np.log(np.clip(of_label, 1e-12, 1.0)).mean())
        answer = (self.answer_sum + self.answer[member]) * share
        stops = ((total.max(axis=0) * share * answer >= 1 - answer) | self.must).argmax(axis=1)
        costs = self.objective.costs
        answers = costs.answers(total[:, self.rows, stops].T)
        right = (answers == self.labels).mean()
        if metric in CLASS_METRICS:
            value = class_scores(class_means(self.labels, answers, len(total)))[metric]
        elif metric == "calibration_error":
            value = calibration_error(calibration_means(total[:, self.rows, self.last].T * share, self.labels))
        else:
            value = {
                "reward": costs.rewards(self.labels, answers).mean() - costs.read * stops.mean(),
                "accuracy": right,
                "accuracy_full": right,
                "segments": stops.mean() + 1,
            }[metric]
        return -DIRECTION[metric] * round(float(value), 10), log_loss

    def _logits(self, total: Floats) -> Floats:
        """(classes, rows, segments), any multiple of probabilities → (rows, classes) at each text's end."""
        full = total[:, self.rows, self.last].T
        return logs(full / full.sum(axis=1, keepdims=True))
