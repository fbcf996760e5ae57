"""Which way a metric is better, and on which scale it is: one place for whoever ranks, stops, selects or compares.

A name means the same under every task that reports it, so it has one direction.
"""

LESS_IS_BETTER = frozenset({"segments", "log_loss", "calibration_error", "lagging", "seconds"})
POINTS = ("bleu", "chrf")  # from 0 to 100, of which tenths are shown


def direction(metric: str) -> int:
    """+1 where more is better, -1 where less is."""
    return -1 if metric in LESS_IS_BETTER else 1
