"""Rows of ensembles that write, for tests of what is chosen and shown."""

from collections.abc import Sequence
from typing import Any

from sweepstack.ensembles.evaluation.table import Row
from sweepstack.ensembles.scoring.bootstrap import Gain


def writing_rows() -> tuple[Row, ...]:
    """As the rows of classification, in points; minimum Bayes risk picks by the metric that it is measured by."""

    def row(name: str, method: str, role: Any, members: Sequence[str], chrf: float, **fields: Any) -> Row:
        parts = [{"chrf": chrf + change, "bleu": chrf + 4 + change} for change in (-0.5, 0.2, 0)]
        half = {"chrf": 1.06, "bleu": 1.2}
        weights = tuple(1 / len(members) for _ in members)
        return Row(name, method, role, tuple(members), weights, "", *parts, half, half, **fields)

    return (
        row(
            "minimum_bayes_risk",
            "minimum_bayes_risk",
            "ensemble",
            ["trial-3", "trial-1", "memory"],
            41.7,
            gain_over_trial=Gain(4.4, 3.52, 5.28),
            gain_over_linear=Gain(8.81, 7.6, 10.0),
            size_mb=20.1,
            latency_ms=80.2,
            latency_32_ms=6.1,
            utility="chrf",
            other_gains={"bleu": Gain(4.02, 3.1, 4.94)},
        ),
        row("trial-3", "trial", "trial", ["trial-3"], 37.3, gain_over_linear=Gain(4.4, 3.0, 5.8)),
        row("memory", "memory", "baseline", ["memory"], 32.9, gain_over_trial=Gain(-4.4, -5.8, -3.0)),
    )
