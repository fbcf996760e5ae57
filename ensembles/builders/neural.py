"""A small neural combiner: a perceptron, the same for every class, corrects a mean of log-probabilities.

It is given all members' log-probabilities of one class at a time, so it does not depend on the order of the classes,
and a few hundred numbers are all there is to fit. While it learns, whole members are dropped, which keeps one from
deciding alone (Arango et al. 2024, arXiv 2410.04520). It is stopped early by folds of the rows, learned side by side
with the one on all rows, and where it is not better there than the members' average, the average is what remains.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.builders.base import Builder, candidates, finished
from sweepstack.ensembles.builders.stacking import examples
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.combinations.fitted_pools import Network
from sweepstack.ensembles.combinations.pools import LINEAR
from sweepstack.ensembles.combinations.stop import clearly
from sweepstack.ensembles.members.library import Stack
from sweepstack.ensembles.scoring.crossfit import can_be_folded, folds
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.ensembles.scoring.temperature import best_temperature, log_losses, logs
from sweepstack.models.predictions.probabilities import Floats, Ints
from sweepstack.models.seeds import derive_seed

if TYPE_CHECKING:
    import torch

FOLDS = 3  # on which it is stopped
STEPS = 160
EVERY = 10  # steps between two looks at the held-out rows
PATIENCE = 5  # looks without an improvement
BATCH = 256  # examples
LEARNING_RATE = 0.01
WEIGHT_DECAY = 0.1  # decoupled (AdamW): towards the plain mean


@dataclass(frozen=True)
class Neural(Builder):
    name: ClassVar[str] = "neural"
    counts: ClassVar[tuple[str, ...]] = ("top",)
    top: int = 8
    hidden: int = 16
    dropout: float = 0.3  # of a whole member, in each example

    def __post_init__(self) -> None:
        if not 0 < self.dropout < 1:
            raise ValueError(f"dropout must be between 0 and 1, but got {self.dropout:g}")

    def fit(self, stack: Stack, labels: Ints, objective: Objective) -> Combination:
        members = candidates(stack, labels, objective, self.top)  # best first: it must not depend on their order
        groups = stack.groups
        foldable = can_be_folded(len(labels), groups)
        fold = folds(labels, seed=0, groups=groups, count=FOLDS) if foldable else np.zeros_like(labels)
        if len(members) == 1 or fold.max() < 1:
            return finished(sorted(members), stack, labels, objective)
        own = stack.take(members)
        pools = learn(own, labels, fold, self.hidden, self.dropout)
        weights = np.full(len(members), 1 / len(members), dtype=np.float32)
        out_of_fold = np.empty_like(own.probabilities[0])
        for k, pool in enumerate(pools[:-1]):
            out_of_fold[fold == k] = pool.mix(own.probabilities[:, fold == k], weights)
        average = LINEAR.mix(own.probabilities, weights)
        if not _is_better(out_of_fold, average, own.n_segments - 1, labels, fold, groups):
            return finished(sorted(members), stack, labels, objective)
        return finished(members, stack, labels, objective, weights, pools[-1], out_of_fold)


def _is_better(said: Floats, average: Floats, at: Ints, labels: Ints, fold: Ints, groups: Ints | None = None) -> bool:
    """By more than one standard error of the paired difference in log loss at a text's end, both at a temperature that
    the other folds give."""
    rows = np.arange(len(labels))
    gain = np.zeros(len(labels))
    for k in range(int(fold.max()) + 1):
        held = fold == k
        for sign, probabilities in ((1, average), (-1, said)):
            logits = logs(probabilities[rows, at])
            temperature = best_temperature(logits[~held], labels[~held])
            gain[held] += sign * log_losses(logits[held], labels[held], temperature)
    return clearly(gain, groups)


def learn(stack: Stack, labels: Ints, fold: Ints, hidden: int, dropout: float) -> list[Network]:
    """A network without each fold, and last the one on all rows, after the steps that were best on the held-out rows.

    labels, fold: (rows,). All are learned at once: the weights have a first dimension that says which.
    """
    import torch
    from threadpoolctl import threadpool_limits

    rows, at, weight = examples(stack.n_segments)
    inputs = np.moveaxis(logs(stack.probabilities[:, rows, at]), 0, 2)  # (examples, classes, members)
    inputs -= inputs.mean(axis=1, keepdims=True)
    x, y, w = torch.from_numpy(inputs), torch.from_numpy(labels[rows]), torch.from_numpy(weight.astype(np.float32))
    held = torch.from_numpy(fold[rows])
    count = int(fold.max()) + 1
    random = torch.Generator().manual_seed(derive_seed(0, "neural combiner"))
    with threadpool_limits(limits=1):
        return _learned(x, y, w, [held == k for k in range(count)], hidden, dropout, random)


def _learned(
    x: "torch.Tensor",
    y: "torch.Tensor",
    w: "torch.Tensor",
    held: "Sequence[torch.Tensor]",
    hidden: int,
    dropout: float,
    random: "torch.Generator",
) -> list[Network]:
    import torch

    networks, members = len(held) + 1, x.shape[2]
    first = torch.randn(1, members, hidden, generator=random) / members**0.5
    weights = [
        first.repeat(networks, 1, 1).requires_grad_(),
        torch.zeros(networks, 1, hidden, requires_grad=True),
        torch.zeros(networks, hidden, 1, requires_grad=True),
        torch.zeros(networks, members, 1, requires_grad=True),  # what a member counts more or less than the others
    ]
    scale = torch.ones(networks, 1, 1, requires_grad=True)
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": WEIGHT_DECAY},
        {"params": [scale], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE)
    own = [*[torch.nonzero(~each)[:, 0] for each in held], torch.arange(len(x))]

    def linear(at: slice) -> "torch.Tensor":
        each: torch.Tensor = scale[at] * (1 / members + weights[3][at])
        return each

    def losses(x: "torch.Tensor", y: "torch.Tensor", w: "torch.Tensor", at: slice) -> "torch.Tensor":
        """(networks, examples, classes, members), (networks, examples) twice → (networks,): mean log losses."""
        n, examples, classes, _ = x.shape
        flat = x.reshape(n, examples * classes, members)
        inside = torch.tanh(torch.baddbmm(weights[1][at], flat, weights[0][at]))
        logits = torch.baddbmm(torch.bmm(flat, linear(at)), inside, weights[2][at])
        log_p = torch.log_softmax(logits.reshape(n, examples, classes), dim=2)
        of_label = log_p.gather(2, y[:, :, None])[:, :, 0]
        return -(w * of_label).sum(dim=1) / w.sum(dim=1)

    def copied() -> "list[torch.Tensor]":
        return [each.detach().clone() for each in (*weights[:3], linear(slice(None)))]

    best, kept, since = float("inf"), copied(), 0
    for step in range(STEPS + 1):
        if step % EVERY == 0:
            with torch.no_grad():
                found = [losses(x[None, h], y[None, h], w[None, h], slice(k, k + 1)) for k, h in enumerate(held)]
            mean = float(torch.cat(found).mean())
            if mean < best:
                best, kept, since = mean, copied(), 0
            else:
                since += 1
                if since == PATIENCE:
                    break
        batch = torch.stack([each[torch.randint(len(each), (BATCH,), generator=random)] for each in own])
        optimizer.zero_grad()
        loss = losses(_without(x[batch], dropout, random), y[batch], w[batch], slice(None)).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    arrays: list[NDArray[np.float32]] = [each.numpy() for each in kept]
    return [
        Network(
            np.ascontiguousarray(arrays[0][k]),
            np.ascontiguousarray(arrays[1][k, 0]),
            np.ascontiguousarray(arrays[2][k, :, 0]),
            np.ascontiguousarray(arrays[3][k, :, 0]),
        )
        for k in range(networks)
    ]


def _without(x: "torch.Tensor", dropout: float, random: "torch.Generator") -> "torch.Tensor":
    """(networks, examples, classes, members) with whole members at zero, the others scaled up for them."""
    import torch

    stay = torch.rand(*x.shape[:2], 1, x.shape[3], generator=random) >= dropout
    return x * (stay / (1 - dropout))
