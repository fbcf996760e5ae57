"""Repetitions race: a setting is trained with a further seed only while its mean may still be the best.

The nth repetition of every setting has the same seed, as instances are the same for all candidates of F-race and irace
(Birattari et al. 2002; López-Ibáñez et al. 2016): what a seed does to all of them cancels in paired differences. Their
t-test needs several instances to begin with. Here the spread is estimated from all settings together, as in an
analysis of variance with the seeds as blocks, so that a setting can be out after its first seed.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.05  # how often a setting that equals the best may be taken for a worse one, at each test
FOLD_LEVEL = 0.01  # under folds, where one that is nearly as good is worth the rest of them as a member of an ensemble


def may_be_best(own: Sequence[float], others: Sequence[Sequence[float]], level: float = LEVEL) -> bool:
    """Whether a setting with the scores ``own``, one a seed from the first on, may have the best mean of all.

    ``others``: the scores of the other settings with the same seeds; more is better. The rival is the one with the best
    mean among those with the most seeds, where these are no fewer than the setting's own r. It wins where the paired
    difference of the means over r seeds is above t·s·√(2/r), t being Student's quantile at ``1 - level`` and s the
    residual deviation of :func:`residual`. Without such a rival, or without any estimate of s, the setting goes on.
    """
    seeds = len(own)
    rivals = [each for each in others if len(each) >= seeds]
    deviation, freedom = residual([own, *others])
    if not rivals or freedom == 0:
        return True
    most = max(map(len, rivals))
    leader = max((each for each in rivals if len(each) == most), key=lambda each: float(np.mean(each)))
    behind = float(np.mean(np.subtract(leader[:seeds], own)))
    return behind <= float(stdtrit(freedom, 1 - level)) * deviation * math.sqrt(2 / seeds)


def residual(scores: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The standard deviation that is left when each score is taken for the sum of its setting's and its seed's effect,
    and its degrees of freedom; (0, 0) where nothing is left to estimate it from.

    Least squares over the settings with at least two seeds: with N scores of J settings and K seeds, N - J - (K - 1)
    degrees of freedom.
    """
    repeated = [each for each in scores if len(each) > 1]
    settings, seeds = len(repeated), max(map(len, repeated), default=1)
    y = np.array([score for each in repeated for score in each])
    freedom = len(y) - settings - (seeds - 1)
    if freedom <= 0:
        return 0.0, 0
    design = np.zeros((len(y), settings + seeds))
    rows = [(setting, seed) for setting, each in enumerate(repeated) for seed in range(len(each))]
    for row, (setting, seed) in enumerate(rows):
        design[row, setting] = design[row, settings + seed] = 1
    fitted = design[:, np.arange(settings + seeds) != settings]  # the first seed's effect is 0
    left = y - fitted @ np.linalg.lstsq(fitted, y, rcond=None)[0]
    return float(np.sqrt(left @ left / freedom)), freedom
