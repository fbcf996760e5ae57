"""Soups of writers: the mean of the weights of several trials of one supervised start, as one writer.

What soup.py says of policies holds for writers. A greedy soup is chosen on valid by the study's metric of what it
writes greedily there, a beam of 1: the order of mixtures is what counts, at a quarter of the price.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sweepstack.ensembles.builders.soup import (
    KINDS,
    MOST,
    Ingredient,
    SoupFolder,
    SoupResult,
    greedily,
    mean_weights,
    read_result,
    soup_digest,
)
from sweepstack.ensembles.builders.text_builder import TextBuilder
from sweepstack.ensembles.combinations.text_combination import TextCombination, single
from sweepstack.ensembles.members.library import Kind
from sweepstack.ensembles.members.texts import CandidateLibrary
from sweepstack.ensembles.scoring.text_objective import TextObjective

if TYPE_CHECKING:
    from sweepstack.models.data.pairs import WritingData
    from sweepstack.models.predictions.texts import Candidates
    from sweepstack.models.settings.writing import Decode

PARTS = ("valid", "blend", "test")  # that nothing was trained on


@dataclass(frozen=True)
class WriterSoup(TextBuilder):
    name: ClassVar[str] = "soup"
    kinds: ClassVar[frozenset[Kind]] = frozenset({"soup"})
    least: ClassVar[int] = 1
    counts: ClassVar[tuple[str, ...]] = ()
    kind: str = "greedy"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be {' or '.join(KINDS)}, but got {self.kind!r}")

    def choose(self, valid: CandidateLibrary, ranked: Sequence[int]) -> tuple[int, ...]:
        return tuple(ranked[:1])

    def fit(
        self, blend: CandidateLibrary, members: Sequence[int], references: Sequence[str], objective: TextObjective
    ) -> TextCombination:
        return single(blend, members[0])


@dataclass(frozen=True)
class WriterSoupJob(SoupFolder):
    kind: str
    ingredients: tuple[Ingredient, ...]  # best first by valid; all of one shape and one supervised start
    objective: TextObjective
    folder: Path
    device: str = "auto"

    @staticmethod
    def of(
        kind: str,
        ingredients: Sequence[Ingredient],
        objective: TextObjective,
        hashes: Mapping[str, str],
        soups: Path,
        device: str = "auto",
    ) -> "WriterSoupJob":
        """In a folder of ``soups``; ``hashes`` of the data's parts."""
        ingredients = tuple(ingredients[:MOST])
        digest = soup_digest(kind, ingredients, ["writer", objective.metric], hashes)
        return WriterSoupJob(kind, ingredients, objective, soups / digest, device)


def cook_writer(job: WriterSoupJob, data: "WritingData") -> SoupResult[WriterSoupJob]:
    """Makes one soup and what it writes, in whatever process it is called; what was made is not made again."""
    if not job.marker.exists():
        began = time.monotonic()
        shutil.rmtree(job.folder, ignore_errors=True)  # of a process that was killed
        try:
            names, valid = _cooked(job, data)
        except ValueError as error:
            job.end({"ingredients": [], "valid": {}, "seconds": 0.0, "error": str(error)})
            return read_result(job)
        seconds = time.monotonic() - began
        job.end({"ingredients": [names], "valid": valid, "seconds": seconds, "error": None})
    return read_result(job)


def _cooked(job: WriterSoupJob, data: "WritingData") -> tuple[list[str], dict[str, float]]:
    """The names of what was taken, and its metrics on valid; raises ValueError where the weights have no mean."""
    from sweepstack.models.networks.decoding import WriterTokens, written
    from sweepstack.models.tasks.writing.checkpoint import WriterMember, save_writer

    loaded = [WriterMember(each.checkpoint, job.device) for each in job.ingredients]
    if any(member.tokenizers.digest != loaded[0].tokenizers.digest for member in loaded):
        raise ValueError("its trials differ in their tokenizers, so they are not of one start")
    states = [{name: t.detach().clone() for name, t in member.writer.state_dict().items()} for member in loaded]
    pot, valid = loaded[0], data.parts["valid"]
    references = valid.references
    assert references is not None
    greedily_written = pot.decode.model_copy(update={"beam": 1, "candidates": 1})

    def write(chosen: Sequence[int], part: str, decode: "Decode") -> "Candidates":
        pot.writer.load_state_dict(mean_weights([states[i] for i in chosen]))
        return written(WriterTokens(pot.writer), pot.tokenizers, data.parts[part].inputs, decode)

    def score(chosen: tuple[int, ...]) -> float:
        return job.objective.score(valid.inputs, references, write(chosen, "valid", greedily_written).best)

    everything = tuple(range(len(states)))
    mean_weights(states)
    chosen = everything if job.kind == "uniform" else greedily(len(states), score)
    metrics: dict[str, float] = {}
    for part in (name for name in PARTS if name in data.parts):
        candidates = write(chosen, part, pot.decode)
        candidates.save(job.member.predictions(part), data.hashes[part])
        if part == "valid":
            metrics = job.objective.metrics(valid.inputs, references, candidates.best)
    save_writer(job.member.checkpoint, pot.writer, pot.tokenizers.to_json(), pot.decode, pot.language)
    return [job.ingredients[i].name for i in chosen], metrics
