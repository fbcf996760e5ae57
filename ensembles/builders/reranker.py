"""Stacking for texts: a linear model learns on blend which of the pooled candidates are good ones.

It is a ridge regression of a candidate's sentence metric, less its row's mean, on reranking.features, in which a row
counts by how much it counts in the metric; minimum Bayes risk looks at the first of the features alone. Features are
brought to one scale before they are shrunk, and what is kept are coefficients of the features as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sweepstack.ensembles.builders.text_builder import TextBuilder, with_memory
from sweepstack.ensembles.combinations.reranking import features, log_ratio
from sweepstack.ensembles.combinations.text_combination import TextCombination, counts_of
from sweepstack.ensembles.members.texts import CandidateLibrary
from sweepstack.ensembles.scoring.text_objective import TextObjective

SHRINKAGE = 300.0  # ridge's, of features with a variance of 1: a few hundred rows decide about few members only


@dataclass(frozen=True)
class Reranker(TextBuilder):
    """``top`` members at most, the translation memory among them."""

    name: ClassVar[str] = "reranker"
    fits: ClassVar[bool] = True
    top: int = 6

    def choose(self, valid: CandidateLibrary, ranked: Sequence[int]) -> tuple[int, ...]:
        return with_memory(valid, ranked, self.top)

    def fit(
        self, blend: CandidateLibrary, members: Sequence[int], references: Sequence[str], objective: TextObjective
    ) -> TextCombination:
        from sklearn.linear_model import Ridge

        utility, language = objective.of_sentences, objective.language
        memories = [blend.members[m].kind == "baseline" for m in members]
        usual = float(np.median([log_ratio(*each) for each in zip(references, blend.sources, strict=True)]))
        pools = blend.pools(members, utility, language)
        of_rows = objective.of_candidates(blend.sources, references, [pool.texts for pool in pools])
        values = np.concatenate([own - own.mean() for own in of_rows])
        # BLEU and chrF of a part are sums over its n-grams, of which a long text has more.
        lengths = [1 if objective.metric == "reward" else max(len(reference), 1) for reference in references]
        weights = np.repeat(np.array(lengths) / np.mean(lengths), [len(own) for own in of_rows])
        known = [features(pool, source, usual, memories) for pool, source in zip(pools, blend.sources, strict=True)]
        stacked = np.concatenate(known)
        scale = stacked.std(axis=0)
        scale[scale < 1e-9] = 1.0
        model = Ridge(alpha=SHRINKAGE, fit_intercept=False).fit(stacked / scale, values, weights)
        options = {
            "utility": utility,
            "language": language,
            "counts": counts_of(blend, members),
            "memories": memories,
            "usual": usual,
        }
        coefficients = np.asarray(model.coef_ / scale, dtype=np.float64)
        return TextCombination("reranker", tuple(members), options, {"coefficients": coefficients})
