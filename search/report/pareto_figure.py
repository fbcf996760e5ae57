"""The report's pictures of what must be weighed: trials by several objectives, ensembles by score and latency.

Each shows the front of those that nothing beats.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sweepstack.models.predictions.metrics import direction
from sweepstack.search import format as fmt
from sweepstack.search.report.svg import CARD, COLOUR, INK, Picture, score_axis

if TYPE_CHECKING:
    from sweepstack.ensembles.evaluation.table import Row
    from sweepstack.search.ledger.records import TrialRecord


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


def serving(rows: Sequence["Row"], metric: str) -> str:
    """The blend score of each row against its milliseconds for one text; empty before they were measured."""
    shown = [row for row in rows if row.latency_ms is not None and row.blend]  # a refit has learned blend
    if not shown:
        return ""
    from matplotlib.ticker import LogLocator, NullLocator

    picture = Picture(f"{fmt.metric_name(metric)} on blend against milliseconds a text, and the Pareto front", 7.2, 3.6)
    with picture as axes:
        for row in shown:
            point, over = (row.latency_ms, row.blend[metric]), bool(row.over_budget)
            axes.scatter(
                *point,
                s=58 if row.front else 26,
                facecolors=CARD if over else COLOUR[row.role],
                edgecolors=COLOUR[row.role] if over else CARD,
                zorder=4 if row.front else 3,
            )
            axes.annotate(row.title, point, (6, 5), textcoords="offset points", color=INK, fontsize=9)
        front = sorted((row.latency_ms or 0.0, direction(metric) * row.blend[metric]) for row in shown if row.front)
        line = [(latency, direction(metric) * score) for latency, score in front]
        if line:
            axes.step(*zip(*line, strict=True), where="post", color=COLOUR["ensemble"], linewidth=1.2, zorder=2)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("milliseconds a text, alone")
        axes.margins(x=0.15, y=0.15)
        score_axis(axes, "y", metric)
    return picture.svg
