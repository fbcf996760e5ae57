"""Bagging: the average over members that were refitted on bootstrap samples of warm and policy (Breiman 1996).

Each refit has a sample and a supervised start of its own, so that members err differently. Which settings are refitted
was chosen on valid, so nothing but the temperature and the stop is fitted on blend. Each sample leaves out about 37% of
the rows: what the refits say of those that they did not see is an estimate that costs no other rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.builders.base import finished
from sweepstack.ensembles.builders.retrained import Grounds, Origin, RefitBuilder
from sweepstack.ensembles.combinations.combination import Combination
from sweepstack.ensembles.members.library import Stack
from sweepstack.ensembles.refits.jobs import Chain, RefitJob, RefitResult, Sample
from sweepstack.ensembles.scoring.objective import Objective
from sweepstack.models.data.encoding import fitted_rows, out_of_bag
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Floats, Ints, Predictions, metrics
from sweepstack.models.seeds import derive_seed


@dataclass(frozen=True)
class Bagging(RefitBuilder):
    name: ClassVar[str] = "bagging"
    members: int = 5  # refits of each of the best settings

    @property
    def trainings(self) -> tuple[int, int]:
        return self.top * self.members, 0

    def chains(self, origins: Sequence[Origin], grounds: Grounds) -> list[Chain]:
        """Every refit by itself."""
        jobs = {}  # two of the best may differ in nothing but the seed that is replaced here
        for origin in origins[: self.top]:
            for i in range(self.members):
                start = {"train.warm_start.seed": derive_seed(grounds.seed, "refit start", i)}
                sample = Sample(derive_seed(grounds.seed, "bootstrap", i))
                job = RefitJob.of(grounds.folder, grounds.data.hashes, origin.settings.with_values(start), sample)
                jobs[job.folder] = job
        return [alone(job) for job in jobs.values()]

    def fit(self, stack: Stack, labels: Ints, objective: Objective) -> Combination:
        return finished(range(len(stack)), stack, labels, objective)


def alone(job: RefitJob) -> Chain:
    """A chain of one job."""
    return lambda results: None if results else job


def out_of_bag_metrics(results: Sequence[RefitResult], grounds: Grounds) -> tuple[dict[str, float], float] | None:
    """The metrics of the average of those refits that have not seen a row, over the rows that some have not; and the
    share of rows that these are. Neither blend nor test has a part in it, so there is no temperature, and it stops by
    the averaged probabilities of answering.

    None without such a row; and under folds, where out-of-fold predictions are of rows that no refit has seen, and
    rows of one fold are what another's policies were trained on.
    """
    sampled = [(r.job, r.job.sample) for r in results if r.error is None and r.job.sample is not None]
    if grounds.data.folds or not sampled:
        return None
    unseen = np.stack([out_of_bag(grounds.data, sample.seed) for _, sample in sampled])
    labels = fitted_rows(grounds.data).labels
    assert labels is not None
    said = Stack.of([job.said_of_fitted() for job, _ in sampled])
    return averaged_unseen(said, unseen, labels, grounds.objective.costs)


def averaged_unseen(
    said: Stack, unseen: NDArray[np.bool_], labels: Ints, costs: Costs
) -> tuple[dict[str, float], float] | None:
    """The same from what each member said of all rows and, (members, rows), whether it has not seen them."""
    rows = np.flatnonzero(unseen.any(axis=0))
    if not len(rows):
        return None
    weights = (unseen / unseen.sum(axis=0).clip(1)).astype(np.float32)[:, rows]  # (members, rows)
    own = said.rows(rows)
    probabilities: Floats = np.einsum("mr,mrsk->rsk", weights, own.probabilities)
    answer: Floats = np.einsum("mr,mrs->rs", weights, own.answer)
    averaged = Predictions(probabilities, answer.clip(0, 1), own.n_segments)
    return metrics(averaged, labels[rows], costs), len(rows) / unseen.shape[1]
