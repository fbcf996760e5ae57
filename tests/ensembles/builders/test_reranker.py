from types import SimpleNamespace

import numpy as np
import pytest

from sweepstack.ensembles.builders.reranker import Reranker
from sweepstack.ensembles.combinations.reranking import PLAIN
from sweepstack.ensembles.scoring.text_objective import TextObjective

OBJECTIVE = TextObjective("chrf", "en")


def test_it_learns_which_member_to_believe(writing: SimpleNamespace) -> None:
    """A good writer among three that agree with each other in nothing: on rows that it has not seen it picks as well
    as the good one, where a vote would not."""
    (valid, _), (blend, references) = writing.parts([0.1, 0.6, 0.6, 0.6], ["trial", "trial", "trial", "baseline"])
    reranker = Reranker()
    half = np.arange(60)
    known = tuple(references[i] for i in half)
    combination = reranker.fit(blend.rows(half), reranker.choose(valid, range(4)), known, OBJECTIVE)
    coefficients = combination.arrays["coefficients"]
    indicators = coefficients[len(PLAIN) :]
    assert combination.members == (0, 1, 2, 3)
    assert indicators.argmax() == 0
    rest = blend.rows(np.arange(60, 120))

    def score(texts: list[str]) -> float:
        return OBJECTIVE.score(rest.sources, references[60:], texts)

    assert score(combination.pick(rest).best) > score(rest.candidates[1].best) + 20
    assert score(combination.pick(rest).best) > score(rest.candidates[0].best) - 1


def test_scores_are_relative_to_the_row(writing: SimpleNamespace) -> None:
    library, references = writing.library([0.3, 0.4], rows=40)
    picked = Reranker().fit(library, (0, 1), references, OBJECTIVE).pick(library)
    assert [sum(row) for row in picked.scores] == pytest.approx([0.0] * 40, abs=1e-9)


def test_references_that_mean_nothing_teach_little(writing: SimpleNamespace) -> None:
    library, references = writing.library([0.3, 0.3, 0.3], rows=120)
    shuffled = tuple(np.random.default_rng(0).permutation(references))
    one, other = (Reranker().fit(library, (0, 1, 2), each, OBJECTIVE) for each in (references, shuffled))
    spread = [np.std([score for row in c.pick(library).scores for score in row]) for c in (one, other)]
    assert spread[1] < spread[0] / 2
