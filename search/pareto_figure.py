"""The report's picture of several objectives: every trial by what it came to, and the front of those not beaten."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sweepstack.search import format as fmt
from sweepstack.search.objectives import direction
from sweepstack.search.svg import CARD, COLOUR, INK, Picture, score_axis

if TYPE_CHECKING:
    from sweepstack.search.trial_record import TrialRecord


def pareto(
    records: Sequence["TrialRecord"], front: Sequence[int], objectives: Sequence[str], best: int | None = None
) -> str:
    """The first objective against each of the others, a panel each; with two objectives a line joins the front.

    ``front`` and ``best`` are trial numbers. Full points are complete, hollow ones were stopped and cannot be on it.
    """
    first, *others = objectives
    width = 9.6 if len(others) > 1 else 6.4
    title = f"{fmt.metric_name(first)} against {', '.join(map(fmt.metric_name, others))}, and the Pareto front"
    picture = Picture(title, width, 3.6, len(others), sharey=True)
    shown = [r for r in records if r.objectives and r.state in ("complete", "pruned")]
    with picture as panels:
        for panel, other in zip(np.atleast_1d(panels), others, strict=True):
            for record in shown:
                point = record.objectives[other], record.objectives[first]
                on_front, complete = record.number in front, record.state == "complete"
                role = "best" if record.number == best else "ensemble" if on_front else "trial"
                panel.scatter(
                    *point,
                    s=58 if on_front else 26,
                    facecolors=COLOUR[role] if complete else CARD,
                    edgecolors=CARD if complete else COLOUR["trial"],
                    zorder=4 if on_front else 3,
                )
                if on_front:
                    panel.annotate(f"{record.number}", point, (6, 5), textcoords="offset points", color=INK, fontsize=9)
            if len(others) == 1:
                line = sorted((r.objectives[other], r.objectives[first]) for r in shown if r.number in front)
                where = "post" if direction(other) < 0 else "pre"
                panel.step(*zip(*line, strict=True), where=where, color=COLOUR["ensemble"], linewidth=1.2, zorder=2)
            panel.set_xlabel(fmt.metric_name(other) + (" of training" if other == "seconds" else ""))
            panel.margins(x=0.08, y=0.1)
            score_axis(panel, "x", other, label=False)
            score_axis(panel, "y", first, label=panel is np.atleast_1d(panels)[0])
    return picture.svg
