"""Sets of labels that hold the right one as often as is asked for: split conformal prediction (Vovk et al. 2005).

The score of a label is 1 − its probability where the ensemble answers, and 0 of the likeliest label. The set of a new
text is every label whose score is at most a limit: the ⌈(n + 1)·coverage⌉-th smallest score of the right labels of n
calibration rows. So a set is never empty, and where the likeliest label alone is right more often than is asked, it is
the set. Of all sets that are never empty, those of this score (LAC, Sadinle, Lei & Wasserman 2019, arXiv 1609.00451)
are the smallest on average. A score of 1 − p for the likeliest label too would be brittle: an ensemble that answers at
a confidence of .93 has nearly all its scores just below .07, so a stop that differs by a little moves the limit past
half of them. Where many labels share the smallest probability that there is, as with naive Bayes or a tree, a limit
there takes them all in, and sets hold the right one more often than is asked.

Guaranteed: where the rows and the new text are drawn alike, and the rows had no part in what answers, a set
holds the right label with a probability of at least the coverage, whatever the probabilities are worth. This is so of
a single member, which has not seen blend. Where rows belong to groups, every group counts as one row, each of its rows
as a share of it; the guarantee is then of a text of a new group (Lee, Barber & Willett 2023, arXiv 2306.06342).

Measured only: an ensemble is fitted on blend. Its rows are scored by fits on the other folds, as in
cross-conformal prediction (Vovk 2015), which answer at the stop and the temperature of the ensemble itself: of all that
is fitted, these move the scores most. No theorem says what the sets of the ensemble then hold; a test measures it for
every builder. The choice of the exported row on blend adds what the choice flatters it by. Other cases have less: the
constants below say why, and a calibration carries its own as a caveat.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweepstack.models.errors import InputError
from sweepstack.models.predictions.probabilities import Floats, Ints, Predictions

GUARANTEED = "Calibrated on rows that it had no part in: guaranteed on average for texts drawn like those of the study."
OF_GROUPS = (
    "Calibrated on rows that it had no part in, every group counting once: guaranteed on average for texts of new "
    "groups drawn like those of the study."
)
CROSS_FITTED = (
    "The ensemble is fitted on the rows that its sets are calibrated on, by cross-fitting: "
    "their coverage is measured, not guaranteed."
)
OUT_OF_FOLD = (
    "Each row was read by the policies of one fold, and texts are read by those of all folds together: "
    "the coverage of sets is measured, not guaranteed."
)
REFITTED = (
    "The members were trained again after their sets had been calibrated: "
    "the coverage of sets is measured, not guaranteed."
)
STUDENT = (
    "The student learned from an ensemble that is fitted on the rows that sets are calibrated on: "
    "their coverage is measured, not guaranteed."
)


@dataclass(frozen=True)
class Calibration:
    """The scores on blend that give the limit of sets."""

    scores: Floats  # (rows,): of right labels, ascending
    weights: NDArray[np.float64]  # (rows,): 1 over the number of rows of its group; they sum to the number of groups
    caveat: str = ""  # one line: why no coverage is guaranteed; empty where it is

    @property
    def promise(self) -> str:
        """The guarantee, in one line."""
        return self.caveat or (OF_GROUPS if (self.weights < 1).any() else GUARANTEED)

    def with_caveat(self, caveat: str) -> "Calibration":
        return replace(self, caveat=caveat)

    def limit(self, coverage: float) -> float:
        """The largest score that is in a set.

        Raises InputError where coverage is none, or where there are too few rows, or groups, for it.
        """
        if not 0 < coverage < 1:
            raise InputError(f"coverage must be above 0 and below 1, but got {coverage:g}; 0.9 is nine sets in ten")
        reached = np.cumsum(self.weights)
        n = round(float(reached[-1])) if len(reached) else 0
        place = int(np.searchsorted(reached, (n + 1) * coverage - 1e-6))
        if place >= len(self.scores):
            least = math.ceil(coverage / (1 - coverage) * (1 - 1e-9))
            rows = "rows" if n == len(self.scores) else "groups of rows"
            raise InputError(
                f"coverage {coverage:g} needs at least {least} {rows} to be calibrated on, but this ensemble has {n}; "
                f"ask for at most {math.floor(1000 * n / (n + 1)) / 1000:g}"
            )
        return float(self.scores[place])

    def check(self) -> None:
        """Raises ValueError where it holds no scores of right labels."""
        if (
            self.scores.ndim != 1
            or not ((self.scores >= 0) & (self.scores <= 1)).all()
            or (np.diff(self.scores) < 0).any()
        ):
            raise ValueError("sets must be calibrated by scores from 0 to 1, ascending")
        if self.weights.shape != self.scores.shape or not ((self.weights > 0) & (self.weights <= 1)).all():
            raise ValueError("every score must have a weight above 0 and at most 1")


def calibrate(predictions: Predictions, labels: Ints, groups: Ints | None = None, caveat: str = "") -> Calibration:
    """By the rows of ``predictions``; ``groups`` (rows,): equal numbers for rows that belong together."""
    scores = label_scores(predictions.at(predictions.stops()))[np.arange(len(labels)), labels]
    weights = np.ones(len(labels))
    if groups is not None:
        _, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        weights = 1 / sizes[inverse]
    order = np.argsort(scores, kind="stable")
    return Calibration(scores[order], weights[order], caveat)


def label_scores(probabilities: Floats) -> Floats:
    """(…, classes) → the same: 1 − the probability of each label, 0 for the likeliest."""
    scores = 1 - probabilities
    np.put_along_axis(scores, probabilities.argmax(axis=-1)[..., None], 0, axis=-1)
    return np.asarray(scores, dtype=np.float32)


def in_sets(probabilities: Floats, largest: float) -> NDArray[np.bool_]:
    """(…, classes) → the same: whether a label is in the set; ``largest``: see :meth:`Calibration.limit`."""
    return np.asarray(label_scores(probabilities) <= np.float32(largest))


def packed(calibrations: Mapping[str, Calibration]) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """By name, as the arrays and the metadata of a file of safetensors."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, each in calibrations.items():
        arrays |= {f"{name}/scores": np.ascontiguousarray(each.scores), f"{name}/weights": each.weights}
    return arrays, {"caveats": json.dumps({name: each.caveat for name, each in calibrations.items()})}


def unpacked(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> dict[str, Calibration]:
    """The inverse of :func:`packed`; raises KeyError or ValueError where it is not one."""
    found = {}
    for name, caveat in json.loads(metadata["caveats"]).items():
        found[name] = Calibration(arrays[f"{name}/scores"], arrays[f"{name}/weights"], str(caveat))
        found[name].check()
    return found
