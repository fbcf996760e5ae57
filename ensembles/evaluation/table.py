"""The final table: a row for every ensemble, and for the single members beside them."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from sweepstack.ensembles.scoring.bootstrap import Gain

Role = Literal["ensemble", "trial", "baseline", "control"]


@dataclass(frozen=True)
class Row:
    """A line of the final table. Metrics by name, as in probabilities.metrics."""

    name: str  # unique in the table: "selection", "trial-7", "linear", "supervised-2"
    method: str  # the builder, or "trial", "linear", "naive_bayes", "supervised"
    role: Role
    members: tuple[str, ...]
    weights: tuple[float, ...] | None  # sums to 1; None where there are none
    stop: str
    valid: dict[str, float]
    blend: dict[str, float]  # of an ensemble: cross-fitted
    test: dict[str, float] | None = None
    test_interval: dict[str, float] | None = None  # half-widths of the 95% intervals
    blend_interval: dict[str, float] | None = None  # the same
    gain_over_trial: Gain | None = None  # on test, in the objective, more is better
    gain_over_linear: Gain | None = None
    size_mb: float | None = None
    latency_ms: float | None = None  # of a text that comes alone
    latency_32_ms: float | None = None  # of one of 32 that come together
    over_budget: str = ""  # the bounds of ensembles.budget that it breaks: it is not exported
    front: bool = False  # whether no other row is as good on blend and as fast
    out_of_bag: dict[str, float] | None = None  # of bagging: over the rows that some of its refits have not seen
    utility: str = ""  # of texts: the metric that they were picked by, where there is one
    other_gains: dict[str, Gain] | None = None  # of texts: over the best trial on test, in metrics beside the objective

    @property
    def title(self) -> str:
        """How a table shows the name: members without a learned stop answer when they are sure enough."""
        reads = (
            self.role in ("baseline", "control") and self.method != "constant" and self.stop not in ("", "one segment")
        )
        return f"{self.method}, sure enough" if reads else self.name

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(state: dict[str, Any]) -> "Row":
        """The inverse of :meth:`to_json`, also after a round through JSON."""
        gains: dict[str, Any] = {
            key: Gain(**state[key]) for key in ("gain_over_trial", "gain_over_linear") if state[key]
        }
        if state.get("other_gains"):
            gains["other_gains"] = {name: Gain(**each) for name, each in state["other_gains"].items()}
        weights = None if state["weights"] is None else tuple(state["weights"])
        return Row(**{**state, **gains, "members": tuple(state["members"]), "weights": weights})
