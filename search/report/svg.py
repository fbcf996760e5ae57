"""SVG drawn by matplotlib without its global figures, coloured by the page's CSS variables.

matplotlib knows fixed colours only, so each role of a colour is drawn in a marker colour which is then replaced by
``var(--role)``: one picture serves light, dark and paper. Text stays text, in the page's own font.
"""

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from sweepstack.models.predictions.metrics import POINTS
from sweepstack.search import format as fmt
from sweepstack.search.report.effects import scaled
from sweepstack.search.study.axes import Axis, Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROLES = ("ink", "muted", "grid", "card", "best", "trial", "pruned", "ensemble", "baseline", "control")
STEPS = 5  # of the scale from the worst to the best value
COLOUR = {role: f"#0{place:x}0b0c" for place, role in enumerate([*ROLES, *(f"step{i}" for i in range(STEPS))])}
INK, MUTED, GRID, CARD = (COLOUR[role] for role in ROLES[:4])
RC: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
}


class Picture:
    """``with Picture(title, width, height) as axes: …`` and then ``.svg``; the title is what a screen reader reads."""

    def __init__(self, title: str, width: float, height: float, columns: int = 1, **subplots: Any) -> None:
        self.title, self._size, self._columns, self._subplots = title, (width, height), columns, subplots
        self.svg = ""

    def __enter__(self) -> Any:
        import matplotlib as mpl
        from matplotlib.figure import Figure

        style: Any = {**RC, "svg.hashsalt": self.title}
        self._style = mpl.rc_context(style)
        self._style.__enter__()
        self._figure: Figure = Figure(figsize=self._size, layout="constrained", facecolor="none")
        return self._figure.subplots(1, self._columns, **self._subplots)

    def __exit__(self, *error: Any) -> None:
        try:
            if error[0] is None:
                self.svg = as_svg(self._figure, self.title)
        finally:
            self._style.__exit__(None, None, None)


def as_svg(figure: "Figure", title: str) -> str:
    """The figure as an element to stand in a page: colours by role, ids that cannot clash, no prolog."""
    from markupsafe import escape

    file = io.StringIO()
    figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for role, colour in COLOUR.items():
        text = text.replace(colour, f"var(--{role})")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", text)
    text = re.sub(r" font-family: [^;\"]*;?", "", text)
    text = re.sub(r"font: [^;\"]*?([\d.]+)px[^;\"]*", r"font-size: \1px", text)  # the shorthand of older matplotlib
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


def score_axis(axes: "Axes", which: str, metric: str, *, label: bool = True) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(lambda value, _: short_score(value, metric))
    axes.locator_params(axis=which, nbins=5)  # type: ignore[arg-type]
    if label:
        axis.set_label_text(fmt.metric_name(metric))


def short_score(value: float, metric: str = "", *, signed: bool = False) -> str:
    """``.90``, ``.895``, ``+.02``: at least two decimals, and no more than needed up to three; of what is counted or in
    points ``41``, ``+2.5``."""
    if abs(value) < 1e-9:
        return "0"
    if metric in ("segments", "seconds", *POINTS):
        return f"{value:+g}" if signed else f"{value:g}"
    text = fmt.signed(value) if signed else fmt.score(value)
    return text[:-1] if text.endswith("0") else text


def scale_ticks(axes: "Axes", which: str, axis: Axis) -> None:
    """Ticks that name settings where the axis shows their logarithm, or their place among the choices."""
    ticks = axes.set_xticks if which == "x" else axes.set_yticks
    if not isinstance(axis, Interval):
        ticks(range(len(axis.options)), [fmt.setting(axis.path, option.value) for option in axis.options])
        return
    low, high = (float(p) for p in scaled(axis, np.array([axis.low, axis.high], dtype=np.float64)))
    margin = 0.04 * (high - low)
    (axes.set_xlim if which == "x" else axes.set_ylim)(low - margin, high + margin)
    if axis.kind in ("log", "int_log"):
        decades = [m * 10.0**d for d in range(int(np.floor(low)), int(np.ceil(high)) + 1) for m in (1, 3)]
        values = [v for v in decades if axis.low * 0.999 <= v <= axis.high * 1.001]
        if len(values) < 2:
            values = [axis.low, axis.high]
        ticks([float(np.log10(v)) for v in values], [tick(v) for v in values])
    elif axis.kind == "near_one":
        below = [m * 10.0**-d for d in range(12) for m in (5, 2, 1)]
        values = [1 - b for b in below if axis.low - 1e-12 <= 1 - b <= axis.high + 1e-12]
        if len(values) > 6:
            values = [v for v in values if abs(np.log10(1 - v) - round(np.log10(1 - v))) < 1e-6 or v == values[0]]
        if len(values) < 2:
            values = [axis.low, axis.high]
        ticks([float(-np.log10(1 - v)) for v in values], [fmt.score(v, 12).rstrip("0") for v in values])
    else:
        axes.locator_params(axis=which, nbins=5)  # type: ignore[arg-type]


def tick(value: float) -> str:
    return f"{value:g}" if 1e-2 <= value < 1e5 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
