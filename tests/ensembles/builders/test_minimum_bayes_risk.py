from types import SimpleNamespace

from sweepstack.ensembles.builders.minimum_bayes_risk import MinimumBayesRisk
from sweepstack.ensembles.scoring.text_objective import TextObjective


def test_several_writers_that_err_independently_are_better_together(writing: SimpleNamespace) -> None:
    library, references = writing.library([0.3, 0.3, 0.3, 0.3], rows=120)
    for utility in ("chrf", "bleu"):
        objective = TextObjective(utility, "en")
        risk = MinimumBayesRisk(utility=utility)
        combination = risk.fit(library, risk.choose(library, range(4)), references, objective)
        together = objective.score(library.sources, references, combination.pick(library).best)
        alone = [objective.score(library.sources, references, each.best) for each in library.candidates]
        assert together > max(alone) + 2


def test_it_keeps_what_it_picks_by(writing: SimpleNamespace) -> None:
    library, references = writing.library([0.3, 0.3], rows=10, n=3)
    combination = MinimumBayesRisk(utility="bleu").fit(library, (1, 0), references, TextObjective("chrf", "zh"))
    assert combination.members == (1, 0)
    assert combination.options == {"utility": "bleu", "language": "zh", "counts": [3, 3]}
    assert combination.utility == "bleu"
