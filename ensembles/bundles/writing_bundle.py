"""The bundle of an ensemble that writes, as bundle.py has it for classifiers.

    bundle.json            format, kind "writing", task, input column, method, members, combination, metrics, versions
    ensemble.safetensors   what a reranker has learned; of the others nothing
    members/<name>/        weights, config.json and tokenizer.json of a writer, or a translation memory
    README.md  SHA256SUMS

Nothing in it is code, and nothing is unpickled: to load a bundle of unknown origin runs only this package.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.numpy import load_file

from sweepstack.ensembles.bundles.bundle import checked_name, put, read_metadata
from sweepstack.ensembles.bundles.card import PACKAGES, Card, markdown_of_texts, versions
from sweepstack.ensembles.bundles.input_texts import Texts, texts_of
from sweepstack.ensembles.combinations.text_combination import TextCombination, WritingMember
from sweepstack.ensembles.evaluation.table import Row
from sweepstack.ensembles.members.library import Member
from sweepstack.models import checksums
from sweepstack.models.data.cleaning import clean
from sweepstack.models.errors import BundleError, DataError
from sweepstack.models.files import reason_of, write_atomic, write_json, write_tensors
from sweepstack.models.predictions.texts import Candidates
from sweepstack.models.settings.writing import LAGGING

if TYPE_CHECKING:
    from sweepstack.models.tasks.writing.checkpoint import WriterMember

FORMAT = 1
KIND = "writing"
SUFFIXES = (".json", ".safetensors")  # of a member's files
CHUNK = 256  # texts written at a time


@dataclass(frozen=True)
class Written:
    """The candidates of the ensemble for one text."""

    text: str
    score: float  # of its kind: a log-probability a token, a cosine, an expected utility, or a reranker's value
    candidates: tuple[tuple[str, float], ...]  # texts and scores, best first; the first is ``text``
    cut: bool = False  # whether a member reads but the beginning of what was given
    unknown: float = 0.0  # the share of its characters that stand in no writer's vocabulary: 1 for another script
    lagging: float | None = None  # words by which it stayed behind the source, where the study counts them


@dataclass(frozen=True)
class WritingBundle:
    folder: Path
    input_column: str
    metadata: dict[str, Any]  # bundle.json
    members: tuple[WritingMember, ...]  # in the combination's order
    combination: TextCombination

    def write(self, texts: Texts, n: int = 1) -> list[Written]:
        """Write at most ``n`` candidates for each text, of which there may be fewer.

        Raises DataError, which names the row, where a text is empty. One that is longer than a member reads is cut,
        and the record says so.
        """
        texts = texts_of(texts, self.input_column)
        if n < 1:
            raise ValueError(f"n must be at least 1, but got {n}")
        for row, text in enumerate(texts):
            if not text.strip():
                raise DataError(f"row {row} of the input is empty, and nothing can be written for it; leave it out")
        names = [member["name"] for member in self.metadata["members"]]
        found = []
        for begin in range(0, len(texts), CHUNK):
            chunk = list(texts[begin : begin + CHUNK])
            said = self.combination.write(self.members, chunk, n, names)
            lagging = self._lagging(said, chunk)
            for text, candidates, scores, behind in zip(chunk, said.texts, said.scores, lagging, strict=True):
                both = tuple(zip(candidates, scores, strict=True))
                found.append(Written(*both[0], both, self._cut(text), self._unknown(text), behind))
        return found

    def _lagging(self, said: Candidates, texts: Sequence[str]) -> Sequence[float | None]:
        """A translation memory reads everything first, and in a study that counts words so do its texts."""
        if said.lagging is None and self.lags:
            from sweepstack.models.tasks.writing.lagging import whole_lagging  # torch: a second to import

            return whole_lagging(texts)
        return said.lagging or (None,) * len(texts)

    @property
    def lags(self) -> bool:
        """Whether its study counts the words by which writing stays behind reading."""
        return LAGGING in self.metadata.get("metrics", {}).get("blend", {})

    @cached_property
    def _writers(self) -> "list[WriterMember]":
        from sweepstack.models.tasks.writing.checkpoint import WriterMember

        return [member for member in self.members if isinstance(member, WriterMember)]

    def _cut(self, text: str) -> bool:
        return any(len(each.tokenizers.source.encode(text)) > each.writer.shape.max_source for each in self._writers)

    def _unknown(self, text: str) -> float:
        characters = [character for character in clean(text) if not character.isspace()]
        shares = [
            sum(character not in each.tokenizers.source.characters for character in characters)
            / max(len(characters), 1)
            for each in self._writers
        ]
        return min(shares, default=0.0)


def export(folder: Path, row: Row, combination: TextCombination, members: Sequence[Member], card: Card) -> None:
    """Writes the bundle of ``row``; ``members`` is the library that ``combination.members`` counts in.

    An existing bundle is replaced when the new one is whole. Raises StorageError where the disk refuses, or where
    ``folder`` holds something else.
    """
    put(folder, lambda new: _fill(new, row, combination, [members[place] for place in combination.members], card))


def _fill(folder: Path, row: Row, combination: TextCombination, members: Sequence[Member], card: Card) -> None:
    for member in members:
        checksums.check_below(member.checkpoint)
        target = folder / "members" / checked_name(member.name)
        target.mkdir(parents=True)
        for path in sorted(member.checkpoint.iterdir()):
            if path.suffix in SUFFIXES and not path.name.startswith("."):
                shutil.copyfile(path, target / path.name)
    state, arrays = combination.state()
    write_tensors(folder / "ensemble.safetensors", arrays)
    installed = versions((*PACKAGES, "sacrebleu"))
    metrics = {"valid": row.valid, "blend": row.blend, "test": row.test, "test_interval": row.test_interval}
    content = {
        "format": FORMAT,
        "kind": KIND,
        "digest": card.digest,
        "name": card.name,
        "task": card.task,
        "input_column": card.input_column,
        "method": row.method,
        "members": [{"name": m.name, "kind": m.kind} for m in members],
        "combination": state | {"members": list(range(len(members)))},
        "metrics": {part: figures for part, figures in metrics.items() if figures is not None},
        "versions": installed,
        "data": dict(card.data),
    }
    write_json(folder / "bundle.json", content)
    write_atomic(folder / "README.md", markdown_of_texts(card, row, installed, combination.kind))
    checksums.write(folder)


def load(folder: Path, device: str = "auto") -> WritingBundle:
    """Opens a bundle after checking every file; raises BundleError, in one line."""
    from sweepstack.models.tasks.writing.checkpoint import load_writing_member  # torch: a second to import

    try:
        metadata, names = read_metadata(folder, FORMAT)
        if metadata["kind"] != KIND:
            raise BundleError(f"{folder} holds an ensemble of kind {metadata['kind']!r}, which does not write")
        combination = TextCombination.from_state(metadata["combination"], load_file(folder / "ensemble.safetensors"))
        column = str(metadata["input_column"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise BundleError(f"{folder} cannot be read ({reason_of(error)}); copy or export the bundle again") from error
    if combination.members != tuple(range(len(names))):
        raise BundleError(
            f"{folder}: {len(names)} members but {combination.members} in its combination; export it again"
        )
    members = tuple(load_writing_member(folder / "members" / name, device) for name in names)
    return WritingBundle(folder, column, metadata, members, combination)
