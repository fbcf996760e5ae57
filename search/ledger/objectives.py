"""What trials are compared by: one metric, or several at once, and then by their Pareto front.

Objectives are undiscounted metrics of held-out inputs. Beside them may stand ``seconds``: what training one repetition
of a setting took.
"""

from collections.abc import Mapping, Sequence

from sweepstack.models.predictions.metrics import direction

SECONDS = "seconds"


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether ``a`` is nowhere worse than ``b`` and somewhere better; more is better in every place."""
    return all(x >= y for x, y in zip(a, b, strict=True)) and any(x > y for x, y in zip(a, b, strict=True))


def pareto_front(points: Mapping[int, Mapping[str, float]], objectives: Sequence[str]) -> tuple[int, ...]:
    """The keys of the points that no other dominates, best first by the first objective; equal points all stand.

    Points sorted by all their values can only be dominated by one before them, and then by one of the front so far
    (Kung, Luccio and Preparata 1975).
    """
    values = {key: tuple(direction(name) * point[name] for name in objectives) for key, point in points.items()}
    front: list[int] = []
    for key in sorted(values, key=lambda key: values[key], reverse=True):
        if not any(dominates(values[other], values[key]) for other in front):
            front.append(key)
    return tuple(front)
