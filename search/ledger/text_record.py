"""What the ledger keeps of ensembles of writers: the choice, the combinations and the table, as JSON."""

import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweepstack.ensembles.bundles import writing_bundle
from sweepstack.ensembles.bundles.card import Card
from sweepstack.ensembles.combinations.text_combination import TextCombination
from sweepstack.ensembles.evaluation.choose_texts import TextChoice
from sweepstack.search.ledger.ensembles import ATTRIBUTE, Built, arrays_of, decided, members_of

if TYPE_CHECKING:
    from sweepstack.search.ledger.ledger import Ledger


@dataclass(frozen=True)
class BuiltTexts(Built[TextChoice]):
    @property
    def classifies(self) -> bool:
        return False

    @staticmethod
    def read(ledger: "Ledger", root: Path) -> "BuiltTexts | None":
        """What the ledger of the run folder ``root`` holds, or None where nothing was built that can be read."""
        stored = ledger.attribute(ATTRIBUTE)
        if stored is None:
            return None
        try:
            combinations = {
                name: TextCombination.from_state(state, arrays_of(state))
                for name, state in stored["combinations"].items()
            }
        except (KeyError, ValueError, TypeError, zlib.error):  # another version's; what it was built from is all there
            return None
        choice = TextChoice(**decided(stored), combinations=combinations)
        return BuiltTexts(stored["digest"], members_of(stored, root), choice, stored["scored"])

    def export(self, name: str, folder: Path, about: Card) -> None:
        row = self.row(name)
        about = replace(about, digest=self.digest)
        writing_bundle.export(folder, row, self.choice.combinations[name], self.members, about)
