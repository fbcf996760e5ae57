"""Pictures of whether an ensemble can be trusted: its reliability diagram, and accuracy against the share answered."""

from typing import TYPE_CHECKING

import numpy as np

from sweepstack.search import format as fmt
from sweepstack.search.report.svg import CARD, COLOUR, GRID, MUTED, Picture, score_axis

if TYPE_CHECKING:
    from sweepstack.ensembles.evaluation.trust import Trust

FEWEST = 0.1  # share of texts: of fewer the accuracy is that of a handful


def reliability(trust: "Trust") -> str:
    """Accuracy against confidence, bin by bin, after the temperature and, where there is one, before it."""
    picture = Picture("accuracy against confidence, in bins", 4.7, 3.9)
    with picture as axes:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (3, 2)), zorder=1)
        drawn = [(trust.after, "ensemble")]
        if trust.temperature != 1:
            drawn.insert(0, (trust.before, "pruned"))
        for found, role in drawn:
            axes.plot(found.confidence, found.accuracy, color=COLOUR[role], linewidth=1.4, zorder=2)
            sizes = 14 + 160 * np.sqrt(np.array(found.rows) / max(sum(found.rows), 1))
            axes.scatter(
                found.confidence, found.accuracy, s=sizes, facecolors=COLOUR[role], edgecolors=CARD, zorder=3, alpha=0.9
            )
        low = min([*trust.after.confidence, *trust.after.accuracy, *trust.before.confidence, *trust.before.accuracy])
        start = max(np.floor(low * 10) / 10 - 0.03, -0.03)
        axes.set_xlim(start, 1.03)
        axes.set_ylim(start, 1.03)
        axes.set_xlabel("confidence")
        score_axis(axes, "x", "accuracy", label=False)
        score_axis(axes, "y", "accuracy")
    return picture.svg


def risk_coverage(trust: "Trust") -> str:
    """Accuracy of the answers against the share of texts answered, the surest first; sets of one label are marked."""
    picture = Picture("accuracy of the answers against the share of texts that are answered", 4.7, 3.9)
    with picture as axes:
        lowest = 1.0
        for curve in reversed(trust.curves):
            role = "ensemble" if curve.role == "ensemble" else "best" if curve.role == "trial" else curve.role
            main = curve.name == trust.name
            shares, accuracies = np.array(curve.answered), np.array(curve.accuracy)
            settled = shares >= FEWEST
            lowest = min(lowest, float(accuracies[settled].min()))
            axes.plot(
                shares[settled],
                accuracies[settled],
                color=COLOUR[role],
                linewidth=2.2 if main else 1.4,
                zorder=3 if main else 2,
            )
        for (share, accuracy), coverages in single_sets(trust).items():
            axes.plot(share, accuracy, "o", color=COLOUR["ensemble"], markeredgecolor=CARD, zorder=4)
            axes.annotate(
                ", ".join(fmt.score(each, 2) for each in coverages),
                (share, accuracy),
                (6, 5),
                textcoords="offset points",
                color=COLOUR["ensemble"],
                fontsize=9,
            )
            lowest = min(lowest, accuracy)
        axes.axvline(1, color=GRID, linewidth=1)
        axes.set_xlim(0.07, 1.03)
        margin = max(0.12 * (1 - lowest), 0.004)
        axes.set_ylim(lowest - 1.5 * margin, 1 + margin)
        axes.set_xlabel("share of texts answered")
        score_axis(axes, "x", "accuracy", label=False)
        score_axis(axes, "y", "accuracy")
    return picture.svg


def single_sets(trust: "Trust") -> dict[tuple[float, float], list[float]]:
    """(share of texts, accuracy) of sets of one label → the coverages that they were asked for; near ones together."""
    marks: dict[tuple[float, float], list[float]] = {}
    for sets in trust.sets:
        if sets.accuracy is None or sets.single < FEWEST:
            continue
        near = (at for at in marks if abs(at[0] - sets.single) < 0.03 and abs(at[1] - sets.accuracy) < 0.01)
        marks.setdefault(next(near, (sets.single, sets.accuracy)), []).append(sets.coverage)
    return marks
