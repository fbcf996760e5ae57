"""What serving may cost: ``ensembles.budget`` bounds the choice, and the front shows what each millisecond buys.

A row over the budget stands in the table, with the bound that it breaks, but is not exported. What a row costs is
measured on texts of blend, before the choice; nothing here needs a label of test.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Serving:
    """What it takes to serve a combination, as measured on this machine with one thread."""

    size_mb: float  # of its members on disk, in 10⁶ bytes
    latency_ms: float  # of a text that comes alone, mean over texts
    latency_32_ms: float  # of one of 32 texts that come together


@dataclass(frozen=True)
class Budget:
    """Upper bounds; None bounds nothing."""

    members: int | None = None
    size_mb: float | None = None
    latency_ms: float | None = None

    def excess(self, members: int, serving: Serving | None) -> dict[str, float]:
        """The bounds that are broken, each with the value as a multiple of the bound; without ``serving`` only the
        members are looked at."""
        values = {"members": float(members)} | ({} if serving is None else asdict(serving))
        bounds = {name: bound for name, bound in asdict(self).items() if bound is not None and name in values}
        return {name: values[name] / bound for name, bound in bounds.items() if values[name] > bound}

    def broken(self, members: int, serving: Serving | None) -> str:
        """``size_mb 5.2 > 3``, by the bounds; empty where it fits."""
        bounds = asdict(self)
        return ", ".join(
            f"{name} {round(times * bounds[name], 2):g} > {bounds[name]:g}"
            for name, times in self.excess(members, serving).items()
        )

    @property
    def words(self) -> str:
        return ", ".join(f"{name} {bound:g}" for name, bound in asdict(self).items() if bound is not None)


def pareto(points: Mapping[str, tuple[float, float]]) -> frozenset[str]:
    """The names that no other beats; points are (score, more is better; cost, less is better). Equals all stand."""

    def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return one[0] >= other[0] and one[1] <= other[1] and one != other

    return frozenset(name for name, own in points.items() if not any(beats(each, own) for each in points.values()))
