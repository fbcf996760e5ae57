"""How likely the best ensemble on blend is truly better than every rival, the choice among all candidates counted.

A score on n rows is a true value and an error. The errors' covariance S/n is known from paired resamples of the rows.
Who looks best owes a part of the lead to luck: the more candidates there are, and the less they truly differ, the more.
No share of resamples can tell that part. So the true values get a prior, and the chance is a posterior probability,
which a choice cannot bias (Dawid 1994). Differences of true values are normal, with the covariance g·S: those who
disagree on many rows may differ by more (Zellner 1986). Then they are c times the differences seen, ± √c times their
errors, c = gn / (1 + gn). Metrics, units and candidates that are twice there need no care.

√g, the *effect*, is the size of true differences in deviations of a difference on one row. It is not known: every size
counts by how well it explains how far apart the other candidates lie, and the lead over the nearest rival. One that is
plainly worse than all others says nothing of the rest, so how far apart they lie is a low quantile of the distances of
pairs (the estimator Qn, Rousseeuw & Croux 1993). test_chance.py simulates that what is stated holds.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sweepstack.ensembles.scoring.bootstrap import Sample, Values, resampled_means

TYPICAL = 0.07  # the scale of effects, half-normal: .009 of accuracy where two are right on .9 and correlate at .9
EQUAL = 0.15  # the prior probability that no candidate is better than another; then the chance is a half
APART = 0.1  # the prior probability that the best stands apart from the others by an effect of its own
EFFECTS = np.geomspace(0.005, 0.3, 12)
_WEIGHTS = EFFECTS * np.exp(-0.5 * (EFFECTS / TYPICAL) ** 2)  # half-normal, on a logarithmic grid
PRIOR = np.append(EQUAL, (1 - EQUAL) * _WEIGHTS / _WEIGHTS.sum())
TIED = 1e-12


def paired_resamples(samples: Sequence[Sample], seed: int) -> Values:
    """(RESAMPLES, candidates): the scores of all in the same bootstrap resamples of their rows."""
    features = np.concatenate([sample.features for sample in samples], axis=1)
    means = resampled_means(features, seed, samples[0].groups)
    ends = np.cumsum([sample.features.shape[1] for sample in samples])[:-1]
    return np.stack(
        [sample.at(own) for sample, own in zip(samples, np.split(means, ends, axis=1), strict=True)], axis=1
    )


def units(sample: Sample) -> int:
    """The number of rows that stand for themselves: of groups, where rows belong together."""
    return len(sample.features) if sample.groups is None else len(np.unique(sample.groups))


def chance_of_best(scores: Values, resampled: Values, rows: int, best: int, rivals: Sequence[int]) -> float:
    """The probability that ``best`` is truly better than every one of ``rivals``.

    scores: (candidates,), more is better; resampled: (resamples, candidates), paired; rows: how many were drawn from.
    Two that always say the same have a chance of a half against each other.
    """
    errors = resampled - resampled.mean(axis=0)
    ahead = scores[best] - scores[list(rivals)]  # (rivals,)
    luck = errors[:, [best]] - errors[:, list(rivals)]  # (resamples, rivals)
    certain = np.abs(luck).max(axis=0) <= TIED  # the difference is the same whatever the rows
    if (ahead[certain] < -TIED).any():
        return 0.0
    unsure = ~certain | (ahead <= TIED)
    if not unsure.any():
        return 1.0
    luck = np.concatenate([luck, -luck])[:, unsure]
    lead = np.sqrt(_kept(rows))[:, None, None] * ahead[unsure]
    least = (lead + luck).min(axis=2)  # (effects, 2 · resamples): over the rival that is nearest
    better = (least > TIED).mean(axis=1) + 0.5 * (np.abs(least) <= TIED).mean(axis=1)
    return float(_posterior(scores, errors, rows, best, list(rivals)) @ np.append(0.5, better))


def _kept(rows: int) -> Values:
    """(effects,): c, the share of a difference seen that is no luck."""
    explained = EFFECTS**2 * rows
    return np.asarray(explained / (1 + explained))


def _posterior(scores: Values, errors: Values, rows: int, best: int, rivals: Sequence[int]) -> Values:
    """(1 + effects,): the probability that candidates are equal, and of every effect.

    It is told by how far apart the others lie, and by the lead of ``best`` over its nearest rival. By luck a lead
    is as large as in resamples, where both are chosen anew. With the probability APART it has an effect of its own.
    """
    growth = np.append(1.0, 1 / (1 - _kept(rows)))  # 1 + gn: of the variance of errors alone
    others = _spread_likelihood(np.delete(scores, best), np.delete(errors, best, axis=1), growth)
    builders = [place for place in range(len(scores)) if place not in rivals]
    lucky = errors[:, builders].max(axis=1) - errors[:, rivals].max(axis=1)
    lead, center, deviation = scores[best] - scores[rivals].max(), lucky.mean(), max(float(lucky.std()), TIED)
    off = (lead - np.sqrt(growth) * center) / (np.sqrt(growth) * deviation)
    weights = PRIOR * np.exp(-0.5 * (off**2 - (off**2).min())) / np.sqrt(growth)
    weights = weights * ((1 - APART) * others + APART * (PRIOR @ others))
    return np.asarray(weights / weights.sum())


def _spread_likelihood(scores: Values, errors: Values, growth: Values) -> Values:
    """(1 + effects,): how likely effects make the scores spread as they do.

    The squared spread is ``growth`` times one of errors alone, and that is taken for a χ² of as many degrees of freedom
    as its mean and variance over resamples have.
    """
    one, other = np.triu_indices(len(scores), 1)
    deviation = (errors[:, one] - errors[:, other]).std(axis=0)
    pairs = np.flatnonzero(deviation > TIED)
    if len(pairs) == 0:
        return np.ones(len(growth))
    one, other, deviation = one[pairs], other[pairs], deviation[pairs]
    by_luck = _spread((errors[:, one] - errors[:, other]) / deviation, len(scores))
    seen = _spread((scores[one] - scores[other]) / deviation, len(scores))
    mean, variance = by_luck.mean(), max(float(by_luck.var()), TIED)
    likelihood = -(mean**2 / variance) * (np.log(growth) + seen / (mean * growth))  # of 2 mean² / variance degrees
    return np.asarray(np.exp(likelihood - likelihood.max()))


def _spread(differences: Values, candidates: int) -> NDArray[np.float64]:
    """(…): Qn², of standardised differences of pairs (…, pairs): half of the candidates may lie anywhere."""
    half = candidates // 2 + 1
    share = half * (half - 1) / (candidates * (candidates - 1))
    place = max(1, round(share * differences.shape[-1])) - 1
    return np.asarray(np.partition(differences**2, place, axis=-1)[..., place])
