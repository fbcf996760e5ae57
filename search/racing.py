"""Repetitions race: a setting is trained with a further seed only while its mean may still be the best.

The nth repetition of every setting has the same seed, as instances are the same for all candidates of F-race and irace
(Birattari et al. 2002; López-Ibáñez et al. 2016): what a seed does to all of them cancels in paired differences. Their
t-test needs several instances to begin with. Here the spread is estimated from all settings together, as in an
analysis of variance with the seeds as blocks, so that a setting can be out after its first seed.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Values = NDArray[np.float64]
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
    seeds = max(map(len, repeated), default=1)
    y = np.array([score for each in repeated for score in each])
    freedom = len(y) - len(repeated) - (seeds - 1)
    if freedom <= 0:
        return 0.0, 0
    counts = np.array([len(each) for each in repeated])
    setting = np.repeat(np.arange(len(repeated)), counts)
    seed = np.concatenate([np.arange(count) for count in counts])

    def within(values: Values) -> Values:
        """Less the mean of each setting, which leaves nothing of its effect."""
        centred: Values = values - (np.bincount(setting, values) / counts)[setting]
        return centred

    y = within(y)
    effects = np.stack([within((seed == place).astype(np.float64)) for place in range(1, seeds)], axis=1)  # (N, K - 1)
    left = y - effects @ np.linalg.lstsq(effects, y, rcond=None)[0]
    return float(np.sqrt(left @ left / freedom)), freedom
