"""What the exported ensemble and the best trial write for the same sources of test, where they differ most.

Half of the rows are among those that the ensemble has made worse, as far as there are so many. Chosen when test is
scored, by the difference of a score of each text, and kept for the report.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepstack.models import checksums
from sweepstack.models.errors import DamagedError
from sweepstack.models.files import read_json

if TYPE_CHECKING:
    import numpy as np

    from sweepstack.ensembles.evaluation.choose_texts import TextChoice
    from sweepstack.ensembles.scoring.text_objective import TextObjective
    from sweepstack.models.predictions.texts import Candidates

MOST = 12  # rows that are shown
SAME = 1e-9  # scores that differ by less are equal


@dataclass(frozen=True)
class Example:
    source: str
    reference: str
    trial: str  # what the best trial writes
    ensemble: str
    trial_score: float
    ensemble_score: float


@dataclass(frozen=True)
class Examples:
    digest: str  # of the build that they are of
    ensemble: str  # names of rows of the table
    trial: str
    score: str  # what texts are compared by: "chrf", 0 to 100, or "reward"
    better: int  # of how many rows the ensemble's text has the higher score
    worse: int
    equal: int
    rows: tuple[Example, ...]  # the largest difference first

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(state: Mapping[str, Any]) -> "Examples":
        return Examples(**{**state, "rows": tuple(Example(**row) for row in state["rows"])})


def differing(
    choice: "TextChoice",
    written: "Mapping[str, Candidates]",
    sources: Sequence[str],
    references: Sequence[str],
    objective: "TextObjective",
    digest: str,
) -> Examples | None:
    """``written`` by row name. Of what is exported, or, where that is a single member, of the best ensemble; None where
    there is no ensemble or no trial."""
    ensembles = [row.name for row in choice.rows if row.role == "ensemble"]
    trial = next((row.name for row in choice.rows if row.role == "trial"), None)
    if trial is None or not ensembles:
        return None
    ensemble = choice.chosen if choice.chosen in ensembles else ensembles[0]
    ours, theirs = written[ensemble].best, written[trial].best
    name = "reward" if objective.reward is not None else "chrf"

    def scored(texts: Sequence[str]) -> "np.ndarray[Any, np.dtype[np.float64]]":
        from sweepstack.models.predictions.text_metrics import sentence_chrf  # brings sacrebleu

        if objective.reward is not None:
            return objective.reward(sources, references, texts)
        return 100 * sentence_chrf(texts, references)

    of_ours, of_theirs = scored(ours), scored(theirs)
    gains = of_ours - of_theirs
    order = sorted(range(len(gains)), key=lambda row: (-abs(gains[row]), row))
    unlike = [row for row in order if ours[row] != theirs[row]]
    shown = {
        *[row for row in unlike if gains[row] > 0][: MOST // 2],
        *[row for row in unlike if gains[row] < 0][: MOST // 2],
    }
    shown.update([row for row in unlike if row not in shown][: MOST - len(shown)])
    if not unlike:  # what is written is worth seeing all the same
        shown.update(range(min(MOST, len(gains))))
    rows = tuple(
        Example(sources[row], references[row], theirs[row], ours[row], float(of_theirs[row]), float(of_ours[row]))
        for row in order
        if row in shown
    )
    better, worse = int((gains > SAME).sum()), int((gains < -SAME).sum())
    return Examples(digest, ensemble, trial, name, better, worse, len(gains) - better - worse, rows)


def read_examples(path: Path, digest: str) -> Examples | None:
    """What was kept when test was scored; None where there is nothing, or of another build or version."""
    try:
        checksums.check(path)
        found = Examples.from_json(read_json(path))
    except (DamagedError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return found if found.digest == digest else None
