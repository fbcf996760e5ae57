"""What the report shows of texts that are written: rows of test side by side, as text for its template."""

from typing import TYPE_CHECKING, Any

from sweepstack.search import format as fmt

if TYPE_CHECKING:
    from sweepstack.ensembles.evaluation.examples import Examples

LONGEST = 400  # characters of a text that are shown


def examples_page(examples: "Examples | None") -> dict[str, Any] | None:
    """All that the template shows of ``examples``, by name."""
    if examples is None or not examples.rows:
        return None
    name = examples.score
    return {
        "ensemble": examples.ensemble,
        "trial": examples.trial,
        "score": name,
        "better": fmt.count(examples.better),
        "worse": fmt.count(examples.worse),
        "equal": fmt.count(examples.equal),
        "alike": all(row.trial == row.ensemble for row in examples.rows),
        "referenced": any(row.reference for row in examples.rows),
        "rows": [
            {
                "source": cut(row.source),
                "reference": cut(row.reference),
                "trial": cut(row.trial),
                "ensemble": cut(row.ensemble),
                "trial_score": fmt.metric(name, row.trial_score),
                "ensemble_score": fmt.metric(name, row.ensemble_score),
                "better": row.ensemble_score > row.trial_score,
            }
            for row in examples.rows
        ],
    }


def cut(text: str) -> str:
    """At most LONGEST characters; what has no text says so by a dash."""
    if not text.strip():
        return fmt.DASH
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
