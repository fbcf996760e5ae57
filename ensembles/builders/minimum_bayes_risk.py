"""Minimum Bayes risk over what all members propose: the candidate that is most like the others (Kumar & Byrne 2004).

The members' n-best lists and the translation memory's neighbours are pooled; a candidate's expected utility is its mean
chrF or BLEU with a text of the pool as the reference, each member having one vote, which goes to what it holds likely
(see texts.Pool). Nothing is fitted, so it is scored on blend as it is; but where the utility is the metric,
other metrics tell better what it gained (arXiv 2411.03524).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from sweepstack.ensembles.builders.text_builder import TextBuilder, with_memory
from sweepstack.ensembles.combinations.text_combination import TextCombination, counts_of
from sweepstack.ensembles.members.similarity import UTILITIES
from sweepstack.ensembles.members.texts import CandidateLibrary
from sweepstack.ensembles.scoring.text_objective import TextObjective


@dataclass(frozen=True)
class MinimumBayesRisk(TextBuilder):
    """``top`` members at most, the translation memory among them."""

    name: ClassVar[str] = "minimum_bayes_risk"
    top: int = 6
    utility: str = "chrf"

    def __post_init__(self) -> None:
        if self.utility not in UTILITIES:
            raise ValueError(f"utility must be {' or '.join(UTILITIES)}, but got {self.utility!r}")

    def choose(self, valid: CandidateLibrary, ranked: Sequence[int]) -> tuple[int, ...]:
        return with_memory(valid, ranked, self.top)

    def fit(
        self, blend: CandidateLibrary, members: Sequence[int], references: Sequence[str], objective: TextObjective
    ) -> TextCombination:
        options = {
            "utility": self.utility,
            "language": objective.language,
            "counts": counts_of(blend, members),
        }
        return TextCombination("minimum_bayes_risk", tuple(members), options)
