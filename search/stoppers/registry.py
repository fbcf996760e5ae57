"""Early stopping, decided from nothing but the values that stand in the ledger.

A stopper says at which epochs a trial is judged (its *rungs*, counted from 1) and whether its curve is good enough to
go on, given the curves of the other trials. It keeps no state, so a restart judges as an undisturbed run would; Ray's
schedulers draw and remember, and Optuna's pruners note a rung as passed before the trial is told.
"""

from sweepstack.search.stoppers.asha import ASHA
from sweepstack.search.stoppers.base import NoStopper, Stopper
from sweepstack.search.stoppers.hyperband import Hyperband
from sweepstack.search.stoppers.median import Median
from sweepstack.search.study.search_section import (
    ASHAStopper,
    HyperbandStopper,
    MedianStopper,
    PBTStopper,
    StopperSettings,
)


def make_stopper(settings: StopperSettings, epochs: int) -> Stopper:
    """The stopper that a study file names, for trials of ``epochs`` epochs where none are searched.

    Under population-based training, which copies what is better over what is worse, no trial is stopped.
    """
    match settings:
        case "none" | PBTStopper():
            return NoStopper()
        case ASHAStopper(asha=own):
            return ASHA(own.min_epochs, own.reduction)
        case HyperbandStopper(hyperband=own):
            return Hyperband(epochs, own.min_epochs, own.reduction)
        case MedianStopper(median=own):
            return Median(own.min_epochs, own.min_trials)
