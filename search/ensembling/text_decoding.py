"""What an ensemble that averages its members at every token writes of a part: on Ray, piece by piece, and only once.

Such texts are in nobody's stored predictions. Workers are given sources and never a reference; what they have written
lies in ``decoded/<hash>/``, by the hash of all that it depends on, so that a run which goes on repeats nothing.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from sweepstack.ensembles.combinations.text_combination import TextCombination
from sweepstack.ensembles.members.library import UNREADABLE, Member
from sweepstack.models import checksums
from sweepstack.models.predictions.texts import Candidates
from sweepstack.search.run.session import Session

FORMAT = 1
PIECE = 256  # sources that a worker writes for at a time


@dataclass(frozen=True)
class Decoder:
    """Call it with a combination and a part; ``members`` is the library that combinations count in."""

    session: Session
    members: tuple[Member, ...]

    def __call__(self, combination: TextCombination, part: str) -> Candidates:
        sources, rows_hash = self.session.pairs.parts[part].inputs, self.session.hashes[part]
        folder = self.session.folder.decoded / self.digest(combination)
        whole = folder / f"{part}.safetensors"
        found = _read(whole, rows_hash)
        if found is not None:
            return found
        pieces = folder / part
        begins = range(0, len(sources), PIECE)
        paths = [pieces / f"{begin}.safetensors" for begin in begins]
        stage = f"{combination.kind.replace('_', ' ')} writes {part}"
        self.session.display.stage(stage, 0, len(paths))
        executor = self.session.cluster.executor(self.session.study.search.resources)
        tasks = [
            executor.submit(
                write_piece,
                combination,
                self.members,
                tuple(sources[begin : begin + PIECE]),
                rows_hash,
                path,
                self.session.study.device,
            )
            for begin, path in zip(begins, paths, strict=True)
        ]
        for done, task in enumerate(tasks, start=1):
            task.result()
            self.session.display.stage(stage, done, len(paths))
            self.session.clock.beat()
        written = together([Candidates.load(path)[0] for path in paths])
        written.save(whole, rows_hash)
        shutil.rmtree(pieces, ignore_errors=True)
        return written

    def digest(self, combination: TextCombination) -> str:
        """Of its members' files and its own numbers: all that its texts depend on besides the sources."""
        state, arrays = combination.state()
        identity = [
            FORMAT,
            {name: value for name, value in state.items() if name != "members"},
            {name: hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest() for name, array in arrays.items()},
            [self._digests[place] for place in combination.members],
        ]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]

    @cached_property
    def _digests(self) -> tuple[str, ...]:
        return tuple(_digest(member.checkpoint) for member in self.members)


def write_piece(
    combination: TextCombination,
    members: Sequence[Member],
    sources: Sequence[str],
    rows_hash: str,
    path: Path,
    device: str,
) -> None:
    """Writes for ``sources`` and keeps it at ``path``, in whatever process it is called; what is there stays."""
    from sweepstack.ensembles.combinations.member_decoding import decode

    if _read(path, rows_hash) is None:
        decode(combination, members, sources, device).save(path, rows_hash)


def together(pieces: Sequence[Candidates]) -> Candidates:
    """The rows of all pieces, in their order."""
    return Candidates(
        tuple(texts for piece in pieces for texts in piece.texts),
        tuple(scores for piece in pieces for scores in piece.scores),
    )


def _read(path: Path, rows_hash: str) -> Candidates | None:
    """None where there is nothing whole, or something of other rows."""
    try:
        found, of_rows = Candidates.load(path)
    except (*UNREADABLE, ValueError):
        return None
    return found if of_rows == rows_hash else None


def _digest(checkpoint: Path) -> str:
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != checksums.NAME)
    return hashlib.sha256("".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files).encode()).hexdigest()
