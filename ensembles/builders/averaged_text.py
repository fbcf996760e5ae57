"""Averaging of tokens as a builder: the best trials that differ write together, see combinations/token_average.py.

Nothing is fitted, so what they write for blend is scored there as it is. Which members agree on their tokenisers is
known before any is loaded, by the files that hold them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar

from sweepstack.ensembles.builders.text_builder import TextBuilder, differing
from sweepstack.ensembles.combinations.text_combination import TextCombination
from sweepstack.ensembles.combinations.token_means import MEANS
from sweepstack.ensembles.members.library import Kind, Member
from sweepstack.ensembles.members.texts import CandidateLibrary
from sweepstack.ensembles.scoring.text_objective import TextObjective
from sweepstack.models.errors import TrainingError
from sweepstack.models.files import read_json


@dataclass(frozen=True)
class AveragedText(TextBuilder):
    """Equal weights on the ``top`` writers of one tokeniser, that of the best."""

    name: ClassVar[str] = "average"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"trial", "control"})
    top: int = 4
    mean: str = "probabilities"

    def __post_init__(self) -> None:
        if self.mean not in MEANS:
            raise ValueError(f"mean must be {' or '.join(MEANS)}, but got {self.mean!r}")

    def choose(self, valid: CandidateLibrary, ranked: Sequence[int]) -> tuple[int, ...]:
        of_member = {place: tokenizer_hash(valid.members[place]) for place in ranked}
        writers = [place for place in ranked if of_member[place] is not None]
        return differing(valid, [place for place in writers if of_member[place] == of_member[writers[0]]], self.top)

    def fit(
        self, blend: CandidateLibrary, members: Sequence[int], references: Sequence[str], objective: TextObjective
    ) -> TextCombination:
        return averaged_by(self.mean, blend, members)


def averaged_by(mean: str, library: CandidateLibrary, members: Sequence[int]) -> TextCombination:
    """Of these members of one tokeniser, decoded as the first of them says. Raises TrainingError where it does not."""
    path = library.members[members[0]].checkpoint / "config.json"
    try:
        decode = read_json(path)["decode"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} does not say how to decode ({error})") from error
    return TextCombination("token_average", tuple(members), {"mean": mean, "decode": decode})


def tokenizer_hash(member: Member) -> str | None:
    """Of the file that holds a writer's tokenisers; None of a member that has none."""
    try:
        return sha256((member.checkpoint / "tokenizer.json").read_bytes()).hexdigest()
    except OSError:
        return None
