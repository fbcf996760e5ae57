"""Whether trials of a sweep share workers, and how many do: ``search.packing``.

In environments results do not depend on it, to the bit; a reading policy's sums round by who is beside it, and sampling
makes more of that from epoch to epoch, so its trials share a worker only where a number is given: a trial is to be what
its seed makes it. Under auto a worker measures once a study whether trials are cheaper together, where there
are enough of them that could be, and they are asked for one by one until then. A sampler that learns from results
is asked for fewer at a time: what it is told too late it cannot use.
"""

import math
from collections.abc import Iterable
from pathlib import Path

from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.training.lockstep import is_free, shape_of
from sweepstack.models.training.packing import Packer, known_width
from sweepstack.search.execution.executor import Packing
from sweepstack.search.study.axes import Axis, Choice, Interval
from sweepstack.search.study.search_section import Search
from sweepstack.search.study.space import Space

WIDEST, WIDEST_OF_LEARNERS = 8, 4
LEARN_NOTHING = ("grid", "random", "qmc")  # samplers
FEWEST = 2  # trials of one shape for every slot; with fewer a measurement does not pay


def packing_of(
    search: Search, space: Space, settings: TrialSettings, starts: Path, *, trials: int, slots: int
) -> Packing | None:
    """None where every trial of a sweep has a worker to itself. ``settings``: before anything is searched."""

    def shape(values: dict[str, object]) -> object:
        return shape_of(settings.with_values(values))

    if search.packing == "off" or search.seeds > 1:  # repetitions are trained one after the other
        return None
    if search.packing != "auto":
        width = search.packing
        return None if width == 1 else Packing(lambda: width, shape, Packer(starts, width, measures=False))
    if (
        settings.environment is None
        or trials < FEWEST * slots * shapes(space.axes)
        or not may_be_packed(space, settings)
    ):
        return None
    widest = WIDEST if search.sampler in LEARN_NOTHING else WIDEST_OF_LEARNERS
    return Packing(lambda: known_width(starts) or 1, shape, Packer(starts, widest, measures=True))


def shapes(axes: Iterable[Axis]) -> float:
    """How many shapes the trials of a space have at most."""
    return math.prod(_values(axis) for axis in axes)


def _values(axis: Axis) -> float:
    if isinstance(axis, Choice):
        inner = [shapes(option.inner) for option in axis.options]
        return max(inner, default=1.0) if is_free(axis.path) else sum(inner)
    assert isinstance(axis, Interval)
    if is_free(axis.path):
        return 1.0
    return axis.high - axis.low + 1 if axis.kind in ("int", "int_log") else math.inf


def may_be_packed(space: Space, settings: TrialSettings) -> bool:
    """Whether some trial is of a shape at all: of an algorithm and an optimiser that can be packed."""
    searched = [axis for axis in space.axes if isinstance(axis, Choice) and not is_free(axis.path)]
    candidates = [settings]
    for axis in searched:
        values = [option.value for option in axis.options]
        candidates += [each.with_values({axis.path: value}) for each in candidates for value in values]
    return any(shape_of(each) is not None for each in candidates)
