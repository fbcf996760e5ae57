"""The report's pictures, each an SVG element: what trials did, what settings mattered, how sure the results are."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sweepstack.models.predictions.metrics import direction
from sweepstack.search import format as fmt
from sweepstack.search.ledger.leaderboard import Company, best_metrics
from sweepstack.search.ledger.records import by_repetition
from sweepstack.search.report.effects import Effect, trend
from sweepstack.search.report.svg import (
    CARD,
    COLOUR,
    GRID,
    INK,
    MUTED,
    STEPS,
    Picture,
    scale_ticks,
    score_axis,
    short_score,
)
from sweepstack.search.study.axes import Choice

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sweepstack.ensembles.evaluation.table import Row
    from sweepstack.search.ledger.records import TrialRecord


def learning_curves(records: Sequence["TrialRecord"], best: int | None, metric: str, part: str = "valid") -> str:
    picture = Picture(f"{fmt.metric_name(metric)} on {part} after each epoch, a line a trial", 9.6, 3.6)
    with picture as axes:
        longest = 1
        for record in sorted(records, key=lambda r: (r.number == best, r.state != "pruned")):
            role = "best" if record.number == best else "trial" if record.state in ("complete", "running") else "pruned"
            for repetition, own in enumerate(by_repetition(record.reports)):
                values = [record.reports[epoch - 1].get(metric, np.nan) for epoch in own]
                epochs = range(1, len(values) + 1)
                longest = max(longest, len(values))
                axes.plot(
                    epochs,
                    values,
                    color=COLOUR[role],
                    linewidth=2.4 if role == "best" else 1.3,
                    alpha=1 if role == "best" else 0.75,
                    linestyle="-" if role != "pruned" else (0, (3, 1.5)),
                )
                if role == "best" or len(values) == 1 or role == "pruned":
                    axes.plot(epochs[-1], values[-1], "o", color=COLOUR[role], markersize=5 if role == "best" else 3)
                if role == "best" and repetition == record.best_repetition:
                    axes.annotate(
                        f"trial {record.number}",
                        (epochs[-1], values[-1]),
                        (7, 0),
                        textcoords="offset points",
                        va="center",
                        color=COLOUR["best"],
                    )
        axes.set_xlim(0.8, longest + max(0.5, longest * 0.12))
        axes.set_xticks(np.unique(np.linspace(1, longest, min(longest, 10)).round()))
        axes.set_xlabel("epoch")
        score_axis(axes, "y", metric)
    return picture.svg


def effect(found: Effect, metric: str, best: int | None) -> str:
    name = fmt.short_name(found.axis.path)
    picture = Picture(f"{fmt.metric_name(metric)} against {found.axis.path}", 3.5, 2.5)
    with picture as axes:
        places = found.positions()
        if isinstance(found.axis, Choice):
            rng = np.random.default_rng(0)  # equal places are drawn beside each other
            groups = [found.scores[places == place] for place in range(len(found.axis.options))]
            for place, group in enumerate(groups):
                if len(group):
                    low, middle, high = np.quantile(group, (0.25, 0.5, 0.75))
                    axes.plot([place, place], [low, high], color=GRID, linewidth=13, solid_capstyle="butt", zorder=1)
                    axes.plot([place - 0.27, place + 0.27], [middle, middle], color=INK, linewidth=1.4, zorder=2)
            places = places + rng.uniform(-0.13, 0.13, len(places))
            labels = [fmt.setting(found.axis.path, option.value) for option in found.axis.options]
            crowded = sum(map(len, labels)) > 30
            axes.set_xticks(
                range(len(labels)), labels, rotation=35 if crowded else 0, ha="right" if crowded else "center"
            )
            axes.set_xlim(-0.6, len(labels) - 0.4)
            axes.grid(visible=False, axis="x")
        else:
            curve = trend(places, found.scores)
            if curve is not None:
                axes.plot(*curve, color=MUTED, linewidth=1.4, zorder=1)
            scale_ticks(axes, "x", found.axis)
        dots(axes, places, found, best)
        axes.set_title(name, color=INK, fontweight="bold")
        score_axis(axes, "y", metric, label=False)
    return picture.svg


def dots(axes: "Axes", places: Any, found: Effect, best: int | None) -> None:
    """Complete trials are full, pruned ones hollow, the best stands out."""
    for complete in (False, True):
        taken = found.complete == complete
        axes.scatter(
            places[taken],
            found.scores[taken],
            s=26,
            facecolors=COLOUR["trial"] if complete else CARD,
            edgecolors=CARD if complete else COLOUR["trial"],
            linewidths=0.8 if complete else 1.1,
            zorder=3,
        )
    if best in found.numbers:
        at = found.numbers.index(best)
        axes.scatter(places[at], found.scores[at], s=52, facecolors=COLOUR["best"], edgecolors=CARD, zorder=4)


def gamma_lambda(gamma: Effect, lam: Effect, best: int | None, metric: str) -> str:
    """γ against λ, each on its scale; the deeper the colour, the better the mean of the trials there."""
    picture = Picture(f"{fmt.metric_name(metric)} over γ and λ", 4.8, 3.6)
    with picture as axes:
        of_lam = {number: place for place, number in enumerate(lam.numbers)}
        pairs = [(i, of_lam[number]) for i, number in enumerate(gamma.numbers) if number in of_lam]
        index = [i for i, _ in pairs]
        each = np.stack([gamma.positions()[index], lam.positions()[[j for _, j in pairs]]])  # (2, trials)
        places, place = np.unique(each, axis=1, return_inverse=True)
        place = place.reshape(-1)
        count = np.bincount(place, minlength=places.shape[1])
        goodness = direction(metric) * np.bincount(place, gamma.scores[index], places.shape[1]) / count
        order = goodness.argsort().argsort()  # ranks: one bad trial must not wash out all other differences
        steps = np.minimum(order * STEPS // max(len(order), 1), STEPS - 1)
        complete = np.bincount(place, gamma.complete[index], places.shape[1]) > 0
        x, y = places
        axes.scatter(
            x,
            y,
            s=np.where(complete, 110, 60),
            c=[COLOUR[f"step{step}"] for step in steps],
            edgecolors=MUTED,
            linewidths=0.6,
            zorder=3,
        )
        for at, i in zip(place, index, strict=True):
            if gamma.numbers[i] == best:
                axes.scatter(x[at], y[at], s=230, facecolors="none", edgecolors=COLOUR["best"], linewidths=2)
        for axis, found in (("x", gamma), ("y", lam)):
            scale_ticks(axes, axis, found.axis)
        axes.set_xlabel("γ")
        axes.set_ylabel("λ")
    return picture.svg


def intervals(rows: Sequence["Row"], metric: str, baseline: str = "the baseline") -> str:
    """Test scores with 95% intervals, and paired gains beside them; empty before test has been scored."""
    scored = [row for row in rows if row.test is not None]
    if not scored:
        return ""
    known = (("gain_over_trial", "the best trial"), ("gain_over_linear", baseline))
    rivals = [(name, label) for name, label in known if any(getattr(row, name) is not None for row in scored)]
    picture = Picture(
        f"test {fmt.metric_name(metric)} with 95% intervals, and paired gains",
        9.6,
        0.9 + 0.33 * len(scored),
        1 + len(rivals),
        sharey=True,
    )
    with picture as panels:
        panels = np.atleast_1d(panels)
        heights = np.arange(len(scored))[::-1]
        for height, row in zip(heights, scored, strict=True):
            middle = (row.test or {})[metric]
            half = (row.test_interval or {}).get(metric, 0.0)
            whisker(panels[0], height, middle, middle - half, middle + half, row.role)
            for panel, (name, _) in zip(panels[1:], rivals, strict=True):
                gain = getattr(row, name)
                if gain is not None:
                    whisker(panel, height, gain.mean, gain.low, gain.high, row.role)
        panels[0].set_yticks(heights, [row.title for row in scored])
        panels[0].tick_params(axis="y", colors=INK)
        panels[0].set_ylim(-0.6, len(scored) - 0.4)
        panels[0].set_title(f"test {fmt.metric_name(metric)}", color=INK)
        score_axis(panels[0], "x", metric, label=False)
        for panel, (_, label) in zip(panels[1:], rivals, strict=True):
            panel.axvline(0, color=MUTED, linewidth=1)
            panel.set_title(f"gain over {label}", color=INK)
            panel.xaxis.set_major_formatter(lambda value, _: short_score(value, metric, signed=True))
            panel.locator_params(axis="x", nbins=4)
            panel.margins(x=0.12)
        for panel in panels:
            panel.grid(visible=False, axis="y")
            panel.spines["left"].set_visible(False)
    return picture.svg


def whisker(axes: "Axes", height: float, middle: float, low: float, high: float, role: str) -> None:
    axes.plot([low, high], [height, height], color=COLOUR[role], linewidth=2.2, solid_capstyle="round", zorder=2)
    axes.plot(middle, height, "o", color=COLOUR[role], markersize=6.5, markeredgecolor=CARD, zorder=3)


def reading(
    records: Sequence["TrialRecord"], company: Sequence[Company], rows: Sequence["Row"], best: int | None, cost: float
) -> str:
    """Accuracy on valid against segments read, with lines of equal reward behind them."""
    picture = Picture("accuracy on valid against segments read", 9.6, 3.8)
    with picture as axes:
        points: list[tuple[float, float]] = []

        def put(values: Mapping[str, float], role: str, size: float, label: str = "") -> None:
            if "segments" not in values or "accuracy" not in values:
                return
            point = (values["segments"], values["accuracy"])
            points.append(point)
            shown = CARD if role == "pruned" else COLOUR[role]
            edge = COLOUR["trial"] if role == "pruned" else CARD
            axes.scatter(*point, s=size, facecolors=shown, edgecolors=edge, zorder=3)
            if label:
                axes.annotate(
                    label, point, (7, 0), textcoords="offset points", va="center", color=COLOUR[role], fontsize=9
                )

        for record in records:
            if record.state != "failed" and record.number != best:
                put(best_metrics(record), "pruned" if record.state == "pruned" else "trial", 26)
        for record in records:
            if record.number == best:
                put(best_metrics(record), "best", 60, f"trial {best}")
        for other in company:
            put(other.valid, other.role, 60, other.name)
        for row in [row for row in rows if row.role == "ensemble"][:1]:
            put(row.valid, "ensemble", 60, row.title)
        if points:
            iso_reward(axes, np.array(points), cost)
        axes.set_xlabel("segments read")
        score_axis(axes, "y", "accuracy")
    return picture.svg


def iso_reward(axes: "Axes", points: Any, cost: float) -> None:
    """Lines along which accuracy less the cost of reading is the same: up and to the left is better."""
    (left, low), (right, high) = points.min(axis=0), points.max(axis=0)
    margin = max(0.12 * (right - left), 0.3)
    left, right = max(left - margin, 0.8), right + 2.5 * margin
    rewards = points[:, 1] - cost * (points[:, 0] - 1)
    step = max(0.005, round(float(np.ptp(rewards)) / 4 / 0.005) * 0.005)
    for reward in np.arange(np.floor(rewards.min() / step), np.ceil(rewards.max() / step) + 1) * step:
        axes.plot(
            [left, right], [reward + cost * (left - 1), reward + cost * (right - 1)], color=GRID, linewidth=1, zorder=1
        )
    pad = max(0.12 * (high - low), 0.004)
    axes.set_xlim(left, right)
    axes.set_ylim(low - pad, high + pad)
    axes.grid(visible=False)
