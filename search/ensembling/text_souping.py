"""Which writers a soup may be made of: as soups.py has it for classifiers, those of one supervised start alone."""

from collections.abc import Sequence

from sweepstack.ensembles.builders.soup import Ingredient, read_result
from sweepstack.ensembles.builders.text_builder import TextBuilder
from sweepstack.ensembles.builders.writer_soup import WriterSoup, WriterSoupJob, cook_writer
from sweepstack.ensembles.scoring.text_objective import TextObjective
from sweepstack.models.tasks.writing.supervised import writing_start_hash
from sweepstack.search.ensembling.soups import Recipe, Souped, by_recipe, digest_of
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.ledger.repetitions import settings_of_repetition
from sweepstack.search.run.session import Session


def souped(
    session: Session, usable: Sequence[TrialRecord], builders: Sequence[TextBuilder], objective: TextObjective
) -> Souped[TextBuilder]:
    """The soup that a builder of writers wants, see :func:`souping.by_recipe`."""
    decided = session.decided()

    def start_of(record: TrialRecord) -> str:
        """The start itself, byte for byte where it is there."""
        settings = settings_of_repetition(decided.with_values(record.settings), record.settings, record.best_repetition)
        return digest_of(session.folder.starts / writing_start_hash(settings, session.written) / "weights.safetensors")

    def job_of(kind: str, ingredients: Sequence[Ingredient]) -> WriterSoupJob:
        folder, device = session.folder.soups, session.study.device
        return WriterSoupJob.of(kind, ingredients, objective, session.hashes, folder, device)

    recipe = Recipe(WriterSoup, start_of, job_of, cook_writer, session.written, read_result)
    return by_recipe(session, usable, builders, recipe)
