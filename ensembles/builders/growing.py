"""An ensemble that grows while trials end: greedy selection that is taken up again with each new member.

It holds picks (members with repetition, averaged). A new member may be picked, alone or beside the others, and whatever
then makes the average better is done, one pick more or less at a time. Members without a pick are forgotten, so what a
new one costs does not grow with the search. Nothing depends on anything but the members and the order they came in.
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.predictions.probabilities import DIRECTION, EVEN, Floats, Ints, Predictions

MOST = 6  # members with a pick
PICKS = 25
MOVES = 8  # picks more or less that one new member may bring about
LEAST = 1e-9  # by which a move must improve the score
Said = tuple[Floats, Floats]  # (classes, rows, segments), (rows, segments)


class GrowingSelection:
    """labels (rows,), n_segments (rows,): of the rows that all members have predicted."""

    def __init__(self, labels: Ints, n_segments: Ints, objective: Objective) -> None:
        self._labels, self._n_segments, self._objective = labels, n_segments, objective
        self._rows = np.arange(len(labels))
        self._segments = 1 if objective.reads_all else int(n_segments.max(initial=1))
        last = np.minimum(n_segments, self._segments) - 1
        self._must: NDArray[np.bool_] = np.arange(self._segments)[None, :] >= last[:, None]
        self._said: dict[str, Said] = {}
        self.picks: Counter[str] = Counter()
        self.score: float | None = None  # of the picks on these rows, more is better

    def add(self, name: str, predictions: Predictions) -> float:
        """Takes up the selection with one more member; returns the score."""
        self._said[name] = self.laid_out(predictions)
        alone = Counter([name])
        own = self.score_of(alone)
        if self.score is None or own > self.score + LEAST:
            self.picks, self.score = alone, own
        for _ in range(MOVES):
            moves = [(self.score_of(picks), picks) for picks in self._moves(name)]
            score, picks = max(moves, key=lambda move: move[0], default=(own, alone))  # of equals the first
            if score <= self.score + LEAST:
                break
            self.picks, self.score = picks, score
        self._said = {each: said for each, said in self._said.items() if each in self.picks}
        return self.score

    def resume(self, picks: Mapping[str, int], members: Mapping[str, Predictions]) -> None:
        """Goes on from what another session had come to."""
        self._said = {name: self.laid_out(members[name]) for name in picks}
        self.picks = Counter(picks)
        self.score = self.score_of(self.picks)

    def gain_of(self, name: str, said: Said) -> float | None:
        """By how much one pick of a member improves the picks without it; None where nothing would be left."""
        others = _without(self.picks, name)
        if not others:
            return None
        return self.score_of(others + Counter([name]), {**self._said, name: said}) - self.score_of(others)

    def laid_out(self, predictions: Predictions) -> Said:
        """Classes first in memory: maxima over them then run over whole rows, which is many times as fast."""
        if self._objective.reads_all:  # the last segment is then all there is to look at
            full = predictions.at(self._n_segments - 1)
            return np.ascontiguousarray(full.T[:, :, None]), np.ones((len(full), 1), dtype=np.float32)
        at = np.minimum(np.arange(self._segments), predictions.answer.shape[1] - 1)
        return np.ascontiguousarray(np.moveaxis(predictions.probabilities[:, at], 2, 0)), predictions.answer[:, at]

    def score_of(self, picks: Mapping[str, int], said: Mapping[str, Said] | None = None) -> float:
        members = self._said if said is None else said
        share = 1 / sum(picks.values())
        first = members[next(iter(picks))]
        total, answered = np.zeros_like(first[0]), np.zeros_like(first[1])
        for name, count in picks.items():
            probabilities, answer = members[name]
            total += np.float32(count * share) * probabilities
            answered += np.float32(count * share) * answer
        objective = self._objective
        if objective.metric not in ("reward", "accuracy"):
            n_segments = np.minimum(self._n_segments, self._segments)
            mixed = Predictions(np.moveaxis(total, 0, 2), answered.clip(0, 1), n_segments)
            return objective.score(mixed, self._labels)
        stops = ((answered >= EVEN) | self._must).argmax(axis=1)
        answers = objective.costs.answers(total[:, self._rows, stops].T)
        if objective.metric == "accuracy":
            return float((answers == self._labels).mean())
        rewards = objective.costs.rewards(self._labels, answers)
        return float(rewards.mean() - objective.costs.read * stops.mean())

    def _moves(self, new: str) -> list[Counter[str]]:
        """The picks with one more, with one less and, where there is no room, with the new member for another."""
        count = self.picks.total()
        room = len(self.picks) < MOST
        more = [name for name in self._said if room or name in self.picks] if count < PICKS else []
        less = list(self.picks) if count > 1 else []
        moves = [self.picks + Counter([name]) for name in more] + [self.picks - Counter([name]) for name in less]
        if not room and new not in self.picks:
            moves += [_without(self.picks, name) + Counter([new]) for name in self.picks]
        return moves


def _without(picks: Mapping[str, int], name: str) -> Counter[str]:
    return Counter({each: count for each, count in picks.items() if each != name})


class LiveSelection:
    """What a growing selection reaches on rows that it was not fitted on: two halves, each scored by the other's."""

    def __init__(self, labels: Ints, n_segments: Ints, objective: Objective, half: Ints) -> None:
        """half (rows,): 0 or 1."""
        self._labels, self._n_segments, self._objective, self._half = labels, n_segments, objective, half
        self._fits = [GrowingSelection(labels[half == k], n_segments[half == k], objective) for k in (0, 1)]
        self._members: dict[str, Predictions] = {}
        self.score: float | None = None  # of the metric as it is, whichever way is better

    @property
    def picks(self) -> list[dict[str, int]]:
        return [dict(fit.picks) for fit in self._fits]

    def add(self, name: str, predictions: Predictions) -> float:
        self._members[name] = predictions
        for k, fit in enumerate(self._fits):
            fit.add(name, predictions.rows(self._half == k))
        return self._rescored()

    def resume(self, picks: list[dict[str, int]], members: Mapping[str, Predictions]) -> float:
        self._members = dict(members)
        for k, fit in enumerate(self._fits):
            own = {name: members[name].rows(self._half == k) for name in picks[k]}
            fit.resume(picks[k], own)
        return self._rescored()

    def _rescored(self) -> float:
        used = set().union(*(fit.picks for fit in self._fits))
        self._members = {name: said for name, said in self._members.items() if name in used}
        segments = int(self._n_segments.max(initial=1))
        classes = next(iter(self._members.values())).probabilities.shape[2]
        probabilities = np.zeros((len(self._labels), segments, classes), dtype=np.float32)
        answer = np.zeros((len(self._labels), segments), dtype=np.float32)
        for k, fit in enumerate(self._fits):
            held = self._half != k
            for name, count in fit.picks.items():
                said, share = self._members[name], np.float32(count / fit.picks.total())
                at = np.minimum(np.arange(segments), said.answer.shape[1] - 1)
                probabilities[held] += share * said.probabilities[held][:, at]
                answer[held] += share * said.answer[held][:, at]
        mixed = Predictions(probabilities, answer.clip(0, 1), self._n_segments)
        self.score = DIRECTION[self._objective.metric] * self._objective.score(mixed, self._labels)
        return self.score
