"""Decoding by members on disk: what a combination that writes says of texts, in any process."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweepstack.ensembles.combinations.text_combination import TextCombination
from sweepstack.models.errors import BundleError, StudyError
from sweepstack.models.tasks.writing.checkpoint import load_writing_member

if TYPE_CHECKING:
    from sweepstack.ensembles.members.library import Member
    from sweepstack.models.predictions.texts import Candidates


def decode(
    combination: TextCombination, members: "Sequence[Member]", texts: Sequence[str], device: str = "auto"
) -> "Candidates":
    """The texts of a combination of ``members`` (the whole library, on disk), in the process that calls it.

    Raises StudyError where the tokenisers of those that it averages differ.
    """
    own = [members[place] for place in combination.members]
    loaded = [load_writing_member(member.checkpoint, device) for member in own]
    try:
        return combination.write(loaded, texts, 0, [member.name for member in own])
    except BundleError as error:
        raise StudyError(f"ensembles.builders: {error}") from error
