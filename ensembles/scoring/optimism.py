"""What the winner of several candidates owes to having been chosen: the best of K on n rows looks better than it is.

Were all equally good and independent, the best of them would seem better by about σ·√(2 ln K), σ the standard error of
one. Candidates that agree on most rows, or of which one is plainly the best, gain less. So it is estimated by
resampling (Efron 1983): the winner of a bootstrap sample scores better there than on all rows, by the luck of that
sample which it was chosen for. A sample's choice follows the luck of the rows as much as its own, which are equally
large: its own share is 1/√2 of what a choice that follows one luck alone would gain, and is scaled so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sweepstack.ensembles.scoring.bootstrap import Sample
from sweepstack.ensembles.scoring.chance import paired_resamples
from sweepstack.models.predictions.number_format import half


@dataclass(frozen=True)
class Optimism:
    candidates: int  # K
    flattered: float  # by how much the winner's score is too good, in the metric's own units; at least 0
    at_most: float  # σ·√(2 ln K): the same if all were equal, σ of their differences

    def told(self, metric: str) -> bool:
        """Whether it is worth a word: it is not nought as it is shown."""
        return bool(half(metric, self.flattered).strip("0."))

    def words(self, metric: str) -> str:
        """In the units of ``metric``, which candidates were compared by."""
        return f"the best of {self.candidates} looks too good on blend by about {half(metric, self.flattered)}"


def optimism(samples: Sequence[Sample], seed: int) -> Optimism:
    """Of choosing the best of ``samples``, all of the same rows; nothing where there is but one."""
    count = len(samples)
    if count < 2:
        return Optimism(count, 0.0, 0.0)
    resampled = paired_resamples(samples, seed).T  # (K, RESAMPLES)
    luck = resampled - resampled.mean(axis=1, keepdims=True)
    winner = resampled.argmax(axis=0)
    own = float(luck[winner, np.arange(luck.shape[1])].mean())
    apart = luck - luck.mean(axis=0)  # what all have in common decides nothing
    sigma = math.sqrt(float((apart**2).mean()) * count / (count - 1))
    return Optimism(count, max(0.0, math.sqrt(2) * own), sigma * math.sqrt(2 * math.log(count)))
