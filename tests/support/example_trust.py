"""A made-up report of how far an ensemble can be trusted, with a text that is hostile to HTML."""

from sweepstack.ensembles.evaluation.reliability import Reliability
from sweepstack.ensembles.evaluation.trust import Curve, Diversity, Missed, OfClass, Sets, Trust

HOSTILE = '<script>alert("1")</script> & so on'
TRUST = Trust(
    "0123",
    "selection",
    0.7,
    Reliability(0.05, (30, 70), (0.6, 0.9), (0.7, 0.96)),
    Reliability(0.012, (20, 80), (0.6, 0.95), (0.6, 0.94)),
    (
        Curve("selection", "ensemble", (0.05, 0.5, 1.0), (0.2, 0.99, 0.9)),
        Curve("trial-7", "trial", (0.5, 1.0), (0.95, 0.88)),
        Curve("linear", "baseline", (0.5, 1.0), (0.96, 0.87)),
    ),
    (Sets(0.9, 0.91, 0.028, 1.05, 0.9, 0.97), Sets(0.99, 0.992, 0.01, 1.6, 0.05, None)),
    (OfClass("rare", 5, 4, 0.75, 0.6, 2 / 3), OfClass("<b>often</b>", 95, 96, 0.97, 0.98, 0.975)),
    Diversity(
        "selection",
        ("trial-7", "linear", "trial-3"),
        (0.88, 0.87, 0.5),
        ((0.0, 0.08, 0.2), (0.08, 0.0, 0.1), (0.2, 0.1, 0.0)),
        ((1.0, 0.5, None), (0.5, 1.0, -0.1), (None, -0.1, None)),
        3,
        (Missed(HOSTILE, "rare", "<b>often</b>", 0.987, ("<b>often</b>", "other", "<b>often</b>")),),
    ),
    "Nothing is guaranteed of it.",
)
