"""The rows of a study for a last training: everything but test, as warm and policy."""

import hashlib
import itertools
from dataclasses import replace

import numpy as np

from sweepstack.models.data.labelled import FITTED, Dataset, Part

ADDED = ("valid", "blend")


def all_but_test(dataset: Dataset) -> Dataset:
    """warm and policy with the rows of valid and blend among them, in about their own proportion.

    Whole parts are added to one or the other, so that no input and no group straddles them; under folds, what the first
    fold holds out goes where the second one has it, and there are no folds any more. ``valid`` stays as a part to look
    at: its rows are trained on, so that nothing may be chosen by it. There is no blend.
    """
    if dataset.folds:
        first, second = dataset.folds[:2]
        held_out = first.parts["valid"]
        added = {
            name: _rows(held_out, np.flatnonzero(np.isin(held_out.units, second.parts[name].units)).tolist())
            for name in FITTED
        }
        parts = {name: _together(first.parts[name], added[name]) for name in FITTED}
        valid, hashes = held_out, first.hashes
    else:
        parts = _nearest(dataset)
        valid, hashes = dataset.parts["valid"], dataset.hashes
    content = {name: _hash(f"all but test: {name} {dataset.hashes['content']}") for name in (*FITTED, "content")}
    return replace(
        dataset,
        parts={**parts, "valid": valid, "test": dataset.parts["test"]},
        hashes={**content, "valid": hashes["valid"], "test": dataset.hashes["test"]},
        folds=(),
    )


def _nearest(dataset: Dataset) -> dict[str, Part]:
    """With valid and blend each in one of the two: as leaves the share of warm nearest to what it was."""
    sizes = {name: len(part.labels) for name, part in dataset.parts.items()}
    wanted = sizes["warm"] / (sizes["warm"] + sizes["policy"])
    total = sum(sizes[name] for name in (*FITTED, *ADDED))

    def off(to: tuple[str, ...]) -> float:
        warm = sizes["warm"] + sum(sizes[name] for name, part in zip(ADDED, to, strict=True) if part == "warm")
        return abs(warm / total - wanted)

    best = min(itertools.product(FITTED, repeat=len(ADDED)), key=off)
    parts = {name: dataset.parts[name] for name in FITTED}
    for name, to in zip(ADDED, best, strict=True):
        parts[to] = _together(parts[to], dataset.parts[name])
    return parts


def _together(one: Part, other: Part) -> Part:
    return Part(
        (*one.inputs, *other.inputs),
        np.concatenate([one.labels, other.labels]),
        np.concatenate([one.units, other.units]),
    )


def _rows(part: Part, rows: list[int]) -> Part:
    return Part(tuple(part.inputs[row] for row in rows), part.labels[rows], part.units[rows])


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
