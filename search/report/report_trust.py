"""What the report says of how far the exported ensemble can be trusted: values and text for its template."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sweepstack.models import checksums
from sweepstack.models.errors import DamagedError
from sweepstack.models.files import read_json
from sweepstack.search import format as fmt
from sweepstack.search.report import trust_figures

if TYPE_CHECKING:
    from pathlib import Path

    from sweepstack.ensembles.evaluation.trust import Diversity, Trust
    from sweepstack.search.report.summary import Results

DEEPEST = 60  # per cent of colour behind the largest number of a table


def read_trust(path: "Path", digest: str) -> "Trust | None":
    """What was found when test was scored; None where it was not, or is of another build or version."""
    from sweepstack.ensembles.evaluation.trust import Trust

    try:
        checksums.check(path)
        found = Trust.from_json(read_json(path))
    except (DamagedError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return found if found.digest == digest else None


def trust_page(trust: "Trust | None", results: "Results") -> dict[str, Any] | None:
    """All that the template shows of ``trust``, by name; ``results``: those whose tables stand on the same page."""
    if trust is None:
        return None
    from markupsafe import Markup

    row = results.row(trust.name)
    return {
        "name": trust.name,
        "calibration": calibration_words(
            trust, None if row is None or row.test is None else row.test.get("calibration_error")
        ),
        "tempered": trust.temperature != 1,
        "reliability": Markup(trust_figures.reliability(trust)),
        "risk": Markup(trust_figures.risk_coverage(trust)),
        "curves": [(curve.name, _colour(curve.role)) for curve in trust.curves],
        "sets": [
            {
                "coverage": fmt.score(each.coverage, 2),
                "held": f"{fmt.score(each.held)} ±{fmt.score(each.half_width)}",
                "size": f"{each.size:.2f}",
                "single": fmt.score(each.single),
                "accuracy": fmt.score(each.accuracy),
            }
            for each in trust.sets
        ],
        "promise": trust.promise,
        "classes": [
            {
                "label": each.label,
                "figures": [fmt.score(each.precision), fmt.score(each.recall), fmt.score(each.f1)],
                "support": fmt.count(each.support),
                "answered": fmt.count(each.answered),
            }
            for each in sorted(trust.classes, key=lambda each: -each.support)
        ],
        "diversity": None if trust.diversity is None else diversity_page(trust.diversity),
    }


def calibration_words(trust: "Trust", full: float | None = None) -> str:
    """``full``: the metric of the tables, which looks at what is said after reading everything."""
    after, of_tables = fmt.score(trust.after.error, 4), fmt.score(full, 4)
    said = f"The expected calibration error where it answers is {after}"
    if full is not None and of_tables != after:
        said += f" (after reading everything, which is calibration_error in the tables, {of_tables})"
    if trust.temperature == 1:
        return f"{said}, without a temperature: none helped, or it is one member."
    return (
        f"{said}; before the temperature of {trust.temperature:.3g}, which helped on cross-fitted blend, it was "
        f"{fmt.score(trust.before.error, 4)}."
    )


def diversity_page(found: "Diversity") -> dict[str, Any]:
    return {
        "name": found.name,
        "members": list(zip(found.members, map(fmt.score, found.accuracy), strict=True)),
        "disagreement": _shaded(found.disagreement),
        "correlation": _shaded(found.error_correlation),
        "missed": fmt.count(found.missed),
        "examples": [
            {
                "text": each.text,
                "label": each.label,
                "answer": f"{each.answer} ({fmt.score(each.probability, 2)})",
                "said": _grouped(each.said, found.members),
            }
            for each in found.examples
        ],
    }


def _shaded(table: Sequence[Sequence[float | None]]) -> list[list[tuple[str, int]]]:
    """Each number as text with how deep the colour behind it is; nothing on the diagonal."""
    others = [abs(v) for i, row in enumerate(table) for j, v in enumerate(row) if i != j and v is not None]
    largest = max(others, default=0.0) or 1.0
    return [
        [
            ("", 0)
            if i == j
            else (fmt.score(value, 2), 0 if value is None else round(DEEPEST * max(value, 0) / largest))
            for j, value in enumerate(row)
        ]
        for i, row in enumerate(table)
    ]


def _grouped(said: Sequence[str], members: Sequence[str]) -> list[tuple[str, str]]:
    """(label, the members that said it), the commonest label first."""
    by_label: dict[str, list[str]] = {}
    for label, member in zip(said, members, strict=True):
        by_label.setdefault(label, []).append(member)
    order = sorted(by_label.items(), key=lambda each: -len(each[1]))
    return [(label, "all" if len(who) == len(members) else ", ".join(who)) for label, who in order]


def _colour(role: str) -> str:
    return "best" if role == "trial" else role
