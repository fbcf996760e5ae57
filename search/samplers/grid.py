"""Every point of a grid, in a seeded random order."""

import random
from collections.abc import Mapping
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial

from sweepstack.models.seeds import derive_seed
from sweepstack.search.samplers.initial_points import place
from sweepstack.search.samplers.points import Source, neutral
from sweepstack.search.study.axes import Choice, all_axes
from sweepstack.search.study.space import Space


class GridEngine:
    """The grid in a seeded random order, so that a part of it is not just one of its corners."""

    costly = False

    def __init__(self, space: Space, seed: int) -> None:
        self._points = space.grid()
        random.Random(derive_seed(seed, "grid")).shuffle(self._points)
        self._choices = {axis.parameter for axis in all_axes(space.axes) if isinstance(axis, Choice)}

    def fitting(self, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The points that differ from ``values`` the least: in choices first, as it is them that other axes hang on."""
        if not values:
            return self._points

        def differences(point: Mapping[str, Any]) -> tuple[int, int]:
            differ = [name for name, value in values.items() if point.get(name, value) != value]
            return sum(name in self._choices for name in differ), len(differ)

        found = list(map(differences, self._points))
        least = min(found)
        return [point for point, each in zip(self._points, found, strict=True) if each == least]

    def source(self, study: Study, trial: FrozenTrial, number: int) -> Source:
        point = self._points[place(study, trial) % len(self._points)]
        return lambda name, distribution: point[name] if name in point else neutral(distribution)
