"""What the ledger keeps of ensembles, read by the kind of task: of classifiers or of writers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepstack.search.ledger.ensembles import Built, BuiltEnsembles

if TYPE_CHECKING:
    from sweepstack.search.ledger.ledger import Ledger


def read_built(ledger: "Ledger", root: Path, *, writes: bool) -> Built[Any] | None:
    """What the ledger of the run folder ``root`` holds, or None where nothing was built that can be read."""
    if not writes:
        return BuiltEnsembles.read(ledger, root)
    from sweepstack.search.ledger.text_record import BuiltTexts  # brings sacrebleu

    return BuiltTexts.read(ledger, root)
