"""Repetitions race: a setting is trained with a further seed only while its mean may still be the best.

The nth repetition of every setting has the same seed, as instances are the same for all candidates of F-race and irace
(Birattari et al. 2002; López-Ibáñez et al. 2016): what a seed does to all of them cancels in paired differences. The
leader is the best of many and owes that to luck, too. So a setting is compared with every rival, at a level that all
comparisons of its whole race share (Bonferroni; Hsu's multiple comparisons with the best, 1996). Settings differ in
noise. So each has a variance of its own, shrunk towards that of all (the moderated t of Smyth 2004): a setting can be
out after its first seed, when its own noise is unknown, but only if it is far behind.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Values = NDArray[np.float64]
LEVEL = 0.05  # how often the best setting may be taken for a worse one, over all rivals and looks of a race
FOLD_LEVEL = 0.01  # under folds, where one that is nearly as good is worth the rest of them as a member of an ensemble
PRIOR = 4  # degrees of freedom of the common noise beside a setting's own: what a setting may differ by, see the tests
NONE = 1e-30  # stands for a variance of 0, which has no t: any difference is then beyond chance


def may_be_best(own: Sequence[float], others: Sequence[Sequence[float]], looks: int, level: float = LEVEL) -> bool:
    """Whether a setting with the scores ``own``, one a seed from the first on, may have the best mean of all.

    ``others``: the scores of the other settings with the same seeds, those that are out too; more is better. ``looks``:
    after how many seeds a setting is judged. A rival with r seeds or more, r being the setting's own number, wins where
    its mean over the first r is ahead by more than t·√((v + v')/r). v and v' are the variances of :func:`noise`, t is
    Student's quantile at ``1 - level / (looks · number of others)`` with Welch's degrees of freedom. Those that have
    too few seeds to win are counted as well: which ones stay is a matter of luck. The setting goes on without such a
    rival, and as long as the noise is not known.
    """
    seeds, known = len(own), noise([own, *others])
    rivals = [place for place, each in enumerate(others) if len(each) >= seeds]
    if known is None or not rivals:
        return True
    variance, freedom = known
    ahead = np.array([others[place][:seeds] for place in rivals]).mean(axis=1) - np.mean(own)
    v, f = variance[1:][rivals], freedom[1:][rivals]
    both = v + variance[0]
    t = stdtrit(both**2 / (v**2 / f + variance[0] ** 2 / freedom[0]), 1 - level / (looks * len(others)))
    return bool((ahead <= t * np.sqrt(both / seeds)).all())


def noise(scores: Sequence[Sequence[float]]) -> tuple[Values, Values] | None:
    """The variance of each setting's score from seed to seed and its degrees of freedom, (settings,) each; None while
    all together have fewer than PRIOR of these.

    A score is taken for its setting's effect, plus its seed's, plus noise; least squares over the settings with at
    least two seeds leave residuals with D = N - J - (K - 1) degrees of freedom (N scores, J settings, K seeds). With S²
    their mean square over all, s² that of a setting and d its share of D, its variance is (PRIOR·S² + d·s²) /
    (PRIOR + d), with PRIOR + d degrees of freedom; d is 0 after one seed.
    """
    counts = np.array([len(each) for each in scores])
    seeds = int(counts.max())
    there = (np.arange(seeds) < counts[:, None]) & (counts[:, None] > 1)  # (settings, seeds)
    spare = np.where(counts > 1, counts - 1, 0)
    freedom = int(spare.sum()) - (seeds - 1)
    if freedom < PRIOR:
        return None
    y = np.zeros(there.shape)
    y[there] = np.concatenate([each for each in scores if len(each) > 1])
    share = there / np.maximum(counts, 1)[:, None]
    y = np.where(there, y - y.sum(axis=1, keepdims=True) / np.maximum(counts, 1)[:, None], 0.0)
    normal = np.diag(there.sum(axis=0).astype(np.float64)) - share.T @ there  # of the seeds, settings projected out
    effects = np.linalg.lstsq(normal, y.sum(axis=0), rcond=None)[0]
    left = np.where(there, y - effects + (share @ effects)[:, None], 0.0)
    squares = (left**2).sum(axis=1)
    common = max(float(squares.sum()) / freedom, NONE)
    own = spare * freedom / spare.sum()
    return (PRIOR * common + squares) / (PRIOR + own), PRIOR + own
