"""The running average of greedy selection: the sum of the picks so far, and which member would make it best.

This is the inner loop, members × rounds × rows × classes, so each family of metrics has its own way through it. For log
loss every member is looked at by its slope alone and the steepest in full, among which the best one nearly always is;
where only right answers of one segment count, a row is looked at only where some member could turn it, which misses
nothing; anything else is worked out in full.
Classes come first in memory, so that maxima and sums over them run over whole rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.members.library import Stack
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.ensembles.scoring.temperature import FLOOR, best_temperature
from sweepstack.models.predictions.classification_metrics import (
    CLASS_METRICS,
    calibration_error,
    calibration_means,
    class_means,
    class_scores,
)
from sweepstack.models.predictions.probabilities import DIRECTION, EVEN, Floats, Ints

Key = tuple[float, float]
"""(minus the objective, log loss): less is better."""

STEEPEST = 24  # members that are looked at in full


def running_average(stack: Stack, labels: Ints, objective: Objective) -> "RunningAverage":
    """The one that suits the objective, without a pick."""
    if objective.metric == "log_loss":
        return LogLoss(stack, labels)
    if objective.counts_right_answers(stack.answer.shape[2]):
        return RightAnswers(stack, labels)
    return InFull(stack, labels, objective)


def at_the_end(stack: Stack) -> Floats:
    """(members, rows, classes) after reading everything; of texts of one segment a view."""
    if stack.probabilities.shape[2] == 1:
        return stack.probabilities[:, :, 0]
    return stack.probabilities[:, np.arange(len(stack.n_segments)), stack.n_segments - 1]


class RunningAverage(ABC):
    def begin(self, picks: Sequence[int]) -> None:
        """Forgets what there was and adds these."""
        self.count = 0
        self._clear()
        for member in picks:
            self.add(member)

    @abstractmethod
    def _clear(self) -> None: ...

    @abstractmethod
    def key(self, member: int) -> Key:
        """With ``member`` added; for log loss at the temperature of the picks."""

    @abstractmethod
    def _add(self, member: int) -> None: ...

    def add(self, member: int) -> Key:
        """The key with ``member``, which is added; for log loss the temperature is fitted again."""
        key = self.key(member)
        self._add(member)
        self.count += 1
        return key

    def best(self, left: Sequence[int], inside: Collection[int]) -> int:
        """Which of ``left`` to add; ties go to one that is ``inside``, to the lower log loss, to the lower place."""
        keys = {member: self.key(member) for member in left}
        return min(left, key=lambda m: (keys[m][0], m not in inside, keys[m][1], m))


class LogLoss(RunningAverage):
    """At the best temperature of the average, which the ensemble will have: else the surest member would win."""

    def __init__(self, stack: Stack, labels: Ints) -> None:
        self.probabilities = at_the_end(stack)
        self.rows, self.labels = np.arange(len(labels)), labels
        self.begin([])

    def _clear(self) -> None:
        self.sum: Floats = np.zeros(self.probabilities.shape[:0:-1], dtype=np.float32)  # (classes, rows)
        self.temperature = 1.0

    def key(self, member: int) -> Key:
        return (self._loss(self.sum + self.probabilities[member].T, self.count + 1),) * 2

    def _add(self, member: int) -> None:
        self.sum += self.probabilities[member].T

    def add(self, member: int) -> Key:
        self._add(member)
        self.count += 1
        self.temperature = best_temperature(self._logs(self.sum, self.count).T, self.labels, self.temperature)
        return (self._loss(self.sum, self.count),) * 2

    def best(self, left: Sequence[int], inside: Collection[int]) -> int:
        if len(left) > STEEPEST:
            places = np.asarray(left)
            steepest = np.argpartition(self._slopes()[places], STEEPEST)[:STEEPEST]
            left = sorted(places[steepest].tolist())
        return super().best(left, inside)

    def _logs(self, total: Floats, count: int) -> Floats:
        """(classes, rows): a sum of ``count`` probabilities → the logarithms of their average."""
        average = total * np.float32(1 / count)
        return np.asarray(np.log(np.maximum(average, np.float32(FLOOR), out=average), out=average))

    def _loss(self, total: Floats, count: int) -> float:
        z = self._logs(total, count)
        z *= np.float32(1 / self.temperature)
        z -= z.max(axis=0)
        of_label = z[self.labels, self.rows]
        return float((np.log(np.exp(z, out=z).sum(axis=0)) - of_label).mean(dtype=np.float64))

    def _slopes(self) -> Floats:
        """(members,): how the loss changes with a little of each member.

        With a = 1/T and the average s, L = −a·log s_y + log Σ s_c^a and ∂L/∂s_c ∝ s_c^(a−1)/Σ s^a − [c = y]/s_y.
        """
        logs = self._logs(self.sum, self.count)
        power = np.exp(logs * np.float32(1 / self.temperature))
        slope = power / power.sum(axis=0)
        slope[self.labels, self.rows] -= 1
        slope *= np.exp(-logs)
        flat = np.ascontiguousarray(slope.T).ravel()
        return np.asarray(self.probabilities.reshape(len(self.probabilities), -1) @ flat)


class RightAnswers(RunningAverage):
    """The share of right answers. A row is right where its label's sum is the largest, of equals the first.

    A member can turn "label over another class" only where the lead that the picks gave is not above what the most
    contrary member takes. As picks add up few such pairs of a row and a class remain.
    """

    def __init__(self, stack: Stack, labels: Ints) -> None:
        self.probabilities = at_the_end(stack)
        _, rows, self.classes = self.probabilities.shape
        self.labels, self.rows = labels, np.arange(rows)
        self.of_label: Floats = np.ascontiguousarray(self.probabilities[:, self.rows, labels])  # (members, rows)
        self.most = np.full((rows, self.classes), -1, dtype=np.float32)  # that a member prefers a class to the label
        for each, of_label in zip(self.probabilities, self.of_label, strict=True):
            np.maximum(self.most, each - of_label[:, None], out=self.most)
        self.most += 1e-4  # sums are rounded
        self.begin([])

    def _clear(self) -> None:
        self.sum: Floats = np.zeros((len(self.rows), self.classes), dtype=np.float32)

    def _add(self, member: int) -> None:
        self.sum += self.probabilities[member]

    def key(self, member: int) -> Key:
        return self._value(int(self._right([member])[0])), self._log_loss(member)

    def best(self, left: Sequence[int], inside: Collection[int]) -> int:
        right = self._right(left)
        tied = [member for member, count in zip(left, right.tolist(), strict=True) if count == right.max()]
        tied = [member for member in tied if member in inside] or tied
        return min(tied, key=lambda m: (self._log_loss(m), m))

    def _value(self, right: int) -> float:
        return -round(right / len(self.rows), 10)

    def _log_loss(self, member: int) -> float:
        of_label = (self.sum[self.rows, self.labels] + self.of_label[member]) / np.float32(self.count + 1)
        return float(-np.log(np.clip(of_label.astype(np.float64), 1e-12, 1.0)).mean())

    def _right(self, members: Sequence[int]) -> Ints:
        """(members,): right answers with each of them added."""
        of_label = self.sum[self.rows, self.labels]
        open_ = of_label[:, None] - self.sum <= self.most
        open_[self.rows, self.labels] = False
        row, other = np.nonzero(open_)
        if not len(row):
            return np.full(len(members), len(self.rows))
        begins = np.flatnonzero(np.diff(row, prepend=-1))
        flat = self.probabilities.reshape(len(self.probabilities), -1)
        pair, lead = row * self.classes + other, of_label[row] - self.sum[row, other]
        first = other < self.labels[row]  # it wins where they are equal
        lead[first] = np.nextafter(lead[first], np.float32(-np.inf))
        right = np.empty(len(members), dtype=np.int64)
        for i, member in enumerate(members):
            preferred = flat[member].take(pair)
            preferred -= self.of_label[member].take(row)
            right[i] = len(self.rows) - np.count_nonzero(np.logical_or.reduceat(preferred > lead, begins))
        return right


class InFull(RunningAverage):
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
        self.begin([])

    def _clear(self) -> None:
        self.sum: Floats = np.zeros_like(self.probabilities[0])
        self.answer_sum: Floats = np.zeros_like(self.answer[0])

    def _add(self, member: int) -> None:
        self.sum += self.probabilities[member]
        self.answer_sum += self.answer[member]

    def key(self, member: int) -> Key:
        share = np.float32(1 / (self.count + 1))
        total = self.sum + self.probabilities[member]  # (classes, rows, segments)
        metric = self.objective.metric
        of_label = total[self.labels, self.rows, self.last].astype(np.float64) * share
        log_loss = float(-np.log(np.clip(of_label, 1e-12, 1.0)).mean())
        answer = (self.answer_sum + self.answer[member]) * share
        stops = ((answer >= EVEN) | self.must).argmax(axis=1)
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
