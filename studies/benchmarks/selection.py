"""Greedy selection over a large library: 500 members × 10,000 rows × 20 classes, 25 picks, one thread, a fresh process.

Seconds are those of `Selection().fit` alone, on the clock and of the processor (a machine with other work on it lets
them wait). Memory is how far the peak of resident memory rises above that of the predictions (400 MB). Members come in
families of ten that err alike. The peer is the loop of AutoGluon's GreedyWeightedEnsembleSelection (its
`ensemble_selection.py`): every round adds each member to the running sum and asks scikit-learn for the metric; ties go
to members already in. Its first round is timed and scaled up, as all its rounds cost the same. About a minute.

    python studies/benchmarks/selection.py
"""

import os
import resource
import subprocess
import sys
import time

import numpy as np
from sklearn.metrics import accuracy_score, log_loss

from sweepstack.ensembles.builders.selection import Selection
from sweepstack.ensembles.members.library import Stack
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.predictions.probabilities import Floats, Ints

MEMBERS, ROWS, CLASSES, FAMILY, PICKS = 500, 10_000, 20, 10, 25
PEER_ROUNDS = 1
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def library(rows: int, seed: int) -> tuple[Stack, Ints]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, rows)
    worth = np.random.default_rng(0).uniform(1.5, 3.5, MEMBERS)  # of the same members in every set of rows
    unknown = random.standard_normal((rows, CLASSES), dtype=np.float32)  # what no member can know
    probabilities = np.empty((MEMBERS, rows, 1, CLASSES), dtype=np.float32)
    shared = np.empty((rows, CLASSES), dtype=np.float32)
    for member in range(MEMBERS):
        if member % FAMILY == 0:
            shared = unknown + random.standard_normal((rows, CLASSES), dtype=np.float32)
        z = random.standard_normal((rows, CLASSES), dtype=np.float32)
        z += shared
        z[np.arange(rows), labels] += worth[member]
        np.exp(z, out=z)
        z /= z.sum(axis=1, keepdims=True)
        probabilities[member, :, 0] = z
    return Stack(probabilities, np.ones((MEMBERS, rows, 1), np.float32), np.ones(rows, np.int64)), labels


def peer(probabilities: Floats, labels: Ints, metric: str, rounds: int) -> Ints:
    """How often each member was picked."""
    counts = np.zeros(len(probabilities), dtype=np.int64)
    total = np.zeros_like(probabilities[0])
    for size in range(1, rounds + 1):
        scores = np.empty(len(probabilities))
        for j, each in enumerate(probabilities):
            average = (total + each) / size
            if metric == "log_loss":
                scores[j] = -log_loss(labels, average, labels=np.arange(CLASSES))
            else:
                scores[j] = accuracy_score(labels, average.argmax(axis=1))
        tied = np.flatnonzero(np.round(scores, 6) == np.round(scores, 6).max())
        best = next((j for j in tied if counts[j]), tied[0])
        counts[best] += 1
        total += probabilities[best]
    return counts


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def one(metric: str, bags: int) -> None:
    stack, labels = library(ROWS, seed=1)
    objective = Objective(metric)
    before, began, busy = megabytes(), time.perf_counter(), time.process_time()
    combination = Selection(bags=bags).fit(stack, labels, objective)
    seconds, busy, extra = time.perf_counter() - began, time.process_time() - busy, megabytes() - before
    del stack
    fresh, fresh_labels = library(ROWS, seed=2)
    score = abs(objective.score(combination.predict(fresh), fresh_labels))
    print(
        f"{metric:14} ours, {bags:2} bags  {seconds:7.2f} s ({busy:.2f} busy)  {extra:4.0f} MB more  "
        f"{len(combination.members):3} members, {score:.4f} on fresh rows",
        flush=True,
    )


def one_peer(metric: str) -> None:
    stack, labels = library(ROWS, seed=1)
    began, busy = time.perf_counter(), time.process_time()
    peer(stack.probabilities[:, :, 0], labels, metric, PEER_ROUNDS)
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    seconds, busy = seconds * PICKS / PEER_ROUNDS, busy * PICKS / PEER_ROUNDS
    rounds = f"from {PEER_ROUNDS} of {PICKS} rounds"
    print(f"{metric:14} the peer      {seconds:7.0f} s ({busy:.0f} busy)  {rounds}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        for metric in ("log_loss", "accuracy_full"):
            for kind in ("1", "peer"):
                subprocess.run([sys.executable, __file__, metric, kind], check=True, env=os.environ | ONE_THREAD)
    elif sys.argv[2] == "peer":
        one_peer(sys.argv[1])
    else:
        one(sys.argv[1], int(sys.argv[2]))
