"""Disjoint parts: stratified, seeded, and with whole groups, so that nothing leaks from one part into another.

Rows that belong together (one group, or the same input) are a unit, and a unit is never divided.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweepstack.models.seeds import derive_seed

LEAST = 0.5  # of its size that a part must have, or the units are dealt out by their sizes first
ALONE = 0.4  # what a part of one unit counts
WEIGHT = 0.25  # of classes beside sizes, then


def units_of(*columns: Sequence[Hashable] | None) -> NDArray[np.int64]:
    """(rows,): the unit of each row, which is the number of its first row. Rows with the same value in one of
    ``columns``, (rows,) each, share one, transitively; None is a column that is not there."""
    there = [column for column in columns if column is not None]
    parent = list(range(len(there[0])))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for column in there:
        first: dict[Hashable, int] = {}
        for row, value in enumerate(column):
            earlier = first.setdefault(value, row)
            if earlier != row:
                one, other = root(row), root(earlier)
                parent[max(one, other)] = min(one, other)
    return np.array([root(row) for row in range(len(parent))], dtype=np.int64)


def split(
    labels: NDArray[np.int64],
    units: NDArray[np.int64],
    sizes: Mapping[str, int],
    seed: int,
    rows: NDArray[np.int64] | None = None,
) -> dict[str, NDArray[np.int64]]:
    """Row indices, ascending, of each part in ``sizes``, whose values sum to the number of rows.

    Each class is dealt out in the shares of the parts. Sizes are exact where units are single rows; a unit of several
    rows goes to the part that lacks most of its classes, those of several classes first. Where a class has no more
    units than there are parts, they go to the first parts, one to each.

    ``rows``: the number of each row in its file, where some of the file are not here. Which part a unit is in hardly
    depends on other units: where few rows go, or few units are made one, few others change their part.
    """
    total = len(labels)
    assert sum(sizes.values()) == total
    rows = np.arange(total) if rows is None else rows
    random = np.random.default_rng(derive_seed(seed, "split"))
    rank = random.random(int(rows.max(initial=0)) + 1)[rows]  # of a row, however many there are
    by_unit: dict[int, list[int]] = defaultdict(list)
    for row, unit in enumerate(units.tolist()):
        by_unit[unit].append(row)
    found = sorted(by_unit.values(), key=lambda of_unit: (-len(of_unit), rank[of_unit[0]]))  # large ones first: room
    classes = {of_unit[0]: Counter(labels[of_unit].tolist()) for of_unit in found}
    wanted = _quotas(Counter(labels.tolist()), sizes)
    chosen: dict[str, list[int]] = {name: [] for name in sizes}
    mixed = [of_unit for of_unit in found if len(classes[of_unit[0]]) > 1]
    for place, of_unit in enumerate(mixed):
        empty = [name for name in sizes if not chosen[name]]
        part = _lacking(wanted, classes[of_unit[0]], sizes)
        if len(found) - place <= len(empty):
            part = empty[0]
        for label, count in classes[of_unit[0]].items():
            wanted[label][part] -= count
        chosen[part] += of_unit
    for label in sorted(wanted):
        pure = [of_unit for of_unit in found if classes[of_unit[0]].keys() == {label}]
        for of_unit, part in zip(pure, _dealt(list(map(len, pure)), wanted[label], sizes), strict=True):
            chosen[part] += of_unit
    if _worst(chosen, sizes, units) < LEAST:
        by_size = _by_size(found, classes, _quotas(Counter(labels.tolist()), sizes), sizes)
        chosen = max(chosen, by_size, key=lambda parts: _worst(parts, sizes, units))
    return {name: np.array(sorted(of_part), dtype=np.int64) for name, of_part in chosen.items()}


def _worst(parts: Mapping[str, Sequence[int]], sizes: Mapping[str, int], units: NDArray[np.int64]) -> float:
    """The smallest share of its size that a part has; one unit of several rows, which has no interval, counts less."""
    shares = [len(parts[name]) / size for name, size in sizes.items() if size]
    alone = [len(own) > 1 and len(set(units[own].tolist())) == 1 for own in (parts[n] for n in sizes if sizes[n])]
    return min((share * (ALONE if one else 1) for share, one in zip(shares, alone, strict=True)), default=1.0)


def _by_size(
    found: Sequence[list[int]],
    classes: Mapping[int, Mapping[int, int]],
    wanted: Mapping[int, Mapping[str, int]],
    sizes: Mapping[str, int],
) -> dict[str, list[int]]:
    """The units, the largest first, each where there is room and most is lacking, of its rows' number and classes
    alike: for few large units of one class, of which no class can be dealt out by itself."""
    parts: dict[str, list[int]] = {name: [] for name in sizes}
    left = {label: dict(quota) for label, quota in wanted.items()}
    for of_unit in found:
        own = classes[of_unit[0]]

        def lack(name: str, size: int = len(of_unit), own: Mapping[int, int] = own) -> tuple[bool, float]:
            there = sizes[name] - len(parts[name])
            room = size <= (there if parts[name] else there / 2)  # one unit alone would be a part without an interval
            of_classes = sum(n * left[label][name] / max(wanted[label][name], 1) for label, n in own.items()) / size
            return room, there / max(sizes[name], 1) + WEIGHT * of_classes

        part = max(sizes, key=lack)
        for label, n in own.items():
            left[label][part] -= n
        parts[part] += of_unit
    return parts


def _lacking(wanted: Mapping[int, Mapping[str, int]], classes: Mapping[int, int], sizes: Mapping[str, int]) -> str:
    """The part with room for rows of several classes, so many of each, that lacks most of them."""

    def lack(name: str) -> tuple[bool, float, int]:
        room = all(wanted[label][name] >= count for label, count in classes.items())
        left = [(count, wanted[label][name]) for label, count in classes.items()]
        return room, sum(count * n for count, n in left) / max(sizes[name], 1), sum(n for _, n in left)

    return max(sizes, key=lack)


def _dealt(counts: Sequence[int], wanted: Mapping[str, int], sizes: Mapping[str, int]) -> list[str]:
    """The part of each unit; ``counts``: their rows, the largest first. Of units as large as each other the first ones
    go to the first part, and so on: one unit more or less moves few others."""
    names, left = list(sizes), dict(wanted)
    parts: list[str] = []
    for size, alike in itertools.groupby(counts):
        number = len(list(alike))
        if size == 1 and min(left.values()) >= 0:  # what is left is as much as there is room for
            own = [name for name in names for _ in range(left[name])]
        else:
            own = []
            for _ in range(number):
                part = max(left, key=lambda name: (left[name] >= size, left[name] / max(sizes[name], 1), left[name]))
                if len(counts) <= len(left) and counts[0] > 1:
                    part = names[len(parts) + len(own)]
                left[part] -= size
                own.append(part)
        parts += sorted(own, key=names.index)
    return parts


@dataclass(frozen=True)
class Fold:
    """Row indices, ascending."""

    warm: NDArray[np.int64]
    policy: NDArray[np.int64]
    held_out: NDArray[np.int64]


def split_folds(
    labels: NDArray[np.int64],
    units: NDArray[np.int64],
    folds: int,
    policy: float,
    test: int,
    seed: int,
    rows: NDArray[np.int64] | None = None,
) -> tuple[list[Fold], NDArray[np.int64]]:
    """``folds`` folds and the rows of test, ``test`` of them; as stratified, and as whole in their units, as by
    :func:`split`, which says what ``rows`` are.

    Every row outside test is held out by one fold. The rows of the others are split into warm and policy, whose share
    ``policy`` is, for each fold anew.
    """
    left = len(labels) - test
    sizes = {f"fold {k}": left // folds + (k < left % folds) for k in range(folds)}
    rows = np.arange(len(labels)) if rows is None else rows
    parts = split(labels, units, {**sizes, "test": test} if test else sizes, seed, rows)
    found = []
    for k, name in enumerate(sizes):
        trained_on = np.sort(np.concatenate([own for other, own in parts.items() if other not in (name, "test")]))
        played = round(len(trained_on) * policy)
        halves = split(
            labels[trained_on],
            units[trained_on],
            {"warm": len(trained_on) - played, "policy": played},
            derive_seed(seed, "fold", k),
            rows[trained_on],
        )
        found.append(Fold(trained_on[halves["warm"]], trained_on[halves["policy"]], parts[name]))
    return found, parts.get("test", np.zeros(0, dtype=np.int64))


def _quotas(counts: Mapping[int, int], sizes: Mapping[str, int]) -> dict[int, dict[str, int]]:
    """How many rows of each class each part gets: proportional, whole, and exact in both sums.

    Cumulative rounding: the running total of each part over the classes is rounded, so that what one class loses the
    next one gains, and no part strays from its size. Then rare classes are seen to.
    """
    total = sum(counts.values())
    names = list(sizes)
    given = dict.fromkeys(names, 0)
    seen = 0
    quotas = {}
    for label in sorted(counts):
        seen += counts[label]
        exact = {name: sizes[name] * seen / total - given[name] for name in names}
        quota = {name: max(int(exact[name]), 0) for name in names}
        short = counts[label] - sum(quota.values())
        order = sorted(names, key=lambda name: quota[name] - exact[name])
        for i in range(abs(short)):
            quota[order[i % len(order)] if short > 0 else order[-1 - i % len(order)]] += 1 if short > 0 else -1
        for name in names:
            given[name] += quota[name]
        quotas[label] = quota
    _everywhere(quotas, names)
    return quotas


def _everywhere(quotas: dict[int, dict[str, int]], names: Sequence[str]) -> None:
    """Gives every class a row in every part, or in the first ones, warm before all, where it has fewer rows than parts.

    A row is exchanged for one of another class that the part can spare, so that both sums stay as they are. A part that
    is too small for all classes stays without some.
    """
    for quota in quotas.values():
        needed = names[: sum(quota.values())]
        for part in needed:
            if quota[part]:
                continue
            giver = max(names, key=lambda name: (quota[name] - (name in needed), quota[name]))
            spare = [each for each in quotas if quotas[each][part] > 1]
            if not spare:
                continue
            other = max(spare, key=lambda each: quotas[each][part] / sum(quotas[each].values()))
            quota[part] += 1
            quota[giver] -= 1
            quotas[other][part] -= 1
            quotas[other][giver] += 1
